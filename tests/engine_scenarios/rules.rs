//! The rules: when, and how far.

use super::{HOUR, MINUTE, NOTHING, loaded, overloaded, plain, quick, secs};
use crate::world::{Load, policy};
use glesys_autoscaler::engine::record::Reason;
use std::time::Duration;

#[test]
fn a_raise_waits_for_the_mean_of_its_window() {
    let mut world = loaded(plain(), 2, 1.0);
    world.run(HOUR / 4);
    world.load = Load::Tasks(2.0);
    // 1.9 of 2.0 in the mean of a minute: above 90 % after about 50 s.
    world.run(secs(40));
    assert_eq!(world.asked, NOTHING);
    world.run(secs(30));
    assert_eq!(world.asked, [3]);
    assert_eq!(world.count("scale_up", Some(Reason::Utilization)), 1);
}

#[test]
fn a_queue_raises_sooner_and_by_its_length() {
    let mut policy = policy(1, 8);
    policy.up.window = 5 * MINUTE;
    let mut world = loaded(policy, 2, 1.0);
    world.run(HOUR / 4);
    world.load = Load::Tasks(6.0);
    world.run(secs(10));
    assert_eq!(world.asked, NOTHING);
    world.run(secs(10));
    // Six tasks are 75 % of 8 cores; the mean of five minutes says 1.25.
    assert_eq!(world.asked, [8]);
    assert_eq!(world.count("scale_up", Some(Reason::Queue)), 1);
}

#[test]
fn a_queue_far_beyond_the_limits_sizes_no_further_than_the_limits() {
    let mut policy = policy(1, 16);
    policy.up.max_step = 64;
    let mut world = loaded(policy, 2, 500.0);
    world.run(secs(40));
    assert_eq!(world.asked, [16]);
    let demand = world.engine.status(world.now).demand.unwrap();
    assert!(demand <= 24.0, "{demand}");
    world.run(2 * MINUTE);
    let demand = world.engine.status(world.now).demand_mean.unwrap();
    assert!(demand <= 24.0, "{demand}");
}

#[test]
fn without_a_queue_rule_a_queue_does_not_raise_sooner() {
    let mut world = loaded(plain(), 2, 1.9);
    world.policy.up.window = 10 * MINUTE;
    let policy = Box::new(world.policy.clone());
    world.feed(glesys_autoscaler::engine::event::Event::Policy(
        policy,
        "new".to_owned(),
    ));
    world.load = Load::Tasks(6.0);
    world.run(9 * MINUTE);
    assert_eq!(world.asked, NOTHING);
}

#[test]
fn ignore_nice_switches_the_queue_off() {
    let mut policy = policy(1, 8);
    policy.sampling.ignore_nice = true;
    let mut world = loaded(policy, 2, 6.0);
    world.run(secs(50));
    assert_eq!(world.asked, NOTHING);
    world.run(secs(20));
    assert_eq!(world.count("scale_up", Some(Reason::Queue)), 0);
    assert_eq!(world.count("scale_up", Some(Reason::Utilization)), 1);
}

#[test]
fn pressure_raises_one_step_where_the_cores_are_not_full() {
    let mut policy = plain();
    policy.up.pressure = 0.2;
    let mut world = loaded(policy, 2, 1.0);
    world.pressure = Some(0.15);
    world.run(HOUR);
    assert_eq!(world.asked, NOTHING);
    world.pressure = Some(0.3);
    world.run(secs(80));
    assert_eq!(world.asked, [3]);
    assert_eq!(world.count("scale_up", Some(Reason::Pressure)), 1);
}

#[test]
fn pressure_that_is_not_used_or_not_there_does_nothing() {
    for (rule, measured) in [(0.0, Some(1.0)), (0.2, None)] {
        let mut policy = quick();
        policy.up.pressure = rule;
        let mut world = loaded(policy, 4, 0.2);
        world.pressure = measured;
        world.run(5 * MINUTE);
        assert_eq!(world.asked, [1], "rule {rule}, measured {measured:?}");
    }
}

#[test]
fn pressure_above_half_of_the_rule_keeps_the_cores() {
    let mut policy = quick();
    policy.up.pressure = 0.2;
    let mut world = loaded(policy, 4, 0.2);
    world.pressure = Some(0.11);
    world.run(HOUR);
    assert_eq!(world.asked, NOTHING);
    world.pressure = Some(0.09);
    world.run(5 * MINUTE);
    assert_eq!(world.asked, [1]);
}

#[test]
fn no_step_is_longer_than_max_step() {
    let mut policy = quick();
    policy.up.max_step = 2;
    policy.down.max_step = 3;
    policy.down.cooldown = 10 * MINUTE;
    let mut world = overloaded(policy, 1);
    world.run(5 * MINUTE);
    assert_eq!(world.asked, [3, 5, 7]);
    world.load = Load::Tasks(0.2);
    world.run(30 * MINUTE);
    assert_eq!(world.asked, [3, 5, 7, 4, 1]);
}

#[test]
fn the_next_allowed_count_is_reachable_whatever_max_step_says() {
    let mut policy = quick();
    policy.up.max_step = 1;
    policy.down.max_step = 1;
    policy.limits.allowed_cores = vec![1, 4, 8];
    let mut world = overloaded(policy, 1);
    world.run(20 * MINUTE);
    assert_eq!(world.asked, [4, 8]);
    world.load = Load::Tasks(0.2);
    world.run(20 * MINUTE);
    assert_eq!(world.asked, [4, 8, 4, 1]);
}

#[test]
fn headroom_keeps_small_machines_roomier_than_large_ones() {
    // One core may be half busy, although 75 % would be allowed.
    for (demand, lowered_to) in [(0.45, 1), (0.55, 2)] {
        let mut world = loaded(quick(), 4, demand);
        world.run(HOUR);
        assert_eq!(world.asked, [lowered_to], "demand {demand}");
    }
    // Four cores of 2.95: less than 75 %, and a core of headroom.
    for (demand, asked) in [(2.95, vec![4]), (3.05, vec![5])] {
        let mut world = loaded(quick(), 8, demand);
        world.run(HOUR);
        assert_eq!(world.asked, asked, "demand {demand}");
    }
}

#[test]
fn the_busiest_minute_of_the_window_decides_a_lowering() {
    let mut policy = plain();
    policy.down.cooldown = Duration::ZERO;
    let mut world = loaded(policy, 4, 2.5);
    world.run(15 * MINUTE);
    world.load = Load::Tasks(0.2);
    world.run(9 * MINUTE);
    assert_eq!(world.asked, NOTHING);
    world.run(2 * MINUTE);
    assert_eq!(world.asked.last(), Some(&1));
}

#[test]
fn below_the_minimum_is_raised_before_any_window_is_full() {
    let mut policy = plain();
    policy.limits.min_cores = 3;
    let mut world = loaded(policy, 1, 0.2);
    world.run(secs(20));
    assert_eq!(world.asked, [3]);
    assert_eq!(world.count("scale_up", Some(Reason::BelowMin)), 1);
}

#[test]
fn at_limit_is_told_once_when_more_is_wanted_than_there_may_be() {
    let mut world = loaded(plain(), 8, 12.0);
    world.run(12 * HOUR);
    assert_eq!(world.count("at_limit", None), 1);
    assert_eq!(world.asked, NOTHING);
    assert!(world.engine.status(world.now).at_limit);
}

#[test]
fn the_platforms_counts_are_asked_for_before_the_first_change() {
    let mut policy = plain();
    policy.limits.min_cores = 3;
    // Wanted at once: below the minimum no window has to be full.
    let mut world = loaded(policy, 1, 0.2);
    world.platform_counts = vec![1, 2, 4, 8];
    world.run(secs(20));
    assert_eq!(world.asked, [4]);
}

#[test]
fn without_permission_for_the_counts_each_within_the_limits_is_tried() {
    let mut world = overloaded(plain(), 2);
    world.allowed_fails = true;
    world.run(5 * MINUTE);
    assert_eq!(world.asked, [7]);
}

#[test]
fn an_idle_daemon_reads_the_server_once_an_hour() {
    let mut world = loaded(plain(), 4, 2.5);
    world.run(HOUR / 2);
    let before = world.calls;
    world.run(10 * HOUR);
    assert!(
        (9..=11).contains(&(world.calls - before)),
        "{}",
        world.calls - before
    );
}
