//! What goes over the wire: section 1 of the API contract.

use crate::server::{Reply, Server, head};
use crate::{client, fixture, options};
use glesys_autoscaler::adapters::glesys::{CallBudget, Glesys};
use glesys_autoscaler::engine::cloud::FailureKind;
use glesys_autoscaler::ports::CloudApi;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn each_function_posts_exactly_its_arguments() {
    for (function, expected) in [
        (
            "details",
            json!({"serverid": "kvm123456", "includestate": "yes"}),
        ),
        ("edit", json!({"serverid": "kvm123456", "cpucores": 4})),
        ("allowedarguments", json!({"serverid": "kvm123456"})),
    ] {
        let server = Server::start(vec![Reply::ok(&fixture("details_running.json"))]).await;
        let api = client(&server.url());
        match function {
            "details" => drop(api.details().await.unwrap()),
            "edit" => api.edit(4).await.unwrap(),
            _ => drop(api.allowed_cores("KVM").await.unwrap()),
        }
        let request = server.request();
        assert_eq!(request.line, format!("POST /server/{function} HTTP/1.1"));
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn the_headers_are_the_documented_ones() {
    let server = Server::start(vec![Reply::ok(&fixture("edit_accepted.json"))]).await;
    client(&server.url()).edit(4).await.unwrap();
    let request = server.request();
    assert_eq!(request.header("content-type"), ["application/json"]);
    assert_eq!(request.header("accept"), ["application/json"]);
    assert_eq!(
        request.header("user-agent"),
        [concat!("glesys-autoscaler/", env!("CARGO_PKG_VERSION"))]
    );
    // `printf cl12345:canary-4f1d7c2b9e | base64`
    assert_eq!(
        request.header("authorization"),
        ["Basic Y2wxMjM0NTpjYW5hcnktNGYxZDdjMmI5ZQ=="]
    );
    assert_eq!(request.header("accept-encoding"), Vec::<&str>::new());
}

#[tokio::test]
async fn a_path_before_the_functions_is_kept() {
    for base in ["/glesys", "/glesys/"] {
        let server = Server::start(vec![Reply::ok(&fixture("details_running.json"))]).await;
        let api = client(&(server.url() + base));
        api.details().await.unwrap();
        assert_eq!(
            server.request().line,
            "POST /glesys/server/details HTTP/1.1"
        );
    }
}

#[tokio::test]
async fn the_project_is_sent_as_written() {
    let server = Server::start(vec![Reply::ok(&fixture("details_running.json"))]).await;
    let mut options = options(&server.url());
    options.project = "CL12345".to_owned();
    Glesys::new(options).unwrap().details().await.unwrap();
    // `printf CL12345:canary-4f1d7c2b9e | base64`
    assert_eq!(
        server.request().header("authorization"),
        ["Basic Q0wxMjM0NTpjYW5hcnktNGYxZDdjMmI5ZQ=="]
    );
}

#[tokio::test]
async fn each_call_has_a_connection_of_its_own() {
    let body = fixture("details_running.json");
    // The server would go on with the same connection.
    let kept = head(200, "Keep-Alive: timeout=5, max=100\r\n", body.len()) + &body;
    let server = Server::start(vec![Reply::Stall(kept.into_bytes())]).await;
    let api = client(&server.url());
    for _ in 0..3 {
        api.details().await.unwrap();
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn beyond_the_own_rate_nothing_is_sent() {
    let server = Server::start(vec![Reply::ok(&fixture("details_running.json"))]).await;
    let mut options = options(&server.url());
    options.calls = CallBudget::default();
    let api = Glesys::new(options).unwrap();
    for _ in 0..6 {
        api.details().await.unwrap();
    }
    let failure = api.details().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    let wait = failure.retry_after.unwrap();
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(10));
    assert_eq!(server.connections(), 6);
}
