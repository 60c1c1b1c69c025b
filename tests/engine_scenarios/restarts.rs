//! Restarts of the daemon and reboots of the VM.

use super::{HOUR, MINUTE, NOTHING, idle, loaded, overloaded, plain, quick, secs};
use crate::world::{DAY_MS, Load, Platform, World};
use glesys_autoscaler::engine::cloud::FailureKind;
use glesys_autoscaler::engine::event::Event;
use glesys_autoscaler::engine::policy::Mode;
use glesys_autoscaler::engine::record::{Outcome, Reason};
use glesys_autoscaler::engine::state::Stage;
use glesys_autoscaler::engine::time::Timestamp;

/// Raised to 7 cores just now, with nothing left to do.
fn just_raised() -> World {
    let mut policy = quick();
    policy.boot_grace = secs(0);
    policy.down.cooldown = secs(1800);
    let mut world = overloaded(policy, 2);
    world.until(5 * MINUTE, |w| w.count("applied", None) == 1);
    world.load = Load::Tasks(0.2);
    world
}

/// When the lowering is asked for, in seconds from now.
fn lowered_after(world: &mut World) -> u64 {
    let before = world.now;
    world.until(2 * HOUR, |w| w.asked.len() == 2);
    world.now.since(before).as_secs()
}

#[test]
fn a_restart_keeps_the_cooldown() {
    for killed in [false, true] {
        let mut world = just_raised();
        world.run(10 * MINUTE);
        world.restart(false, killed);
        let after = lowered_after(&mut world);
        assert!((1195..=1210).contains(&after), "{after}");
    }
}

#[test]
fn a_reboot_keeps_what_is_left_of_the_cooldown() {
    let mut world = just_raised();
    world.run(10 * MINUTE);
    world.reboot_takes = 5 * 60_000;
    world.restart(true, false);
    let after = lowered_after(&mut world);
    // 10 minutes before the reboot, 5 in it.
    assert!((895..=910).contains(&after), "{after}");
}

#[test]
fn a_clock_that_is_back_in_the_past_makes_no_cooldown_longer() {
    let mut world = just_raised();
    world.run(10 * MINUTE);
    world.reboot_takes = -400 * DAY_MS;
    world.restart(true, false);
    let after = lowered_after(&mut world);
    assert!((1795..=1810).contains(&after), "{after}");
}

#[test]
fn a_clock_that_is_far_in_the_future_ends_the_cooldown() {
    let mut world = just_raised();
    world.run(10 * MINUTE);
    world.reboot_takes = 400 * DAY_MS;
    world.restart(true, false);
    let after = lowered_after(&mut world);
    // The window alone.
    assert!((55..=75).contains(&after), "{after}");
}

/// As a state file from a copied disk may have it.
#[test]
fn a_change_that_lies_in_the_future_of_this_boot_counts_as_now() {
    let mut policy = quick();
    policy.down.cooldown = secs(1800);
    let mut world = World::begun(policy, 4, 7, |start| {
        let future = Timestamp {
            boottime_ms: 400 * DAY_MS,
            wall_ms: 1_790_000_000_000,
        };
        start.state.boot_id = start.boot_id.clone();
        start.state.last_change = Some(future);
    });
    let begun = world.now;
    world.until(HOUR, |w| w.asked == [1]);
    let after = world.now.since(begun).as_secs();
    assert!((1795..=1810).contains(&after), "{after}");
}

#[test]
fn lost_state_waits_as_after_a_change() {
    let mut policy = quick();
    policy.down.cooldown = secs(1800);
    let mut world = World::begun(policy, 4, 7, |start| start.careful = true);
    world.load = Load::Tasks(0.2);
    let before = world.now;
    world.until(2 * HOUR, |w| w.asked.len() == 1);
    assert!((1795..=1810).contains(&world.now.since(before).as_secs()));
}

/// A change to a lower count, accepted, with the server still locked; then the VM boots.
fn rebooted_in_a_lowering(takes: i64, told: bool) -> World {
    let mut world = idle(quick(), 4);
    world.lock_for = 5 * MINUTE;
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    world.run(secs(20));
    world.reboot_takes = takes;
    world.restart(true, !told);
    world.run(2 * MINUTE);
    world
}

#[test]
fn a_reboot_by_the_platform_switches_the_direction_off() {
    let world = rebooted_in_a_lowering(30_000, false);
    assert_eq!(world.count("direction_off", None), 1);
    // The change took effect all the same.
    assert_eq!(world.results(), [Outcome::Applied]);
}

#[test]
fn what_a_reboot_taught_outlasts_the_change_that_it_ended() {
    let mut world = rebooted_in_a_lowering(30_000, false);
    assert!(world.engine.state().lowering.off.is_some());
    assert!(!world.engine.state().lowering_proven);
    world.set_outside(4);
    world.run(2 * HOUR);
    assert_eq!(world.asked, [1], "no second lowering, no second reboot");
    assert_eq!(world.waits().0, Some(Reason::DirectionOff));
}

#[test]
fn a_trial_that_reboots_the_vm_proves_nothing() {
    let mut policy = quick();
    policy.apply.lowering = Mode::Ask;
    let mut world = idle(policy, 4);
    world.run(MINUTE);
    world.lock_for = 5 * MINUTE;
    world.feed(Event::Prove);
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    world.restart(true, true);
    world.until(HOUR, |w| w.engine.state().last_trial.is_some());
    assert_eq!(world.asked, [3, 4]);
    assert!(!world.engine.state().lowering_proven);
    let text = world.engine.state().last_trial.clone().unwrap().text;
    assert!(text.contains("not proven"), "{text}");
}

#[test]
fn a_reboot_from_inside_is_no_evidence() {
    let world = rebooted_in_a_lowering(30_000, true);
    assert_eq!(world.count("direction_off", None), 0);
    assert_eq!(world.results(), [Outcome::Applied]);
}

/// The power button, pressed by a platform that reboots the VM for each change.
#[test]
fn the_second_reboot_from_inside_in_a_row_is_evidence() {
    let mut world = rebooted_in_a_lowering(30_000, true);
    world.set_outside(4);
    world.until(HOUR, |w| w.asked.len() == 2);
    world.run(secs(20));
    world.restart(true, false);
    world.run(2 * MINUTE);
    assert_eq!(world.count("direction_off", None), 1);
    assert_eq!(world.results(), [Outcome::Applied, Outcome::Applied]);
    world.set_outside(4);
    world.run(2 * HOUR);
    assert_eq!(world.asked, [1, 1], "no third lowering, no third reboot");
}

/// Two reboots in one change are a person's, or one that goes on.
#[test]
fn a_second_reboot_from_inside_in_the_same_change_is_no_evidence() {
    let mut world = idle(quick(), 4);
    world.lock_for = 5 * MINUTE;
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    for _ in 0..2 {
        world.restart(true, false);
    }
    world.run(2 * MINUTE);
    assert_eq!(world.results(), [Outcome::Applied]);
    assert_eq!(world.count("direction_off", None), 0);
}

/// A change that took effect without a reboot says that the platform needs none.
#[test]
fn a_change_without_a_reboot_forgets_the_one_before() {
    let mut world = rebooted_in_a_lowering(30_000, true);
    assert!(world.engine.state().lowering.shut_down.is_some());
    world.set_outside(4);
    world.until(HOUR, |w| w.results().len() == 2);
    assert_eq!(world.engine.state().lowering.shut_down, None);
}

#[test]
fn a_reboot_long_after_the_change_is_no_evidence() {
    let world = rebooted_in_a_lowering(25 * 60_000, false);
    assert_eq!(world.count("direction_off", None), 0);
}

#[test]
fn a_reboot_with_a_clock_that_lost_some_seconds_is_evidence() {
    let world = rebooted_in_a_lowering(-10_000, false);
    assert_eq!(world.count("direction_off", None), 1);
}

#[test]
fn a_reboot_with_a_clock_that_cannot_be_right_is_no_evidence() {
    let world = rebooted_in_a_lowering(-400 * DAY_MS, false);
    assert_eq!(world.count("direction_off", None), 0);
}

#[test]
fn a_reboot_without_a_change_is_no_evidence() {
    let mut world = idle(plain(), 4);
    world.run(MINUTE);
    world.restart(true, true);
    world.run(MINUTE);
    assert_eq!(world.count("direction_off", None), 0);
}

#[test]
fn a_restart_in_a_change_goes_on_with_it() {
    for (kind, applied) in [
        (None, true),
        (Some(FailureKind::Unknown), true),
        (Some(FailureKind::Unknown), false),
    ] {
        let mut world = overloaded(plain(), 2);
        world.lock_for = MINUTE;
        world.edit_answers = kind.into_iter().collect();
        world.applied_after_loss = applied;
        world.until(5 * MINUTE, |w| w.asked.len() == 1);
        world.restart(false, true);
        world.run(10 * MINUTE);
        let asked = if applied { vec![7] } else { vec![7, 7] };
        assert_eq!(world.asked, asked, "{kind:?} {applied}");
        assert_eq!(world.results().last(), Some(&Outcome::Applied));
        assert_eq!(world.api_cores, 7);
    }
}

#[test]
fn a_plan_that_was_never_sent_is_made_anew() {
    let mut world = overloaded(plain(), 2);
    world.run(secs(20));
    world.read_fails = Some(FailureKind::Unavailable);
    world.until(5 * MINUTE, |w| {
        let intent = w.engine.state().intent.as_ref();
        intent.is_some_and(|i| i.stage == Stage::Planned)
    });
    world.restart(false, true);
    assert!(world.engine.state().intent.is_none());
    world.load = Load::Tasks(1.5);
    world.read_fails = None;
    world.run(10 * MINUTE);
    assert_eq!(world.asked, NOTHING);
}

#[test]
fn what_was_learned_survives_restart_and_reboot() {
    let mut world = overloaded(plain(), 2);
    world.platform = Platform::Ignores;
    world.run(HOUR / 2);
    let learned = world.engine.state().raising.clone();
    assert_eq!(learned.stayed, 1);
    world.restart(false, false);
    assert_eq!(world.engine.state().raising, learned);
    world.restart(true, false);
    assert_eq!(world.engine.state().raising.stayed, 1);
    assert!(world.engine.state().raising.pause.is_some());
}

#[test]
fn a_restart_warms_its_windows_before_it_lowers() {
    let mut world = loaded(plain(), 4, 0.2);
    world.run(9 * MINUTE);
    world.restart(false, false);
    world.run(9 * MINUTE);
    assert_eq!(world.asked, NOTHING);
    world.run(2 * MINUTE);
    assert_eq!(world.asked, [1]);
}
