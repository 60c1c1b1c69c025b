//! Each gate by its name, with the time to try again.

use super::{DAY, HOUR, MINUTE, NOTHING, idle, loaded, overloaded, plain, quick, secs};
use crate::world::{DAY_MS, Load, World};
use glesys_autoscaler::engine::event::{Durability, Event};
use glesys_autoscaler::engine::policy::Mode;
use glesys_autoscaler::engine::record::Reason;
use glesys_autoscaler::engine::state::{DayCount, Pause};
use std::ops::RangeInclusive;

pub fn assert_waits(world: &World, reason: Reason, seconds: RangeInclusive<u64>) {
    let (waits_for, waits_s) = world.waits();
    assert_eq!(waits_for, Some(reason), "{:#?}", world.notices);
    let seconds_left = waits_s.unwrap();
    assert!(
        seconds.contains(&seconds_left),
        "{reason:?} for {seconds_left} s"
    );
}

pub fn assert_waits_without_end(world: &World, reason: Reason) {
    assert_eq!(world.waits(), (Some(reason), None), "{:#?}", world.notices);
}

#[test]
fn warming_until_the_window_is_full() {
    let mut world = loaded(plain(), 2, 1.0);
    world.run(secs(20));
    assert_waits(&world, Reason::Warming, 35..=45);
    world.run(secs(60));
    // What raises is full, what lowers is not.
    assert_waits(&world, Reason::Warming, 510..=525);
    world.run(secs(540));
    assert_eq!(world.waits(), (None, None));
}

#[test]
fn stale_while_nothing_can_be_sampled_and_said_once() {
    let mut world = idle(plain(), 4);
    world.run(secs(500));
    world.blind = true;
    world.run(HOUR);
    assert_waits_without_end(&world, Reason::Stale);
    assert_eq!(world.asked, NOTHING, "nothing is decided on old samples");
    assert_eq!(world.count("held", Some(Reason::Stale)), 1);
    world.blind = false;
    world.run(secs(10));
    assert_eq!(world.count("recovered", None), 1);
}

#[test]
fn stale_holds_back_even_what_a_limit_asks_for() {
    let mut policy = plain();
    policy.limits.min_cores = 2;
    policy.down.window = MINUTE;
    let mut world = loaded(policy, 2, 1.0);
    world.run(MINUTE);
    world.blind = true;
    world.set_outside(1);
    world.run(5 * MINUTE);
    assert_waits_without_end(&world, Reason::Stale);
    assert_eq!(world.asked, NOTHING);
    world.blind = false;
    world.run(MINUTE);
    assert_eq!(world.asked, [2]);
}

#[test]
fn boot_grace_holds_back_lowering_alone() {
    let mut world = idle(quick(), 4);
    world.restart(true, false);
    world.run(secs(100));
    // Booted 120 s ago.
    assert_waits(&world, Reason::BootGrace, 175..=180);
    world.run(secs(170));
    assert_eq!(world.asked, NOTHING);
    world.run(secs(20));
    assert_eq!(world.asked, [1]);

    let mut world = overloaded(quick(), 2);
    world.restart(true, false);
    world.run(secs(70));
    assert_eq!(world.asked, [7]);
}

#[test]
fn cooldown_is_shorter_for_a_raise_than_for_a_lowering() {
    let mut policy = quick();
    policy.down.cooldown = secs(600);
    let mut world = overloaded(policy, 2);
    world.until(secs(120), |w| w.count("applied", None) == 1);
    let effect = world.now;
    world.load = Load::Tasks(7.0);
    world.run(secs(30));
    world.until(secs(30), |w| w.waits().0 == Some(Reason::Cooldown));
    assert_waits(&world, Reason::Cooldown, 0..=30);
    world.until(secs(40), |w| w.asked.len() == 2);
    assert!((60..=70).contains(&world.now.since(effect).as_secs()));

    world.until(secs(60), |w| w.count("applied", None) == 2);
    let effect = world.now;
    world.load = Load::Tasks(0.2);
    world.run(secs(300));
    assert_waits(&world, Reason::Cooldown, 295..=305);
    world.until(secs(310), |w| w.asked.len() == 3);
    assert!((600..=610).contains(&world.now.since(effect).as_secs()));
}

#[test]
fn a_second_lowering_waits_for_the_cooldown_and_nothing_else() {
    let mut policy = quick();
    policy.down.max_step = 1;
    policy.down.window = secs(300);
    policy.down.cooldown = secs(30);
    let mut world = idle(policy, 4);
    world.until(secs(400), |w| w.count("applied", None) == 1);
    let effect = world.now;
    world.until(secs(60), |w| w.asked.len() == 2);
    assert!((30..=40).contains(&world.now.since(effect).as_secs()));
}

#[test]
fn a_lowering_waits_until_the_backlog_of_the_raise_is_gone() {
    let mut policy = quick();
    policy.down.window = secs(300);
    let mut world = loaded(policy, 2, 0.0);
    world.load = Load::Arrivals(0.5);
    world.waiting = 500.0;
    world.until(secs(120), |w| w.count("applied", None) == 1);
    world.until(secs(600), |w| w.waiting < 0.1);
    let served = world.now;
    world.until(secs(600), |w| w.asked.len() == 2);
    assert!(
        world.now.since(served) >= secs(295),
        "{:?}",
        world.changes()
    );
}

#[test]
fn paused_with_an_end() {
    let mut world = overloaded(plain(), 2);
    world.feed(Event::Pause(Some(HOUR)));
    world.run(30 * MINUTE);
    assert_waits(&world, Reason::Paused, 1795..=1800);
    assert!(
        world.engine.status(world.now).demand.is_some(),
        "sampling goes on"
    );
    world.restart(false, false);
    world.run(29 * MINUTE);
    assert_eq!(world.asked, NOTHING, "a pause survives a restart");
    world.run(2 * MINUTE);
    assert_eq!(world.asked, [7]);
    assert_eq!(world.count("paused", None), 1);
    assert_eq!(world.count("resumed", None), 1);
}

#[test]
fn paused_without_an_end() {
    let mut world = overloaded(plain(), 2);
    world.feed(Event::Pause(None));
    world.run(3 * DAY);
    assert_waits_without_end(&world, Reason::Paused);
    assert_eq!(world.asked, NOTHING);
    world.feed(Event::Resume);
    world.run(secs(10));
    assert_eq!(world.asked, [7]);
}

#[test]
fn locked_is_read_again_and_is_no_error() {
    let mut world = overloaded(plain(), 2);
    world.lock(20 * MINUTE);
    world.run(15 * MINUTE);
    assert_waits(&world, Reason::Locked, 0..=30);
    assert_eq!(world.asked, NOTHING);
    assert!((25..=70).contains(&world.calls), "{} calls", world.calls);
    world.run(6 * MINUTE);
    assert_eq!(world.asked, [7]);
    assert_eq!(world.count("api_error", None), 0);
}

#[test]
fn in_flight_until_the_change_is_settled() {
    let mut world = overloaded(plain(), 2);
    world.lock_for = secs(240);
    world.until(secs(120), |w| !w.asked.is_empty());
    world.load = Load::Tasks(9.0);
    world.run(secs(200));
    assert_waits(&world, Reason::InFlight, 0..=30);
    assert_eq!(world.asked, [7]);
    world.run(secs(120));
    assert_eq!(world.asked, [7, 8]);
}

fn day_with(changes: u32, cores: u32) -> World {
    let mut policy = quick();
    policy.limits.max_changes_per_day = 10;
    World::begun(policy, cores, 7, |start| {
        start.state.day = DayCount {
            number: start.day.number,
            changes,
        };
    })
}

#[test]
fn changes_per_day_stop_lowering_at_the_number_and_raising_at_twice() {
    for (changes, load, asked) in [
        (9, 0.2, true),
        (10, 0.2, false),
        (19, 5.0, true),
        (20, 5.0, false),
    ] {
        let mut world = day_with(changes, 4);
        world.load = Load::Tasks(load);
        world.run(5 * MINUTE);
        assert_eq!(!world.asked.is_empty(), asked, "after {changes} changes");
        if !asked {
            let left = DAY_MS - world.now.wall_ms.rem_euclid(DAY_MS);
            let left = left as u64 / 1000;
            assert_waits(&world, Reason::ChangesPerDay, left - 5..=left + 5);
            assert_eq!(world.count("held", Some(Reason::ChangesPerDay)), 1);
        }
    }
}

#[test]
fn changes_per_day_end_with_the_local_day_and_not_with_a_clock_set_back() {
    let mut world = day_with(10, 4);
    world.load = Load::Tasks(0.2);
    world.run(5 * MINUTE);
    world.now.wall_ms -= DAY_MS;
    world.run(5 * MINUTE);
    assert_eq!(world.waits().0, Some(Reason::ChangesPerDay));
    assert_eq!(world.asked, NOTHING);
    world.restart(false, true);
    world.run(5 * MINUTE);
    assert_eq!(world.asked, NOTHING, "the count survives a restart");
    world.run(DAY);
    assert_eq!(
        world.asked, NOTHING,
        "the same midnight gives one allowance"
    );
    world.run(DAY);
    assert_eq!(world.asked, [1]);
}

#[test]
fn direction_off_by_the_policy() {
    let mut policy = quick();
    policy.apply.raising = Mode::Never;
    let mut world = overloaded(policy, 2);
    world.run(10 * MINUTE);
    assert_waits_without_end(&world, Reason::DirectionOff);
    world.load = Load::Tasks(0.2);
    world.run(10 * MINUTE);
    assert_eq!(world.asked, [1], "the other direction goes on");

    let mut policy = quick();
    policy.apply.lowering = Mode::Never;
    let mut world = idle(policy, 4);
    world.run(HOUR);
    assert_waits_without_end(&world, Reason::DirectionOff);
    assert_eq!(world.asked, NOTHING);
}

#[test]
fn dry_run_says_what_it_would_do() {
    let mut world = World::begun(quick(), 2, 7, |start| start.dry_run = true);
    world.load = Load::Tasks(5.0);
    world.run(HOUR);
    assert_waits_without_end(&world, Reason::DryRun);
    assert_eq!(world.asked, NOTHING);
    assert_eq!(world.count("held", Some(Reason::DryRun)), 1);
    assert_eq!(world.engine.status(world.now).wants, Some(7));
    world.feed(Event::Prove);
    world.run(10 * MINUTE);
    assert_eq!(world.asked, NOTHING, "a trial is a change too");
    let trial = world.engine.state().last_trial.clone().unwrap();
    assert!(trial.text.contains("--dry-run"), "{}", trial.text);
}

#[test]
fn above_max_busy_until_the_load_fits() {
    let mut world = loaded(quick(), 12, 10.0);
    world.run(HOUR);
    assert_waits_without_end(&world, Reason::AboveMaxBusy);
    assert_eq!(world.asked, NOTHING);
    world.load = Load::Tasks(20.0);
    world.run(HOUR);
    assert_eq!(world.asked, NOTHING, "above the maximum nothing is raised");
    world.load = Load::Tasks(2.0);
    world.run(5 * MINUTE);
    assert_eq!(world.asked.last(), Some(&3));
    assert_eq!(world.count("scale_down", Some(Reason::AboveMax)), 1);
}

#[test]
fn not_allowed_by_the_platform() {
    let mut world = loaded(plain(), 4, 8.0);
    world.platform_counts = vec![1, 2, 4, 16];
    world.run(HOUR);
    assert_waits_without_end(&world, Reason::NotAllowedByPlatform);
    assert_eq!(world.asked, NOTHING);
    assert_eq!(world.count("held", Some(Reason::NotAllowedByPlatform)), 1);
}

#[test]
fn disk_full_stops_lowering_and_not_raising() {
    let mut world = idle(quick(), 4);
    world.feed(Event::Disk(Durability::UntilReboot));
    world.run(HOUR);
    assert_waits_without_end(&world, Reason::DiskFull);
    assert_eq!(world.asked, NOTHING);
    world.load = Load::Tasks(5.0);
    world.run(5 * MINUTE);
    assert_eq!(world.asked.last(), Some(&7));
    world.load = Load::Tasks(0.2);
    world.run(5 * MINUTE);
    assert_eq!(world.asked.last(), Some(&7));
    world.feed(Event::Disk(Durability::Durable));
    world.run(MINUTE);
    assert_eq!(world.asked.last(), Some(&1));
}

#[test]
fn nothing_is_changed_while_the_state_is_in_memory_only() {
    let mut world = loaded(quick(), 4, 5.0);
    world.feed(Event::Disk(Durability::Lost));
    world.run(HOUR);
    assert_waits_without_end(&world, Reason::DiskFull);
    assert_eq!(world.asked, NOTHING);
    assert_eq!(world.count("held", Some(Reason::DiskFull)), 1);
    world.feed(Event::Disk(Durability::UntilReboot));
    world.run(MINUTE);
    assert_eq!(world.asked, [7]);
}

#[test]
fn a_refusal_is_told_once_an_episode_and_again_after_a_day() {
    let mut policy = quick();
    policy.apply.lowering = Mode::Never;
    let mut world = idle(policy, 4);
    world.run(23 * HOUR);
    assert_eq!(world.count("held", None), 1);
    world.run(3 * HOUR);
    assert_eq!(world.count("held", None), 2);
    // It is away for a while: what the operator chose does not begin anew with each peak,
    peak(&mut world);
    assert_eq!(world.count("held", None), 2);

    // what happened to the VM does.
    let mut world = idle(quick(), 4);
    world.feed(Event::Disk(Durability::UntilReboot));
    world.run(HOUR);
    assert_eq!(world.count("held", None), 1);
    peak(&mut world);
    assert_eq!(world.count("held", None), 2);
}

fn peak(world: &mut World) {
    world.load = Load::Tasks(2.9);
    world.run(HOUR);
    world.load = Load::Tasks(0.2);
    world.run(HOUR);
}

#[test]
fn a_change_that_was_held_back_carries_the_gates_that_held_it() {
    let mut world = overloaded(plain(), 2);
    world.feed(Event::Pause(Some(10 * MINUTE)));
    world.run(20 * MINUTE);
    let record = world.notices.iter().find_map(|n| n.record.clone()).unwrap();
    assert_eq!(record.gates, [Reason::Paused]);
}

#[test]
fn a_pause_that_is_stored_ends_as_configured_whatever_the_clock_says() {
    let mut world = World::begun(plain(), 2, 7, |start| {
        start.state.boot_id = "boot-before".to_owned();
        start.state.pause = Some(Pause {
            since: glesys_autoscaler::engine::time::Timestamp {
                boottime_ms: 99 * DAY_MS,
                wall_ms: 4_000_000_000_000,
            },
            span_ms: Some(3_600_000),
        });
    });
    world.load = Load::Tasks(5.0);
    world.run(10 * MINUTE);
    assert_waits(&world, Reason::Paused, 2990..=3000);
}
