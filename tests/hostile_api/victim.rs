//! The whole daemon in virtual time: the real loop, engine and state directory, a made-up load and
//! guest, and an API that counts what is asked of it.

use crate::virtual_time::{Listener, Virtual};
use crate::world::{DAY_MS, day, machine};
use glesys_autoscaler::adapters::state_dir::{Owner, StateDir};
use glesys_autoscaler::engine::Engine;
use glesys_autoscaler::engine::cloud::{ApiFailure, Server};
use glesys_autoscaler::engine::event::Start;
use glesys_autoscaler::engine::policy::{Policy, Sampling};
use glesys_autoscaler::engine::sample::{GuestCpus, NoSample, Reading, Sample};
use glesys_autoscaler::engine::time::Timestamp;
use glesys_autoscaler::ports::{Clock, CloudApi, Sampler};
use glesys_autoscaler::runtime::{Daemon, Hooks, Request};
use std::cell::{Cell, RefCell};
use std::fmt::{Debug, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

const DAY: Duration = Duration::from_millis(DAY_MS as u64);

/// What a hostile API answers.
pub trait Answers {
    fn details(&self) -> Result<Server, ApiFailure>;
    fn edit(&self, cores: u32) -> Result<(), ApiFailure>;
    fn allowed(&self) -> Result<Vec<u32>, ApiFailure>;
}

/// What the daemon did.
pub struct Damage {
    /// Counts that it asked for, and when.
    pub edits: Vec<(Duration, u32)>,
    /// All calls, and when.
    pub calls: Vec<Duration>,
    /// Bytes of its directories in the end.
    pub disk: u64,
    /// Of the journal: lines, bytes, the longest line.
    pub journal: (usize, usize, usize),
}

struct Counting<'a> {
    answers: &'a dyn Answers,
    begun: Instant,
    edits: RefCell<Vec<(Duration, u32)>>,
    calls: RefCell<Vec<Duration>>,
    guest: Rc<Cell<u32>>,
    /// The guest does what was asked for.
    follows: bool,
}

impl Counting<'_> {
    async fn called(&self) {
        self.calls.borrow_mut().push(self.begun.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

impl CloudApi for Counting<'_> {
    async fn details(&self) -> Result<Server, ApiFailure> {
        self.called().await;
        self.answers.details()
    }

    async fn edit(&self, cores: u32) -> Result<(), ApiFailure> {
        self.edits.borrow_mut().push((self.begun.elapsed(), cores));
        self.called().await;
        let answer = self.answers.edit(cores);
        if self.follows && answer.is_ok() {
            self.guest.set(cores);
        }
        answer
    }

    async fn allowed_cores(&self, _: &str) -> Result<Vec<u32>, ApiFailure> {
        self.called().await;
        self.answers.allowed()
    }
}

/// Runs the daemon for so many days against `answers`, on a VM that begins with 4 cores and whose
/// load goes between far too much and nothing, every two hours.
pub fn run(days: u32, policy: &Policy, answers: &dyn Answers, follows: bool) -> Damage {
    let journal = Journal::default();
    let heard = tracing_subscriber::registry().with(journal.clone());
    let listening = tracing::subscriber::set_default(heard);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let mut damage = runtime.block_on(run_within(days, policy, answers, follows));
    drop(listening);
    let lines = journal.0.lock().unwrap();
    let longest = lines.iter().max().copied().unwrap_or(0);
    damage.journal = (lines.len(), lines.iter().sum(), longest);
    damage
}

async fn run_within(days: u32, policy: &Policy, answers: &dyn Answers, follows: bool) -> Damage {
    let place = TempDir::new().unwrap();
    let (state_dir, runtime_dir) = (place.path().join("state"), place.path().join("run"));
    let clock = Virtual(Instant::now());
    let now = clock.now();
    let owner = Owner {
        server_id: "kvm123456".to_owned(),
        machine_id: machine().machine_id,
    };
    let (store, found) = StateDir::open(&state_dir, &runtime_dir, owner, now.wall_ms).unwrap();
    let start = Start {
        policy: policy.clone(),
        policy_hash: "hostile".to_owned(),
        engine_version: "test".to_owned(),
        dry_run: false,
        boot_id: "this boot".to_owned(),
        machine: machine(),
        day: day(now),
        state: found.state,
        careful: found.careful,
        jitter_seed: 1,
    };
    let (engine, notices) = Engine::start(now, start);
    let guest = Rc::new(Cell::new(4));
    let api = Counting {
        answers,
        begun: clock.0,
        edits: RefCell::default(),
        calls: RefCell::default(),
        guest: Rc::clone(&guest),
        follows,
    };
    let (requests, inbox) = mpsc::channel(1);
    let daemon = Daemon {
        engine,
        sampler: Tide {
            begun: clock.0,
            guest,
            before: None,
        },
        clock,
        notifier: Listener { watchdog: None },
        store,
        server_id: "kvm123456".to_owned(),
        hooks: Hooks {
            reload: Box::new(|| Err("never asked for".to_owned())),
            machine: Box::new(|| None),
            done: Box::new(|_| false),
        },
        requests: inbox,
    };
    let end = async {
        tokio::time::sleep(DAY * days).await;
        requests.send(Request::Stop).await.unwrap();
    };
    tokio::join!(daemon.run(&api, notices), end);
    Damage {
        edits: api.edits.into_inner(),
        calls: api.calls.into_inner(),
        disk: bytes_below(place.path()),
        journal: (0, 0, 0),
    }
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => bytes_below(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

struct Tide {
    begun: Instant,
    guest: Rc<Cell<u32>>,
    before: Option<(Timestamp, u32)>,
}

impl Sampler for Tide {
    fn read(&mut self, now: Timestamp) -> Reading {
        let online = self.guest.get();
        let high = (self.begun.elapsed().as_secs() / 7200).is_multiple_of(2);
        let demand_mc = if high { 100_000 } else { 200 };
        let sample = match self.before.replace((now, online)) {
            None => Err(NoSample::First),
            Some((_, before)) if before != online => Err(NoSample::OnlineChanged),
            Some((before, _)) => Ok(Sample {
                span_ms: now.since(before).as_millis() as u32,
                online,
                busy_mc: demand_mc.min(online * 1000),
                steal_mc: 0,
                runnable_c: Some(demand_mc / 10 + 100),
                pressure_bp: None,
            }),
        };
        Reading {
            guest: Some(GuestCpus {
                online,
                present: online,
            }),
            sample,
        }
    }

    fn read_queue(&mut self) {}

    fn configure(&mut self, _: &Sampling) {}
}

/// The lengths of the journal's lines, all fields counted.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<usize>>>);

impl<S: tracing::Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > tracing::Level::INFO {
            return;
        }
        let mut line = Text::default();
        event.record(&mut line);
        assert!(!line.0.chars().any(char::is_control), "{:?}", line.0);
        self.0.lock().unwrap().push(line.0.len());
    }
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        let _infallible = write!(self.0, " {field}={value}");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _infallible = write!(self.0, " {field}={value:?}");
    }
}
