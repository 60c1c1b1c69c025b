//! The client of the Glesys API against a scripted server on loopback, plain and with TLS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod bodies;
mod building;
mod connections;
mod environment;
mod errors;
mod requests;
mod secrets;
mod server;
mod tls;

use glesys_autoscaler::adapters::api_key::ApiKey;
use glesys_autoscaler::adapters::glesys::{AddressFamily, CallBudget, Glesys, Options};
use std::time::Duration;

/// The key of every test. It may turn up in the `Authorization` header and nowhere else.
const KEY: &str = "canary-4f1d7c2b9e";

/// What a call may take before a test calls it hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// A timeout that is meant to strike after the request was sent, however busy the machine is.
const SHORT: Duration = Duration::from_secs(2);

fn options(url: &str) -> Options {
    Options {
        url: url.to_owned(),
        project: "cl12345".to_owned(),
        server_id: "kvm123456".to_owned(),
        key: ApiKey::given(KEY.to_owned()).unwrap(),
        ca_file: None,
        address_family: AddressFamily::Any,
        timeout: PATIENCE,
        calls: CallBudget::new(1, Duration::ZERO),
    }
}

fn client(url: &str) -> Glesys {
    Glesys::new(options(url)).unwrap()
}

/// The text of a file in `tests/fixtures/api`.
fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/api/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}
