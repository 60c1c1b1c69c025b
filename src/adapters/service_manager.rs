//! The service manager: readiness, watchdog and the status line. Without its socket nothing is
//! sent and nothing fails.

use crate::ports::Notifier;
use sd_notify::NotifyState;
use std::time::Duration;

/// systemd, where it started us.
#[derive(Debug, Clone)]
pub struct ServiceManager {
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Reads `$WATCHDOG_USEC` once.
    #[must_use]
    pub fn new() -> ServiceManager {
        ServiceManager {
            watchdog: sd_notify::watchdog_enabled(),
        }
    }
}

impl Default for ServiceManager {
    fn default() -> Self {
        Self::new()
    }
}

fn send(state: NotifyState<'_>) {
    // It restarts us if it stops hearing from us; there is nothing else to do about it here.
    let _unheard = sd_notify::notify(&[state]);
}

impl Notifier for ServiceManager {
    fn ready(&self) {
        send(NotifyState::Ready);
    }

    fn watchdog(&self) {
        send(NotifyState::Watchdog);
    }

    fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    fn status(&self, line: &str) {
        send(NotifyState::Status(line));
    }

    fn stopping(&self) {
        send(NotifyState::Stopping);
    }
}
