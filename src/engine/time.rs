//! Instants and spans as the engine sees them. The engine never reads a clock: every instant
//! enters as a [`Timestamp`].

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An instant on both clocks that matter.
///
/// Windows and cooldowns run on `boottime_ms` (`CLOCK_BOOTTIME`, which counts suspend and never
/// steps). `wall_ms` is only for people, for the calendar, and to find an instant's age again
/// after a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timestamp {
    /// Milliseconds of `CLOCK_BOOTTIME`. Negative for an instant before this boot.
    pub boottime_ms: i64,
    /// Milliseconds since the Unix epoch, UTC.
    pub wall_ms: i64,
}

impl Timestamp {
    /// The time from `earlier` to `self` on the boot clock; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        millis(self.boottime_ms.saturating_sub(earlier.boottime_ms))
    }

    /// `self` moved `span` into the future, on both clocks.
    #[must_use]
    pub fn plus(self, span: Duration) -> Timestamp {
        let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Timestamp {
            boottime_ms: self.boottime_ms.saturating_add(ms),
            wall_ms: self.wall_ms.saturating_add(ms),
        }
    }

    /// How long from `now` until `self`; zero once it has passed.
    #[must_use]
    pub fn until(self, now: Timestamp) -> Duration {
        self.since(now)
    }

    /// The later of the two on the boot clock.
    #[must_use]
    pub fn later(self, other: Timestamp) -> Timestamp {
        if self.boottime_ms >= other.boottime_ms {
            self
        } else {
            other
        }
    }

    /// Whether `self` lies at or before `now` on the boot clock.
    #[must_use]
    pub fn reached(self, now: Timestamp) -> bool {
        self.boottime_ms <= now.boottime_ms
    }

    /// The same instant, stored during another boot, on the boot clock of `now`.
    ///
    /// Its age is taken from wall time. An instant in the future counts as `now`, so that a wrong
    /// clock can make a wait as long as configured but never longer.
    #[must_use]
    pub fn reanchored(self, now: Timestamp) -> Timestamp {
        let age = now.wall_ms.saturating_sub(self.wall_ms).max(0);
        Timestamp {
            boottime_ms: now.boottime_ms.saturating_sub(age),
            wall_ms: now.wall_ms.saturating_sub(age),
        }
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// A day of the local calendar. Computed outside, since the engine knows no time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Days since 1970-01-01 in local time.
    pub number: i32,
    /// How long the day still lasts when it is told, for the time to try again.
    pub remaining_ms: u64,
}
