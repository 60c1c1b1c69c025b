//! `kill -9` at instants drawn from a seed, spread over the whole life of an edit, and again while
//! the next run recovers.
//!
//! Each daemon is made to stay a while at one stage of its edit, the stages taking turns, and is
//! killed at a random instant from the begin of that on. So most kills land in it and the others
//! soon after; where they truly landed is looked up, counted, printed, and asserted.

use crate::bed::{Bed, two_cpus};
use crate::daemon::{Daemon, Place, cpus, emulator};
use crate::gate::{Await, Gate, Hold};
use crate::key_search::{assert_clean, assert_files_clean};
use crate::tls::PrivateCa;
use crate::whereabouts::{Doing, Histogram, POINTS, Step, Whereabouts, freeze, named_point};
use glesys_autoscaler::engine::record::Outcome;
use glesys_autoscaler::sandbox::Function;
use std::collections::VecDeque;
use std::env;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const SEED: u64 = 0x6b69_6c6c_2d39_0001;
/// Another seed, in decimal.
const SEED_VARIABLE: &str = "GLESYS_AUTOSCALER_KILL_SEED";
/// How many edits are killed; many of them more than once.
const COUNT_VARIABLE: &str = "GLESYS_AUTOSCALER_KILLS";
/// The number of the one edit to kill.
const ONE_VARIABLE: &str = "GLESYS_AUTOSCALER_KILL";

/// Each stage so many times.
const ROUNDS: usize = 5;
/// Daemons at a time; they mostly wait.
const AT_ONCE: usize = 96;
/// From the begin of a stage on. The stage itself takes half a second.
const WITHIN_STAGE_MS: u64 = 550;

/// What is made to take long, for the first kill.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// From the start of the process.
    Start,
    /// This call waits for this.
    Call(Call, Await),
    Point(&'static str),
    /// From the API's answer to the edit on: locked, then unlocked, then polled.
    AfterEdit,
    AfterRecord,
    /// From the start of the process, the whole life long.
    Anytime,
}

/// The calls of an undisturbed edit, by the number of the connection. The second one reads the
/// counts that the platform allows.
#[derive(Debug, Clone, Copy)]
enum Call {
    FirstLook = 0,
    LookForThePlan = 2,
    Edit = 3,
    Poll = 4,
}

fn stages() -> Vec<Stage> {
    // Those first that may lose an edit, which takes longest to recover.
    let calls = [
        Call::Edit,
        Call::Poll,
        Call::LookForThePlan,
        Call::FirstLook,
    ];
    let held = calls
        .into_iter()
        .flat_map(|call| Await::ALL.map(|wait| Stage::Call(call, wait)));
    let points = POINTS.into_iter().map(Stage::Point);
    let rest = [
        Stage::AfterEdit,
        Stage::AfterRecord,
        Stage::Anytime,
        Stage::Start,
    ];
    points.chain(held).chain(rest).collect()
}

/// How a run after a kill is killed.
#[derive(Debug, Clone, Copy)]
enum Again {
    /// So long after its start.
    After(Duration),
    /// So long after its first call begins to wait for this.
    Call(Await, Duration),
}

#[derive(Debug, Clone)]
struct Plan {
    number: usize,
    stage: Stage,
    /// From the begin of the stage on.
    after: Duration,
    again: Vec<Again>,
    /// A request whose sender is dead is carried out all the same.
    late: bool,
}

impl Plan {
    fn new(seed: u64, number: usize) -> Self {
        let stages = stages();
        let mut random = Random(seed ^ (number as u64).wrapping_mul(0xd134_2543_de82_ef95));
        let stage = stages[number % stages.len()];
        let longest = match stage {
            Stage::Call(..) | Stage::Point(_) => WITHIN_STAGE_MS,
            Stage::Start => 100,
            Stage::AfterEdit => 5000,
            Stage::AfterRecord => 1000,
            Stage::Anytime => 8000,
        };
        let after = random.up_to(longest);
        let late = random.below(2) == 1;
        let more = [0, 1, 0, 2][number / stages.len() % 4];
        let again = (0..more)
            .map(|_| match random.below(2) {
                0 => Again::After(random.up_to(1200)),
                _ => {
                    let at = random.below(Await::ALL.len() as u64);
                    Again::Call(Await::ALL[at as usize], random.up_to(WITHIN_STAGE_MS))
                }
            })
            .collect();
        Self {
            number,
            stage,
            after,
            again,
            late,
        }
    }

    /// One life: killed as planned, each time from outside, and looked at.
    fn lived_through(&self) -> Vec<Whereabouts> {
        let ca = PrivateCa::new();
        let gate = Gate::before(emulator(cpus() - 1, cpus() + 1), &ca);
        let place = Place::new();
        std::fs::write(place.at("ca.pem"), ca.pem()).unwrap();
        let (url, keys) = (
            gate.url(),
            format!("api.ca_file = {:?}", place.at("ca.pem")),
        );
        let bed = Bed::new(place, gate, url, keys);

        let (mut landed, mut runs) = (Vec::new(), Vec::new());
        let mut command = bed.place.command(&["--log-format", "json", "run"]);
        match self.stage {
            Stage::Call(call, at) => bed.api.hold(self.hold(call as usize, at)),
            Stage::Point(point) => {
                command.env("GLESYS_AUTOSCALER_CRASH_AT", format!("dwell:{point}"));
            }
            _ => {}
        }
        let daemon = Daemon::start(command);
        soon("the stage", || self.begun(&bed, &daemon));
        thread::sleep(self.after);
        landed.push(freeze(&bed, &daemon, false, 0));
        runs.push(daemon.kill());

        for again in &self.again {
            let before = bed.api.connections();
            if let Again::Call(at, _) = *again {
                bed.api.hold(self.hold(before, at));
            }
            let daemon = bed.place.daemon();
            match *again {
                Again::After(after) => thread::sleep(after),
                Again::Call(_, after) => {
                    soon("the call", || bed.api.held());
                    thread::sleep(after);
                }
            }
            landed.push(freeze(&bed, &daemon, true, before));
            runs.push(daemon.kill());
            if bed.place.at("state").exists() {
                assert_files_clean(&bed.place.at("state"));
            }
        }

        runs.push(bed.settles_and_keeps_its_cooldown());
        for lines in &runs {
            assert_clean("the journal", lines.join("\n").as_bytes());
            // A state that was torn, or taken for somebody else's, is told so.
            let lost = |line: &&String| line.contains("the cooldowns begin anew");
            assert_eq!(lines.iter().find(lost), None);
        }
        // Those before the last came to nothing, which the API had shown by then: it took one.
        let failed = bed.history().len().saturating_sub(1);
        assert!(failed <= landed.len(), "{:#?}", bed.history());
        let results = [vec![Outcome::Failed; failed], vec![Outcome::Applied]].concat();
        bed.shows(1, &results, &runs);
        landed
    }

    fn hold(&self, connection: usize, at: Await) -> Hold {
        Hold {
            connection,
            at,
            late: self.late,
        }
    }

    fn begun(&self, bed: &Bed<Gate>, daemon: &Daemon) -> bool {
        let edited = || !bed.api.calls_of(Function::Edit).is_empty();
        match self.stage {
            Stage::Start | Stage::Anytime => true,
            Stage::Call(..) => bed.api.held(),
            // Other answers come before that to the edit.
            Stage::Point("answered") => edited() && named_point(daemon) == Some("answered"),
            Stage::Point(point) => named_point(daemon) == Some(point),
            Stage::AfterEdit => edited(),
            Stage::AfterRecord => !bed.history().is_empty(),
        }
    }
}

#[test]
fn two_hundred_seeded_kills_double_nothing_and_lose_nothing() {
    let Some(_lock) = two_cpus() else { return };
    let number = |variable: &str| {
        let text = env::var(variable).ok()?;
        let number: u64 = text.parse().unwrap_or_else(|e| panic!("{variable}: {e}"));
        Some(number)
    };
    let seed = number(SEED_VARIABLE).unwrap_or(SEED);
    let all = number(COUNT_VARIABLE).map_or(stages().len() * ROUNDS, |count| count as usize);
    let numbers: Vec<usize> = match number(ONE_VARIABLE) {
        Some(one) => vec![one as usize],
        None => (0..all).collect(),
    };
    let mut plans: VecDeque<Plan> = numbers.iter().map(|&n| Plan::new(seed, n)).collect();
    // The stages whose lives are long first, so that none of them is left at the end.
    let (place, width) = (|plan: &Plan| plan.number % stages().len(), stages().len());
    plans
        .make_contiguous()
        .sort_by_key(|plan| (place(plan), plan.number / width));
    let plans = Mutex::new(plans);
    let (landed, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let next = || lock(&plans).pop_front();
                while let Some(plan) = next() {
                    let (number, shown) = (plan.number, format!("{plan:?}"));
                    let life = thread::Builder::new()
                        .name(format!("kill {number}"))
                        .spawn_scoped(scope, move || plan.lived_through());
                    match life.unwrap().join() {
                        Ok(whereabouts) => lock(&landed).extend(whereabouts),
                        Err(_) => lock(&failed).push((number, shown)),
                    }
                }
            });
        }
    });
    let histogram = Histogram::of(landed.into_inner().unwrap());
    println!(
        "seed {seed}: {} edits were killed {} times\n{histogram}",
        numbers.len(),
        histogram.count(|_| true)
    );
    for (number, plan) in lock(&failed).iter() {
        println!(
            "failed: {plan}\nonce more: {SEED_VARIABLE}={seed} {ONE_VARIABLE}={number} cargo test --test kill seeded"
        );
    }
    assert!(lock(&failed).is_empty(), "see above");
    if numbers.len() >= stages().len() * ROUNDS {
        everywhere(&histogram);
    }
}

/// Where kills must have landed, so that the rest means something.
fn everywhere(histogram: &Histogram) {
    assert!(histogram.count(|_| true) >= 200);
    for step in [Step::Looking, Step::Planned, Step::Sent, Step::Accepted] {
        for wait in Await::ALL {
            let doing = Doing::Awaits(wait);
            let there = histogram.count(|w| (w.step, w.doing) == (step, doing));
            assert!(there > 0, "no kill while {step:?} and waiting for {wait:?}");
        }
    }
    for point in POINTS {
        let there = histogram.count(|w| w.doing == Doing::At(point));
        assert!(there > 0, "no kill at {point}");
    }
    for step in [Step::Starting, Step::Accepted, Step::Recorded] {
        let there = histogram.count(|w| (w.step, w.doing) == (step, Doing::Between));
        assert!(there > 0, "no kill while {step:?} and without a call");
    }
    for wait in Await::ALL {
        let there = histogram.count(|w| w.again && w.doing == Doing::Awaits(wait));
        assert!(there > 0, "no kill of a recovery that waits for {wait:?}");
    }
    let starting = histogram.count(|w| w.again && w.step == Step::Starting);
    assert!(starting > 0, "no kill of a recovery that begins");
}

/// Looks often enough to be there while it lasts.
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    const PAUSE: Duration = Duration::from_millis(5);
    for _ in 0..30_000 {
        if done() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("it never came to this: {what}");
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn up_to(&mut self, most_ms: u64) -> Duration {
        Duration::from_micros(self.below(most_ms * 1000))
    }
}
