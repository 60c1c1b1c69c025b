//! The outside world on one page. `runtime` drives these five; `adapters` and `sandbox`
//! implement them; tests fake them.

use crate::engine::cloud::{ApiFailure, Server};
use crate::engine::policy::Sampling;
use crate::engine::record::Record;
use crate::engine::sample::Reading;
use crate::engine::state::State;
use crate::engine::time::{Day, Timestamp};
use std::future::Future;
use std::time::Duration;

/// Reads the load and the CPUs of the machine.
pub trait Sampler {
    /// One look: the load since the last call, and the CPUs as they are. `now` is the instant of
    /// the call.
    fn read(&mut self, now: Timestamp) -> Reading;

    /// One reading of the run queue between two samples. Called about once a second while the
    /// cores are saturated; `read` gives the mean.
    fn read_queue(&mut self);

    /// Other settings, after a reload.
    fn configure(&mut self, sampling: &Sampling);
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
    /// How often the service manager has to hear that; `None`: it does not listen.
    fn watchdog_interval(&self) -> Option<Duration>;
    /// One line for `systemctl status`.
    fn status(&self, line: &str);
    /// The end begins.
    fn stopping(&self);
}

/// Keeps what must survive a restart.
pub trait StateStore {
    /// Puts the state on disk, whole or not at all.
    ///
    /// # Errors
    /// When it could be written nowhere, in words.
    fn save(&mut self, state: &State) -> Result<Kept, String>;

    /// Adds a closed change to the ledger. A record that cannot be written now is kept with the
    /// state and written later; one that is there already is not written twice.
    ///
    /// # Errors
    /// When it is kept in memory only, in words.
    fn append(&mut self, record: &Record) -> Result<(), String>;
}

/// Where the state was written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Where it survives a reboot.
    Durably,
    /// In the run-time directory, and why.
    UntilReboot(String),
}
