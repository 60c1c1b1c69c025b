//! What the environment may not change, and what it may. A variable is set for a child process
//! that runs the same test again, since setting one here would change the other tests.

use crate::server::{Reply, Server};
use crate::{client, fixture, options};
use glesys_autoscaler::adapters::glesys::{BuildError, Glesys};
use glesys_autoscaler::ports::CloudApi;
use std::process::Command;

/// Set in the child: what it works on.
const CHILD: &str = "CLOUD_API_TEST_CHILD";

/// Runs `test` of this file again in a process with these variables; it must pass there.
async fn again(test: &'static str, variables: Vec<(&'static str, String)>) {
    let run = move || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("environment::{test}"), "--nocapture"])
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .env_remove("SSL_CERT_DIR")
            .envs(variables)
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn no_proxy_of_the_environment_is_obeyed() {
    if let Ok(url) = std::env::var(CHILD) {
        client(&url).details().await.unwrap();
        return;
    }
    let proxy = Server::start(vec![Reply::new(502, "", "")]).await;
    let server = Server::start(vec![Reply::ok(&fixture("details_running.json"))]).await;
    let mut variables = vec![(CHILD, server.url())];
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        variables.push((name, proxy.url()));
    }
    again("no_proxy_of_the_environment_is_obeyed", variables).await;
    assert_eq!(server.connections(), 1);
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn without_any_root_certificate_there_is_no_client() {
    if std::env::var_os(CHILD).is_some() {
        let error = Glesys::new(options("https://api.glesys.com")).unwrap_err();
        assert!(matches!(error, BuildError::NoCaStore), "{error:?}");
        assert!(error.to_string().contains("ca-certificates"), "{error}");
        return;
    }
    let variables = vec![
        (CHILD, "yes".to_owned()),
        ("SSL_CERT_FILE", "/dev/null".to_owned()),
    ];
    again("without_any_root_certificate_there_is_no_client", variables).await;
}
