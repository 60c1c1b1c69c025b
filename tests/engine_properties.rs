//! Promises that hold whatever happens: random loads, faults, clock steps and API answers.

#[path = "support/world.rs"]
mod world;

use glesys_autoscaler::engine::Engine;
use glesys_autoscaler::engine::decision::{AllowedCounts, lowered, raised};
use glesys_autoscaler::engine::event::Event;
use glesys_autoscaler::engine::policy::Policy;
use glesys_autoscaler::engine::proof::find_flap;
use proptest::prelude::*;
use std::time::Duration;
use world::{Dice, Faults, Load, Platform, World, policy};

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A random policy, sane or not.
fn any_policy(dice: &mut Dice) -> Policy {
    let min = 1 + dice.below(4);
    let mut policy = policy(min, min + dice.below(12));
    policy.up.utilization = dice.between(0.3, 1.0);
    policy.up.target = dice.between(0.3, 1.0);
    policy.down.utilization = dice.between(0.2, 1.0);
    policy.down.headroom = dice.between(0.0, 1.5);
    policy.up.max_step = 1 + dice.below(16);
    policy.down.max_step = 1 + dice.below(16);
    if dice.chance(0.3) {
        let all = policy.limits.min_cores..=policy.limits.max_cores;
        policy.limits.allowed_cores = all.filter(|_| dice.chance(0.5)).collect();
    }
    policy
}

fn allowed(policy: &Policy) -> AllowedCounts {
    let limits = &policy.limits;
    AllowedCounts::new(
        (limits.min_cores, limits.max_cores),
        &limits.allowed_cores,
        None,
        &[],
    )
}

fn quick(mut policy: Policy) -> Policy {
    policy.up.window = secs(30);
    policy.down.window = secs(60);
    policy.up.cooldown = secs(30);
    policy.down.cooldown = secs(90);
    policy
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    /// At least 100,000 steps a run: the checks are in `World::check_edit` and `World::drive`.
    #[test]
    fn whatever_happens_the_promises_hold(seed: u64) {
        let mut dice = Dice(seed);
        let mut policy = quick(any_policy(&mut dice));
        policy.limits.max_changes_per_day = 1 + dice.below(6);
        policy.apply.timeout = secs(60);
        let cores = 1 + dice.below(policy.limits.max_cores + 2);
        let mut world = World::new(policy, cores, seed);
        world.faults = Faults {
            calls: dice.between(0.0, 0.5),
            samples: dice.between(0.0, 0.2),
            clock: dice.between(0.0, 0.01),
            restart: dice.between(0.0, 0.01),
            outside: dice.between(0.0, 0.005),
        };
        world.lock_for = secs(dice.below(60).into());
        if dice.chance(0.3) {
            world.platform_counts = (1..=16).filter(|_| dice.chance(0.6)).collect();
        }
        for _ in 0..1000 {
            if dice.chance(0.02) {
                let most = f64::from(world.policy.limits.max_cores) * 1.5;
                let load = dice.between(0.0, most);
                world.load = if dice.chance(0.5) { Load::Tasks(load) } else { Load::Arrivals(load) };
                world.platform = match dice.below(4) {
                    0 => Platform::Ignores,
                    1 => Platform::StaysOffline,
                    _ => Platform::Live,
                };
            }
            world.tick();
        }
        prop_assert!(world.steps >= 1000, "120 cases make 100,000 steps: {}", world.steps);
    }

    /// Every input is an event that serialises; the same events give the same engine.
    #[test]
    fn a_recording_replays_bit_for_bit(seed: u64) {
        let mut dice = Dice(seed);
        let policy = quick(any_policy(&mut dice));
        let mut world = World::new(policy, 2, seed);
        world.faults = Faults { calls: 0.2, samples: 0.1, clock: 0.01, ..Faults::default() };
        for _ in 0..200 {
            if dice.chance(0.05) {
                world.load = Load::Arrivals(dice.between(0.0, 12.0));
            }
            world.tick();
        }
        let text = serde_json::to_string(&(&world.start, &world.inputs)).unwrap();
        let (start, inputs): (_, Vec<(_, Event)>) = serde_json::from_str(&text).unwrap();
        let (mut engine, _) = Engine::start(world.started, start);
        for (at, event) in inputs {
            engine.apply(at, event);
        }
        prop_assert_eq!(engine.state(), world.engine.state());
        prop_assert_eq!(engine.next(world.now), world.engine.next(world.now));
        prop_assert_eq!(engine.status(world.now), world.engine.status(world.now));
    }

    /// A steady load from an empty queue brings only raises or only lowerings.
    #[test]
    fn a_steady_load_moves_the_count_one_way(seed: u64) {
        let mut dice = Dice(seed);
        let mut policy = any_policy(&mut dice);
        policy.down.window = secs(90);
        policy.down.cooldown = secs(90);
        let allowed = allowed(&policy);
        prop_assume!(!allowed.as_slice().is_empty());
        prop_assume!(find_flap(&policy, &allowed).is_none());
        let most = f64::from(policy.limits.max_cores) * 1.3;
        let load = dice.between(0.0, most);
        let start = allowed.as_slice()[dice.below(allowed.as_slice().len() as u32) as usize];
        let mut world = World::new(policy, start, seed);
        world.load = Load::Tasks(load);
        world.run(secs(2400));
        let changes = world.changes();
        let raises = changes.iter().filter(|(from, to)| to > from).count();
        prop_assert!(
            raises == 0 || raises == changes.len(),
            "load {load} from {start} cores: {changes:?}"
        );
    }

    /// The proof and the simulation agree: what is refused flaps, what is accepted does not.
    #[test]
    fn the_proof_agrees_with_the_simulation(seed: u64) {
        let mut dice = Dice(seed);
        let mut policy = any_policy(&mut dice);
        policy.down.window = secs(60);
        policy.down.cooldown = secs(60);
        policy.up.cooldown = secs(60);
        // The proof speaks of a load without a queue.
        policy.up.queue = Duration::ZERO;
        let allowed = allowed(&policy);
        prop_assume!(!allowed.as_slice().is_empty());
        if let Some(flap) = find_flap(&policy, &allowed) {
            // Samples are thousandths of a core: an example on a finer edge cannot be fed.
            prop_assume!(turns_at(&policy, &allowed, flap.demand, flap.from));
            let mut world = World::new(policy, flap.from, seed);
            world.load = Load::Tasks(flap.demand);
            world.run(secs(900));
            let changes = world.changes();
            prop_assert!(changes.len() >= 2, "{flap}: {changes:?}");
            prop_assert_eq!(changes[0], (flap.from, flap.to));
            prop_assert_eq!(changes[1], (flap.to, flap.then));
        } else {
            let most = f64::from(policy.limits.max_cores);
            for start in allowed.as_slice() {
                let mut world = World::new(policy.clone(), *start, seed);
                world.load = Load::Tasks(dice.between(0.0, most));
                world.run(secs(600));
                let changes = world.changes();
                let raises = changes.iter().filter(|(from, to)| to > from).count();
                prop_assert!(raises == 0 || raises == changes.len(), "{changes:?}");
            }
        }
    }

    /// What the policy file's proof says of all counts holds for those that the platform has.
    #[test]
    fn a_policy_that_cannot_flap_on_all_counts_cannot_on_some_of_them(seed: u64) {
        let mut dice = Dice(seed);
        let mut policy = any_policy(&mut dice);
        // Near the edge: else nearly every random policy is refused at once.
        policy.up.target = policy.up.utilization * dice.between(0.7, 1.05);
        policy.down.utilization = policy.up.target * dice.between(0.7, 1.05);
        policy.limits.allowed_cores.clear();
        prop_assume!(find_flap(&policy, &allowed(&policy)).is_none());
        for _ in 0..20 {
            let all = policy.limits.min_cores..=policy.limits.max_cores;
            policy.limits.allowed_cores = all.filter(|_| dice.chance(0.5)).collect();
            if !policy.limits.allowed_cores.is_empty() {
                let some = allowed(&policy);
                prop_assert_eq!(find_flap(&policy, &some), None, "{:?}", some);
            }
        }
    }
}

/// Whether the example holds for the demand as a sample carries it: rounded to a thousandth, and
/// capped by the cores that are there.
fn turns_at(policy: &Policy, allowed: &AllowedCounts, demand: f64, from: u32) -> bool {
    let rule = |n: u32, d: f64| {
        raised(&policy.up, allowed, n, d).or_else(|| lowered(&policy.down, allowed, n, d))
    };
    let fed = |n: u32| (demand.min(f64::from(n)) * 1000.0).round() / 1000.0;
    let first = rule(from, demand);
    first == rule(from, fed(from)) && first.is_some_and(|to| rule(to, demand) == rule(to, fed(to)))
}

/// From a backlog a steady load brings raises and then at most one lowering, for every count and
/// with the shipped numbers.
#[test]
fn a_backlog_brings_at_most_one_lowering_more() {
    for max in [2, 4, 8, 16] {
        for start in 1..=max {
            for twelfth in 0..6_u32 {
                let mut policy = policy(1, max);
                policy.sampling.interval = secs(15);
                policy.up.max_step = 64;
                policy.down.max_step = 64;
                let rate = f64::from(max) * (0.05 + f64::from(2 * twelfth) / 12.0);
                let mut world = World::new(policy, start, u64::from(twelfth));
                world.load = Load::Arrivals(rate);
                world.waiting = 120.0;
                world.run(secs(2 * 3600));
                let changes = world.changes();
                let lowerings = changes.iter().filter(|(from, to)| to < from).count();
                let raises = changes.len() - lowerings;
                let first_lowering = changes.iter().position(|(from, to)| to < from);
                assert!(
                    lowerings <= 1 || raises == 0,
                    "rate {rate} from {start} of {max}: {changes:?}"
                );
                assert!(
                    first_lowering.is_none_or(|i| changes[i..].iter().all(|(from, to)| to < from)),
                    "rate {rate} from {start} of {max}: {changes:?}"
                );
            }
        }
    }
}
