//! The half of a sample that `sysinfo` gives, behind a trait: its API changes at every minor
//! version, it reads the real `/proc` whatever root we set, and tests script what it says.

use crate::adapters::clock;
use std::time::Duration;
use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, System};

/// One refresh of a source of utilization.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Refreshed {
    /// The first since the last `forget`: it sets the base and says nothing of the load.
    Base,
    /// Busy share of the online CPUs since the refresh before, 0 to 1; stolen time counts as busy,
    /// waiting for a disk as idle.
    Busy(f64),
    /// Too soon after the refresh before; nothing was read, the base stays.
    TooSoon,
    /// It gave nothing that can be used.
    Nothing,
}

/// A source of utilization.
pub(super) trait Utilization: Send {
    /// Reads the load since the refresh before.
    fn refresh(&mut self) -> Refreshed;
    /// Drops the base: the next refresh sets a new one.
    fn forget(&mut self);
}

/// `sysinfo`, with the ways in which it says something false turned into "nothing".
#[derive(Default)]
pub(super) struct Sysinfo {
    system: Option<Based>,
}

struct Based {
    system: System,
    /// `CLOCK_MONOTONIC` after the last refresh.
    refreshed: Duration,
}

impl Sysinfo {
    fn base() -> Option<Based> {
        let mut system = System::new().ok()?;
        system.refresh_cpu_usage();
        // `/proc/stat` that cannot be read is no error to sysinfo: it has no CPUs then and is
        // 0 % busy for ever.
        (!system.cpus().is_empty()).then(|| Based {
            system,
            refreshed: clock::monotonic(),
        })
    }
}

impl Utilization for Sysinfo {
    fn refresh(&mut self) -> Refreshed {
        let Some(based) = &mut self.system else {
            self.system = Self::base();
            return if self.system.is_some() {
                Refreshed::Base
            } else {
                Refreshed::Nothing
            };
        };
        // A refresh that comes too soon is skipped silently and the old value stays. Its clock is
        // read within ours on both sides, so whatever passes here is not skipped.
        if clock::monotonic().saturating_sub(based.refreshed) < MINIMUM_CPU_UPDATE_INTERVAL {
            return Refreshed::TooSoon;
        }
        based.system.refresh_cpu_usage();
        based.refreshed = clock::monotonic();
        let percent = f64::from(based.system.global_cpu_usage());
        if (0.0..=100.0).contains(&percent) {
            Refreshed::Busy(percent / 100.0)
        } else {
            self.forget();
            Refreshed::Nothing
        }
    }

    fn forget(&mut self) {
        self.system = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysinfo_gives_a_base_then_values_and_says_when_it_is_asked_too_soon() {
        let mut sysinfo = Sysinfo::default();
        assert_eq!(sysinfo.refresh(), Refreshed::Base);
        // Several tries, since a busy machine may let the 200 ms pass between two lines.
        assert!((0..50).any(|_| sysinfo.refresh() == Refreshed::TooSoon));
        std::thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL);
        assert!(matches!(sysinfo.refresh(), Refreshed::Busy(_)));
        sysinfo.forget();
        assert_eq!(sysinfo.refresh(), Refreshed::Base);
    }
}
