//! Whether the VM gets what its load needs, and whether it is told why where it does not.

use super::{Judge, violation};
use crate::journal::Line;
use crate::kinds::Kind;
use crate::vm::World;
use glesys_autoscaler::engine::Status;
use glesys_autoscaler::engine::policy::Mode;
use glesys_autoscaler::engine::record::Reason;
use glesys_autoscaler::engine::sample::Sample;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longer than any window, cooldown and lock takes that an operator did not ask for.
const LONG: Duration = Duration::from_secs(45 * 60);
/// What lasts is said again after a day, at the next call: six hours later at most.
const SAID_WITHIN_MS: u64 = 31 * 3_600_000;

#[derive(Default)]
pub struct Needs {
    /// Since when, by real time, every sample asked for more; and every one for less.
    more_since: Option<u64>,
    less_since: Option<u64>,
    cores: u32,
    status: Option<Brief>,
    in_flight: Option<String>,
    in_flight_since: Option<u64>,
    /// When a reason was last in the journal.
    told: BTreeMap<String, u64>,
    /// Directions of the changes after the operator's help.
    steady: Vec<bool>,
    /// Counts that were refused, and when.
    refused: BTreeMap<u32, u64>,
    pub explained: u64,
    /// When a change was last put on record or adopted.
    pub changed: u64,
}

#[derive(Clone, Copy)]
struct Brief {
    waits_for: Option<Reason>,
    /// Since when a change is under way.
    in_flight_since: Option<u64>,
    /// Since when it is known that the server is locked.
    locked_since: Option<u64>,
    proven: bool,
}

/// A change is seen through within the platform's lock of 20 minutes and the wait for the guest;
/// what takes longer waits for something of which a line tells.
const IN_FLIGHT_MS: u64 = 30 * 60_000;

/// A count that the platform refused is left alone, which the line of the refusal says.
const REFUSED_MS: u64 = 24 * 3_600_000;

impl Needs {
    pub fn restart(&mut self) {
        self.more_since = None;
        self.less_since = None;
    }

    pub fn status(&mut self, now: u64, status: &Status) {
        let trouble = status.api_trouble.as_ref().map(|_| Reason::ApiDown);
        let locked_since = self.status.and_then(|s| s.locked_since);
        let id = status.in_flight.as_ref().map(|i| i.decision_id.clone());
        if self.in_flight != id {
            self.in_flight_since = id.is_some().then_some(now);
            self.in_flight = id;
        }
        // While a change is under way the outage that holds it up is the reason to be told.
        let reason = match status.waits_for {
            Some(Reason::InFlight) => trouble.or(status.waits_for),
            waits_for => waits_for.or(trouble),
        };
        self.status = Some(Brief {
            waits_for: reason,
            in_flight_since: self.in_flight_since,
            locked_since: status.locked.then_some(locked_since.unwrap_or(now)),
            proven: status.lowering_proven,
        });
    }

    pub fn told(&mut self, now: u64, line: &Line) {
        if !line.reason.is_empty() {
            self.told.insert(line.reason.clone(), now);
        }
        if !line.event.is_empty() {
            self.told.insert(line.event.clone(), now);
        }
    }

    pub fn applied(&mut self, raise: bool, steady: bool) {
        if !steady {
            return;
        }
        self.steady.push(raise);
        let turns = self.steady.windows(2).filter(|w| w[0] != w[1]).count();
        if turns > 1 {
            violation("a steady load makes the count go up and down");
        }
    }

    pub fn refused(&mut self, cores: u32, now: u64) {
        self.refused.insert(cores, now);
    }

    pub fn was_refused(&self, cores: u32) -> bool {
        self.refused.contains_key(&cores)
    }

    fn explain(&mut self, now: u64, what: &str) {
        let Some(status) = self.status else {
            violation(format_args!("{what}, and there is no status"));
        };
        if let Some(since) = status.in_flight_since
            && now - since < IN_FLIGHT_MS
        {
            return;
        }
        let Some(reason) = status.waits_for else {
            violation(format_args!(
                "{what}, and the status gives no reason that it does not come"
            ));
        };
        // These two pass by themselves, and may have begun just now.
        let short = LONG.as_millis() as u64;
        let just_locked =
            reason == Reason::Locked && status.locked_since.is_none_or(|at| now - at < short);
        if just_locked || reason == Reason::Cooldown && now - self.changed < 2 * short {
            return;
        }
        let names: &[&str] = match reason {
            Reason::DirectionOff => &["direction_off", "not_applied", "reverted", "api_error"],
            _ => &[reason.as_str()],
        };
        let recent = |name: &&str| {
            let at = self.told.get(*name);
            at.is_some_and(|at| now.saturating_sub(*at) <= SAID_WITHIN_MS)
        };
        if !names.iter().any(recent) {
            violation(format_args!(
                "{what}, held back by {}, and no line of the journal says so",
                reason.as_str()
            ));
        }
        self.explained += 1;
    }
}

impl Judge {
    /// Whether `demand` asks for more than `n` cores, and there are more to be had.
    fn wants_more(&self, world: &World, n: u32, demand: f64, margin: f64) -> bool {
        let short = n < self.policy.limits.min_cores;
        let full = demand > f64::from(n) * self.policy.up.utilization * margin;
        (short || full) && self.usable(world).into_iter().any(|a| a > n)
    }

    /// Whether a smaller count would do.
    fn wants_less(&self, world: &World, n: u32, demand: f64, margin: f64) -> bool {
        let down = &self.policy.down;
        self.usable(world).into_iter().any(|a| {
            let cores = f64::from(a);
            let idle = cores - down.headroom * cores.sqrt();
            a < n && demand < idle.min(cores * down.utilization) * margin
        })
    }

    /// The counts that may be used as far as the daemon can know.
    pub(super) fn usable(&self, world: &World) -> Vec<u32> {
        let limits = &self.policy.limits;
        let told = self.life.counts.clone();
        let mut counts = told.unwrap_or_else(|| world.cloud.borrow().counts.clone());
        let now = world.real_ms();
        counts.retain(|n| {
            let refused = self.needs.refused.get(n);
            (limits.min_cores..=limits.max_cores).contains(n)
                && (limits.allowed_cores.is_empty() || limits.allowed_cores.contains(n))
                && refused.is_none_or(|at| now - at > REFUSED_MS)
        });
        counts
    }

    /// The daemon looks at the load.
    pub fn looked(world: &World, sample: Option<Sample>) {
        let mut judge = world.judge.borrow_mut();
        world.tally.borrow_mut().ticks += 1;
        let (now, real) = (world.now(), world.real_ms());
        judge.turn(now);
        let cores = world.cloud.borrow().cores;
        let usual = sample.filter(|s| s.online == cores && judge.needs.cores == cores);
        judge.needs.cores = cores;
        if let Some(sample) = &sample {
            let most = f64::from(judge.policy.limits.max_cores + 8);
            judge.life.load.add(now.boottime_ms, sample, most);
            judge.life.sampled = Some(now);
        }
        let Some(sample) = usual else {
            return judge.needs.restart();
        };
        let policy = judge.policy.clone();
        let (busy, demand) = (
            f64::from(sample.busy_mc) / 1000.0,
            f64::from(sample.demand_mc()) / 1000.0,
        );
        let more = judge.wants_more(world, cores, busy, 1.02);
        let less = judge.wants_less(world, cores, demand, 0.9)
            && !matches!(policy.apply.lowering, Mode::Never);
        let Needs {
            more_since,
            less_since,
            ..
        } = &mut judge.needs;
        let lasts = |since: &mut Option<u64>, holds: bool, long: Duration| {
            if !holds {
                *since = None;
                return false;
            }
            let lasted = real - *since.get_or_insert(real);
            let over = lasted >= long.as_millis() as u64;
            if over {
                // Looked at again after as long.
                *since = Some(real);
            }
            over
        };
        let windows = policy.up.window + policy.down.window;
        let starved = lasts(more_since, more, LONG + windows);
        let settled = windows * 2 + policy.down.cooldown + policy.boot_grace;
        let idle = lasts(less_since, less, LONG + settled);
        if starved {
            judge.needs.explain(real, "more cores are wanted for long");
        }
        if idle {
            judge.needs.explain(real, "fewer cores would do for long");
        }
    }

    fn content(&self, world: &World) -> Result<(), String> {
        let cores = world.cloud.borrow().cores;
        let (policy, demand) = (&self.policy, world.plan.last_demand);
        if self.wants_more(world, cores, demand, 1.02) {
            return Err(format!("{cores} cores are too few for {demand:.2}"));
        }
        let proven = self.needs.status.is_some_and(|s| s.proven);
        let may = policy.apply.lowering != Mode::Ask || proven;
        if may && self.wants_less(world, cores, demand, 0.98) {
            return Err(format!("{cores} cores are too many for {demand:.2}"));
        }
        if world.guest.get().online != cores {
            return Err(format!("the guest has {:?}", world.guest.get()));
        }
        Ok(())
    }

    /// Long after the last fault.
    pub fn served_or_told(world: &World) {
        let mut judge = world.judge.borrow_mut();
        if let Err(what) = judge.content(world) {
            judge.needs.explain(world.real_ms(), &what);
        }
    }

    /// Long after the operator did what the lines asked for.
    pub fn served_after_help(world: &World) {
        let judge = world.judge.borrow();
        if let Err(what) = judge.content(world) {
            let waits = judge.needs.status.and_then(|s| s.waits_for);
            violation(format_args!("{what}, long after all faults; {waits:?}"));
        }
    }

    /// A change is announced: what was to happen in the middle of one happens soon.
    pub(super) fn arm(&mut self, world: &World) {
        if let Some(dose) = world.active(Kind::KillInEdit) {
            world.hit(Kind::KillInEdit);
            world
                .fuse
                .set(Some((world.roll() * (20.0 + dose * 180.0)) as u32));
        }
    }
}
