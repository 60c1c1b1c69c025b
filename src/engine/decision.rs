//! The rules: what would we like? Hysteresis only; knows no cooldown and no API.
//!
//! [`raised`] and [`lowered`] are the two rules on a bare demand. The daemon, the no-flap proof
//! and the tests all call these two.

use super::policy::{Down, Policy, Up};
use super::record::Reason;
use super::time::Timestamp;
use super::window::{Summary, Windows};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Waiting work is to be cleared within this time of a raise.
const CLEAR_WITHIN: Duration = Duration::from_secs(15);

/// The counts that may be used, ascending: the platform's within the operator's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedCounts(Vec<u32>);

impl AllowedCounts {
    /// The counts of `min..=max` that are in `only` (all where it is empty), in `platform`
    /// (all where it is `None`) and not in `refused`.
    #[must_use]
    pub fn new(
        (min, max): (u32, u32),
        only: &[u32],
        platform: Option<&[u32]>,
        refused: &[u32],
    ) -> AllowedCounts {
        AllowedCounts(
            (min..=max)
                .filter(|n| only.is_empty() || only.contains(n))
                .filter(|n| platform.is_none_or(|list| list.contains(n)))
                .filter(|n| !refused.contains(n))
                .collect(),
        )
    }

    /// The counts themselves.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> Option<u32> {
        self.0.last().copied()
    }

    /// The smallest above `n`.
    #[must_use]
    pub fn above(&self, n: u32) -> Option<u32> {
        self.0.get(self.0.partition_point(|a| *a <= n)).copied()
    }

    /// The largest below `n`.
    #[must_use]
    pub fn below(&self, n: u32) -> Option<u32> {
        self.0[..self.0.partition_point(|a| *a < n)].last().copied()
    }

    fn at_most(&self, n: u32) -> Option<u32> {
        self.0[..self.0.partition_point(|a| *a <= n)]
            .last()
            .copied()
    }

    /// The smallest that satisfies `fits`, which must hold for every larger one too.
    fn smallest(&self, fits: impl Fn(u32) -> bool) -> Option<u32> {
        self.0.get(self.0.partition_point(|a| !fits(*a))).copied()
    }
}

/// The size for `demand` cores of load of which `clear` must fit at once: the smallest allowed
/// count above `n`, at most `max_step` away (the next allowed count is always reachable).
/// `None` when nothing above `n` is needed or allowed.
#[must_use]
pub fn raised_to(up: &Up, allowed: &AllowedCounts, n: u32, demand: f64, clear: f64) -> Option<u32> {
    let wanted = allowed
        .smallest(|a| demand <= f64::from(a) * up.target && clear <= f64::from(a))
        .or(allowed.max())?;
    let next = allowed.above(n)?;
    let furthest = allowed
        .at_most(n.saturating_add(up.max_step))
        .unwrap_or(next);
    let to = wanted.min(furthest.max(next));
    (to > n).then_some(to)
}

/// The up rule for a steady demand without a queue.
#[must_use]
pub fn raised(up: &Up, allowed: &AllowedCounts, n: u32, demand: f64) -> Option<u32> {
    (demand > f64::from(n) * up.utilization)
        .then(|| raised_to(up, allowed, n, demand, 0.0))
        .flatten()
}

/// The down rule: the smallest allowed count below `n` that carries `demand` with headroom, at
/// most `max_step` away. As for a raise, the next allowed count is always reachable: else a gap
/// in the counts wider than the step would hold the VM, and its bill, up for ever.
#[must_use]
pub fn lowered(down: &Down, allowed: &AllowedCounts, n: u32, demand: f64) -> Option<u32> {
    let fits = |a: u32| {
        let cores = f64::from(a);
        demand < cores * down.utilization && demand < cores - down.headroom * cores.sqrt()
    };
    let next = allowed.below(n)?;
    let furthest = n.saturating_sub(down.max_step).min(next);
    let wanted = allowed.smallest(fits)?;
    let to = if wanted >= furthest {
        wanted
    } else {
        allowed.smallest(|a| a >= furthest)?
    };
    (to < n).then_some(to)
}

/// What the windows said when a decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Mean demand of `up.window`, in cores.
    pub demand: Summary<f64>,
    /// Mean demand of the last 15 s (less where a window is shorter), in cores.
    pub recent: Summary<f64>,
    /// Whether tasks waited all through `up.queue`.
    pub queued: Summary<bool>,
    /// Mean pressure of `up.window`, 0 to 1.
    pub pressure: Summary<f64>,
    /// Demand of the busiest minute of `down.window`, in cores.
    pub busiest_minute: Summary<f64>,
}

impl Evidence {
    /// Reads the windows of `policy` at `now`.
    #[must_use]
    pub fn gather(policy: &Policy, windows: &Windows, now: Timestamp) -> Evidence {
        let mut recent = CLEAR_WITHIN.min(policy.up.window);
        if !policy.up.queue.is_zero() {
            recent = recent.min(policy.up.queue);
        }
        let queue = if policy.up.queue.is_zero() || policy.sampling.ignore_nice {
            Summary::Warming
        } else {
            windows.queued(now, policy.up.queue)
        };
        Evidence {
            demand: windows.demand(now, policy.up.window),
            recent: windows.demand(now, recent),
            queued: queue,
            pressure: windows.pressure(now, policy.up.window),
            busiest_minute: windows.busiest_minute(now, policy.down.window),
        }
    }

    /// The demand that a person should read: of the window that decides, else of the last
    /// seconds.
    #[must_use]
    pub fn shown_demand(&self) -> Option<f64> {
        self.recent.fresh().or(self.demand.fresh())
    }
}

/// A change that the rules ask for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The count to go to.
    pub to: u32,
    /// The rule.
    pub reason: Reason,
    /// The demand that the rule looked at, in cores.
    pub demand: f64,
}

/// What the rules say at a count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// The change, if any.
    pub decision: Option<Decision>,
    /// Demand is above what the largest allowed count serves, and we are there.
    pub at_limit: bool,
    /// Why a direction could not be judged; only of interest without a decision.
    pub blind: Option<Reason>,
}

impl Wish {
    /// More than `cores` cores are wanted: the VM is short of CPU.
    #[must_use]
    pub fn overloaded(&self, cores: u32) -> bool {
        self.at_limit || self.decision.is_some_and(|d| d.to > cores)
    }
}

/// Applies the rules at count `n`.
#[must_use]
pub fn decide(
    policy: &Policy,
    allowed: &AllowedCounts,
    n: u32,
    seen: &Evidence,
    saturated: bool,
) -> Wish {
    let raise = raise(policy, allowed, n, seen, saturated);
    let largest = allowed.max().unwrap_or(n);
    let at_limit = n >= largest && pressing(policy, n, seen).is_some();
    let decision = if n < policy.limits.min_cores {
        // No window has to be warm to see that a limit is not kept.
        let to = raise.map(|r| r.to).or(allowed.above(n));
        to.map(|to| Decision {
            to,
            reason: Reason::BelowMin,
            demand: seen.shown_demand().unwrap_or(0.0),
        })
    } else {
        raise.or_else(|| lower(policy, allowed, n, seen))
    };
    let blind = match (seen.demand, seen.busiest_minute) {
        (Summary::Stale, _) => Some(Reason::Stale),
        (Summary::Warming, _) | (_, Summary::Warming) => Some(Reason::Warming),
        _ => None,
    };
    Wish {
        decision,
        at_limit,
        blind,
    }
}

/// The rules that ask for more than `n` cores: reason and demand of each.
fn pressing(policy: &Policy, n: u32, seen: &Evidence) -> Option<Vec<(Reason, f64)>> {
    let up = &policy.up;
    let mut rules = Vec::new();
    if let Some(demand) = seen.demand.fresh()
        && demand > f64::from(n) * up.utilization
    {
        rules.push((Reason::Utilization, demand));
    }
    if seen.queued == Summary::Fresh(true)
        && let Some(demand) = seen.recent.fresh().or(seen.demand.fresh())
        && demand > f64::from(n)
    {
        rules.push((Reason::Queue, demand));
    }
    if up.pressure > 0.0
        && let (Some(pressure), Some(demand)) = (seen.pressure.fresh(), seen.demand.fresh())
        && pressure > up.pressure
    {
        rules.push((Reason::Pressure, demand));
    }
    (!rules.is_empty()).then_some(rules)
}

fn raise(
    policy: &Policy,
    allowed: &AllowedCounts,
    n: u32,
    seen: &Evidence,
    saturated: bool,
) -> Option<Decision> {
    // Without saturation nothing waits, and a size for the peak of 15 s would be one for noise.
    let clear = seen.recent.fresh().filter(|_| saturated).unwrap_or(0.0);
    let mut best: Option<Decision> = None;
    for (reason, demand) in pressing(policy, n, seen)? {
        let sized = raised_to(&policy.up, allowed, n, demand, clear);
        // Tasks waited though the cores were not full: one step, whatever the size says.
        let to = match reason {
            Reason::Pressure => sized.or(allowed.above(n)),
            _ => sized,
        };
        if let Some(to) = to
            && best.is_none_or(|b| to > b.to)
        {
            best = Some(Decision { to, reason, demand });
        }
    }
    best
}

fn lower(policy: &Policy, allowed: &AllowedCounts, n: u32, seen: &Evidence) -> Option<Decision> {
    let demand = seen.busiest_minute.fresh()?;
    if policy.up.pressure > 0.0
        && seen
            .pressure
            .fresh()
            .is_some_and(|p| p >= policy.up.pressure / 2.0)
    {
        return None;
    }
    let to = lowered(&policy.down, allowed, n, demand)?;
    let reason = if n > policy.limits.max_cores {
        Reason::AboveMax
    } else {
        Reason::LowDemand
    };
    Some(Decision { to, reason, demand })
}
