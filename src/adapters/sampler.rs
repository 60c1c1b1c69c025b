//! The load of this machine: utilization from `sysinfo`, everything else and the check on it from
//! [`ProcReader`].
//!
//! The one moment at which a false sample does most harm is just after the core count changed,
//! and that is when `sysinfo` gives one: the line of all CPUs in `/proc/stat` jumps by the idle
//! time of the CPU that came or went. So the set of online CPUs is read before and after the
//! refresh, and an interval in which it was not the same throughout has no sample.

mod utilization;

#[cfg(test)]
mod tests;

use self::utilization::{Refreshed, Sysinfo, Utilization};
use crate::adapters::proc_reader::{CpuSet, ProcReader, Stat, Usage};
use crate::engine::policy::{Sampling, Steal};
use crate::engine::sample::{GuestCpus, NoSample, Reading, Sample};
use crate::engine::time::Timestamp;
use crate::ports::Sampler;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How far `sysinfo` and the reader may be apart, as a share of the CPU time.
const AGREEMENT: f64 = 0.10;

/// The same in time, for intervals so short that the whole ticks of 10 ms in which the counters
/// are written, and the moment between the two readings, make up 10 points by themselves: three
/// ticks, which is more than 10 points below 300 ms.
const AGREEMENT_SPAN: Duration = Duration::from_millis(30);

/// How to sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Time between two samples, as configured; an interval much longer than it is a gap.
    pub interval: Duration,
    /// Whether stolen time is taken out of the busy cores.
    pub steal: Steal,
    /// Take niced time out of the busy cores, and give neither queue nor pressure, which do not
    /// tell niced tasks apart.
    pub ignore_nice: bool,
    /// What `/proc` and `/sys` are read below. `sysinfo` always reads the machine's own, so
    /// another root than `/` must show the same machine, or no sample agrees.
    pub root: PathBuf,
}

/// Samples the real machine. A read costs about 0.1 ms of CPU time.
pub struct RealSampler {
    options: Options,
    reader: ProcReader,
    utilization: Box<dyn Utilization>,
    base: Option<Base>,
    queue: QueueMean,
    /// The kernel has been seen to count pressure. A total that stays 0 is one that it does not
    /// count, which must not pass for "no pressure".
    pressure_counts: bool,
    /// The fault of this episode has been told.
    fault_told: bool,
}

/// Where an interval begins.
struct Base {
    at: Timestamp,
    counters: Counters,
}

/// What is read at each end of an interval.
struct Counters {
    online: CpuSet,
    stat: Stat,
    pressure_us: Option<u64>,
}

impl RealSampler {
    /// A sampler without a base: its first reading is [`NoSample::First`].
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::with_utilization(options, Box::new(Sysinfo::default()))
    }

    fn with_utilization(options: Options, utilization: Box<dyn Utilization>) -> Self {
        Self {
            reader: ProcReader::new(&options.root),
            options,
            utilization,
            base: None,
            queue: QueueMean::default(),
            pressure_counts: false,
            fault_told: false,
        }
    }

    /// The sample of an interval that ends now and began with `online` CPUs online.
    fn sample(&mut self, now: Timestamp, online: CpuSet) -> Result<Sample, NoSample> {
        // Before sysinfo, which takes any text in /proc/stat for numbers.
        let stat = match self.reader.stat() {
            Ok(stat) => stat,
            Err(fault) => return Err(self.unreadable(&fault)),
        };
        let refreshed = self.utilization.refresh();
        if refreshed == Refreshed::TooSoon {
            return Err(NoSample::Unreadable);
        }
        let pressure_us = self.reader.pressure_us();
        self.pressure_counts |= pressure_us.is_some_and(|total| total > 0);
        let runnable_c = self.queue.take(stat.runnable);

        let online_after = match self.reader.online() {
            Ok(set) => set,
            Err(fault) => return Err(self.unreadable(&fault)),
        };
        if online_after != online {
            self.forget();
            return Err(NoSample::OnlineChanged);
        }
        if !online.numbers().eq(stat.cpus.iter().map(|cpu| cpu.number)) {
            return Err(self.unreadable(&format_args!(
                "/proc/stat names {} CPUs that are not the CPUs {online} of /sys",
                stat.cpus.len(),
            )));
        }

        let counters = Counters {
            online,
            stat,
            pressure_us,
        };
        let base = self.base.take();
        let sample = match (base, refreshed) {
            (_, Refreshed::Nothing) => {
                return Err(self.unreadable(&"sysinfo gives no utilization"));
            }
            (Some(base), Refreshed::Busy(busy)) => {
                self.interval(now, &base, &counters, busy, runnable_c)
            }
            _ => Err(NoSample::First),
        };
        match sample {
            // sysinfo's list of CPUs does not follow a change, and what made the two disagree
            // may be in its base: in both cases a new base now saves the next interval.
            Err(NoSample::OnlineChanged | NoSample::Disagree) => {
                self.utilization.forget();
                self.utilization.refresh();
            }
            Ok(_) => self.fault_told = false,
            Err(_) => {}
        }
        self.base = Some(Base { at: now, counters });
        sample
    }

    /// The sample between two readings, of which `busy` is what sysinfo says.
    fn interval(
        &mut self,
        now: Timestamp,
        base: &Base,
        end: &Counters,
        busy: f64,
        runnable_c: Option<u32>,
    ) -> Result<Sample, NoSample> {
        let start = &base.counters;
        if end.online != start.online {
            return Err(NoSample::OnlineChanged);
        }
        let span = now.since(base.at);
        if span.is_zero() || span > longest_span(self.options.interval) {
            return Err(NoSample::Gap);
        }
        let Some(usage) = end.stat.usage_since(&start.stat, span) else {
            self.tell(&"no counter of /proc/stat moved in a plausible way");
            return Err(NoSample::Unreadable);
        };
        if (busy - usage.busy).abs() > agreement(span) {
            tracing::debug!(
                sysinfo = busy,
                counters = usage.busy,
                "two utilizations disagree"
            );
            return Err(NoSample::Disagree);
        }
        let online = end.online.count();
        let pressure_us = self.pressure_since(start, end);
        Ok(Sample {
            span_ms: u32::try_from(span.as_millis()).unwrap_or(u32::MAX),
            online,
            busy_mc: millicores(self.demanded(busy, usage), online),
            steal_mc: millicores(usage.steal, online),
            runnable_c: runnable_c.filter(|_| !self.options.ignore_nice),
            pressure_bp: pressure_us.map(|waited| basis_points(waited, span)),
        })
    }

    fn demanded(&self, busy: f64, usage: Usage) -> f64 {
        let stolen = match self.options.steal {
            Steal::Report => usage.steal,
            Steal::Demand => 0.0,
        };
        let niced = if self.options.ignore_nice {
            usage.nice
        } else {
            0.0
        };
        busy - stolen - niced
    }

    fn pressure_since(&self, start: &Counters, end: &Counters) -> Option<u64> {
        if self.options.ignore_nice || !self.pressure_counts {
            return None;
        }
        end.pressure_us?.checked_sub(start.pressure_us?)
    }

    /// The next reading starts afresh.
    fn forget(&mut self) {
        self.base = None;
        self.utilization.forget();
    }

    fn unreadable(&mut self, fault: &dyn fmt::Display) -> NoSample {
        self.tell(fault);
        self.forget();
        NoSample::Unreadable
    }

    /// Says once an episode what is wrong, since a [`NoSample`] cannot.
    fn tell(&mut self, fault: &dyn fmt::Display) {
        if !self.fault_told {
            self.fault_told = true;
            tracing::warn!("the load cannot be sampled: {fault}");
        }
    }
}

impl Sampler for RealSampler {
    fn read(&mut self, now: Timestamp) -> Reading {
        let online = match self.reader.online() {
            Ok(set) => set,
            Err(fault) => {
                return Reading {
                    guest: None,
                    sample: Err(self.unreadable(&fault)),
                };
            }
        };
        let sample = self.sample(now, online);
        Reading {
            guest: self.guest(),
            sample,
        }
    }

    fn read_queue(&mut self) {
        let runnable = self.reader.runnable();
        self.queue.add(runnable);
    }

    fn configure(&mut self, sampling: &Sampling) {
        self.options.interval = sampling.interval;
        self.options.steal = sampling.steal;
        self.options.ignore_nice = sampling.ignore_nice;
    }
}

impl RealSampler {
    /// The CPUs as they are now, after the sample: a change within the read is seen at once.
    fn guest(&mut self) -> Option<GuestCpus> {
        Some(GuestCpus {
            online: self.reader.online().ok()?.count(),
            present: self.reader.present().ok()?.count(),
        })
    }
}

/// The longest interval that still has a sample: room for the delays of an overloaded machine,
/// whose averages stay true, but not for a suspend, in which nothing was measured.
fn longest_span(interval: Duration) -> Duration {
    let allowance = Duration::from_secs(5);
    interval
        .saturating_mul(3)
        .max(interval.saturating_add(allowance))
}

fn agreement(span: Duration) -> f64 {
    AGREEMENT.max(AGREEMENT_SPAN.as_secs_f64() / span.as_secs_f64())
}

fn millicores(share: f64, online: u32) -> u32 {
    // `as` saturates, and a share is finite.
    (share.clamp(0.0, 1.0) * f64::from(online) * 1000.0).round() as u32
}

fn basis_points(waited_us: u64, span: Duration) -> u16 {
    let share = waited_us as f64 / span.as_micros() as f64;
    (share.clamp(0.0, 1.0) * 10_000.0).round() as u16
}

/// The mean of the readings of the run queue within an interval.
#[derive(Default)]
struct QueueMean {
    sum: u64,
    count: u64,
}

impl QueueMean {
    fn add(&mut self, runnable: Option<u32>) {
        if let Some(tasks) = runnable {
            self.sum += u64::from(tasks);
            self.count += 1;
        }
    }

    /// The mean with `last` among the readings, in hundredths; begins anew.
    fn take(&mut self, last: Option<u32>) -> Option<u32> {
        self.add(last);
        let Self { sum, count } = std::mem::take(self);
        let mean = (u128::from(sum) * 100 + u128::from(count) / 2).checked_div(count.into())?;
        Some(u32::try_from(mean).unwrap_or(u32::MAX))
    }
}
