//! The package in a real guest: systemd as PID 1, vCPUs that come and go, the API outside, over TLS.
//! `tests/guest/run` builds what this needs and starts it; see there.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod api;
mod bed;
mod hypervisor;
mod qemu;
mod scenarios;
mod shell;
mod unit;

/// Where `key_search` takes the key from.
mod daemon {
    pub use crate::api::{KEY, PROJECT};
}
#[path = "../support/key_search.rs"]
mod key_search;
#[path = "../support/emulator.rs"]
mod served;
#[path = "../support/tls.rs"]
mod tls;
