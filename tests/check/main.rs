//! `check`: the real program against the emulator.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod bed;
mod faults;
mod identity;
mod prove_lowering;
mod steps;

#[path = "../support/machine_lock.rs"]
mod machine_lock;
#[path = "../support/emulator.rs"]
mod served;
#[path = "../support/tls.rs"]
mod tls;
