//! State that survives, with the real program: whatever happened to its files, to its disk, and to
//! the daemon itself.
//!
//! Where a change is needed, the server has fewer cores than the policy's minimum, which the
//! daemon mends at once, whatever the load.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/machine_lock.rs"]
mod machine_lock;
#[path = "../support/emulator.rs"]
mod served;

mod full_disk;
mod ledger;
mod owners;
mod pause;
mod spoilt;

use daemon::{Place, emulator};
use served::Served;
use std::fs;
use std::path::Path;

/// A place whose daemon wants one core more than the server's two at once, unless something holds
/// it back.
fn wanting(place: &Place) -> Served {
    let api = Served::over_http(emulator(2, 8));
    place.policy(
        &api.url,
        "limits.min_cores = 3
         limits.max_cores = 8
         sampling.interval = '500ms'
         policy.up.max_step = 1
         policy.up.cooldown = '1h'
         policy.down.cooldown = '1h'",
    );
    api
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
