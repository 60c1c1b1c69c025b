//! An API that means harm, or whoever answers for it: it cannot make the daemon exceed its limits,
//! loop, or fill memory or disk.
//!
//! In two halves. `over_http` gives the real client every hostile answer over a connection, and
//! looks at what comes of it: in time, small, fit for a log. `in_virtual_time` gives these very
//! outcomes, and lies made on the spot, to the whole daemon (the loop, the engine, the state
//! directory on a disk) for days of virtual time, and counts edits, calls and bytes.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

#[path = "../cloud_api/server.rs"]
#[allow(dead_code, reason = "not every reply and view of the server is used")]
mod server;
#[path = "../support/virtual_time.rs"]
mod virtual_time;
#[path = "../support/world.rs"]
mod world;

mod in_virtual_time;
mod over_http;
mod victim;
