//! One daemon and its API, and what both must show once the daemon has come through.

use crate::daemon::{KEY, Place, SERVER, cpus, emulator, of_event, until};
use crate::key_search::{assert_clean, assert_files_clean};
use crate::machine_lock::{MachineLock, say_skipped};
use crate::served::Served;
use glesys_autoscaler::adapters::control::{self, Ask};
use glesys_autoscaler::adapters::ledger::{self, History};
use glesys_autoscaler::engine::Status;
use glesys_autoscaler::engine::record::{Outcome, Reason, Record};
use glesys_autoscaler::sandbox::{Function, Handle};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::ops::Deref;

/// The CPUs stay as they are while it is held. `None`: this machine cannot show anything.
pub fn two_cpus() -> Option<MachineLock> {
    let lock = MachineLock::share();
    if cpus() > 1 {
        return Some(lock);
    }
    say_skipped("kills in the middle of an edit: with one CPU no raise shows in the kernel");
    None
}

/// `A` is how the API is reached.
pub struct Bed<A> {
    pub api: A,
    pub place: Place,
    /// The count that the daemon is to raise to, from one less.
    pub target: u32,
    url: String,
    keys: String,
}

impl Bed<Served> {
    pub fn over_http() -> Self {
        let target = cpus();
        let api = Served::over_http(emulator(target - 1, target + 1));
        let url = api.url.clone();
        Self::new(Place::new(), api, url, String::new())
    }
}

impl<A: Deref<Target = Handle>> Bed<A> {
    /// With more lines for the policy file.
    pub fn new(place: Place, api: A, url: String, keys: String) -> Self {
        let target = cpus();
        let bed = Self {
            api,
            place,
            target,
            url,
            keys,
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
             policy.down.cooldown = '1h'
             {more}",
            most = self.target + 1,
            more = self.keys,
        );
        self.place.policy(&self.url, &keys);
    }

    /// The ledger.
    pub fn history(&self) -> Vec<Record> {
        let state = self.place.at("state");
        let History { lines, unreadable } = ledger::read(&state).unwrap();
        assert_eq!(unreadable, 0, "{lines:#?}");
        lines.into_iter().map(|line| line.record).collect()
    }

    pub fn status(&self) -> Option<Status> {
        control::ask(&self.place.at("run"), &Ask::Status).ok()?
    }

    fn status_where(&self, what: &str, fits: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        until(what, || {
            last = self.status().filter(&fits);
            last.is_some()
        });
        last.unwrap()
    }

    /// The next start: it finishes the change, and makes no other before the cooldown is over,
    /// although the policy, read anew, asks for one.
    pub fn settles_and_keeps_its_cooldown(&self) -> Vec<String> {
        let daemon = self.place.daemon();
        daemon.until("the change is applied", |_| {
            let history = self.history();
            history.iter().any(|r| r.result == Outcome::Applied)
        });
        self.status_where("settled", |status| {
            status.cores_known && status.in_flight.is_none() && status.cores == self.target
        });
        self.policy(self.target + 1);
        daemon.signal(Signal::HUP);
        let wanted = Some(self.target + 1);
        let status = self.status_where("wanting more", |status| status.wants == wanted);
        assert_eq!(status.waits_for, Some(Reason::Cooldown), "{status:#?}");
        daemon.stop()
    }

    /// What API, ledger, journal and directories must show in the end.
    pub fn shows(&self, edits: usize, results: &[Outcome], runs: &[Vec<String>]) {
        let calls = self.api.calls_of(Function::Edit);
        assert_eq!(calls.len(), edits, "{calls:#?}");
        assert!(
            calls
                .iter()
                .all(|call| call.arguments["cpucores"] == self.target)
        );
        assert_eq!(self.api.cores(SERVER), Ok(self.target));

        let history = self.history();
        let found: Vec<Outcome> = history.iter().map(|record| record.result).collect();
        assert_eq!(found, results, "{history:#?}");
        let recorded: BTreeSet<&str> = history.iter().map(|r| r.decision_id.as_str()).collect();
        assert_eq!(recorded.len(), history.len(), "{history:#?}");
        for line in runs.iter().flat_map(|lines| of_event(lines, "scale_up")) {
            let id = line["decision_id"].as_str().unwrap();
            assert!(recorded.contains(id), "{id} was announced: {history:#?}");
        }
        let applied = runs.iter().flat_map(|lines| of_event(lines, "applied"));
        assert!(applied.count() <= 1, "{runs:#?}");
        let counts = |r: &Record| (r.cores_from, r.cores_to);
        let change = (self.target - 1, self.target);
        assert!(history.iter().all(|r| counts(r) == change), "{history:#?}");

        assert_eq!(self.names_in("state"), ["history.jsonl", "state.json"]);
        assert_eq!(self.names_in("run"), ["control.sock", "pid"]);
        self.holds_no_key(runs);
    }

    fn names_in(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.place.at(directory)).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn holds_no_key(&self, runs: &[Vec<String>]) {
        // Else it is looked for where nothing could be.
        assert!(fs::read_to_string(self.place.at("api-key")).is_ok_and(|key| key == KEY));
        for directory in ["state", "run"] {
            assert_files_clean(&self.place.at(directory));
        }
        for lines in runs {
            assert_clean("the journal", lines.join("\n").as_bytes());
        }
    }
}
