//! What is learned of the platform, and how long it holds.

use super::{DAY, HOUR, MINUTE, idle, overloaded, plain, quick, secs};
use crate::world::{Load, Platform};
use glesys_autoscaler::engine::cloud::FailureKind;
use glesys_autoscaler::engine::event::Event;
use glesys_autoscaler::engine::record::{Direction, Outcome, Reason};

/// 1 h, then 2, 4, 8, 16, and from then on 24.
#[test]
fn a_failing_platform_pauses_a_direction_for_an_hour_and_doubles_to_a_day() {
    for kind in [
        FailureKind::ApplyFailed,
        FailureKind::NoRoom,
        FailureKind::HypervisorDown,
    ] {
        let mut policy = plain();
        policy.sampling.interval = secs(30);
        let mut world = overloaded(policy, 2);
        world.edit_answers = vec![kind; 8];
        let mut pauses = Vec::new();
        let mut before = None;
        for n in 1..=8 {
            world.until(2 * DAY, |w| w.asked.len() == n);
            if let Some(before) = before.replace(world.now) {
                pauses.push((world.now.since(before).as_secs() as f64 / 3600.0).round());
            }
        }
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 24.0], "{kind:?}");
        world.until(2 * DAY, |w| w.results().last() == Some(&Outcome::Applied));
        // It worked: the next failure begins with an hour.
        assert!(world.engine.state().raising.pause.is_none());
    }
}

#[test]
fn a_timeout_pauses_as_a_failure_does() {
    let mut world = idle(quick(), 4);
    world.platform = Platform::Ignores;
    world.until(10 * MINUTE, |w| w.results() == [Outcome::NotApplied]);
    let (gate, _) = world.waits();
    assert!(gate == Some(Reason::DirectionOff) || gate.is_none());
    let pause = world.engine.state().lowering.pause.unwrap();
    assert_eq!(pause.span_ms, 3_600_000);
}

#[test]
fn a_pause_of_one_direction_is_none_of_the_other() {
    let mut world = overloaded(quick(), 2);
    world.edit_answers = vec![FailureKind::ApplyFailed];
    world.until(5 * MINUTE, |w| w.results() == [Outcome::Refused]);
    world.load = Load::Tasks(0.2);
    world.run(5 * MINUTE);
    assert_eq!(world.asked, [7, 1]);
}

#[test]
fn after_a_lack_of_room_the_steps_are_small() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::NoRoom; 2];
    world.until(5 * HOUR, |w| w.asked.len() == 3);
    assert_eq!(world.asked, [7, 3, 3]);
    world.run(10 * MINUTE);
    assert_eq!(
        world.asked,
        [7, 3, 3, 7],
        "once one worked, as far as needed"
    );
}

#[test]
fn the_limit_of_the_account_stops_raising_for_a_day() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::AccountLimit];
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    world.run(23 * HOUR);
    assert_eq!(world.asked, [7]);
    world.run(2 * HOUR);
    assert_eq!(world.asked, [7, 7]);
}

#[test]
fn a_refused_count_is_not_tried_again_for_a_day() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::InvalidValue];
    world.run(10 * MINUTE);
    assert_eq!(world.asked, [7, 8]);
    let counts = world.engine.allowed_counts(world.now);
    assert!(!counts.as_slice().contains(&7));
    world.run(DAY);
    let counts = world.engine.allowed_counts(world.now);
    assert!(counts.as_slice().contains(&7));
}

#[test]
fn three_refused_counts_in_a_row_are_not_a_matter_of_the_count() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::InvalidValue; 9];
    world.run(HOUR / 2);
    assert_eq!(world.asked, [7, 8, 6]);
    assert_eq!(world.waits().0, Some(Reason::DirectionOff));
}

#[test]
fn two_raises_that_the_guest_never_saw_switch_raising_off() {
    let mut world = overloaded(plain(), 2);
    world.platform = Platform::Ignores;
    world.run(HOUR);
    assert!(
        world.engine.state().raising.off.is_none(),
        "once is no evidence"
    );
    world.run(HOUR);
    assert!(world.engine.state().raising.off.is_some());
    assert_eq!(world.count("direction_off", None), 1);
    let asked = world.asked.len();
    world.platform = Platform::Live;
    world.run(2 * DAY);
    assert_eq!(world.asked.len(), asked, "it stays off");
    assert_eq!(world.waits(), (Some(Reason::DirectionOff), None));
    world.restart(true, false);
    world.run(HOUR);
    assert_eq!(world.asked.len(), asked, "also after a reboot");
    world.feed(Event::Forget(Direction::Raising));
    world.run(MINUTE);
    assert_eq!(world.asked.last(), Some(&7), "the operator knows better");
}

#[test]
fn what_is_forgotten_of_one_direction_stays_known_of_the_other() {
    let mut world = overloaded(quick(), 2);
    world.edit_answers = vec![FailureKind::ApplyFailed];
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    world.feed(Event::Forget(Direction::Lowering));
    world.run(2 * MINUTE);
    assert_eq!(world.asked, [7]);
    world.feed(Event::Forget(Direction::Raising));
    world.run(secs(30));
    assert_eq!(world.asked, [7, 7]);
}
