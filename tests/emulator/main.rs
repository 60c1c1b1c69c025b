//! The embedded Glesys API as its clients see it: over real HTTP and TLS, in a thread of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/emulator.rs"]
mod served;
#[path = "../support/tls.rs"]
mod tls;

mod access;
mod edits;
mod encryption;
mod faults;
mod functions;

use glesys_autoscaler::sandbox::{Builder, Emulator, Key, Platform, Project, Server};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use served::Served;
use std::time::Duration;

const PROJECT: &str = "cl12345";
const KEY: &str = "canary-0f3a";
const SERVER: &str = "kvm123456";

/// One project with two servers, and another beside it. Changes lock for an hour: a test that
/// waits for the end unlocks, or asks for a shorter lock.
fn world() -> Builder {
    let mut platform = Platform::up_to(8);
    platform.lock_time = Duration::from_secs(3600);
    Emulator::builder()
        .platform("KVM", platform.clone())
        .platform("VMware", platform)
        .project(
            Project::new(PROJECT)
                .key(Key::for_loopback(KEY))
                .server(
                    Server::new(SERVER, 2)
                        .hostname("web1")
                        .memory_mb(4096)
                        .address("192.0.2.10".parse().unwrap())
                        .address("2001:db8::10".parse().unwrap()),
                )
                .server(Server::new("wps654321", 2).platform("VMware")),
        )
        .project(
            Project::new("cl99999")
                .key(Key::for_loopback("other"))
                .server(Server::new("kvm999999", 1)),
        )
}

fn served() -> Served {
    Served::over_http(world().build())
}

/// An answer: HTTP status, `status.code`, and the envelope's `response`.
#[derive(Debug)]
struct Answer {
    http: u16,
    code: u64,
    response: Value,
}

impl Answer {
    fn text(&self) -> &str {
        self.response["status"]["text"].as_str().unwrap()
    }

    fn numbers(&self) -> (u16, u64) {
        (self.http, self.code)
    }
}

/// A client as plain as can be. A limit on the time keeps a hung test from hanging for good.
fn client() -> Client {
    // Another test of this process may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}

fn post(served: &Served, path: &str, body: &Value) -> RequestBuilder {
    client()
        .post(format!("{}/{path}", served.url))
        .basic_auth(PROJECT, Some(KEY))
        .json(body)
}

async fn send(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let http = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let body: Value = answer.json().await.unwrap();
    let response = body["response"].clone();
    let code = response["status"]["code"].as_u64().unwrap_or(0);
    Answer {
        http,
        code,
        response,
    }
}

async fn call(served: &Served, path: &str, body: Value) -> Answer {
    send(post(served, path, &body)).await
}

/// Waits for what happens by itself; the limit is only for a test that hangs.
async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "it never happened");
}
