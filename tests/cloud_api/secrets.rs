//! The key is sent in one header, and is in nothing that could be printed.

use crate::server::{Reply, Server};
use crate::{KEY, client, options};
use glesys_autoscaler::adapters::glesys::Glesys;
use glesys_autoscaler::ports::CloudApi;
use serde_json::json;

/// `printf cl12345:canary-4f1d7c2b9e | base64`
const BASIC: &str = "Y2wxMjM0NTpjYW5hcnktNGYxZDdjMmI5ZQ==";

fn assert_clean(text: &str) {
    assert!(!text.contains(KEY), "{text}");
    assert!(!text.contains(BASIC.trim_end_matches('=')), "{text}");
}

#[tokio::test]
async fn a_server_that_echoes_the_key_is_not_repeated() {
    for text in [
        format!("No such key: {KEY}"),
        format!("{KEY}{KEY}"),
        format!("Authorization: Basic {BASIC}"),
        format!("Basic {}", BASIC.trim_end_matches('=')),
        // Hidden from a search until it is cleaned up.
        format!("{}\u{200b}{}", &KEY[..5], &KEY[5..]),
        // Across the place where long texts are cut.
        format!("{}{KEY}", "x".repeat(195)),
    ] {
        let body = json!({"response": {"status": {"code": 401, "text": text}}}).to_string();
        for http in [200, 400, 401, 403, 404, 500] {
            let server = Server::start(vec![Reply::new(http, "", &body)]).await;
            let failure = client(&server.url()).edit(4).await.unwrap_err();
            assert_clean(&format!("{failure:?} {}", failure.message));
        }
    }
    let location = format!("Location: https://example.com/{KEY}/{BASIC}\r\n");
    let count = json!({"response": {"server": {"cpucores": format!("{KEY} {BASIC}")}}});
    for reply in [
        Reply::new(302, &location, ""),
        Reply::ok(&count.to_string()),
    ] {
        let server = Server::start(vec![reply]).await;
        let failure = client(&server.url()).details().await.unwrap_err();
        assert!(failure.message.contains("[REDACTED]"), "{failure:?}");
        assert_clean(&format!("{failure:?}"));
    }
}

#[tokio::test]
async fn the_servers_words_are_short_and_cannot_steer_a_terminal() {
    let text = format!(
        "\u{1b}[2J\r\nMay 1 fake: log line\u{202e}{}",
        "å".repeat(5000)
    );
    let body = json!({"response": {"status": {"code": 500, "text": text}}}).to_string();
    let server = Server::start(vec![Reply::new(500, "", &body)]).await;
    let failure = client(&server.url()).details().await.unwrap_err();
    assert!(
        !failure.message.chars().any(char::is_control),
        "{failure:?}"
    );
    assert!(!failure.message.contains('\u{202e}'), "{failure:?}");
    assert!(failure.message.chars().count() < 300, "{failure:?}");
    assert!(failure.message.contains("fake: log line"), "{failure:?}");
}

#[tokio::test]
async fn no_debug_form_shows_the_key() {
    let options = options("http://127.0.0.1:9");
    assert_clean(&format!("{options:?} {options:#?}"));
    let api = Glesys::new(options).unwrap();
    assert_clean(&format!("{api:?} {api:#?}"));
    let failure = api.details().await.unwrap_err();
    assert_clean(&format!("{failure:?}"));
}
