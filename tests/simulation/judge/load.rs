//! Whether the load that the daemon was shown asks for the edit that it sends.

use super::{Judge, violation};
use crate::vm::World;
use glesys_autoscaler::engine::record::Reason;
use glesys_autoscaler::engine::sample::Sample;
use glesys_autoscaler::engine::state::Intent;
use std::collections::VecDeque;
use std::time::Duration;

const MINUTE_MS: i64 = 60_000;
/// Longer than any window of any policy here.
const KEPT_MS: i64 = 3 * 3_600_000;
/// For what is rounded on the way.
const ABOUT: f64 = 1.02;
/// Share of its window that a lowering must have seen, a little less than is promised.
const COVERED: f64 = 0.75;

/// What one look showed.
#[derive(Debug, Clone, Copy)]
struct Look {
    end: i64,
    span: i64,
    demand: f64,
    queued: bool,
}

/// The samples of one life of the daemon, newest last.
#[derive(Debug, Default)]
pub struct Load(VecDeque<Look>);

impl Load {
    /// `most`: more demand than that is not believed, in cores.
    pub fn add(&mut self, end: i64, sample: &Sample, most: f64) {
        let [online, busy, steal] =
            [sample.online * 1000, sample.busy_mc, sample.steal_mc].map(f64::from);
        let waiting = f64::from(sample.runnable_c.unwrap_or(0)) * 10.0 - 1000.0;
        self.0.push_back(Look {
            end,
            span: i64::from(sample.span_ms.max(1)),
            demand: (f64::from(sample.demand_mc()) / 1000.0).min(most),
            queued: busy + steal >= online * 0.94 && waiting > online,
        });
        while self.0.front().is_some_and(|l| l.end < end - KEPT_MS) {
            self.0.pop_front();
        }
    }

    /// Those of the last `span`, and when it began.
    fn last(&self, span: Duration) -> (Vec<Look>, i64) {
        let newest = self.0.back().map_or(0, |l| l.end);
        let start = newest - span.as_millis() as i64;
        let looks = self.0.iter().filter(|l| l.end > start);
        (looks.copied().collect(), start)
    }

    /// Demand of the busiest whole minute of the last `span`; `None` where too little was seen.
    fn busiest(&self, span: Duration) -> Option<f64> {
        let (looks, start) = self.last(span);
        let share =
            |l: &Look, from: i64, to: i64| (l.end.min(to) - from.max(l.end - l.span)).max(0);
        let seen: i64 = looks.iter().map(|l| share(l, start, l.end)).sum();
        if (seen as f64) < span.as_millis() as f64 * COVERED {
            return None;
        }
        let minute = |to: i64| {
            let within = looks.iter().filter(|l| l.end <= to);
            let (work, time) = within.fold((0.0, 0.0), |(work, time), l| {
                let ms = share(l, to - MINUTE_MS, to) as f64;
                (work + l.demand * ms, time + ms)
            });
            work / f64::max(time, 1.0)
        };
        let ends = looks.iter().map(|l| l.end);
        let whole = ends.filter(|end| end - MINUTE_MS >= start);
        Some(whole.map(minute).fold(0.0, f64::max))
    }
}

impl Judge {
    /// An edit that the rules ask for, by what was seen until now.
    pub(super) fn by_load(&self, world: &World, intent: &Intent, cores: u32) {
        if self.policy_before.0 == world.mono() {
            return;
        }
        let (id, n) = (&intent.decision_id, self.told_cores());
        if cores < n {
            self.carries(id, cores);
        } else {
            self.needed(world, intent, n, cores);
        }
    }

    /// A smaller count carries the busiest minute with its headroom.
    fn carries(&self, id: &str, cores: u32) {
        let down = &self.policy.down;
        let Some(busiest) = self.life.load.busiest(down.window) else {
            violation(format_args!("{id} lowers on less than its window"));
        };
        let size = f64::from(cores);
        let carried = (size * down.utilization).min(size - down.headroom * size.sqrt());
        if busiest > carried * ABOUT + 0.01 {
            violation(format_args!(
                "{id} lowers to {cores}, which carry {carried:.2}, and a minute wanted {busiest:.2}"
            ));
        }
    }

    /// A larger count is asked for, and no smaller one does.
    fn needed(&self, world: &World, intent: &Intent, n: u32, cores: u32) {
        let (id, up) = (&intent.decision_id, &self.policy.up);
        let (looks, _) = self.life.load.last(up.window.max(up.queue));
        let most = looks.iter().map(|l| l.demand).fold(0.0, f64::max);
        let right = match intent.decision.reason {
            Reason::BelowMin => n < self.policy.limits.min_cores,
            Reason::Utilization => most * ABOUT > f64::from(n) * up.utilization,
            Reason::Queue => {
                let (looks, _) = self.life.load.last(up.queue);
                !looks.is_empty() && looks.iter().all(|l| l.queued)
            }
            // Nothing else asks for more in this world.
            _ => false,
        };
        if !right {
            violation(format_args!(
                "{id} raises {n} → {cores} for {}, and the most was {most:.2}",
                intent.decision.reason.as_str()
            ));
        }
        let wanted = most * ABOUT + 0.01;
        let smaller = self.usable(world).into_iter().find(|a| {
            let size = f64::from(*a);
            (n + 1..cores).contains(a)
                && !self.needs.was_refused(*a)
                && wanted <= size * up.target
                && wanted <= size
        });
        if let Some(smaller) = smaller {
            violation(format_args!(
                "{id} raises {n} → {cores}, and {smaller} carry {most:.2}"
            ));
        }
    }
}
