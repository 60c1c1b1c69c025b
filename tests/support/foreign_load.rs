//! What else this machine does while a test needs it to be quiet. A daemon that lowers after a
//! load is right not to do so while somebody else's load goes on: such a run proves nothing.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

/// Ticks of `/proc/stat` in a second, the same on every Linux.
const SECOND: u64 = 100;
const SLICE: u64 = 2 * SECOND;

/// Watches the load of everything but one process.
pub struct ForeignLoad {
    pid: u32,
    quiet_below: f64,
    last: Ticks,
    quiet: u64,
    longest_quiet: u64,
}

#[derive(Clone, Copy)]
struct Ticks {
    /// Of all CPUs, idle ones too.
    total: u64,
    busy: u64,
    /// Of the one process.
    own: u64,
}

impl ForeignLoad {
    /// Quiet is what leaves `pid` alone with fewer than `quiet_below` busy cores beside it.
    pub fn beside(pid: u32, quiet_below: f64) -> Self {
        Self {
            pid,
            quiet_below,
            last: Ticks::read(pid, 0),
            quiet: 0,
            longest_quiet: 0,
        }
    }

    /// To be called several times a second while the process runs.
    pub fn look(&mut self) {
        let now = Ticks::read(self.pid, self.last.own);
        let cpus = u64::from(super::daemon::cpus());
        let span = now.total.saturating_sub(self.last.total) / cpus;
        if span < SLICE {
            return;
        }
        let busy = now.busy.saturating_sub(self.last.busy);
        let foreign = busy.saturating_sub(now.own - self.last.own);
        if (foreign as f64) < self.quiet_below * span as f64 {
            self.quiet += span;
        } else {
            self.quiet = 0;
        }
        self.longest_quiet = self.longest_quiet.max(self.quiet);
        self.last = now;
    }

    /// Whether the machine was quiet for this many seconds on end.
    pub fn was_quiet_for(&self, seconds: u64) -> bool {
        self.longest_quiet >= seconds * SECOND
    }
}

impl Ticks {
    /// `own` is what the process had used before, should it be gone.
    fn read(pid: u32, own: u64) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        let numbers: Vec<u64> = stat
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .skip(1)
            // Without the guests' time, which is in the first two as well.
            .take(8)
            .map(|number| number.parse().unwrap())
            .collect();
        let total: u64 = numbers.iter().sum();
        let idle = numbers[3] + numbers[4];
        Self {
            total,
            busy: total - idle,
            own: own_ticks(pid).unwrap_or(own).max(own),
        }
    }
}

/// User and system time of a process.
fn own_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which is in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}
