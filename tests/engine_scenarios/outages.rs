//! The API does not answer, or refuses: how often it is asked, and how often that is told.

use super::gates::assert_waits;
use super::{HOUR, MINUTE, NOTHING, idle, overloaded, plain, secs};
use crate::world::{Load, Platform, World};
use glesys_autoscaler::engine::cloud::FailureKind;
use glesys_autoscaler::engine::event::Event;
use glesys_autoscaler::engine::policy::{Mode, Policy};
use glesys_autoscaler::engine::record::{Outcome, Reason};
use std::time::Duration;

/// The longest and the number of the pauses between the reads of `span`.
fn attempts(world: &mut World, span: Duration) -> (u64, usize) {
    let (mut calls, mut last, mut longest, mut count) = (world.calls, world.now, 0, 0);
    let end = world.now.plus(span);
    while !end.reached(world.now) {
        world.tick();
        if world.calls != calls {
            longest = longest.max(world.now.since(last).as_secs());
            (calls, last, count) = (world.calls, world.now, count + 1);
        }
    }
    (longest, count)
}

#[test]
fn api_down_is_tried_each_minute_while_the_vm_is_short_of_cores() {
    let mut world = overloaded(plain(), 2);
    world.run(secs(20));
    world.read_fails = Some(FailureKind::Unavailable);
    world.run(HOUR);
    assert_waits(&world, Reason::ApiDown, 0..=60);
    let (longest, count) = attempts(&mut world, HOUR);
    // A tick of 5 s late at the most.
    assert!(
        longest <= 65 && count < 80,
        "{count} attempts, {longest} s apart"
    );
    assert_eq!(world.count("api_error", None), 1, "said once");
    world.read_fails = None;
    world.run(secs(70));
    assert_eq!(world.asked, [7]);
    assert_eq!(world.count("recovered", None), 1);
}

#[test]
fn api_down_is_tried_less_and_less_while_nothing_presses() {
    let mut world = idle(plain(), 4);
    world.read_fails = Some(FailureKind::Unavailable);
    world.run(HOUR);
    let (longest, _) = attempts(&mut world, HOUR);
    assert!((240..=365).contains(&longest), "{longest} s apart");
}

#[test]
fn a_refused_key_is_tried_slowly_even_when_cores_are_short() {
    let mut world = overloaded(plain(), 2);
    world.read_fails = Some(FailureKind::Credentials);
    world.run(12 * HOUR);
    assert_eq!(world.count("api_error", None), 1);
    let (longest, count) = attempts(&mut world, 12 * HOUR);
    assert!((2880..=4325).contains(&longest), "{longest} s apart");
    assert!(count <= 15);
    assert_eq!(world.count("api_error", None), 1);
    world.run(2 * HOUR);
    assert_eq!(world.count("api_error", None), 2, "again after a day");
}

#[test]
fn what_the_api_asks_for_is_kept_even_when_cores_are_short() {
    let mut world = overloaded(plain(), 2);
    world.retry_after = Some(secs(900));
    world.edit_answers = vec![FailureKind::Unavailable];
    world.until(secs(120), |w| w.asked.len() == 1);
    assert_waits(&world, Reason::ApiDown, 890..=900);
    world.run(secs(400));
    let policy = Box::new(world.policy.clone());
    world.feed(Event::Policy(policy, "reloaded".to_owned()));
    world.run(secs(480));
    assert_eq!(
        world.asked,
        [7],
        "a reload does not hurry what the API asked for"
    );
    world.run(secs(60));
    assert_eq!(world.asked, [7, 7]);
}

#[test]
fn an_edit_that_is_not_permitted_is_said_once_and_tried_slowly() {
    for (kind, most) in [
        (FailureKind::Credentials, 20),
        (FailureKind::Configuration, 12),
    ] {
        let mut world = overloaded(plain(), 2);
        world.edit_answers = vec![kind; 100];
        world.run(12 * HOUR);
        assert!((3..=most).contains(&world.asked.len()), "{:?}", world.asked);
        assert_eq!(
            world.told(),
            ["started", "scale_up", "api_error"],
            "{kind:?}"
        );
        world.edit_answers.clear();
        world.run(8 * HOUR);
        assert_eq!(world.results(), [Outcome::Applied]);
        assert_eq!(world.told()[3..], ["recovered", "applied"], "{kind:?}");
    }
}

#[test]
fn a_trial_that_is_not_permitted_ends_at_once() {
    let mut world = idle(plain(), 4);
    world.run(MINUTE);
    world.edit_answers = vec![FailureKind::Credentials];
    world.feed(Event::Prove);
    world.run(MINUTE);
    let trial = world.engine.state().last_trial.clone().unwrap();
    assert!(
        !trial.proven && trial.text.contains("refused"),
        "{}",
        trial.text
    );
    assert!(world.engine.state().trial.is_none());
}

#[test]
fn a_lock_that_lasts_is_looked_at_each_minute_while_the_vm_is_short_of_cores() {
    let mut world = overloaded(plain(), 2);
    world.lock(5 * HOUR);
    world.run(9 * MINUTE);
    assert_eq!(world.count("held", None), 0, "as long as changes may take");
    world.run(HOUR);
    assert_waits(&world, Reason::Locked, 0..=60);
    let (longest, count) = attempts(&mut world, HOUR);
    assert!((60..=65).contains(&longest), "{longest} s apart");
    assert!(count <= 60, "{count} reads");
    assert_eq!(world.count("held", Some(Reason::Locked)), 1, "said once");
    world.run(3 * HOUR);
    assert_eq!(world.asked, [7], "and done once it is unlocked");
}

#[test]
fn a_lock_that_lasts_is_looked_at_less_and_less_while_nothing_presses() {
    let mut world = idle(plain(), 4);
    world.lock(5 * HOUR);
    world.run(HOUR);
    let (longest, count) = attempts(&mut world, 3 * HOUR);
    assert!((300..=305).contains(&longest), "{longest} s apart");
    assert!(count <= 36, "{count} reads");
    // A load that comes does not wait for the next of those looks.
    world.load = Load::Tasks(6.0);
    world.run(2 * MINUTE);
    let (longest, _) = attempts(&mut world, HOUR / 2);
    assert!(longest <= 65, "{longest} s apart");
    world.run(HOUR);
    assert_eq!(world.asked, [8]);
}

#[test]
fn edits_that_are_always_answered_with_a_lock_become_few() {
    for (mut world, most, next) in [
        (overloaded(plain(), 2), 725, secs(70)),
        (idle(plain(), 4), 155, secs(310)),
    ] {
        world.edit_answers = vec![FailureKind::Locked; 100_000];
        world.run(HOUR);
        let before = world.calls;
        world.run(6 * HOUR);
        let calls = world.calls - before;
        assert!(calls <= most, "{calls} calls in six hours");
        assert_eq!(world.count("held", Some(Reason::Locked)), 1, "said once");
        assert_eq!(world.results(), []);
        world.edit_answers.clear();
        world.run(next + MINUTE);
        assert_eq!(world.results(), [Outcome::Applied]);
    }
}

#[test]
fn a_lock_long_after_another_is_a_new_one() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::Locked; 100_000];
    world.run(HOUR);
    world.load = Load::Tasks(1.2);
    world.run(3 * HOUR);
    world.edit_answers = vec![FailureKind::Locked];
    let before = world.asked.len();
    world.load = Load::Tasks(5.0);
    world.until(5 * MINUTE, |w| w.asked.len() > before);
    world.run(secs(15));
    assert_eq!(world.asked.len(), before + 2, "again within seconds");
}

#[test]
fn a_new_policy_asks_at_once_whether_the_lock_is_gone() {
    let mut world = idle(plain(), 4);
    world.edit_answers = vec![FailureKind::Locked; 100_000];
    world.run(5 * HOUR);
    world.edit_answers.clear();
    let policy = Box::new(world.policy.clone());
    world.feed(Event::Policy(policy, "reloaded".to_owned()));
    world.run(MINUTE);
    assert_eq!(world.results(), [Outcome::Applied]);
}

#[test]
fn posting_back_ends_where_none_of_its_edits_arrives() {
    let mut world = overloaded(plain(), 2);
    world.platform = Platform::Ignores;
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    world.edit_answers = vec![FailureKind::Unknown; 100];
    world.run(HOUR);
    assert_eq!(world.asked[..2], [7, 2]);
    assert_eq!(world.asked[1..], [2; 10]);
    assert_eq!(world.results(), [Outcome::NotApplied]);
    assert_eq!(world.engine.state().raising.pending, Some(7));
    assert_eq!(world.count("not_applied", None), 2, "overdue, and the end");
    // The count that is billed goes down as any other does.
    world.edit_answers.clear();
    world.platform = Platform::Live;
    world.load = Load::Tasks(0.2);
    world.run(HOUR);
    assert_eq!(world.api_cores, 1, "{:?}", world.asked);
}

/// Nothing is lowered, so that all calls are those that a test is about.
fn still() -> Policy {
    let mut policy = plain();
    policy.apply.lowering = Mode::Never;
    policy
}

#[test]
fn the_platforms_counts_are_not_asked_for_before_the_time_that_was_told() {
    let mut world = idle(still(), 4);
    world.retry_after = Some(secs(900));
    world.allowed_fails = true;
    world.run(MINUTE);
    let calls = world.calls;
    let policy = Box::new(world.policy.clone());
    world.feed(Event::Policy(policy, "reloaded".to_owned()));
    world.run(10 * MINUTE);
    assert_eq!(world.calls, calls, "a reload does not hurry it");
    world.run(5 * MINUTE);
    assert_eq!(world.calls, calls + 1);
}

#[test]
fn a_lock_that_outlasts_any_change_is_told_once_and_so_is_its_end() {
    let mut world = overloaded(plain(), 2);
    world.lock(2 * HOUR);
    world.run(9 * MINUTE);
    assert_waits(&world, Reason::Locked, 0..=30);
    assert_eq!(world.count("held", None), 0, "a change takes a while");
    world.run(HOUR);
    assert_eq!(world.count("held", Some(Reason::Locked)), 1);
    assert_eq!(world.asked, NOTHING);
    world.run(HOUR);
    assert_eq!(world.count("recovered", None), 1);
    assert_eq!(world.asked, [7]);
    assert_eq!(world.count("held", None), 1);
}

#[test]
fn an_api_that_shows_a_change_later_than_the_guest_is_read_again() {
    let mut world = idle(still(), 4);
    world.run(MINUTE);
    world.set_guest(2);
    world.run(MINUTE);
    assert_eq!(world.count("external_change", None), 0);
    world.api_cores = 2;
    world.run(MINUTE);
    assert_eq!(world.count("external_change", None), 1, "not an hour later");
    let calls = world.calls;
    world.set_guest(3);
    world.run(30 * MINUTE);
    let read = world.calls - calls;
    assert!((3..15).contains(&read), "{read} reads: not for ever");
}
