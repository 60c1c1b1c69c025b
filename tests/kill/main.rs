//! `kill -9` in the middle of an edit, at named points and at seeded instants, and SIGTERM. After the
//! restart there is no second edit, no record is missing or there twice, and the cooldown holds.
//!
//! The server has one core less than this machine has CPUs, and one less than the policy's
//! minimum: so the daemon raises at once, and the kernel shows the new count from the beginning.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/key_search.rs"]
mod key_search;
#[path = "../support/machine_lock.rs"]
mod machine_lock;
#[path = "../support/emulator.rs"]
mod served;
#[path = "../support/tls.rs"]
mod tls;

mod bed;
mod gate;
mod points;
mod seeded;
mod whereabouts;
