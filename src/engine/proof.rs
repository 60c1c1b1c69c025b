//! The proof that a policy cannot flap under a steady load, at any core count.

use super::decision::{AllowedCounts, lowered, raised};
use super::policy::Policy;

/// A steady demand under which the policy would change its mind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flap {
    /// The count at which it begins.
    pub from: u32,
    /// The count that the first change goes to.
    pub to: u32,
    /// The count that the second change goes to.
    pub then: u32,
    /// The steady demand, in cores.
    pub demand: f64,
}

impl Flap {
    /// The two keys of the policy file that contradict each other.
    #[must_use]
    pub fn keys(&self) -> [&'static str; 2] {
        if self.to > self.from {
            ["policy.up.target", "policy.down.utilization"]
        } else {
            ["policy.down.utilization", "policy.up.utilization"]
        }
    }
}

impl std::fmt::Display for Flap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, second) = if self.to > self.from {
            ("raise", "lower")
        } else {
            ("lower", "raise")
        };
        write!(
            f,
            "at {from} a steady demand of {d:.2} cores would {first} to {to}, and at {to} it would {second} to {then}",
            from = super::tell::cores(self.from),
            to = self.to,
            then = self.then,
            d = self.demand,
        )
    }
}

/// Looks for a steady demand and a count of `allowed` at which a raise is followed by a lowering,
/// or a lowering by a raise. `None` is the proof that there is none.
///
/// Both rules are comparisons of the demand with `a × share` and `a − headroom × √a`, so their
/// answers change only at those values: trying each of them, a little to either side of each,
/// and between each two, tries every case.
#[must_use]
pub fn find_flap(policy: &Policy, allowed: &AllowedCounts) -> Option<Flap> {
    let demands = turning_points(policy, allowed);
    for &from in allowed.as_slice() {
        for &demand in &demands {
            if let Some(to) = raised(&policy.up, allowed, from, demand)
                && let Some(then) = lowered(&policy.down, allowed, to, demand)
            {
                return Some(Flap {
                    from,
                    to,
                    then,
                    demand,
                });
            }
            if let Some(to) = lowered(&policy.down, allowed, from, demand)
                && let Some(then) = raised(&policy.up, allowed, to, demand)
            {
                return Some(Flap {
                    from,
                    to,
                    then,
                    demand,
                });
            }
        }
    }
    None
}

fn turning_points(policy: &Policy, allowed: &AllowedCounts) -> Vec<f64> {
    const EPSILON: f64 = 1e-6;
    let mut exact = vec![0.0];
    for &a in allowed.as_slice() {
        let a = f64::from(a);
        exact.extend([
            a * policy.up.utilization,
            a * policy.up.target,
            a * policy.down.utilization,
            a - policy.down.headroom * a.sqrt(),
        ]);
    }
    exact.retain(|d| *d >= 0.0);
    exact.sort_by(f64::total_cmp);
    let between = exact.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
    let mut all: Vec<f64> = exact
        .iter()
        .flat_map(|d| [d - EPSILON, *d, d + EPSILON])
        .chain(between)
        .filter(|d| *d >= 0.0)
        .collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}
