//! The commands as people and scripts use them: what goes in, what comes out, and the exit status.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/machine_lock.rs"]
mod machine_lock;
#[path = "../support/emulator.rs"]
mod served;

mod answers;
mod arguments;
mod closed_pipes;
mod running;
mod service_manager;

use daemon::{Place, SERVER, emulator, until};
use glesys_autoscaler::sandbox::Function;
use served::Served;
use std::process::Output;

/// The exit status and what was written to standard output and standard error.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A server of two cores, and a place whose policy has `least` to eight.
fn bed(least: u32) -> (Place, Served) {
    let api = Served::over_http(emulator(2, 8));
    let place = Place::new();
    policy(&place, &api, least);
    (place, api)
}

fn policy(place: &Place, api: &Served, least: u32) {
    let keys = format!(
        "limits.min_cores = {least}
         limits.max_cores = 8
         sampling.interval = '500ms'
         policy.up.max_step = 1
         policy.up.window = '1h'
         policy.up.queue = '0s'
         policy.down.window = '1h'"
    );
    place.policy(&api.url, &keys);
}

/// A place with one change in its history: asked for, and overtaken by somebody else.
fn with_history() -> Place {
    let (place, api) = bed(3);
    let daemon = place.daemon();
    until("the edit", || !api.calls_of(Function::Edit).is_empty());
    daemon.event("scale_up");
    api.set_cores(SERVER, 7).unwrap();
    until("the end of the change", || place.history().len() == 1);
    daemon.stop();
    place
}
