//! Days of lies to the whole daemon: edits stay within the limits and the day's number, calls are
//! minutes apart, and what is written is little.

use crate::over_http::{Outcome, outcomes};
use crate::victim::{Answers, Damage, run};
use crate::world::{Dice, machine, policy};
use glesys_autoscaler::engine::cloud::{ApiFailure, FailureKind, Server};
use glesys_autoscaler::engine::policy::Policy;
use std::cell::{Cell, RefCell};
use std::time::Duration;

const DAYS: u32 = 2;
const LIMITS: (u32, u32) = (2, 8);
const CHANGES_A_DAY: u32 = 24;
/// In any minute. The client's own guard, which is not in the way here, would stop at 12.
const CALLS_A_MINUTE: usize = 30;
/// A read and an edit each minute of a short day, and some: what a server that always turns out to be
/// locked costs, overloaded for half of the day.
const CALLS_A_DAY: usize = 2000;
const DISK: u64 = 256 << 10;
const JOURNAL_A_DAY: usize = 256 << 10;
const LONGEST_LINE: usize = 4096;

fn quick() -> Policy {
    let mut policy = policy(LIMITS.0, LIMITS.1);
    policy.limits.max_changes_per_day = CHANGES_A_DAY;
    // The shortest waits that are allowed, so that nothing but the limits holds it back.
    policy.up.cooldown = Duration::ZERO;
    policy.down.cooldown = Duration::ZERO;
    policy.down.window = Duration::from_secs(60);
    policy.apply.timeout = Duration::from_secs(60);
    policy
}

/// Runs it and checks what holds for every lie. Gives the damage for what holds for one.
fn endured(name: &str, answers: &dyn Answers, follows: bool) -> Damage {
    let damage = run(DAYS, &quick(), answers, follows);
    for (at, cores) in &damage.edits {
        assert!(
            (LIMITS.0..=LIMITS.1).contains(cores),
            "{name}: {cores} cores asked for at {at:?}"
        );
    }
    let calls = &damage.calls;
    for (i, at) in calls.iter().enumerate() {
        let end = *at + Duration::from_secs(60);
        let within = calls[i..].iter().take_while(|at| **at < end).count();
        assert!(
            within <= CALLS_A_MINUTE,
            "{name}: {within} calls in the minute after {at:?}"
        );
    }
    let days = DAYS as usize;
    assert!(
        calls.len() <= CALLS_A_DAY * days,
        "{name}: {} calls",
        calls.len()
    );
    assert!(damage.disk <= DISK, "{name}: {} bytes on disk", damage.disk);
    let (lines, bytes, longest) = damage.journal;
    assert!(
        bytes <= JOURNAL_A_DAY * days,
        "{name}: {lines} lines, {bytes} bytes"
    );
    assert!(longest <= LONGEST_LINE, "{name}: a line of {longest} bytes");
    println!(
        "{name}: {} edits, {} calls, {} bytes on disk, journal {lines} lines, {bytes} bytes",
        damage.edits.len(),
        calls.len(),
        damage.disk
    );
    damage
}

/// At most the day's number of changes, twice that for raising, in each of the days that the run
/// touches; and each of them may be posted back.
fn most_edits() -> usize {
    (CHANGES_A_DAY * 2 * (DAYS + 1) * 2) as usize
}

fn server(cores: u32) -> Server {
    Server {
        cores,
        memory_mb: Some(4096),
        platform: "KVM".to_owned(),
        addresses: machine().addresses,
        locked: false,
        running: Some(true),
    }
}

fn failure(kind: FailureKind) -> ApiFailure {
    ApiFailure {
        kind,
        retry_after: Some(Duration::ZERO),
        message: format!("{kind:?}"),
    }
}

/// A liar made of three functions.
struct Liar<D, E, A>(D, E, A);

impl<D, E, A> Answers for Liar<D, E, A>
where
    D: Fn() -> Result<Server, ApiFailure>,
    E: Fn(u32) -> Result<(), ApiFailure>,
    A: Fn() -> Result<Vec<u32>, ApiFailure>,
{
    fn details(&self) -> Result<Server, ApiFailure> {
        self.0()
    }

    fn edit(&self, cores: u32) -> Result<(), ApiFailure> {
        self.1(cores)
    }

    fn allowed(&self) -> Result<Vec<u32>, ApiFailure> {
        self.2()
    }
}

fn any_count() -> Result<Vec<u32>, ApiFailure> {
    Ok(Vec::new())
}

#[test]
fn the_truth_for_comparison_is_scaled_up_and_down() {
    let cores = Cell::new(4);
    let honest = Liar(
        || Ok(server(cores.get())),
        |to| {
            cores.set(to);
            Ok(())
        },
        any_count,
    );
    let damage = endured("the truth", &honest, true);
    assert!(damage.edits.iter().any(|(_, to)| *to == LIMITS.1));
    assert!(damage.edits.iter().any(|(_, to)| *to == LIMITS.0));
}

#[test]
fn cores_that_are_others_at_every_look() {
    for follows in [true, false] {
        let dice = RefCell::new(Dice(7));
        let jumping = Liar(
            || Ok(server(1 + dice.borrow_mut().below(1024))),
            |_| Ok(()),
            any_count,
        );
        let damage = endured("jumping cores", &jumping, follows);
        assert!(damage.edits.len() <= most_edits(), "{}", damage.edits.len());
    }
}

#[test]
fn cores_just_inside_and_outside_of_the_limits_in_turn() {
    let turn = Cell::new(0);
    let swinging = Liar(
        || {
            turn.set(turn.get() + 1);
            Ok(server([1, 8, 9, 2, 1024, 3][turn.get() % 6]))
        },
        |_| Ok(()),
        any_count,
    );
    let damage = endured("swinging cores", &swinging, false);
    assert!(damage.edits.len() <= most_edits(), "{}", damage.edits.len());
}

#[test]
fn locked_for_ever_is_never_edited() {
    let locked = Liar(
        || {
            Ok(Server {
                locked: true,
                ..server(4)
            })
        },
        |_| Ok(()),
        any_count,
    );
    let damage = endured("locked for ever", &locked, true);
    assert_eq!(damage.edits, []);
}

#[test]
fn unlocked_to_look_at_and_locked_to_edit() {
    let moody = Liar(
        || Ok(server(4)),
        |_| Err(failure(FailureKind::Locked)),
        any_count,
    );
    endured("locked to edit", &moody, true);
}

#[test]
fn edits_that_are_accepted_and_never_done() {
    let idle = Liar(|| Ok(server(4)), |_| Ok(()), any_count);
    let damage = endured("accepted and never done", &idle, false);
    assert!(damage.edits.len() <= most_edits(), "{}", damage.edits.len());
}

#[test]
fn edits_that_are_shown_and_never_reach_the_guest() {
    let cores = Cell::new(4);
    let shown = Liar(
        || Ok(server(cores.get())),
        |to| {
            cores.set(to);
            Ok(())
        },
        any_count,
    );
    let damage = endured("shown and not there", &shown, false);
    // Each such change switches its direction off for longer.
    assert!(damage.edits.len() <= 12, "{:?}", damage.edits);
}

#[test]
fn every_failure_to_every_edit() {
    for kind in [
        FailureKind::Credentials,
        FailureKind::Configuration,
        FailureKind::Forbidden,
        FailureKind::InvalidValue,
        FailureKind::ApplyFailed,
        FailureKind::NoRoom,
        FailureKind::AccountLimit,
        FailureKind::HypervisorDown,
        FailureKind::Unavailable,
        FailureKind::Unknown,
    ] {
        let cores = Cell::new(4);
        let refusing = Liar(
            || Ok(server(cores.get())),
            |_| Err(failure(kind)),
            any_count,
        );
        endured(&format!("{kind:?}"), &refusing, false);
    }
}

#[test]
fn failures_that_are_of_another_kind_each_time() {
    let dice = RefCell::new(Dice(11));
    let kinds = [
        FailureKind::Credentials,
        FailureKind::Configuration,
        FailureKind::Unavailable,
        FailureKind::Unknown,
        FailureKind::Locked,
    ];
    let fickle = || {
        let kind = kinds[dice.borrow_mut().below(kinds.len() as u32) as usize];
        failure(kind)
    };
    let never = Liar(|| Err(fickle()), |_| Err(fickle()), || Err(fickle()));
    let damage = endured("fickle failures", &never, true);
    assert_eq!(damage.edits, [], "nothing was ever read");
    let half = Liar(
        || match dice.borrow_mut().chance(0.5) {
            true => Ok(server(4)),
            false => Err(failure(FailureKind::Unknown)),
        },
        |_| Err(fickle()),
        || Err(fickle()),
    );
    endured("fickle half of the time", &half, true);
}

#[test]
fn counts_that_are_no_choice() {
    for counts in [vec![1024], vec![1], (1..=1024).collect(), vec![9, 1000]] {
        let cores = Cell::new(4);
        let odd = Liar(
            || Ok(server(cores.get())),
            |to| {
                cores.set(to);
                Ok(())
            },
            || Ok(counts.clone()),
        );
        endured("odd counts", &odd, true);
    }
}

/// Whatever the real client made of the hostile answers, in random order, the words, addresses and
/// platforms with them. Now and then the truth, so that there is something to lie about.
#[test]
fn all_hostile_answers_in_random_order() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let outcomes: Vec<Outcome> = runtime.block_on(outcomes());
    for seed in 1..=4 {
        let dice = RefCell::new(Dice(seed));
        let cores = Cell::new(4);
        let any = || {
            let nth = dice.borrow_mut().below(outcomes.len() as u32);
            outcomes[nth as usize].clone()
        };
        let truth = || dice.borrow_mut().chance(0.6);
        let hostile = Liar(
            || match truth() {
                true => Ok(server(cores.get())),
                // Its own addresses do not name this machine: then nothing would be edited.
                false => any().details.map(|server| Server {
                    addresses: [server.addresses, machine().addresses].concat(),
                    ..server
                }),
            },
            |to| {
                if truth() {
                    cores.set(to);
                    return Ok(());
                }
                any().edit
            },
            || any().allowed,
        );
        let damage = endured("all in random order", &hostile, true);
        assert!(!damage.edits.is_empty(), "the lies were never acted on");
        assert!(damage.edits.len() <= most_edits(), "{}", damage.edits.len());
    }
}
