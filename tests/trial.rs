//! `check --prove-lowering`, the engine's side of it: a scenario for each way that it can end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "support/world.rs"]
mod world;

use glesys_autoscaler::engine::cloud::FailureKind;
use glesys_autoscaler::engine::event::{Command, Durability, Event};
use glesys_autoscaler::engine::policy::{Mode, Unapplied};
use glesys_autoscaler::engine::record::{Outcome, Reason};
use glesys_autoscaler::engine::sample::{NoSample, Reading};
use glesys_autoscaler::engine::state::TrialResult;
use std::time::Duration;
use world::{Load, Platform, World, policy};

fn minutes(m: u64) -> Duration {
    Duration::from_secs(m * 60)
}

/// An idle VM whose daemon waits for the trial: it has run for a minute, so that the API was read.
fn idle(cores: u32) -> World {
    let mut policy = policy(1, 8);
    policy.apply.lowering = Mode::Ask;
    warmed(World::new(policy, cores, 1))
}

fn warmed(mut world: World) -> World {
    world.load = Load::Tasks(0.3);
    world.run(minutes(1));
    assert!(world.changes().is_empty());
    world
}

/// Runs until the trial is over.
fn ended(world: &mut World) -> TrialResult {
    for _ in 0..1000 {
        let status = world.engine.status(world.now);
        if !status.trial {
            return status.last_trial.expect("a trial that ended has a result");
        }
        world.tick();
    }
    panic!("the trial does not end: {:?}", world.engine.state().trial);
}

fn tried(world: &mut World) -> TrialResult {
    world.feed(Event::Prove);
    ended(world)
}

#[test]
fn one_step_down_and_back_proves_it_and_from_then_on_it_lowers() {
    let mut world = idle(4);
    let result = tried(&mut world);
    assert!(result.proven, "{result:?}");
    assert_eq!(world.changes(), [(4, 3), (3, 4)]);
    assert_eq!(world.api_cores, 4);
    assert!(
        result.text.starts_with("lowering works on this VM ("),
        "{}",
        result.text
    );
    assert!(result.text.contains("4 → 3: applied"), "{}", result.text);
    assert!(result.text.contains("3 → 4: applied"), "{}", result.text);
    let status = world.engine.status(world.now);
    assert!(status.lowering_proven);

    world.run(minutes(30));
    assert_eq!(world.api_cores, 1, "an idle VM goes to its minimum");
}

#[test]
fn without_a_trial_nothing_is_lowered() {
    let mut world = idle(4);
    world.run(minutes(60));
    assert_eq!(world.changes(), []);
    let status = world.engine.status(world.now);
    assert_eq!(status.waits_for, Some(Reason::NotProven));
}

#[test]
fn at_the_minimum_it_is_one_up_and_back() {
    let mut world = idle(1);
    let result = tried(&mut world);
    assert!(result.proven, "{result:?}");
    assert_eq!(world.changes(), [(1, 2), (2, 1)]);
}

#[test]
fn it_takes_the_next_count_that_the_platform_has() {
    let mut policy = policy(1, 8);
    policy.apply.lowering = Mode::Ask;
    let mut world = World::new(policy, 8, 1);
    world.platform_counts = vec![1, 2, 4, 8];
    let mut world = warmed(world);
    assert!(tried(&mut world).proven);
    assert_eq!(world.changes(), [(8, 4), (4, 8)]);
}

#[test]
fn from_above_the_maximum_nothing_is_given_back() {
    let mut policy = policy(1, 4);
    policy.apply.lowering = Mode::Ask;
    let mut world = warmed(World::new(policy, 6, 1));
    let result = tried(&mut world);
    assert!(result.proven, "{result:?}");
    assert_eq!(world.changes(), [(6, 4)]);
    assert!(!result.text.contains("instead of"), "{}", result.text);
}

#[test]
fn limits_that_are_lowered_in_between_are_kept() {
    let mut world = idle(8);
    world.feed(Event::Prove);
    while world.api_cores == 8 {
        world.tick();
    }
    world.policy.limits.max_cores = 7;
    let policy = Box::new(world.policy.clone());
    world.feed(Event::Policy(policy, "lower".to_owned()));
    let result = ended(&mut world);
    assert!(result.proven, "{result:?}");
    assert!(
        result.text.contains("the limits no longer permit 8 cores"),
        "{}",
        result.text
    );
    assert_eq!(world.changes(), [(8, 7)]);
}

#[test]
fn what_does_not_take_effect_is_not_proven_and_the_old_count_is_posted_back() {
    let mut world = idle(4);
    world.platform = Platform::Ignores;
    let result = tried(&mut world);
    assert!(!result.proven);
    assert_eq!(world.changes(), [(4, 3), (3, 4)]);
    assert_eq!(world.api_cores, 4);
    assert!(
        result.text.contains("4 → 3: not_applied, the API shows 3"),
        "the reason is that of the first step: {}",
        result.text
    );
    let status = world.engine.status(world.now);
    assert!(!status.lowering_proven);
    assert_eq!(status.lowering.stayed, 1);
    world.run(minutes(60));
    assert_eq!(world.api_cores, 4, "it stays unproven");
}

#[test]
fn a_raise_that_does_not_take_effect_at_the_minimum_proves_nothing() {
    for unapplied in [Unapplied::Revert, Unapplied::Hold] {
        let mut policy = policy(1, 8);
        policy.apply.lowering = Mode::Ask;
        policy.apply.unapplied = unapplied;
        let mut world = warmed(World::new(policy, 1, 1));
        world.platform = Platform::Ignores;
        let result = tried(&mut world);
        assert!(!result.proven, "{unapplied:?}: {result:?}");
        assert!(!world.engine.status(world.now).lowering_proven);
        assert_eq!(world.api_cores, 1, "{unapplied:?}");
    }
}

#[test]
fn a_guest_that_does_not_show_the_apis_count_is_not_tried_on() {
    let mut world = idle(4);
    world.guest.online = 3;
    world.run(minutes(1));
    let result = tried(&mut world);
    assert!(!result.proven);
    assert!(
        result
            .text
            .contains("3 CPUs online and the API shows 4 cores"),
        "{}",
        result.text
    );
    assert_eq!(world.changes(), []);
}

#[test]
fn a_lowering_to_what_the_guest_had_all_along_is_no_proof() {
    let mut policy = policy(1, 8);
    policy.apply.lowering = Mode::Learn;
    let mut world = World::new(policy, 4, 1);
    world.guest.online = 1;
    world.platform = Platform::Ignores;
    world.load = Load::Tasks(0.3);
    world.run(minutes(15));
    assert_eq!(world.changes(), [(4, 1)]);
    assert!(!world.engine.status(world.now).lowering_proven);
}

#[test]
fn a_refusal_ends_it_at_the_old_count() {
    for (kind, pauses) in [
        (FailureKind::InvalidValue, false),
        (FailureKind::ApplyFailed, true),
        (FailureKind::Configuration, false),
    ] {
        let mut world = idle(4);
        world.edit_answers = vec![kind];
        let result = tried(&mut world);
        assert!(!result.proven, "{kind:?}");
        assert!(result.text.contains("4 → 3: refused"), "{}", result.text);
        assert_eq!(world.changes(), [], "{kind:?}");
        let status = world.engine.status(world.now);
        assert_eq!(status.lowering.pause.is_some(), pauses, "{kind:?}");
    }
}

#[test]
fn a_count_that_was_refused_is_not_asked_for_again() {
    let mut policy = policy(1, 4);
    policy.apply.lowering = Mode::Ask;
    let mut world = warmed(World::new(policy, 6, 1));
    world.edit_answers = vec![FailureKind::InvalidValue];
    let result = tried(&mut world);
    assert!(!result.proven, "{result:?}");
    assert_eq!(world.asked, [4], "above the maximum there is no step back");
}

#[test]
fn a_step_back_that_is_refused_is_said() {
    let mut world = idle(4);
    world.feed(Event::Prove);
    while world.api_cores == 4 {
        world.tick();
    }
    world.edit_answers = vec![FailureKind::NoRoom];
    let result = ended(&mut world);
    assert!(result.proven);
    assert_eq!(world.api_cores, 3);
    assert!(
        result.text.contains("the VM stays at 3 instead of 4 cores"),
        "{}",
        result.text
    );
}

#[test]
fn a_step_back_whose_answer_was_lost_is_repeated_once_it_is_known_not_to_have_arrived() {
    let mut world = idle(4);
    world.feed(Event::Prove);
    while world.api_cores == 4 {
        world.tick();
    }
    world.edit_answers = vec![FailureKind::Unknown];
    let result = ended(&mut world);
    assert!(result.proven);
    assert_eq!(world.api_cores, 4);
    assert_eq!(world.changes(), [(4, 3), (3, 4)]);
    assert!(world.results().contains(&Outcome::Failed));
}

#[test]
fn a_vm_that_is_short_of_cores_is_not_tried_on() {
    let mut world = idle(2);
    world.load = Load::Tasks(9.0);
    let start = world.now;
    while world.engine.status(world.now).wants.is_none() {
        world.tick();
        assert!(world.now.since(start) < minutes(5));
    }
    // The raise is under way or held back; either way there is no trial.
    let result = tried(&mut world);
    assert!(!result.proven);
    assert!(
        result.text.starts_with("lowering was not tried: "),
        "{}",
        result.text
    );
}

#[test]
fn an_overload_in_between_gives_the_cores_back_and_more_right_after() {
    let mut world = idle(4);
    world.feed(Event::Prove);
    while world.api_cores == 4 {
        world.tick();
    }
    world.load = Load::Tasks(7.0);
    let result = ended(&mut world);
    assert!(result.proven, "{result:?}");
    assert_eq!(world.changes(), [(4, 3), (3, 4)]);
    world.run(minutes(3));
    assert_eq!(world.api_cores, 8);
}

#[test]
fn an_overload_in_between_takes_nothing_away_that_was_raised() {
    let mut world = idle(1);
    // The lock of the first step lasts, and meanwhile the load comes.
    world.lock_for = minutes(3);
    world.feed(Event::Prove);
    while world.api_cores == 1 {
        world.tick();
    }
    world.load = Load::Tasks(5.0);
    let result = ended(&mut world);
    assert!(!result.proven);
    assert!(
        result.text.contains("called off: more cores are wanted"),
        "{}",
        result.text
    );
    assert!(world.changes().iter().all(|(from, to)| to > from));
    world.run(minutes(5));
    assert!(world.api_cores >= 5, "{}", world.api_cores);
}

#[test]
fn a_lowering_that_has_not_gone_out_is_called_off_by_an_overload() {
    let mut world = idle(4);
    // Somebody's work on the server holds its lock.
    world.lock_for = minutes(10);
    world.feed(Event::Prove);
    world.edit_answers = vec![FailureKind::Locked; 1000];
    world.run(minutes(1));
    assert!(world.engine.status(world.now).trial);
    world.load = Load::Tasks(7.0);
    let result = ended(&mut world);
    assert!(!result.proven);
    assert!(
        result.text.contains("called off: more cores are wanted"),
        "{}",
        result.text
    );
    assert_eq!(world.changes(), []);
    world.edit_answers.clear();
    world.lock_for = Duration::from_secs(12);
    world.run(minutes(5));
    assert_eq!(world.api_cores, 8);
}

#[test]
fn a_restart_in_between_goes_on_where_it_was() {
    for at in ["planned", "sent", "between", "returning"] {
        let mut world = idle(4);
        world.feed(Event::Prove);
        match at {
            "planned" => {}
            "sent" => {
                while world.api_cores == 4 {
                    world.tick();
                }
            }
            "between" => {
                while world
                    .engine
                    .state()
                    .trial
                    .as_ref()
                    .unwrap()
                    .first
                    .is_empty()
                {
                    world.tick();
                }
            }
            _ => {
                while world.changes().len() < 2 {
                    world.tick();
                }
            }
        }
        world.restart(false, true);
        let result = ended(&mut world);
        assert!(result.proven, "{at}: {result:?}");
        assert_eq!(world.changes(), [(4, 3), (3, 4)], "{at}");
        assert!(
            result.text.contains("4 → 3: applied"),
            "{at}: {}",
            result.text
        );
    }
}

#[test]
fn a_reboot_by_the_edit_switches_lowering_off_and_proves_nothing() {
    let mut world = idle(4);
    world.feed(Event::Prove);
    while world.api_cores == 4 {
        world.tick();
    }
    world.restart(true, true);
    let result = ended(&mut world);
    assert!(!result.proven, "{result:?}");
    assert!(result.text.contains("reboot"), "{}", result.text);
    assert_eq!(world.api_cores, 4, "given back");
    let status = world.engine.status(world.now);
    assert!(!status.lowering_proven);
    let why = status.lowering.off.expect("lowering is off");
    assert!(why.contains("rebooted"), "{why}");

    world.run(minutes(60));
    assert_eq!(world.api_cores, 4, "nothing is lowered any more");
}

#[test]
fn somebody_elses_change_ends_it_and_is_kept() {
    let mut world = idle(4);
    world.feed(Event::Prove);
    while world.api_cores == 4 {
        world.tick();
    }
    world.run(Duration::from_secs(20));
    world.api_cores = 6;
    world.set_guest(6);
    let result = ended(&mut world);
    assert!(
        result.text.contains("somebody else set 6 cores"),
        "{}",
        result.text
    );
    world.run(minutes(5));
    assert_eq!(world.api_cores, 6);
    assert!(world.results().contains(&Outcome::Superseded) || result.proven);
}

#[test]
fn it_does_not_wait_for_ever_on_a_locked_server() {
    let mut world = idle(4);
    world.edit_answers = vec![FailureKind::Locked; 10_000];
    let result = tried(&mut world);
    assert!(!result.proven);
    assert!(
        result.text.contains("called off after 45m"),
        "{}",
        result.text
    );
    assert_eq!(world.changes(), []);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let refused = |prepare: fn(&mut World)| {
        let mut world = idle(4);
        prepare(&mut world);
        let result = tried(&mut world);
        assert!(!result.proven);
        assert_eq!(world.changes(), []);
        result.text
    };
    let paused = refused(|world| world.feed(Event::Pause(None)));
    assert!(paused.contains("resume"), "{paused}");
    let full = refused(|world| world.feed(Event::Disk(Durability::UntilReboot)));
    assert!(full.contains("cannot be written"), "{full}");
    let other = refused(|world| {
        let mut machine = world::machine();
        machine.addresses = vec!["198.51.100.7".parse().unwrap()];
        world.feed(Event::Machine(machine));
    });
    assert!(other.contains("not proven that the server id"), "{other}");

    let mut world = warmed(World::new(policy(4, 4), 4, 1));
    let only = tried(&mut world);
    assert!(only.text.contains("only one count"), "{}", only.text);

    let mut world = World::new(policy(1, 8), 4, 1);
    let unread = tried(&mut world);
    assert!(unread.text.contains("has not answered"), "{}", unread.text);
}

#[test]
fn asked_for_before_the_platforms_counts_are_read_it_waits_for_them() {
    let mut world = World::new(policy(1, 8), 8, 1);
    world.platform_counts = vec![1, 2, 4, 8];
    // By hand, up to the moment between the two readings.
    world.feed(Event::Tick(Reading {
        guest: Some(world.guest),
        sample: Err(NoSample::First),
    }));
    world.feed(Event::Issued(Command::ReadDetails));
    let server = world.details();
    world.feed(Event::Details(server));
    world.feed(Event::Prove);
    assert!(world.engine.status(world.now).trial);
    assert!(world.engine.state().trial.is_none());
    let result = ended(&mut world);
    assert!(result.proven, "{result:?}");
    assert_eq!(world.changes(), [(8, 4), (4, 8)]);
}

#[test]
fn asked_twice_it_is_one_trial() {
    let mut world = idle(4);
    world.feed(Event::Prove);
    world.tick();
    world.feed(Event::Prove);
    assert!(tried(&mut world).proven);
    assert_eq!(world.changes(), [(4, 3), (3, 4)]);
}
