//! The outside world on one page. `runtime` drives these five; `adapters` and `sandbox`
//! implement them; tests fake them.

use crate::engine::cloud::{ApiFailure, Server};
use crate::engine::sample::Reading;
use crate::engine::time::{Day, Timestamp};
use std::future::Future;

/// Reads the load and the CPUs of the machine.
pub trait Sampler {
    /// One look: the load since the last call, and the CPUs as they are. `now` is the instant of
    /// the call.
    fn read(&mut self, now: Timestamp) -> Reading;

    /// One reading of the run queue between two samples. Called about once a second while the
    /// cores are saturated; `read` gives the mean.
    fn read_queue(&mut self);
}

/// The provider's API: the three functions that scaling needs. Every answer is sorted by what to
/// do next, see [`ApiFailure`].
pub trait CloudApi {
    /// `server/details` with state.
    fn details(&self) -> impl Future<Output = Result<Server, ApiFailure>>;
    /// `server/edit` to an absolute core count. `Ok` means accepted, not done.
    fn edit(&self, cores: u32) -> impl Future<Output = Result<(), ApiFailure>>;
    /// `server/allowedarguments`: the core counts of the server's platform, ascending. Empty when
    /// the answer names none for it.
    fn allowed_cores(&self, platform: &str) -> impl Future<Output = Result<Vec<u32>, ApiFailure>>;
}

/// Reads the clocks.
pub trait Clock {
    /// The instant now.
    fn now(&self) -> Timestamp;
    /// The local calendar day of `at`.
    fn day(&self, at: Timestamp) -> Day;
}

/// The service manager.
pub trait Notifier {
    /// A valid policy and a first good sample.
    fn ready(&self);
    /// The loop is alive.
    fn watchdog(&self);
    /// A reload begins (`true`) or is over (`false`).
    fn reloading(&self, under_way: bool);
    /// One line for `systemctl status`.
    fn status(&self, line: &str);
    /// The end begins.
    fn stopping(&self);
}
