//! `kill -9` at named points of an edit, and SIGTERM in the middle of one. After the restart there
//! is no second edit, no record is missing or there twice, and the cooldown holds.
//!
//! The server has one core less than this machine has CPUs, and one less than the policy's
//! minimum: so the daemon raises at once, and the kernel shows the new count from the beginning.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/machine_lock.rs"]
mod machine_lock;
#[path = "support/emulator.rs"]
mod served;

use daemon::{Daemon, Place, SERVER, cpus, emulator, of_event};
use glesys_autoscaler::sandbox::{Fault, Function, Times};
use machine_lock::{MachineLock, say_skipped};
use rustix::process::Signal;
use serde_json::Value;
use served::Served;
use std::collections::BTreeSet;
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
    results: &'static [&'static str],
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

const APPLIED: &[&str] = &["applied"];
/// The first came to nothing, which the API shows, and was decided anew.
const FAILED_THEN_APPLIED: &[&str] = &["failed", "applied"];

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
        let bed = Bed::new();
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
    let bed = Bed::new();
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

/// The CPUs stay as they are while it is held. `None`: this machine cannot show anything.
fn two_cpus() -> Option<MachineLock> {
    let lock = MachineLock::share();
    if cpus() > 1 {
        return Some(lock);
    }
    say_skipped("kills in the middle of an edit: with one CPU no raise shows in the kernel");
    None
}

struct Bed {
    api: Served,
    place: Place,
    target: u32,
}

impl Bed {
    fn new() -> Self {
        let target = cpus();
        let bed = Self {
            api: Served::over_http(emulator(target - 1, target + 1)),
            place: Place::new(),
            target,
        };
        bed.policy(target);
        bed
    }

    fn policy(&self, least: u32) {
        let keys = format!(
            "limits.min_cores = {least}
             limits.max_cores = {most}
             sampling.interval = '500ms'
             policy.up.max_step = 1
             policy.up.cooldown = '1h'
             policy.down.cooldown = '1h'",
            most = self.target + 1
        );
        self.place.policy(&self.api.url, &keys);
    }

    /// The next start: it finishes the change, and makes no other before the cooldown is over,
    /// although the policy, read anew, asks for one.
    fn settles_and_keeps_its_cooldown(&self) -> Vec<String> {
        let daemon = self.place.daemon();
        daemon.until("the change is applied", |_| {
            let applied = |record: &Value| record["result"] == "applied";
            self.place.history().iter().any(applied)
        });
        self.place.status_where("settled", |status| {
            status["cores_known"] == true
                && status["in_flight"].is_null()
                && status["cores"] == self.target
        });
        self.policy(self.target + 1);
        daemon.signal(Signal::HUP);
        let wanting = |status: &Value| status["wants"] == self.target + 1;
        let status = self.place.status_where("wanting more", wanting);
        assert_eq!(status["waits_for"], "cooldown", "{status:#}");
        daemon.stop()
    }

    /// What the emulator, the ledger and the journal must show in the end.
    fn shows(&self, edits: usize, results: &[&str], runs: &[Vec<String>]) {
        let calls = self.api.calls_of(Function::Edit);
        assert_eq!(calls.len(), edits, "{calls:#?}");
        assert!(
            calls
                .iter()
                .all(|call| call.arguments["cpucores"] == self.target)
        );
        assert_eq!(self.api.cores(SERVER), Ok(self.target));

        let history = self.place.history();
        let found: Vec<&str> = history
            .iter()
            .filter_map(|r| r["result"].as_str())
            .collect();
        assert_eq!(found, results, "{history:#?}");
        let recorded: BTreeSet<&str> = history
            .iter()
            .filter_map(|r| r["decision_id"].as_str())
            .collect();
        assert_eq!(recorded.len(), history.len(), "{history:#?}");
        for line in runs.iter().flat_map(|lines| of_event(lines, "scale_up")) {
            let id = line["decision_id"].as_str().unwrap();
            assert!(recorded.contains(id), "{id} was announced: {history:#?}");
        }
        let counts = |r: &Value| (r["cores_from"].clone(), r["cores_to"].clone());
        let change = (Value::from(self.target - 1), Value::from(self.target));
        assert!(history.iter().all(|r| counts(r) == change), "{history:#?}");
    }
}
