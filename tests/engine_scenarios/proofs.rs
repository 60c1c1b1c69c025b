//! What has to be proven before anything is changed: that the server is this machine, and that
//! lowering works.

use super::gates::assert_waits_without_end;
use super::{HOUR, MINUTE, NOTHING, idle, loaded, overloaded, plain, quick};
use crate::world::{Load, Platform, World, machine};
use glesys_autoscaler::engine::cloud::FailureKind;
use glesys_autoscaler::engine::event::Event;
use glesys_autoscaler::engine::policy::Mode;
use glesys_autoscaler::engine::record::{Outcome, Reason};

#[test]
fn identity_unproven_without_an_address_of_ours_or_the_operators_word() {
    let mut world = overloaded(plain(), 2);
    world.addresses.clear();
    world.run(5 * MINUTE);
    assert_waits_without_end(&world, Reason::IdentityUnproven);
    assert_eq!(world.count("held", Some(Reason::IdentityUnproven)), 1);
    assert_eq!(world.asked, NOTHING);
    world.feed(Event::Confirm);
    world.run(MINUTE);
    assert_eq!(world.asked, [7]);
    assert_eq!(world.count("recovered", None), 1);
}

#[test]
fn a_machine_without_any_address_is_told_of_its_network_not_of_a_wrong_server() {
    let mut world = overloaded(plain(), 2);
    let mut cut = machine();
    cut.addresses.clear();
    world.feed(Event::Machine(cut));
    world.run(5 * MINUTE);
    assert_eq!(world.asked, NOTHING);
    let held: Vec<_> = world
        .notices
        .iter()
        .filter(|notice| notice.reason == Some(Reason::IdentityUnproven))
        .map(|notice| notice.message.as_str())
        .collect();
    assert_eq!(held.len(), 1, "{held:?}");
    assert!(held[0].contains("is its network up"), "{held:?}");
    world.feed(Event::Machine(machine()));
    world.run(MINUTE);
    assert_eq!(world.asked, [7]);
}

#[test]
fn posting_back_that_waits_for_a_proof_does_not_read_the_api_all_the_time() {
    let mut world = overloaded(plain(), 2);
    world.platform = Platform::Ignores;
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    world.edit_answers = vec![FailureKind::Locked; 100];
    let reverting = |w: &World| {
        w.engine
            .state()
            .intent
            .as_ref()
            .is_some_and(|i| i.reverting)
    };
    world.until(HOUR, reverting);
    let mut cut = machine();
    cut.addresses.clear();
    world.feed(Event::Machine(cut));
    world.run(HOUR);
    assert!(reverting(&world));
    let calls = world.calls;
    world.run(6 * HOUR);
    assert!(world.calls - calls <= 8, "{} calls", world.calls - calls);
    world.edit_answers.clear();
    world.feed(Event::Machine(machine()));
    world.run(2 * HOUR);
    assert_eq!(world.api_cores, 2, "{:?}", world.asked);
}

#[test]
fn the_operators_word_is_for_one_machine_with_that_memory() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 4] = [
        ("MAC", |w| {
            let mut other = machine();
            other.macs = vec!["00:50:56:00:00:02".to_owned()];
            w.feed(Event::Machine(other));
        }),
        ("machine-id", |w| {
            let mut other = machine();
            other.machine_id = "fedcba9876543210fedcba9876543210".to_owned();
            w.feed(Event::Machine(other));
        }),
        ("more memory", |w| w.memory_mb = Some(8192)),
        ("memory beyond all numbers", |w| {
            w.memory_mb = Some(u64::MAX)
        }),
    ];
    for (what, change) in changes {
        let mut world = loaded(plain(), 2, 1.0);
        world.addresses.clear();
        world.run(MINUTE);
        world.feed(Event::Confirm);
        world.run(MINUTE);
        assert_eq!(world.engine.identity(), Ok(()));
        change(&mut world);
        world.load = Load::Tasks(5.0);
        world.run(10 * MINUTE);
        assert_eq!(world.asked, NOTHING, "{what}");
        assert_waits_without_end(&world, Reason::IdentityUnproven);
    }
}

/// With the machine-id of its original it has the state of its original too, and in it a raise that
/// this machine will never see.
#[test]
fn a_clone_posts_nothing_back_to_the_server_of_its_original() {
    for machine_is_another in [false, true] {
        let mut world = overloaded(plain(), 2);
        world.platform = Platform::Ignores;
        world.until(5 * MINUTE, |w| w.asked.len() == 1);
        if machine_is_another {
            world.addresses.clear();
        }
        world.restart(false, true);
        world.run(HOUR);
        if machine_is_another {
            assert_eq!(world.asked, [7]);
            assert_eq!(world.results(), [Outcome::NotApplied]);
            assert!(world.engine.state().raising.pause.is_none());
        } else {
            assert_eq!(world.asked[..2], [7, 2], "its own it posts back");
        }
    }
}

#[test]
fn not_proven_until_it_was_tried() {
    let mut policy = quick();
    policy.apply.lowering = Mode::Ask;
    let mut world = idle(policy, 4);
    world.run(HOUR);
    assert_waits_without_end(&world, Reason::NotProven);
    assert_eq!(world.count("held", Some(Reason::NotProven)), 1);
    assert_eq!(world.asked, NOTHING);
    world.feed(Event::Prove);
    world.until(5 * MINUTE, |w| w.engine.state().last_trial.is_some());
    assert_eq!(world.asked[..2], [3, 4], "one step down, and back");
    assert!(world.engine.state().lowering_proven);
    world.run(5 * MINUTE);
    assert_eq!(world.asked, [3, 4, 1], "from then on it is done");
}

#[test]
fn at_the_minimum_the_trial_goes_up_and_back() {
    let mut policy = quick();
    policy.apply.lowering = Mode::Ask;
    let mut world = idle(policy, 1);
    world.run(MINUTE);
    world.feed(Event::Prove);
    world.until(5 * MINUTE, |w| w.engine.state().last_trial.is_some());
    assert_eq!(world.asked, [2, 1]);
    assert!(world.engine.state().lowering_proven);
}

#[test]
fn a_trial_that_does_not_lower_proves_nothing() {
    let mut policy = quick();
    policy.apply.lowering = Mode::Ask;
    let mut world = idle(policy, 4);
    world.run(MINUTE);
    world.platform = Platform::Ignores;
    world.feed(Event::Prove);
    world.until(30 * MINUTE, |w| w.engine.state().last_trial.is_some());
    assert_eq!(world.asked, [3, 4], "the old count is given back");
    assert!(!world.engine.state().lowering_proven);
    let trial = world.engine.state().last_trial.clone().unwrap();
    assert!(
        !trial.proven && trial.text.contains("not proven"),
        "{}",
        trial.text
    );
}
