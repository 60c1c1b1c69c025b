//! `/proc/stat`: what each CPU did, and how an interval between two readings was used.

use super::{number, saturated_number};
use std::time::Duration;

/// Ticks in a second of the times in `/proc/stat`: `USER_HZ`, 100 on every architecture that the
/// provider offers, whatever the kernel's own `HZ` is.
pub const TICKS_PER_SECOND: u64 = 100;

/// How far `idle` + `iowait` may go back before it counts as a restart of the counters. Each of
/// the two is cut to whole ticks on its own, and the kernel moves time from one to the other.
const IDLE_SLACK: u64 = 2;

/// What `/proc/stat` says of the CPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The online CPUs, ascending by number.
    pub cpus: Vec<CpuTimes>,
    /// Tasks that run or wait for a CPU, ourselves included.
    pub runnable: Option<u32>,
}

/// The times of one CPU in ticks. Time given to guests is part of `user` and `nice`, as the
/// kernel counts it, and so is not kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTimes {
    /// The number in its name: 2 for `cpu2`.
    pub number: u32,
    /// Ordinary tasks.
    pub user: u64,
    /// Niced tasks.
    pub nice: u64,
    /// The kernel.
    pub system: u64,
    /// Nothing to do.
    pub idle: u64,
    /// Nothing to do but a disk to wait for. Idle: a core more would not help.
    pub iowait: u64,
    /// Interrupts.
    pub irq: u64,
    /// Their second half.
    pub softirq: u64,
    /// Taken away by the hypervisor while there was work.
    pub steal: u64,
}

impl Stat {
    /// Reads the text of `/proc/stat`.
    ///
    /// # Errors
    /// Says what is wrong: no line of all CPUs at the top, no CPU, one listed twice, or a field
    /// that is no number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        // Not used, but `sysinfo` reads it, and does so without looking at what it reads.
        match lines.next().and_then(|line| line.strip_prefix("cpu ")) {
            Some(fields) => drop(CpuTimes::parse(0, fields)?),
            None => return Err("it does not begin with the line `cpu`".to_owned()),
        }
        let mut cpus: Vec<CpuTimes> = Vec::new();
        let mut runnable = None;
        for line in lines {
            if let Some(rest) = line.strip_prefix("cpu") {
                let (name, fields) = rest.split_once(' ').unwrap_or((rest, ""));
                let id = number(name).map_err(|()| format!("`cpu{name}` names no CPU"))?;
                cpus.push(CpuTimes::parse(id, fields)?);
            } else if let Some(count) = line.strip_prefix("procs_running ") {
                runnable = saturated_number(count);
                break;
            }
        }
        cpus.sort_by_key(|cpu| cpu.number);
        if let Some(twice) = cpus
            .windows(2)
            .find(|pair| pair[0].number == pair[1].number)
        {
            return Err(format!("`cpu{}` is there twice", twice[0].number));
        }
        if cpus.is_empty() {
            return Err("it names no CPU".to_owned());
        }
        Ok(Self { cpus, runnable })
    }

    /// How the time between `earlier` and `self` was used: summed over the CPUs that both name.
    ///
    /// A CPU whose counters went back was off in between and is left out; so is one that claims
    /// far more time than `span`, as a stolen time does that jumps when a VM is moved. `None` when
    /// no CPU is left or no counter moved.
    #[must_use]
    pub fn usage_since(&self, earlier: &Stat, span: Duration) -> Option<Usage> {
        let plausible = plausible_ticks(span);
        let mut sum = Ticks::default();
        for cpu in &self.cpus {
            let before = earlier.cpus.binary_search_by_key(&cpu.number, |c| c.number);
            let used = before
                .ok()
                .and_then(|i| earlier.cpus.get(i))
                .and_then(|before| cpu.ticks_since(before))
                .filter(|used| used.busy + used.idle <= plausible);
            if let Some(used) = used {
                sum.busy += used.busy;
                sum.idle += used.idle;
                sum.steal += used.steal;
                sum.nice += used.nice;
            }
        }
        let total = sum.busy + sum.idle;
        (total > 0).then(|| {
            let share = |ticks: u128| ticks as f64 / total as f64;
            Usage {
                busy: share(sum.busy),
                steal: share(sum.steal),
                nice: share(sum.nice),
            }
        })
    }
}

/// Twice the span and a second: an upper bound that only a broken counter passes, since the
/// instant of a sample is taken before the file is read, on a machine that may be overloaded.
fn plausible_ticks(span: Duration) -> u128 {
    let ticks = span.as_millis() * u128::from(TICKS_PER_SECOND) / 1000;
    ticks * 2 + u128::from(TICKS_PER_SECOND)
}

/// How an interval was used, in shares of the CPU time of the online CPUs, each 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Not idle and not waiting for a disk; stolen time included, as `sysinfo` counts it.
    pub busy: f64,
    /// Stolen by the hypervisor.
    pub steal: f64,
    /// Used by niced tasks.
    pub nice: f64,
}

#[derive(Default)]
struct Ticks {
    busy: u128,
    idle: u128,
    steal: u128,
    nice: u128,
}

impl CpuTimes {
    fn parse(number: u32, fields: &str) -> Result<Self, String> {
        let mut values = [0u64; 8];
        let mut count = 0;
        for field in fields.split_ascii_whitespace() {
            let value = field
                .parse()
                .map_err(|_| format!("`{field}` in a CPU line is no number of ticks"))?;
            if let Some(slot) = values.get_mut(count) {
                *slot = value;
            }
            count += 1;
        }
        // Kernels add fields at the end; the first four have always been there.
        if count < 4 {
            return Err(format!(
                "a CPU line has {count} fields, at least 4 are needed"
            ));
        }
        let [user, nice, system, idle, iowait, irq, softirq, steal] = values;
        Ok(Self {
            number,
            user,
            nice,
            system,
            idle,
            iowait,
            irq,
            softirq,
            steal,
        })
    }

    /// What was used since `before`; `None` when a counter went back.
    fn ticks_since(&self, before: &CpuTimes) -> Option<Ticks> {
        let nice = self.nice.checked_sub(before.nice)?;
        let steal = self.steal.checked_sub(before.steal)?;
        let busy = [
            self.user.checked_sub(before.user)?,
            nice,
            self.system.checked_sub(before.system)?,
            self.irq.checked_sub(before.irq)?,
            self.softirq.checked_sub(before.softirq)?,
            steal,
        ];
        let idle_before = u128::from(before.idle) + u128::from(before.iowait);
        let idle_now = u128::from(self.idle) + u128::from(self.iowait);
        if idle_now + u128::from(IDLE_SLACK) < idle_before {
            return None;
        }
        Some(Ticks {
            busy: busy.into_iter().map(u128::from).sum(),
            idle: idle_now.saturating_sub(idle_before),
            steal: u128::from(steal),
            nice: u128::from(nice),
        })
    }
}
