//! The daemon's loop in the runtime's virtual time: its clock, and a service manager that listens.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use crate::world::{DAY_MS, day};
use glesys_autoscaler::engine::time::{Day, Timestamp};
use glesys_autoscaler::ports::{Clock, Notifier};
use std::time::Duration;
use tokio::time::Instant;

/// Both clocks, from the runtime's: ten days after boot when it begins.
pub struct Virtual(pub Instant);

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp {
            boottime_ms: 10 * DAY_MS,
            wall_ms: 1_790_000_000_000,
        }
        .plus(self.0.elapsed())
    }

    fn day(&self, at: Timestamp) -> Day {
        day(at)
    }
}

/// A service manager that wants one short line of status, and the watchdog this often.
pub struct Listener {
    pub watchdog: Option<Duration>,
}

impl Notifier for Listener {
    fn ready(&self) {}
    fn watchdog(&self) {}
    fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }
    fn status(&self, line: &str) {
        assert!(line.len() < 1000 && !line.contains('\n'), "{line:?}");
    }
    fn stopping(&self) {}
}
