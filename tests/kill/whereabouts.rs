//! Where in an edit a stopped daemon is, from what it left outside of itself: its saved state, its
//! ledger, its connection, and the point that it dwells at.

use crate::bed::Bed;
use crate::daemon::Daemon;
use crate::gate::{Await, Gate, is_connecting};
use glesys_autoscaler::engine::state::{Stage, State};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

/// The named points of `runtime/crash.rs`.
pub const POINTS: [&str; 6] = [
    "planned",
    "asked",
    "before_edit",
    "answered",
    "ledger_written",
    "closed",
];

/// How far the change has come on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// No call in this run.
    Starting,
    /// No change is planned: the server is looked at.
    Looking,
    Planned,
    Sent,
    Accepted,
    /// On record.
    Recorded,
}

impl Step {
    pub const ALL: [Step; 6] = [
        Step::Starting,
        Step::Looking,
        Step::Planned,
        Step::Sent,
        Step::Accepted,
        Step::Recorded,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// It waits for this.
    Awaits(Await),
    /// It waits for its next sample or call, or works.
    Between,
    /// It is at this point.
    At(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whereabouts {
    /// It goes on after a kill.
    pub again: bool,
    pub step: Step,
    pub doing: Doing,
}

/// Stops the daemon as it stands, and looks. What was written is whole, whenever that is.
pub fn freeze(bed: &Bed<Gate>, daemon: &Daemon, again: bool, connections: usize) -> Whereabouts {
    daemon.signal(Signal::STOP);
    while stat(daemon) != 'T' {
        thread::sleep(Duration::from_millis(1));
    }
    // The API goes on meanwhile, so this before anything that takes time.
    let (at, now) = (bed.api.at(), bed.api.connections());
    let doing = match named_point(daemon) {
        Some(point) => Doing::At(point),
        None if is_connecting(bed.api.port) => Doing::Awaits(Await::Connection),
        None if now == connections => Doing::Between,
        None => at.map_or(Doing::Between, Doing::Awaits),
    };
    let called = now > connections || doing != Doing::Between;
    let intent = saved(bed).and_then(|state| state.intent);
    let step = match intent.map(|intent| intent.stage) {
        _ if !called => Step::Starting,
        Some(Stage::Planned) => Step::Planned,
        Some(Stage::Sent) => Step::Sent,
        Some(Stage::Accepted) => Step::Accepted,
        None if bed.history().is_empty() => Step::Looking,
        None => Step::Recorded,
    };
    Whereabouts { again, step, doing }
}

/// Which point it dwells at.
pub fn named_point(daemon: &Daemon) -> Option<&'static str> {
    let name = fs::read_to_string(format!("/proc/{}/comm", daemon.pid())).unwrap();
    POINTS.into_iter().find(|point| *point == name.trim_end())
}

fn stat(daemon: &Daemon) -> char {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.chars().next().unwrap()
}

/// The state on disk, which is there whole or not at all.
fn saved(bed: &Bed<Gate>) -> Option<State> {
    let text = match fs::read(bed.place.at("state/state.json")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        text => text.unwrap(),
    };
    let mut document: Value = serde_json::from_slice(&text).unwrap();
    Some(serde_json::from_value(document["state"].take()).unwrap())
}

/// How many kills landed where.
#[derive(Default)]
pub struct Histogram(pub BTreeMap<Whereabouts, usize>);

impl Histogram {
    pub fn of(all: impl IntoIterator<Item = Whereabouts>) -> Self {
        let mut histogram = Self::default();
        for one in all {
            *histogram.0.entry(one).or_default() += 1;
        }
        histogram
    }

    pub fn count(&self, fits: impl Fn(&Whereabouts) -> bool) -> usize {
        let fitting = self.0.iter().filter(|(one, _)| fits(one));
        fitting.map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doings: Vec<Doing> = Await::ALL
            .into_iter()
            .map(Doing::Awaits)
            .chain([Doing::Between])
            .collect();
        write!(f, "{:>22}", "on disk | waiting for")?;
        for doing in &doings {
            write!(f, "{:>13}", name(doing))?;
        }
        for again in [false, true] {
            for step in Step::ALL {
                let run = if again { "again, " } else { "" };
                write!(f, "\n{:>22}", format!("{run}{step:?}"))?;
                for doing in &doings {
                    let count =
                        self.count(|one| (one.again, one.step, one.doing) == (again, step, *doing));
                    write!(f, "{count:>13}")?;
                }
            }
        }
        write!(f, "\n{:>22}", "at a point:")?;
        for point in POINTS {
            let count = self.count(|one| one.doing == Doing::At(point));
            write!(f, " {point} {count}")?;
        }
        Ok(())
    }
}

fn name(doing: &Doing) -> String {
    match doing {
        Doing::Awaits(wait) => format!("{wait:?}"),
        Doing::Between => "(no call)".to_owned(),
        Doing::At(point) => (*point).to_owned(),
    }
}
