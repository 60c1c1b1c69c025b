//! Connections that do not come about, break, or hang: surely not sent, or nobody knows.

use crate::server::{Reply, Server, head};
use crate::{PATIENCE, SHORT, client, options};
use glesys_autoscaler::adapters::glesys::{AddressFamily, Glesys};
use glesys_autoscaler::engine::cloud::{ApiFailure, FailureKind};
use glesys_autoscaler::ports::CloudApi;
use std::time::Duration;

/// The failure of an edit against `url` that gives up after `timeout`.
async fn edit(url: &str, timeout: Duration) -> ApiFailure {
    let mut options = options(url);
    options.timeout = timeout;
    let api = Glesys::new(options).unwrap();
    let answer = tokio::time::timeout(PATIENCE * 2, api.edit(4)).await;
    answer.unwrap().unwrap_err()
}

#[tokio::test]
async fn a_refused_connection_was_surely_not_a_call() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let failure = edit(&url, PATIENCE).await;
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.message.contains("refused"), "{failure:?}");
    assert!(
        failure.message.contains(&url["http://".len()..]),
        "{failure:?}"
    );
    assert!(
        !failure.message.contains("may have been made"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_name_that_does_not_exist_was_surely_not_a_call() {
    // `.invalid` never exists (RFC 2606).
    let failure = edit("https://api.glesys.invalid", PATIENCE).await;
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(
        failure.message.contains("api.glesys.invalid:443"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_handshake_that_hangs_was_surely_not_a_call() {
    let server = Server::start(vec![Reply::Mute]).await;
    let url = format!("https://{}", server.address);
    let failure = edit(&url, Duration::from_millis(400)).await;
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.message.contains("within 300ms"), "{failure:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_says_nothing() {
    let stalls = async |bytes: &[u8]| {
        let server = Server::start(vec![Reply::Stall(bytes.to_vec())]).await;
        let failure = edit(&server.url(), SHORT).await;
        assert_eq!(failure.kind, FailureKind::Unknown);
        assert!(failure.message.contains("within 2s"), "{failure:?}");
        assert!(
            failure.message.contains("may have been made"),
            "{failure:?}"
        );
        assert_eq!(server.requests().len(), 1);
    };
    let without_body = head(200, "", 100);
    tokio::join!(
        stalls(b""),
        stalls(b"HTTP/1.1 200 OK\r\nContent-"),
        stalls(without_body.as_bytes()),
    );
}

#[tokio::test]
async fn a_connection_that_breaks_says_nothing() {
    for reply in [
        Reply::Slam,
        Reply::Bytes(Vec::new()),
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-".to_vec()),
        Reply::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        Reply::Bytes(b"\x15\x03\x01\x00\x02\x02\x16".to_vec()),
    ] {
        let server = Server::start(vec![reply]).await;
        let failure = edit(&server.url(), PATIENCE).await;
        assert_eq!(failure.kind, FailureKind::Unknown, "{failure:?}");
        assert!(failure.message.contains("broke"), "{failure:?}");
        assert_eq!(server.connections(), 1, "sent again");
    }
}

#[tokio::test]
async fn an_outage_that_is_over_leaves_no_trace() {
    let good = Reply::ok(&crate::fixture("details_running.json"));
    let server = Server::start(vec![Reply::Slam, good]).await;
    let api = client(&server.url());
    assert!(api.details().await.is_err());
    assert_eq!(api.details().await.unwrap().cores, 2);
}

#[tokio::test]
async fn the_pinned_family_is_the_only_one_used() {
    let good = Reply::ok(&crate::fixture("details_running.json"));
    let server = Server::start(vec![good.clone()]).await;
    let by_name = format!("http://localhost:{}", server.address.port());
    let pinned = |url: &str, family| {
        let mut options = options(url);
        options.address_family = family;
        Glesys::new(options).unwrap()
    };
    // The server listens on 127.0.0.1 alone.
    let failure = pinned(&by_name, AddressFamily::Ipv6).details().await;
    assert_eq!(failure.unwrap_err().kind, FailureKind::Unavailable);
    assert_eq!(server.connections(), 0);
    for family in [AddressFamily::Any, AddressFamily::Ipv4] {
        pinned(&by_name, family).details().await.unwrap();
        pinned(&server.url(), family).details().await.unwrap();
    }
    match Server::listen("[::1]:0", None, vec![good]).await {
        Ok(server) => {
            let api = pinned(&server.url(), AddressFamily::Ipv6);
            api.details().await.unwrap();
        }
        Err(e) => eprintln!("SKIPPED: this machine has no IPv6 loopback: {e}"),
    }
}
