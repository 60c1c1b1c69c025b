//! One row for each row of the error table, section 5 of the API contract.

use crate::server::{Reply, Server};
use crate::{client, fixture};
use glesys_autoscaler::engine::cloud::{ApiFailure, FailureKind};
use glesys_autoscaler::ports::CloudApi;
use serde_json::json;
use std::time::Duration;

/// The failure of `details` and of `edit` for the same reply.
async fn both(reply: Reply) -> (ApiFailure, ApiFailure) {
    let server = Server::start(vec![reply]).await;
    let api = client(&server.url());
    let details = api.details().await.unwrap_err();
    let edit = api.edit(4).await.unwrap_err();
    for (failure, function) in [(&details, "server/details"), (&edit, "server/edit")] {
        assert!(failure.message.starts_with(function), "{failure:?}");
        assert!(!failure.message.contains('\n'), "{failure:?}");
    }
    (details, edit)
}

fn envelope(code: i64, text: &str) -> String {
    json!({"response": {"status": {"code": code, "text": text}, "debug": {"input": []}}})
        .to_string()
}

#[tokio::test]
async fn every_row_of_the_table() {
    use FailureKind::{
        AccountLimit, ApplyFailed, Configuration, Credentials, Forbidden, HypervisorDown,
        InvalidValue, Locked, NoRoom, Unavailable, Unknown,
    };
    let page = fixture("proxy_page.html");
    let lost = "Could not find server with this id on this account.";
    // HTTP status, body, what details and edit make of it, what the message must say.
    #[rustfmt::skip] // One row a line.
    let rows: Vec<(u16, String, FailureKind, FailureKind, &str)> = vec![
        // Key, address, function.
        (401, fixture("authentication_failed.json"), Credentials, Credentials, "Double check the username"),
        (401, String::new(), Credentials, Credentials, "the key or the project cl12345 is wrong"),
        (401, page.clone(), Credentials, Credentials, "the key's address list lacks"),
        (401, envelope(401, "Permission denied"), Credentials, Credentials, "may not use server/"),
        (403, envelope(403, "Permission denied"), Forbidden, Forbidden, "may not use server/"),
        (403, String::new(), Forbidden, Forbidden, "from 127.0.0.1"),
        (403, envelope(403, "Your address is blocked"), Forbidden, Forbidden, "blocked"),
        (200, envelope(401, "Authentication failed."), Credentials, Credentials, "HTTP 200, code 401"),
        (500, envelope(403, "No"), Forbidden, Forbidden, "HTTP 500, code 403"),
        // Locked, in every way it was seen.
        (403, envelope(403, "Server locked"), Locked, Locked, "locked"),
        (403, envelope(403, "  SERVER LOCKED \n"), Locked, Locked, "locked"),
        (500, fixture("server_locked_606.json"), Locked, Locked, "HTTP 500, code 606, \"Server Locked\""),
        (500, envelope(608, "The server is locked."), Locked, Locked, "locked"),
        (500, envelope(500, "Server Locked"), Locked, Locked, "locked"),
        (200, envelope(606, "Server Locked"), Locked, Locked, "locked"),
        (400, envelope(400, "Server is locked"), Locked, Locked, "locked"),
        (409, envelope(409, "Server is locked"), Locked, Locked, "locked"),
        (423, String::new(), Locked, Locked, "locked"),
        // The server is not there, or not to be changed.
        (400, fixture("unknown_server.json"), Configuration, Configuration, "no server kvm123456 in the project cl12345"),
        (404, fixture("unknown_server.json"), Configuration, Configuration, "check api.server_id"),
        (400, envelope(400, "COULD NOT FIND SERVER"), Configuration, Configuration, "check api.server_id"),
        (500, envelope(400, lost), Configuration, Configuration, "check api.server_id"),
        (404, page.clone(), Configuration, Configuration, "check api.url"),
        (405, envelope(405, "Not allowed"), Configuration, Configuration, "managed server"),
        (200, envelope(405, "Not allowed"), Configuration, Configuration, "managed server"),
        (419, envelope(419, "Not allowed"), Configuration, Configuration, "type of account"),
        // The value.
        (400, envelope(400, "cpucores: not a legal value"), Configuration, InvalidValue, "not a legal value"),
        (400, String::new(), Configuration, InvalidValue, "HTTP 400"),
        (400, envelope(610, "Template refuses"), InvalidValue, InvalidValue, "code 610"),
        (500, envelope(610, "Template refuses"), InvalidValue, InvalidValue, "code 610"),
        // The platform.
        (500, envelope(608, "Apply failed"), ApplyFailed, ApplyFailed, "could not apply"),
        (500, envelope(617, "Not enough memory on the host"), NoRoom, NoRoom, "no room"),
        (400, envelope(617, ""), NoRoom, NoRoom, "no room"),
        (200, envelope(617, ""), NoRoom, NoRoom, "no room"),
        (500, envelope(618, "Test account"), AccountLimit, AccountLimit, "test account"),
        (500, envelope(619, "Unreachable"), HypervisorDown, HypervisorDown, "cannot be reached"),
        // Too many calls.
        (429, String::new(), Unavailable, Unavailable, "takes no calls now"),
        (503, page.clone(), Unavailable, Unavailable, "takes no calls now"),
        // Nobody knows.
        (500, String::new(), Unknown, Unknown, "the API failed (HTTP 500)"),
        (500, envelope(500, "Internal error"), Unknown, Unknown, "Internal error"),
        (500, envelope(606, "Destroy failed"), Unknown, Unknown, "code 606"),
        (500, envelope(601, "Details failed"), Unknown, Unknown, "code 601"),
        (502, page.clone(), Unknown, Unknown, "HTTP 502"),
        (504, String::new(), Unknown, Unknown, "HTTP 504"),
        (408, String::new(), Unknown, Unknown, "HTTP 408"),
        (407, page.clone(), Unknown, Unknown, "HTTP 407"),
        (204, String::new(), Unknown, Unknown, "HTTP 204"),
        (200, envelope(500, "Internal error"), Unknown, Unknown, "Internal error"),
        (200, envelope(777, "A code of tomorrow"), Unknown, Unknown, "code 777"),
    ];
    for (http, body, details, edit, says) in rows {
        let (of_details, of_edit) = both(Reply::new(http, "", &body)).await;
        assert_eq!(of_details.kind, details, "HTTP {http} {body}");
        assert_eq!(of_edit.kind, edit, "HTTP {http} {body}");
        assert!(of_edit.message.contains(says), "{says}: {of_edit:?}");
        assert!(!of_edit.message.contains('<'), "{of_edit:?}");
        assert_eq!(
            of_edit.message.contains("may have been made"),
            edit == Unknown,
            "{of_edit:?}"
        );
    }
}

#[tokio::test]
async fn a_code_may_be_a_string() {
    let body = r#"{"response":{"status":{"code":"619","text":"Unreachable"}}}"#;
    let (_, edit) = both(Reply::new(500, "", body)).await;
    assert_eq!(edit.kind, FailureKind::HypervisorDown);
}

#[tokio::test]
async fn the_platforms_counts_are_refused_like_details() {
    for (http, body, kind) in [
        (401, String::new(), FailureKind::Credentials),
        (403, String::new(), FailureKind::Forbidden),
        (
            400,
            fixture("unknown_server.json"),
            FailureKind::Configuration,
        ),
        (400, String::new(), FailureKind::Configuration),
        (500, String::new(), FailureKind::Unknown),
        (200, fixture("proxy_page.html"), FailureKind::Unknown),
    ] {
        let server = Server::start(vec![Reply::new(http, "", &body)]).await;
        let failure = client(&server.url())
            .allowed_cores("KVM")
            .await
            .unwrap_err();
        assert_eq!(failure.kind, kind, "HTTP {http} {body}");
        assert!(failure.message.starts_with("server/allowedarguments: "));
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_up_to_an_hour() {
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    for (headers, seconds) in [
        ("Retry-After: 120\r\n".to_owned(), Some(120)),
        ("Retry-After: 0\r\n".to_owned(), Some(0)),
        ("retry-after:  7 \r\n".to_owned(), Some(7)),
        ("Retry-After: 86400\r\n".to_owned(), Some(3600)),
        (
            "Retry-After: 99999999999999999999999\r\n".to_owned(),
            Some(3600),
        ),
        (
            format!("{date}Retry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n"),
            Some(60),
        ),
        (
            format!("{date}Retry-After: Mon, 07 Nov 1994 08:49:37 GMT\r\n"),
            Some(3600),
        ),
        (
            format!("{date}Retry-After: Sun, 06 Nov 1994 08:00:00 GMT\r\n"),
            Some(0),
        ),
        (
            format!("{date}Retry-After: Sunday, 06-Nov-94 08:50:37 GMT\r\n"),
            Some(60),
        ),
        (
            "Retry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n".to_owned(),
            None,
        ),
        ("Retry-After: -5\r\n".to_owned(), None),
        ("Retry-After: soon\r\n".to_owned(), None),
        ("Retry-After:\r\n".to_owned(), None),
        (String::new(), None),
    ] {
        for http in [429, 503] {
            let (_, edit) = both(Reply::new(http, &headers, "")).await;
            assert_eq!(edit.kind, FailureKind::Unavailable);
            assert_eq!(
                edit.retry_after,
                seconds.map(Duration::from_secs),
                "{headers}"
            );
        }
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let target = Server::start(vec![Reply::ok(&fixture("details_running.json"))]).await;
    let to = format!("Location: {}/server/details\r\n", target.url());
    for http in [301, 302, 303, 307, 308] {
        let (details, edit) = both(Reply::new(http, &to, "")).await;
        assert_eq!(details.kind, FailureKind::Unknown);
        assert_eq!(edit.kind, FailureKind::Unknown);
        assert!(
            edit.message.contains("redirect to http://127.0.0.1"),
            "{edit:?}"
        );
        assert!(edit.message.contains("api.url"), "{edit:?}");
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn nothing_is_sent_twice() {
    for http in [401, 429, 500, 503] {
        let server = Server::start(vec![Reply::new(http, "Retry-After: 0\r\n", "")]).await;
        client(&server.url()).edit(4).await.unwrap_err();
        assert_eq!(server.connections(), 1, "HTTP {http}");
    }
}
