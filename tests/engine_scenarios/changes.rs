//! The course of a change, whatever comes between: late, lost, refused, overtaken.

use super::{HOUR, MINUTE, NOTHING, loaded, overloaded, plain, quick, secs};
use crate::world::{Load, Platform, World};
use glesys_autoscaler::engine::cloud::FailureKind;
use glesys_autoscaler::engine::policy::{Mode, Unapplied};
use glesys_autoscaler::engine::record::{Outcome, Reason};
use glesys_autoscaler::engine::sample::GuestCpus;

#[test]
fn a_change_is_on_record_with_what_it_was_decided_on() {
    let mut world = overloaded(plain(), 2);
    world.run(5 * MINUTE);
    let record = world.notices.iter().find_map(|n| n.record.clone()).unwrap();
    assert_eq!((record.cores_from, record.cores_to), (2, 7));
    assert_eq!(record.reason, Reason::Utilization);
    assert_eq!(record.result, Outcome::Applied);
    assert_eq!(record.evidence.demand.fresh(), Some(5.0));
    assert!(record.asked.reached(record.answered.unwrap()));
    assert!(record.answered.unwrap().reached(record.effect.unwrap()));
    assert_eq!(world.told(), ["started", "scale_up", "applied"]);
    assert_eq!(world.engine.status(world.now).changes_today, 1);
}

#[test]
fn a_change_that_takes_effect_late_is_told_late_and_made_once() {
    let mut world = overloaded(plain(), 2);
    world.lock_for = 15 * MINUTE;
    world.run(18 * MINUTE);
    assert_eq!(world.asked, [7]);
    assert_eq!(
        world.told(),
        ["started", "scale_up", "not_applied", "applied"]
    );
    assert_eq!(world.results(), [Outcome::Applied]);
    // The effect counts, not the edit.
    let waited = world.engine.status(world.now).last_change_s.unwrap();
    assert!(waited < 180, "{waited}");
}

#[test]
fn a_lock_without_end_is_given_up_after_twenty_minutes() {
    let mut world = overloaded(plain(), 2);
    world.lock_for = 5 * HOUR;
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    world.load = Load::Tasks(9.0);
    world.run(19 * MINUTE);
    assert_eq!(world.waits().0, Some(Reason::InFlight));
    world.run(2 * MINUTE);
    assert_eq!(world.results(), [Outcome::NotApplied]);
    world.run(HOUR);
    assert_eq!(world.asked, [7], "no edit while it is locked");
}

#[test]
fn a_raise_that_is_billed_without_effect_is_posted_back_once() {
    let mut world = overloaded(plain(), 2);
    world.platform = Platform::Ignores;
    world.run(HOUR / 2);
    assert_eq!(world.asked, [7, 2]);
    assert_eq!(world.api_cores, 2);
    assert_eq!(world.results(), [Outcome::Reverted]);
    assert_eq!(
        world.told(),
        ["started", "scale_up", "not_applied", "reverted", "held"]
    );
}

#[test]
fn posting_back_survives_a_lost_answer_and_a_lock() {
    for kind in [
        FailureKind::Unknown,
        FailureKind::Locked,
        FailureKind::Unavailable,
    ] {
        let mut world = overloaded(plain(), 2);
        world.platform = Platform::Ignores;
        world.until(5 * MINUTE, |w| w.asked.len() == 1);
        world.edit_answers = vec![kind];
        world.run(HOUR / 2);
        assert_eq!(world.asked, [7, 2, 2], "{kind:?}");
        assert_eq!(world.api_cores, 2);
        assert_eq!(world.results(), [Outcome::Reverted]);
    }
}

/// The API has the old count by then, and bills that.
#[test]
fn a_guest_that_takes_the_count_while_it_is_posted_back_ends_it_too() {
    let mut world = overloaded(plain(), 2);
    world.platform = Platform::Ignores;
    world.until(15 * MINUTE, |w| w.asked.len() == 2);
    world.set_guest(7);
    world.until(10 * MINUTE, |w| !w.results().is_empty());
    assert_eq!(world.asked, [7, 2]);
    assert_eq!(world.results(), [Outcome::Reverted]);
    let record = world.notices.iter().find_map(|n| n.record.as_ref());
    let detail = &record.unwrap().detail;
    assert!(detail.contains("the VM shows 7 CPUs"), "{detail}");
}

#[test]
fn posting_back_survives_a_restart() {
    let mut world = overloaded(plain(), 2);
    world.platform = Platform::Ignores;
    world.lock_for = MINUTE;
    world.until(15 * MINUTE, |w| w.asked.len() == 2);
    world.restart(false, true);
    world.run(10 * MINUTE);
    assert_eq!(world.asked, [7, 2]);
    assert_eq!(world.results(), [Outcome::Reverted]);
}

#[test]
fn a_raise_that_is_held_is_not_raised_again_before_the_guest_has_it() {
    let mut policy = plain();
    policy.apply.unapplied = Unapplied::Hold;
    let mut world = overloaded(policy, 2);
    world.platform = Platform::Ignores;
    world.until(10 * MINUTE, |w| w.results() == [Outcome::NotApplied]);
    assert_eq!(world.api_cores, 7);
    world.load = Load::Tasks(9.0);
    world.run(5 * HOUR);
    assert_eq!(world.asked, [7], "pending holds longer than the pause");
    assert_eq!(world.waits().0, Some(Reason::DirectionOff));
    world.platform = Platform::Live;
    world.restart(true, false);
    world.set_guest(7);
    world.run(5 * MINUTE);
    assert_eq!(world.asked, [7, 8], "after the reboot the guest has it");
}

#[test]
fn cpus_that_stay_offline_are_no_evidence_against_the_platform() {
    let mut world = overloaded(plain(), 2);
    world.platform = Platform::StaysOffline;
    world.run(5 * HOUR);
    assert!(world.engine.state().raising.off.is_none());
    assert_eq!(world.engine.state().raising.stayed, 0);
    assert!(world.count("not_applied", None) >= 2);
}

#[test]
fn some_cpus_that_were_offline_before_do_not_confuse_the_witness() {
    let mut world = overloaded(plain(), 4);
    world.guest = GuestCpus {
        online: 2,
        present: 4,
    };
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    // 4 → 7, with the same two offline as before.
    world.run(secs(20));
    world.guest = GuestCpus {
        online: 5,
        present: 7,
    };
    world.run(MINUTE);
    assert_eq!(world.results()[0], Outcome::Applied);
}

#[test]
fn a_lost_answer_is_looked_up_and_never_repeated_blindly() {
    for (applied, asked, results) in [
        (true, vec![7], vec![Outcome::Applied]),
        (false, vec![7, 7], vec![Outcome::Failed, Outcome::Applied]),
    ] {
        let mut world = overloaded(plain(), 2);
        world.edit_answers = vec![FailureKind::Unknown];
        world.applied_after_loss = applied;
        world.run(5 * MINUTE);
        assert_eq!(world.asked, asked);
        assert_eq!(world.results(), results);
    }
}

#[test]
fn a_lost_edit_may_still_arrive_for_half_a_minute() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::Unknown];
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    let sent = world.now;
    world.until(5 * MINUTE, |w| w.asked.len() == 2);
    assert!(world.now.since(sent) >= secs(30));
}

#[test]
fn a_lost_edit_is_no_refusal_however_short_the_time_for_a_change() {
    let mut policy = plain();
    policy.apply.timeout = secs(5);
    let mut world = overloaded(policy, 2);
    world.edit_answers = vec![FailureKind::Unknown];
    world.run(5 * MINUTE);
    assert_eq!(world.results(), [Outcome::Failed, Outcome::Applied]);
}

#[test]
fn a_lock_that_the_edit_meets_is_waited_for_with_growing_pauses() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::Locked; 6];
    world.until(10 * MINUTE, |w| w.asked.len() == 7);
    // 5, 7.5, 11, 17, 25 and 30 s, each rounded up to a tick.
    let asked = world.engine.state().intent.as_ref().unwrap().asked.unwrap();
    assert!((95..=125).contains(&world.now.since(asked).as_secs()));
    world.run(2 * MINUTE);
    assert_eq!(world.results(), [Outcome::Applied]);
    assert_eq!(world.count("scale_up", None), 1, "one change, one line");
    assert_eq!(world.count("api_error", None), 0);
}

#[test]
fn a_403_without_a_lock_is_a_matter_of_permission() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::Forbidden];
    world.run(secs(80));
    assert_eq!(world.waits().0, Some(Reason::ApiDown));
    assert_eq!(world.asked, [7]);
    assert_eq!(world.told(), ["started", "scale_up", "api_error"]);
}

#[test]
fn a_403_with_a_lock_is_a_lock() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::Forbidden];
    world.lock_at_edit = Some(secs(40));
    world.run(4 * MINUTE);
    assert_eq!(world.asked, [7, 7]);
    assert_eq!(world.results(), [Outcome::Applied]);
    assert_eq!(world.count("api_error", None), 0);
}

#[test]
fn a_wish_that_ends_before_the_edit_is_taken_back() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::Unavailable];
    world.retry_after = Some(secs(300));
    world.until(2 * MINUTE, |w| w.asked.len() == 1);
    world.load = Load::Tasks(1.2);
    world.run(10 * MINUTE);
    assert_eq!(world.asked, [7]);
    assert_eq!(
        world.results(),
        [Outcome::Failed],
        "what was announced has its end"
    );
    assert!(world.engine.state().intent.is_none());
}

#[test]
fn the_edit_is_decided_anew_on_a_fresh_sample() {
    let mut world = loaded(plain(), 2, 3.0);
    world.until(2 * MINUTE, |w| {
        w.waits().0 != Some(Reason::Warming) || !w.asked.is_empty()
    });
    let mut world = loaded(plain(), 2, 3.0);
    world.edit_answers = vec![FailureKind::Unavailable];
    world.retry_after = Some(secs(120));
    world.until(2 * MINUTE, |w| w.asked.len() == 1);
    world.load = Load::Tasks(6.0);
    world.run(3 * MINUTE);
    assert_eq!(world.asked, [4, 8]);
    let record = world.notices.iter().find_map(|n| n.record.clone()).unwrap();
    assert_eq!(
        (record.cores_to, record.evidence.demand.fresh()),
        (8, Some(6.0))
    );
}

#[test]
fn somebody_elses_count_during_a_change_is_adopted() {
    let mut world = overloaded(plain(), 2);
    world.lock_for = MINUTE;
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    world.run(secs(20));
    world.set_outside(6);
    world.run(secs(50));
    assert_eq!(world.results(), [Outcome::Superseded]);
    assert_eq!(world.count("external_change", None), 1);
    assert_eq!(world.engine.state().known_cores, Some(6));
}

fn standing() -> World {
    let mut policy = plain();
    policy.down.window = 2 * MINUTE;
    let mut world = loaded(policy, 4, 2.5);
    world.run(15 * MINUTE);
    assert_eq!(world.asked, NOTHING);
    world
}

#[test]
fn somebody_elses_count_within_the_limits_restarts_the_cooldowns() {
    let mut world = standing();
    world.set_outside(8);
    world.run(secs(10));
    let adopted = world.now;
    assert_eq!(world.count("external_change", None), 1);
    world.until(HOUR, |w| !w.asked.is_empty());
    assert_eq!(world.asked, [4]);
    assert!((590..=600).contains(&world.now.since(adopted).as_secs()));

    let mut world = standing();
    world.set_outside(1);
    world.run(secs(10));
    let adopted = world.now;
    world.until(HOUR, |w| !w.asked.is_empty());
    assert!((50..=65).contains(&world.now.since(adopted).as_secs()));
}

#[test]
fn somebody_elses_count_that_the_guest_does_not_show_is_found_within_the_hour() {
    let mut world = standing();
    world.api_cores = 8;
    world.until(HOUR, |w| w.count("external_change", None) == 1);
}

#[test]
fn somebody_elses_count_outside_the_limits_is_left_for_a_down_window() {
    let mut policy = quick();
    policy.limits.min_cores = 3;
    policy.up.cooldown = secs(0);
    policy.down.window = 20 * MINUTE;
    for cores in [12, 1] {
        let mut world = loaded(policy.clone(), 4, 2.5);
        world.run(HOUR / 2);
        world.set_outside(cores);
        world.run(secs(10));
        let adopted = world.now;
        assert_eq!(world.waits().0, Some(Reason::Cooldown));
        assert!((1185..=1200).contains(&world.waits().1.unwrap()));
        world.until(HOUR, |w| !w.asked.is_empty());
        assert!((1190..=1205).contains(&world.now.since(adopted).as_secs()));
        assert_eq!(world.asked, [4], "from {cores}");
    }
}

#[test]
fn a_count_above_the_limits_at_the_start_is_lowered_by_the_rule() {
    let mut world = loaded(quick(), 12, 2.5);
    world.run(5 * MINUTE);
    assert_eq!(world.asked, [4]);
    assert_eq!(
        world.count("external_change", None),
        0,
        "nobody changed anything"
    );
}

#[test]
fn a_change_made_while_the_daemon_was_away_is_adopted() {
    let mut world = standing();
    world.restart(false, false);
    world.set_outside(3);
    world.run(MINUTE);
    assert_eq!(world.count("external_change", None), 1);
    assert_eq!(world.asked, NOTHING);
}

#[test]
fn always_goes_on_whatever_was_learned() {
    let mut policy = plain();
    policy.apply.raising = Mode::Always;
    let mut world = overloaded(policy, 2);
    world.platform = Platform::Ignores;
    world.run(4 * HOUR);
    assert!(world.engine.state().raising.off.is_some());
    let so_far = world.asked.len();
    world.run(10 * HOUR);
    assert!(world.asked.len() > so_far, "{:?}", world.asked);
}

#[test]
fn a_lock_as_long_as_the_timeout_does_not_make_a_late_change_a_failed_one() {
    let mut policy = plain();
    policy.apply.timeout = MINUTE;
    let mut world = overloaded(policy, 2);
    // The unlock and the timeout fall together, and the kernel follows a look later.
    world.lock_for = secs(63);
    world.run(10 * MINUTE);
    assert_eq!(world.asked, [7], "nothing is posted back");
    assert_eq!(world.results(), [Outcome::Applied]);
}

#[test]
fn a_dry_run_posts_nothing_back_either() {
    let mut world = overloaded(plain(), 2);
    world.platform = Platform::Ignores;
    world.until(5 * MINUTE, |w| w.asked.len() == 1);
    world.start.dry_run = true;
    world.restart(false, false);
    world.run(HOUR);
    assert_eq!(
        world.asked,
        [7],
        "the raise of the run before, and no edit more"
    );
    assert_eq!(world.results(), [Outcome::NotApplied]);
}

#[test]
fn what_was_announced_as_a_raise_does_not_become_a_lowering() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::Credentials; 40];
    world.until(5 * MINUTE, |w| w.told().contains(&"scale_up"));
    world.load = Load::Tasks(0.2);
    world.run(3 * HOUR);
    world.edit_answers.clear();
    world.run(3 * HOUR);
    let raise = world
        .notices
        .iter()
        .find(|n| n.event.names().0 == "scale_up")
        .unwrap();
    let lower = world
        .notices
        .iter()
        .find(|n| n.event.names().0 == "scale_down")
        .unwrap();
    assert_ne!(raise.decision_id, lower.decision_id);
    assert_eq!(world.results(), [Outcome::Failed, Outcome::Applied]);
}

#[test]
fn an_edit_that_was_called_undone_and_was_done_is_ours() {
    let mut world = overloaded(plain(), 2);
    world.edit_answers = vec![FailureKind::Unavailable];
    world.until(5 * MINUTE, |w| w.told().contains(&"scale_up"));
    // A gateway said "not now" behind which the provider had done it.
    world.api_cores = 7;
    world.set_guest(7);
    world.run(5 * MINUTE);
    assert_eq!(world.results(), [Outcome::Applied]);
    assert_eq!(world.count("external_change", None), 0);
}
