//! Bodies that are missing, HTML, cut, huge, endless or slow.

use crate::server::{Reply, Server, head};
use crate::{PATIENCE, SHORT, client, fixture, options};
use glesys_autoscaler::adapters::glesys::{Glesys, MAX_BODY};
use glesys_autoscaler::engine::cloud::{ApiFailure, FailureKind};
use glesys_autoscaler::ports::CloudApi;
use std::time::Duration;

/// Both reads and the edit fail with an unknown outcome.
async fn all_unknown(reply: Reply) -> ApiFailure {
    let server = Server::start(vec![reply]).await;
    let api = client(&server.url());
    let details = api.details().await.unwrap_err();
    assert_eq!(details.kind, FailureKind::Unknown, "{details:?}");
    let allowed = api.allowed_cores("KVM").await.unwrap_err();
    assert_eq!(allowed.kind, FailureKind::Unknown, "{allowed:?}");
    let edit = api.edit(4).await.unwrap_err();
    assert_eq!(edit.kind, FailureKind::Unknown, "{edit:?}");
    assert!(edit.message.contains("may have been made"), "{edit:?}");
    edit
}

#[tokio::test]
async fn a_200_without_the_apis_answer_proves_nothing() {
    let whole = fixture("edit_accepted.json");
    for body in [
        "",
        " ",
        &fixture("proxy_page.html"),
        &whole[..whole.len() / 2],
        "null",
        "[]",
        "{}",
        r#"{"response":null}"#,
        r#"{"response":[]}"#,
        r#"{"status":{"code":200}}"#,
        "\u{feff}\u{0}",
        &"[".repeat(100_000),
        &format!(r#"{{"response":{}"#, r#"{"a":"#.repeat(50_000)),
    ] {
        let failure = all_unknown(Reply::ok(body)).await;
        assert!(failure.message.contains("api.url"), "{failure:?}");
    }
    all_unknown(Reply::Bytes(
        [head(200, "", 2).as_bytes(), b"\xff\xfe"].concat(),
    ))
    .await;
}

#[tokio::test]
async fn a_body_shorter_than_promised() {
    let whole = fixture("edit_accepted.json");
    for promised in [whole.len() + 1, whole.len() * 100] {
        let cut = head(200, "", promised) + &whole;
        let failure = all_unknown(Reply::Bytes(cut.into_bytes())).await;
        assert!(failure.message.contains("broke"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_chunked_body_is_read_and_a_cut_one_is_not() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = r#"{"response":{"server":{"cpucores":2}}}"#;
    let first = format!("{chunked}{:x}\r\n{body}\r\n", body.len());
    let whole = format!("{first}0\r\n\r\n");
    let server = Server::start(vec![Reply::Bytes(whole.into_bytes())]).await;
    assert_eq!(client(&server.url()).details().await.unwrap().cores, 2);
    all_unknown(Reply::Bytes(first.into_bytes())).await;
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_the_connection() {
    let body = format!("HTTP/1.0 200 OK\r\n\r\n{}", fixture("details_running.json"));
    let server = Server::start(vec![Reply::Bytes(body.into_bytes())]).await;
    assert_eq!(client(&server.url()).details().await.unwrap().cores, 2);
}

#[tokio::test]
async fn a_huge_body_is_not_read_to_its_end() {
    let whole = fixture("details_running.json");
    let padded = |length: usize| format!("{whole}{}", " ".repeat(length - whole.len()));
    let server = Server::start(vec![Reply::ok(&padded(MAX_BODY))]).await;
    assert_eq!(client(&server.url()).details().await.unwrap().cores, 2);

    let failure = all_unknown(Reply::ok(&padded(MAX_BODY + 1))).await;
    assert!(failure.message.contains("longer"), "{failure:?}");
}

#[tokio::test]
async fn an_endless_body_ends_at_the_limit() {
    let head = "HTTP/1.1 200 OK\r\n\r\n".as_bytes().to_vec();
    let endless = Reply::Forever(head, vec![b' '; 64 * 1024], Duration::ZERO);
    let failure = tokio::time::timeout(PATIENCE, all_unknown(endless)).await;
    assert!(failure.unwrap().message.contains("longer"));
}

#[tokio::test]
async fn endless_headers_end_too() {
    let head = "HTTP/1.1 200 OK\r\n".as_bytes().to_vec();
    let endless = Reply::Forever(head, b"X: y\r\n".repeat(10_000), Duration::ZERO);
    let failure = tokio::time::timeout(PATIENCE, all_unknown(endless)).await;
    assert!(failure.unwrap().message.contains("broke"));
}

#[tokio::test]
async fn a_dripping_body_is_bounded_by_the_timeout() {
    let head = head(200, "", 1000).into_bytes();
    let drip = Reply::Forever(head, b" ".to_vec(), Duration::from_millis(20));
    let server = Server::start(vec![drip]).await;
    let mut options = options(&server.url());
    options.timeout = SHORT;
    let api = Glesys::new(options).unwrap();
    let failure = tokio::time::timeout(PATIENCE, api.edit(4)).await.unwrap();
    let failure = failure.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unknown);
    assert!(failure.message.contains("within 2s"), "{failure:?}");
}

#[tokio::test]
async fn the_status_decides_when_the_body_of_an_error_is_bad() {
    let endless = |http: u16| {
        let head = format!("HTTP/1.1 {http} No\r\n\r\n").into_bytes();
        Reply::Forever(head, vec![b' '; 64 * 1024], Duration::ZERO)
    };
    let cut = |http: u16| Reply::Bytes((head(http, "", 999) + "{").into_bytes());
    for (reply, kind) in [
        (endless(401), FailureKind::Credentials),
        (cut(401), FailureKind::Credentials),
        (cut(403), FailureKind::Forbidden),
        (cut(404), FailureKind::Configuration),
        (endless(503), FailureKind::Unavailable),
        (cut(500), FailureKind::Unknown),
    ] {
        let server = Server::start(vec![reply]).await;
        let failure = client(&server.url()).edit(4).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure:?}");
    }
}
