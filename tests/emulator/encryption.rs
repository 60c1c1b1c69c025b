//! The emulator over TLS, with a certificate authority of its own.

use super::{KEY, PROJECT, SERVER, served::Served, tls::PrivateCa, world};
use glesys_autoscaler::sandbox::{Fault, Function, Times};
use rcgen::{CertificateParams, date_time_ymd};
use reqwest::{Certificate, Client, Response};
use serde_json::{Value, json};
use std::time::Duration;

async fn edit(served: &Served, trusted: &PrivateCa) -> reqwest::Result<Response> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = Certificate::from_pem(trusted.pem().as_bytes()).unwrap();
    let client = Client::builder()
        .no_proxy()
        .https_only(true)
        .timeout(Duration::from_secs(60))
        .tls_certs_only([root])
        .build()
        .unwrap();
    client
        .post(format!("{}/server/edit", served.url))
        .basic_auth(PROJECT, Some(KEY))
        .json(&json!({"serverid": SERVER, "cpucores": 4}))
        .send()
        .await
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_served() {
    let ca = PrivateCa::new();
    let served = Served::over_tls(world().build(), ca.server(&["localhost", "127.0.0.1"]));
    let answer: Value = edit(&served, &ca).await.unwrap().json().await.unwrap();
    assert_eq!(answer["response"]["server"]["cpucores"], 4);
    assert_eq!(served.cores(SERVER), Ok(4));
}

/// What a careful client must not talk to; each time it is the certificate that it refuses.
#[tokio::test]
async fn a_careful_client_refuses_every_other_certificate() {
    let ca = PrivateCa::new();
    let mut expired = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    expired.not_before = date_time_ymd(2001, 1, 1);
    expired.not_after = date_time_ymd(2002, 1, 1);
    for (what, config) in [
        ("another authority", PrivateCa::new().server(&["127.0.0.1"])),
        ("another name", ca.server(&["api.example.com", "127.0.0.2"])),
        ("expired", ca.server_with(expired)),
    ] {
        let served = Served::over_tls(world().build(), config);
        let refused = edit(&served, &ca).await;
        assert!(refused.is_err_and(|e| e.is_connect()), "{what} was trusted");
        assert!(served.calls().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn faults_break_encrypted_connections_too() {
    let ca = PrivateCa::new();
    let served = Served::over_tls(world().build(), ca.server(&["127.0.0.1"]));
    served.inject(Function::Edit, Fault::CutBody, Times::Next(1));
    let answer = edit(&served, &ca).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
    assert_eq!(served.cores(SERVER), Ok(4));

    served.inject(Function::Edit, Fault::DropBefore, Times::Next(1));
    assert!(edit(&served, &ca).await.is_err());
}
