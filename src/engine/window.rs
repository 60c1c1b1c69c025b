//! What has held lately: the demand of the last while, in cores.
//!
//! Windows keep demand and not utilization, so that a change of the core count does not clear
//! them. Warming, fresh and stale are three different answers; only fresh decides.

use super::sample::Sample;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The span within which waiting work has to be cleared, and over which a minute's peak counts.
const MINUTE_MS: i64 = 60_000;
/// Share of a window that samples must cover: one dropped sample around our own change does not
/// make a one-minute window warm up again, a hole of a quarter does.
const COVERED_PERCENT: i64 = 80;

/// The answer of a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Summary<T> {
    /// Not enough samples yet.
    Warming,
    /// Samples cover the window and the last is recent.
    Fresh(T),
    /// The last sample is too old.
    Stale,
}

impl<T> Summary<T> {
    /// The value, if it may decide.
    pub fn fresh(self) -> Option<T> {
        match self {
            Summary::Fresh(value) => Some(value),
            Summary::Warming | Summary::Stale => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Point {
    /// End of the interval on the boot clock.
    end: i64,
    span: i64,
    demand_mc: u32,
    pressure_bp: Option<u16>,
    /// All cores busy, with more runnable tasks than cores.
    queued: bool,
    saturated: bool,
}

/// The samples of the longest window, newest last.
#[derive(Debug, Clone)]
pub struct Windows {
    points: Vec<Point>,
    interval_ms: i64,
    keep_ms: i64,
}

impl Windows {
    /// Windows up to `longest`, fed every `interval`.
    #[must_use]
    pub fn new(interval: Duration, longest: Duration) -> Windows {
        Windows {
            points: Vec::new(),
            interval_ms: ms(interval),
            keep_ms: ms(longest) + 2 * ms(interval),
        }
    }

    /// Other lengths, the samples kept as far as they fit.
    pub fn resize(&mut self, interval: Duration, longest: Duration) {
        self.interval_ms = ms(interval);
        self.keep_ms = ms(longest) + 2 * self.interval_ms;
    }

    /// Takes in the sample that ended at `now`. `cap_mc` bounds its demand: a queue of hundreds
    /// must not size a VM beyond its limits.
    pub fn push(&mut self, now: Timestamp, sample: &Sample, cap_mc: u32) {
        if self
            .points
            .last()
            .is_some_and(|last| now.boottime_ms <= last.end)
        {
            return;
        }
        let saturated = sample.saturated();
        self.points.push(Point {
            end: now.boottime_ms,
            span: i64::from(sample.span_ms.max(1)),
            demand_mc: sample.demand_mc().min(cap_mc),
            pressure_bp: sample.pressure_bp,
            queued: saturated && sample.wanted_mc() > sample.online.saturating_mul(1000),
            saturated,
        });
        let oldest = now.boottime_ms - self.keep_ms;
        let expired = self.points.partition_point(|p| p.end < oldest);
        self.points.drain(..expired);
    }

    /// The age from which the last sample is too old to decide with.
    #[must_use]
    pub fn stale_after(interval: Duration) -> Duration {
        (interval * 3).max(interval + Duration::from_secs(5))
    }

    /// When samples will have been taken for all of `span`, if that is still to come.
    #[must_use]
    pub fn full_at(&self, now: Timestamp, span: Duration) -> Option<Timestamp> {
        let first = self.points.first()?;
        let left = first.end - first.span + ms(span) - now.boottime_ms;
        let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
        Some(now.plus(Duration::from_millis(left)))
    }

    /// Mean demand of the last `span`, in cores.
    #[must_use]
    pub fn demand(&self, now: Timestamp, span: Duration) -> Summary<f64> {
        self.over(now, span, |points, start| {
            weighted_mean(points, start, |p| Some(p.demand_mc.into()))
        })
        .map(|mc| mc / 1000.0)
    }

    /// Mean pressure of the last `span`, 0 to 1; `Warming` where the kernel gives none.
    #[must_use]
    pub fn pressure(&self, now: Timestamp, span: Duration) -> Summary<f64> {
        self.over(now, span, |points, start| {
            weighted_mean(points, start, |p| p.pressure_bp.map(f64::from))
        })
        .map(|bp| bp / 10_000.0)
    }

    /// Whether all cores were busy with tasks waiting for all of the last `span`.
    #[must_use]
    pub fn queued(&self, now: Timestamp, span: Duration) -> Summary<bool> {
        self.over(now, span, |points, _| Some(points.iter().all(|p| p.queued)))
    }

    /// Demand of the busiest minute within the last `span`, in cores (of all of `span` where it
    /// is shorter than a minute).
    #[must_use]
    pub fn busiest_minute(&self, now: Timestamp, span: Duration) -> Summary<f64> {
        self.over(now, span, |points, start| {
            let minute = MINUTE_MS.min(ms(span));
            let mut busiest: Option<f64> = None;
            let mut first = 0;
            for last in 0..points.len() {
                let from = points[last].end - minute;
                // A minute that began before the window is not all inside it; half an interval
                // of tolerance, since ticks are never exactly on time.
                if from + self.interval_ms / 2 < start {
                    continue;
                }
                while points[first].end <= from {
                    first += 1;
                }
                let mean = weighted_mean(&points[first..=last], from, |p| Some(p.demand_mc.into()));
                busiest = match (busiest, mean) {
                    (Some(a), Some(b)) => Some(a.max(b)),
                    (a, b) => a.or(b),
                };
            }
            busiest
        })
        .map(|mc| mc / 1000.0)
    }

    /// Whether the newest sample was saturated: only then is there waiting work to clear.
    #[must_use]
    pub fn saturated(&self) -> bool {
        self.points.last().is_some_and(|p| p.saturated)
    }

    fn over<T>(
        &self,
        now: Timestamp,
        span: Duration,
        summarise: impl FnOnce(&[Point], i64) -> Option<T>,
    ) -> Summary<T> {
        let Some(newest) = self.points.last() else {
            return Summary::Warming;
        };
        let stale_after = ms(Self::stale_after(Duration::from_millis(
            self.interval_ms.unsigned_abs(),
        )));
        if now.boottime_ms - newest.end > stale_after {
            return Summary::Stale;
        }
        let span = ms(span);
        let start = newest.end - span;
        let tolerance = self.interval_ms / 2;
        let first = self.points.partition_point(|p| p.end <= start);
        let points = &self.points[first..];
        let begins = self.points.first().map_or(i64::MAX, |p| p.end - p.span);
        let covered: i64 = points.iter().map(|p| overlap(p, start)).sum();
        if begins > start + tolerance || covered * 100 < span * COVERED_PERCENT {
            return Summary::Warming;
        }
        summarise(points, start).map_or(Summary::Warming, Summary::Fresh)
    }
}

impl<T> Summary<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Summary<U> {
        match self {
            Summary::Warming => Summary::Warming,
            Summary::Stale => Summary::Stale,
            Summary::Fresh(value) => Summary::Fresh(f(value)),
        }
    }
}

fn overlap(point: &Point, start: i64) -> i64 {
    point.span.min(point.end - start).max(0)
}

/// Mean over the covered time from `start` on; `None` when any point has no value.
fn weighted_mean(
    points: &[Point],
    start: i64,
    value: impl Fn(&Point) -> Option<f64>,
) -> Option<f64> {
    let (mut sum, mut weight) = (0.0, 0.0);
    for point in points {
        let share = overlap(point, start) as f64;
        sum += value(point)? * share;
        weight += share;
    }
    (weight > 0.0).then(|| sum / weight)
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp {
            boottime_ms: seconds * 1000,
            wall_ms: 0,
        }
    }

    fn sample(online: u32, busy_mc: u32, runnable: u32) -> Sample {
        Sample {
            span_ms: 5000,
            online,
            busy_mc,
            steal_mc: 0,
            runnable_c: Some(runnable * 100),
            pressure_bp: None,
        }
    }

    fn fed(demands: &[u32]) -> (Windows, Timestamp) {
        let mut windows = Windows::new(Duration::from_secs(5), Duration::from_secs(600));
        let mut now = at(0);
        for demand in demands {
            now = now.plus(Duration::from_secs(5));
            windows.push(now, &sample(64, *demand, 1), u32::MAX);
        }
        (windows, now)
    }

    #[test]
    fn warms_for_its_whole_length_and_grows_stale() {
        let minute = Duration::from_secs(60);
        let (windows, now) = fed(&[1000; 11]);
        assert_eq!(windows.demand(now, minute), Summary::Warming);
        let (windows, now) = fed(&[1000; 12]);
        assert_eq!(windows.demand(now, minute), Summary::Fresh(1.0));
        let later = now.plus(Duration::from_secs(16));
        assert_eq!(windows.demand(later, minute), Summary::Stale);
    }

    #[test]
    fn a_dropped_sample_is_bridged_and_a_long_hole_is_not() {
        let minute = Duration::from_secs(60);
        let (mut windows, mut now) = fed(&[1000; 12]);
        now = now.plus(Duration::from_secs(10));
        windows.push(now, &sample(64, 1000, 1), u32::MAX);
        assert_eq!(windows.demand(now, minute), Summary::Fresh(1.0));
        now = now.plus(Duration::from_secs(30));
        windows.push(now, &sample(64, 1000, 1), u32::MAX);
        assert_eq!(windows.demand(now, minute), Summary::Warming);
    }

    #[test]
    fn the_busiest_minute_is_a_minute_and_not_a_moment() {
        let ten = Duration::from_secs(600);
        let mut demands = vec![1000; 120];
        demands[60..72].fill(3000);
        let (windows, now) = fed(&demands);
        assert_eq!(windows.busiest_minute(now, ten), Summary::Fresh(3.0));
        let mut demands = vec![1000; 120];
        demands[60] = 13_000;
        let (windows, now) = fed(&demands);
        assert_eq!(windows.busiest_minute(now, ten), Summary::Fresh(2.0));
    }

    #[test]
    fn a_queue_is_tasks_beyond_the_cores_and_beyond_ourselves() {
        let span = Duration::from_secs(15);
        for (runnable, expected) in [(3, false), (4, true)] {
            let mut windows = Windows::new(Duration::from_secs(5), span);
            for s in 1..=3 {
                windows.push(at(s * 5), &sample(2, 2000, runnable), u32::MAX);
            }
            assert_eq!(windows.queued(at(15), span), Summary::Fresh(expected));
        }
    }
}
