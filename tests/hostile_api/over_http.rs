//! Every hostile answer to the real client.

use crate::server::{Reply, Server, head};
use glesys_autoscaler::adapters::api_key::ApiKey;
use glesys_autoscaler::adapters::glesys::envelope::MAX_CORES;
use glesys_autoscaler::adapters::glesys::{
    AddressFamily, CallBudget, Glesys, MAX_BODY, MAX_RETRY_AFTER, Options,
};
use glesys_autoscaler::engine::cloud::{ApiFailure, Server as Details};
use glesys_autoscaler::ports::CloudApi;
use std::time::Duration;

/// Far above the client's own timeout.
const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(3);
/// The longest message that may come of an answer, in bytes: a few sentences and a quotation.
const LONGEST_MESSAGE: usize = 2000;

/// What a hostile answer came to, for each of the three calls.
#[derive(Clone)]
pub struct Outcome {
    pub name: &'static str,
    pub details: Result<Details, ApiFailure>,
    pub edit: Result<(), ApiFailure>,
    pub allowed: Result<Vec<u32>, ApiFailure>,
}

fn details(fields: &str) -> Reply {
    Reply::ok(&format!(
        r#"{{"response":{{"status":{{"code":200}},"server":{{{fields}}}}}}}"#
    ))
}

fn allowed(counts: &str) -> Reply {
    Reply::ok(&format!(
        r#"{{"response":{{"argumentslist":{{"platforms":{{"KVM":{{"cpucores":{counts}}}}}}}}}}}"#
    ))
}

fn refusal(http: u16, headers: &str, code: i64, text: &str) -> Reply {
    let text = serde_json::to_string(text).unwrap();
    let body = format!(r#"{{"response":{{"status":{{"code":{code},"text":{text}}}}}}}"#);
    Reply::new(http, headers, &body)
}

fn hostile() -> Vec<(&'static str, Reply)> {
    let steering = "\u{1b}]0;owned\u{7}\u{202e}\r\n2026-01-01 forged: line\0\n".repeat(500);
    let addresses = |count: usize, one: &str| {
        let list = vec![one; count].join(",");
        details(&format!(r#""cpucores":4,"iplist":[{list}]"#))
    };
    vec![
        ("0 cores", details(r#""cpucores":0"#)),
        ("-1 cores", details(r#""cpucores":-1"#)),
        ("1e999 cores", details(r#""cpucores":1e999"#)),
        ("4 billion cores", details(r#""cpucores":4294967297"#)),
        ("1024 cores", details(r#""cpucores":1024"#)),
        (
            "cores in a deep list",
            details(&format!(
                r#""cpucores":{}4{}"#,
                "[".repeat(100),
                "]".repeat(100)
            )),
        ),
        (
            "memory of all numbers",
            details(r#""cpucores":4,"memorysize":9223372036854775807"#),
        ),
        ("100,000 addresses", addresses(100_000, r#""2001:db8::1""#)),
        ("as many addresses as fit", addresses(40_000, r#""::1""#)),
        (
            "a platform of 200 KB",
            details(&format!(
                r#""cpucores":4,"platform":"{}""#,
                "K".repeat(200_000)
            )),
        ),
        (
            "a platform that steers",
            details(r#""cpucores":4,"platform":"\u001b[2J\nforged""#),
        ),
        (
            "cores that steer",
            details(r#""cpucores":"\u001b[2J\nforged""#),
        ),
        (
            "a count of each number",
            allowed(&format!(
                "[{}]",
                (0..40_000)
                    .map(|n| n.to_string())
                    .collect::<Vec<_>>()
                    .join(",")
            )),
        ),
        (
            "absurd counts",
            allowed(r#"[0,-1,1e300,4294967296,"99999999999999999999",null,{},[]]"#),
        ),
        ("words that steer", refusal(500, "", 700, &steering)),
        (
            "200 KB of words",
            refusal(403, "", 403, &"locked out ".repeat(18_000)),
        ),
        (
            "come back in ten million years",
            refusal(503, "Retry-After: 315360000000000\r\n", 503, ""),
        ),
        (
            "come back at once",
            refusal(429, "Retry-After: 0\r\n", 429, ""),
        ),
        (
            "come back in a number",
            refusal(
                503,
                &format!("Retry-After: {}\r\n", "9".repeat(4000)),
                503,
                "",
            ),
        ),
        (
            "come back in the year 9999",
            refusal(
                503,
                "Date: Tue, 24 Nov 2026 12:00:00 GMT\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n",
                503,
                "",
            ),
        ),
        (
            "go elsewhere",
            Reply::new(307, "Location: https://192.0.2.1/\x0btake-the-key\r\n", ""),
        ),
        (
            "go round in circles",
            Reply::new(301, "Location: /server/details\r\n", ""),
        ),
        ("locked", refusal(500, "", 606, "Server Locked")),
        ("no such value", refusal(400, "", 610, "no")),
        ("no room", refusal(500, "", 617, "no")),
        ("wrong key", refusal(401, "", 401, "no")),
        (
            "a body without end",
            Reply::Forever(
                b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
                vec![b'['; 1 << 16],
                Duration::ZERO,
            ),
        ),
        (
            "headers without end",
            Reply::Forever(
                b"HTTP/1.1 200 OK\r\n".to_vec(),
                b"X: y\r\n".repeat(10_000),
                Duration::ZERO,
            ),
        ),
        (
            "hints without end",
            Reply::Forever(
                Vec::new(),
                b"HTTP/1.1 103 Early\r\n\r\n".repeat(100),
                Duration::from_millis(1),
            ),
        ),
        (
            "a drip without end",
            Reply::Forever(
                head(200, "", 1 << 30).into_bytes(),
                b" ".to_vec(),
                Duration::from_millis(20),
            ),
        ),
        (
            "a length beyond all",
            Reply::Bytes(head(200, "", usize::MAX).into_bytes()),
        ),
        (
            "a chunk beyond all",
            Reply::Bytes(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"
                    .to_vec(),
            ),
        ),
        ("silence", Reply::Stall(Vec::new())),
        (
            "yes to everything",
            Reply::ok(r#"{"response":{"status":{"code":200}}}"#),
        ),
    ]
}

fn client(url: String) -> Glesys {
    Glesys::new(Options {
        url,
        project: "cl12345".to_owned(),
        server_id: "kvm123456".to_owned(),
        key: ApiKey::given("canary-of-the-hostile-api".to_owned()).unwrap(),
        ca_file: None,
        address_family: AddressFamily::Any,
        timeout: TIMEOUT,
        calls: CallBudget::new(1, Duration::ZERO),
    })
    .unwrap()
}

/// What all hostile answers come to, one connection a call.
pub async fn outcomes() -> Vec<Outcome> {
    let calls = hostile().into_iter().map(|(name, reply)| {
        tokio::spawn(async move {
            let server = Server::start(vec![reply]).await;
            let api = client(server.url());
            let outcome = tokio::time::timeout(PATIENCE, async {
                Outcome {
                    name,
                    details: api.details().await,
                    edit: api.edit(4).await,
                    allowed: api.allowed_cores("KVM").await,
                }
            });
            let outcome = outcome.await.unwrap_or_else(|_| panic!("{name}: hangs"));
            assert_eq!(server.connections(), 3, "{name}: a call is one connection");
            outcome
        })
    });
    let mut outcomes = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        outcomes.push(call.await.unwrap());
    }
    outcomes
}

#[tokio::test]
async fn whatever_is_answered_what_comes_of_it_is_small_and_fit_for_a_log() {
    for Outcome {
        name,
        details,
        edit,
        allowed,
    } in outcomes().await
    {
        if let Ok(server) = &details {
            assert!((1..=MAX_CORES).contains(&server.cores), "{name}");
            assert!(server.platform.len() <= MAX_BODY, "{name}");
            assert!(server.addresses.len() <= MAX_BODY / 5, "{name}");
        }
        if let Ok(counts) = &allowed {
            assert!(counts.len() <= MAX_CORES as usize, "{name}");
            assert!(counts.iter().all(|n| (1..=MAX_CORES).contains(n)), "{name}");
        }
        for failure in [details.err(), edit.err(), allowed.err()]
            .into_iter()
            .flatten()
        {
            let message = &failure.message;
            assert!(message.len() < LONGEST_MESSAGE, "{name}: {}", message.len());
            assert!(
                !message.chars().any(char::is_control),
                "{name}: {message:?}"
            );
            assert!(!message.contains('\u{202e}'), "{name}: {message:?}");
            assert!(!message.contains("canary"), "{name}: {message}");
            let wait = failure.retry_after.unwrap_or_default();
            assert!(wait <= MAX_RETRY_AFTER, "{name}: {wait:?}");
        }
    }
}
