//! What the daemon does when something goes wrong: one row for each row of the API's error table
//! and for each switch of the emulator.
//!
//! Each row runs the whole loop (the engine, the real client over HTTP, the state directory)
//! against the emulator, on a thread and a runtime of its own and on the real clock, with short
//! windows and a scripted load. What a row expects stands in the row: which counts were asked for,
//! how many calls were made, what the journal and the ledger said, and what the daemon waits for.
//! Waits of minutes are read from the status, and seen as calls that do not come.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

#[path = "../support/tls.rs"]
mod tls;

mod bed;
mod expectation;
mod journal;
mod row;

mod rows {
    pub mod answers;
    pub mod connections;
    pub mod identity;
    pub mod others;
    pub mod permission;
    pub mod platform;
    pub mod refusals;
}

use row::Row;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

fn table() -> Vec<&'static Row> {
    [
        rows::permission::ROWS,
        rows::refusals::ROWS,
        rows::connections::ROWS,
        rows::answers::ROWS,
        rows::platform::ROWS,
        rows::others::ROWS,
        rows::identity::ROWS,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All rows at once: they wait far more than they work. `ROW=words cargo test` runs those whose
/// name has the words.
#[test]
fn the_daemon_does_what_the_table_says() {
    let wanted = std::env::var("ROW").unwrap_or_default();
    let running: Vec<_> = table()
        .into_iter()
        .filter(|row| row.name.contains(&wanted))
        .map(|row| {
            let run = move || match catch_unwind(AssertUnwindSafe(|| bed::run(row))) {
                Ok(seen) => expectation::faults(row, &seen),
                Err(_) => Some(format!("{}: panicked, see above", row.name)),
            };
            thread::Builder::new().name(row.name.to_owned()).spawn(run)
        })
        .collect();
    assert!(!running.is_empty(), "no row has {wanted:?} in its name");
    let faults: Vec<String> = running
        .into_iter()
        .filter_map(|thread| thread.unwrap().join().unwrap())
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n\n"));
}

#[test]
fn every_row_has_a_name_of_its_own() {
    let mut names: Vec<_> = table().iter().map(|row| row.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
