//! `kill -9` at named points of an edit, and SIGTERM in the middle of one.

use crate::bed::{Bed, two_cpus};
use crate::daemon::{Daemon, SERVER, cpus, of_event};
use crate::served::Served;
use glesys_autoscaler::engine::record::Outcome;
use glesys_autoscaler::sandbox::{Fault, Function, Times};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

/// Longer than anything waits for it.
const NEVER: Duration = Duration::from_secs(3600);

/// One point, and what is to be found after the restart.
struct Point {
    name: &'static str,
    /// What the emulator does to bring it about.
    prepare: fn(&Served),
    ends: Ends,
    /// Calls of `server/edit`; more than one only where the first surely changed nothing.
    edits: usize,
    /// The ledger.
    results: &'static [Outcome],
}

enum Ends {
    /// The program ends itself there, see `runtime/crash.rs`.
    Inside,
    /// It is killed when this is seen.
    Outside(fn(&Served, &Daemon) -> bool),
}

fn nothing(_: &Served) {}

fn edit_sent(api: &Served) -> bool {
    !api.calls_of(Function::Edit).is_empty()
}

fn edit_accepted(api: &Served) -> bool {
    let edits = api.calls_of(Function::Edit);
    edits.iter().any(|edit| edit.http == Some(200))
}

/// Whether details were read after the edit.
fn read_since_edit(api: &Served) -> bool {
    let last = api.calls().pop().and_then(|call| call.function());
    edit_accepted(api) && last == Some(Function::Details)
}

const APPLIED: &[Outcome] = &[Outcome::Applied];
/// The first came to nothing, which the API shows, and was decided anew.
const FAILED_THEN_APPLIED: &[Outcome] = &[Outcome::Failed, Outcome::Applied];

const POINTS: &[Point] = &[
    Point {
        name: "planned",
        prepare: nothing,
        ends: Ends::Inside,
        edits: 1,
        results: APPLIED,
    },
    Point {
        name: "details are read for the plan",
        prepare: |api| {
            let first = Fault::DelayAfter(Duration::ZERO);
            api.inject(Function::Details, first, Times::Next(1));
            api.inject(Function::Details, Fault::DelayBefore(NEVER), Times::Next(1));
        },
        ends: Ends::Outside(|api, _| api.calls_of(Function::Details).len() == 2),
        edits: 1,
        results: APPLIED,
    },
    Point {
        name: "asked",
        prepare: nothing,
        ends: Ends::Inside,
        edits: 1,
        results: FAILED_THEN_APPLIED,
    },
    Point {
        name: "before_edit",
        prepare: nothing,
        ends: Ends::Inside,
        edits: 1,
        results: FAILED_THEN_APPLIED,
    },
    Point {
        name: "the edit arrived and is not carried out",
        prepare: |api| api.inject(Function::Edit, Fault::DelayBefore(NEVER), Times::Next(1)),
        ends: Ends::Outside(|api, _| edit_sent(api)),
        edits: 2,
        results: FAILED_THEN_APPLIED,
    },
    Point {
        name: "the edit is carried out and not answered",
        prepare: |api| api.inject(Function::Edit, Fault::DelayAfter(NEVER), Times::Next(1)),
        ends: Ends::Outside(|api, _| api.cores(SERVER) == Ok(cpus())),
        edits: 1,
        results: APPLIED,
    },
    Point {
        name: "the answer is lost",
        prepare: |api| api.inject(Function::Edit, Fault::DropAfter, Times::Next(1)),
        ends: Ends::Outside(|_, daemon| !daemon.events("api_error").is_empty()),
        edits: 1,
        results: APPLIED,
    },
    Point {
        name: "answered",
        prepare: nothing,
        ends: Ends::Inside,
        edits: 1,
        results: APPLIED,
    },
    Point {
        name: "locked and polled",
        prepare: |api| {
            api.platform("KVM", |platform| {
                platform.lock_time = Duration::from_secs(8)
            })
        },
        ends: Ends::Outside(|api, _| read_since_edit(api)),
        edits: 1,
        results: APPLIED,
    },
    Point {
        name: "unlocked and not yet polled",
        prepare: nothing,
        ends: Ends::Outside(|api, _| edit_accepted(api) && api.locked(SERVER) == Ok(false)),
        edits: 1,
        results: APPLIED,
    },
    Point {
        name: "ledger_written",
        prepare: nothing,
        ends: Ends::Inside,
        edits: 1,
        results: APPLIED,
    },
    Point {
        name: "closed",
        prepare: nothing,
        ends: Ends::Inside,
        edits: 1,
        results: APPLIED,
    },
];

/// All points at the same time: most of what each does is wait.
#[test]
fn nothing_is_doubled_or_lost_wherever_the_daemon_is_killed() {
    let Some(_lock) = two_cpus() else { return };
    let failed: Vec<&str> = thread::scope(|scope| {
        let threads: Vec<_> = POINTS
            .iter()
            .map(|point| {
                let thread = thread::Builder::new().name(point.name.to_owned());
                (
                    point.name,
                    thread
                        .spawn_scoped(scope, || point.lived_through())
                        .unwrap(),
                )
            })
            .collect();
        threads
            .into_iter()
            .filter_map(|(name, thread)| thread.join().is_err().then_some(name))
            .collect()
    });
    assert!(failed.is_empty(), "killed at: {failed:?}");
}

impl Point {
    fn lived_through(&self) {
        let bed = Bed::over_http();
        (self.prepare)(&bed.api);
        let first = match self.ends {
            Ends::Inside => {
                let mut command = bed.place.command(&["--log-format", "json", "run"]);
                command.env("GLESYS_AUTOSCALER_CRASH_AT", self.name);
                let (status, lines) = Daemon::start(command).end();
                assert_eq!(status.signal(), Some(9), "{lines:#?}");
                lines
            }
            Ends::Outside(reached) => {
                let daemon = bed.place.daemon();
                daemon.until(self.name, |daemon| reached(&bed.api, daemon));
                daemon.kill()
            }
        };
        let second = bed.settles_and_keeps_its_cooldown();
        bed.shows(self.edits, self.results, &[first, second]);
    }
}

/// The unit's `systemctl stop` while the edit is on its way.
#[test]
fn a_stop_in_the_middle_of_an_edit_ends_well_and_the_next_start_goes_on() {
    let Some(_lock) = two_cpus() else { return };
    let bed = Bed::over_http();
    bed.api
        .inject(Function::Edit, Fault::DelayAfter(NEVER), Times::Next(1));
    let daemon = bed.place.daemon();
    daemon.until("the edit", |_| bed.api.cores(SERVER) == Ok(bed.target));
    let first = daemon.stop();
    let stopped = of_event(&first, "stopped").remove(0);
    let message = stopped["message"].as_str().unwrap();
    assert!(message.contains("under way"), "{message}");

    let second = bed.settles_and_keeps_its_cooldown();
    let started = of_event(&second, "started").remove(0);
    let message = started["message"].as_str().unwrap();
    assert!(message.contains("a change is under way"), "{message}");
    bed.shows(1, APPLIED, &[first, second]);
}
