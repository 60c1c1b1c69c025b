//! What was measured, and when it was not.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The load of one interval. Whole numbers, quantised where they are taken, so that a recording
/// replays bit for bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Length of the interval that the sample describes, in milliseconds.
    pub span_ms: u32,
    /// Online CPUs during the whole interval.
    pub online: u32,
    /// Cores kept busy, in thousandths; at most `online` × 1000. Steal and nice are already
    /// taken out or left in, as the policy asks.
    pub busy_mc: u32,
    /// Cores taken away by the hypervisor, in thousandths.
    pub steal_mc: u32,
    /// Runnable tasks in hundredths, ourselves included: the mean of the readings of the
    /// interval. `None` where the queue is not to be used (`ignore_nice`).
    pub runnable_c: Option<u32>,
    /// Share of the interval in which some task waited for a CPU, in hundredths of a percent.
    /// `None` where the kernel gives no pressure.
    pub pressure_bp: Option<u16>,
}

impl Sample {
    /// Length of the interval.
    #[must_use]
    pub fn span(&self) -> Duration {
        Duration::from_millis(u64::from(self.span_ms))
    }

    /// Share of the online cores that was busy, 0 to 1.
    #[must_use]
    pub fn utilization(&self) -> f64 {
        f64::from(self.busy_mc) / (f64::from(self.online.max(1)) * 1000.0)
    }

    /// At least 95 % busy: from here on utilization says only "full", and the queue counts.
    #[must_use]
    pub fn saturated(&self) -> bool {
        u64::from(self.busy_mc) * 100 >= u64::from(self.online) * 1000 * 95
    }

    /// Every online core was taken, by us or by the hypervisor, and more tasks wanted one. With
    /// stolen time a VM is full long before it is 95 % busy by its own work.
    #[must_use]
    pub fn queued(&self) -> bool {
        let taken = u64::from(self.busy_mc) + u64::from(self.steal_mc);
        taken * 100 >= u64::from(self.online) * 1000 * 95
            && self.wanted_mc() > self.online.saturating_mul(1000)
    }

    /// Tasks that want a CPU besides ourselves, in thousandths of a core; 0 where unknown.
    #[must_use]
    pub fn wanted_mc(&self) -> u32 {
        self.runnable_c
            .map_or(0, |c| c.saturating_sub(100).saturating_mul(10))
    }

    /// What the load would use with unlimited cores, in thousandths of a core: the busy cores,
    /// and in a saturated sample the tasks that waited.
    #[must_use]
    pub fn demand_mc(&self) -> u32 {
        if self.saturated() || self.queued() {
            self.busy_mc.max(self.wanted_mc())
        } else {
            self.busy_mc
        }
    }
}

/// The CPUs that the guest's kernel shows: the witness beside the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuestCpus {
    /// CPUs that run tasks (`/sys/devices/system/cpu/online`).
    pub online: u32,
    /// CPUs that are plugged in, online or not (`/sys/devices/system/cpu/present`).
    pub present: u32,
}

/// Why an interval gave no sample. Never read as "0 % busy".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoSample {
    /// The first reading only sets the base.
    First,
    /// The online set changed within the interval.
    OnlineChanged,
    /// The interval is far longer than configured: suspend, a stalled loop, or a clock step.
    Gap,
    /// A source could not be read or gave nothing usable.
    Unreadable,
    /// `sysinfo` and the reader of `/proc/stat` are more than 10 points apart.
    Disagree,
}

impl NoSample {
    /// For a person.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NoSample::First => "the first reading only sets the base",
            NoSample::OnlineChanged => "the online CPUs keep changing",
            NoSample::Gap => "the readings are too far apart",
            NoSample::Unreadable => "/proc/stat or /sys/devices/system/cpu cannot be read",
            NoSample::Disagree => "sysinfo and /proc/stat are more than 10 points apart",
        }
    }
}

/// One look at the machine: the CPUs always where they can be read, the sample where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// `None` when `/sys` could not be read.
    pub guest: Option<GuestCpus>,
    /// The load since the reading before.
    pub sample: Result<Sample, NoSample>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_that_is_stolen_from_is_full_before_it_is_busy() {
        let starved = Sample {
            span_ms: 5000,
            online: 4,
            busy_mc: 2000,
            steal_mc: 2000,
            runnable_c: Some(2100),
            pressure_bp: None,
        };
        assert!(starved.queued(), "twenty tasks wait on four cores");
        assert_eq!(starved.demand_mc(), 20_000);
        let served = Sample {
            runnable_c: Some(300),
            ..starved
        };
        assert!(
            !served.queued(),
            "more cores do not cure what is stolen from two tasks"
        );
        assert_eq!(served.demand_mc(), 2000);
    }
}
