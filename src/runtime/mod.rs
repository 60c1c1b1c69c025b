//! The loop: one thread that samples, asks the engine, carries out what it says, and answers the
//! control socket. Generic over the ports; names no adapter.

mod crash;
pub mod journal;

use crate::engine::event::{
    Command, Durability, Event, EventKind, Loudness, Machine, Notice, Step,
};
use crate::engine::policy::Policy;
use crate::engine::record::{Direction, Reason};
use crate::engine::state::State;
use crate::engine::{Engine, Status};
use crate::ports::{Clock, CloudApi, Kept, Notifier, Sampler, StateStore};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Readings of the run queue while the cores are saturated.
const QUEUE_EVERY: Duration = Duration::from_secs(1);

/// What people and the service manager may ask of the running daemon.
#[derive(Debug)]
pub enum Request {
    /// What it sees, wants, may and waits for.
    Status(oneshot::Sender<Box<Status>>),
    /// An input for the engine from the operator.
    Operator(Operator, oneshot::Sender<Box<Status>>),
    /// Read the policy file again.
    Reload,
    /// End.
    Stop,
}

/// What the operator may tell the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Stop changing cores.
    Pause(Option<Duration>),
    /// Go on.
    Resume,
    /// Forget what was learned of a direction.
    Forget(Direction),
    /// This machine is the server.
    Confirm,
    /// Try lowering now.
    Prove,
}

impl Operator {
    /// The engine's event for it.
    #[must_use]
    pub fn event(self) -> Event {
        match self {
            Operator::Pause(span) => Event::Pause(span),
            Operator::Resume => Event::Resume,
            Operator::Forget(direction) => Event::Forget(direction),
            Operator::Confirm => Event::Confirm,
            Operator::Prove => Event::Prove,
        }
    }
}

/// What the loop needs besides the ports.
pub struct Hooks<'a> {
    /// Reads and checks the policy file; the error says what is wrong with it.
    pub reload: Box<dyn FnMut() -> Result<(Policy, String), String> + 'a>,
    /// Reads this machine's identity; the engine compares it before a change.
    pub machine: Box<dyn FnMut() -> Option<Machine> + 'a>,
    /// Ends the run: asked after each step with the engine's status.
    pub done: Box<dyn FnMut(&Status) -> bool + 'a>,
}

/// The daemon: an engine and the outside world.
pub struct Daemon<'a, S, C, N, K> {
    /// The engine, started.
    pub engine: Engine,
    /// The load and the CPUs.
    pub sampler: S,
    /// The clocks.
    pub clock: C,
    /// The service manager.
    pub notifier: N,
    /// The state directory.
    pub store: K,
    /// For the journal's field.
    pub server_id: String,
    /// Reload, identity, end.
    pub hooks: Hooks<'a>,
    /// Requests of the control socket and of the signals.
    pub requests: mpsc::Receiver<Request>,
}

type Call<'a> = Pin<Box<dyn Future<Output = Event> + 'a>>;

/// What is on some disk.
#[derive(Default)]
struct Saved {
    state: Option<State>,
    durability: Durability,
}

impl Saved {
    /// Writes `state` where it is not yet, or not for long. What becomes of it, where that is news.
    fn write(
        &mut self,
        store: &mut impl StateStore,
        state: &State,
    ) -> Option<(Durability, Notice)> {
        if self.state.as_ref() == Some(state) && self.durability == Durability::Durable {
            return None;
        }
        let (durability, trouble) = match store.save(state) {
            Ok(Kept::Durably) => (Durability::Durable, String::new()),
            Ok(Kept::UntilReboot(why)) => (Durability::UntilReboot, why),
            Err(why) => (Durability::Lost, why),
        };
        self.state = (durability != Durability::Lost).then(|| state.clone());
        let before = std::mem::replace(&mut self.durability, durability);
        (before != durability).then(|| (durability, disk_notice(durability, &trouble)))
    }
}

impl<S: Sampler, C: Clock, N: Notifier, K: StateStore> Daemon<'_, S, C, N, K> {
    /// Runs until it is told to stop. `first` are the notices of the engine's start.
    pub async fn run<A: CloudApi>(mut self, api: &A, first: Vec<Notice>) {
        let mut saved = Saved::default();
        let mut call: Option<Call<'_>> = None;
        let mut ready = false;
        let mut status_line = String::new();
        let mut day = self.clock.day(self.clock.now()).number;
        let mut next_sample = Instant::now();
        let mut next_queue: Option<Instant> = None;
        let watchdog = self.notifier.watchdog_interval().map(|every| every / 3);
        let mut next_watchdog = Instant::now();
        self.publish(first, &mut saved);

        loop {
            let wake = self.advance(api, &mut call, &mut saved);
            let status = self.engine.status(self.clock.now());
            let line = status.line();
            if line != status_line {
                self.notifier.status(&line);
                status_line = line;
            }
            if (self.hooks.done)(&status) {
                return self.stop(&mut saved);
            }
            let interval = self.engine.policy().sampling.interval;
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(Request::Stop) | None => return self.stop(&mut saved),
                    Some(Request::Reload) => self.reload(&mut saved),
                    Some(Request::Status(reply)) => {
                        let _gone = reply.send(Box::new(status));
                    }
                    Some(Request::Operator(operator, reply)) => {
                        self.feed(operator.event(), &mut saved);
                        let status = self.engine.status(self.clock.now());
                        let _gone = reply.send(Box::new(status));
                    }
                },
                event = answer(&mut call) => {
                    call = None;
                    crash::point("answered");
                    if matches!(event, Event::Details(Ok(_))) {
                        self.look_who_we_are(&mut saved);
                    }
                    self.feed(event, &mut saved);
                }
                () = tokio::time::sleep_until(next_sample) => {
                    let now = self.clock.now();
                    let today = self.clock.day(now);
                    if today.number != day {
                        day = today.number;
                        self.feed(Event::Day(today), &mut saved);
                    }
                    let reading = self.sampler.read(now);
                    tracing::debug!(target: "glesys_autoscaler::sample", reading = ?reading, "sample");
                    let saturated = reading.sample.is_ok_and(|s| s.saturated());
                    if !ready && reading.sample.is_ok() {
                        ready = true;
                        self.notifier.ready();
                    }
                    self.feed(Event::Tick(reading), &mut saved);
                    if self.engine.identity() == Err(Reason::IdentityUnproven) {
                        self.look_who_we_are(&mut saved);
                    }
                    // From the last tick on, not from now: else ticks drift by their own cost.
                    // A loop that fell behind does not catch up tick by tick.
                    next_sample = (next_sample + interval).max(Instant::now());
                    next_queue = (saturated && interval > QUEUE_EVERY)
                        .then(|| Instant::now() + QUEUE_EVERY);
                }
                () = at(next_queue) => {
                    self.sampler.read_queue();
                    next_queue = Some(Instant::now() + QUEUE_EVERY).filter(|t| *t < next_sample);
                }
                () = at(watchdog.map(|_| next_watchdog)) => {
                    self.notifier.watchdog();
                    next_watchdog = Instant::now() + watchdog.unwrap_or(interval);
                }
                () = sleep_for(wake) => {}
            }
        }
    }

    /// Carries out what the engine says until it says wait; how long, at most.
    fn advance<'c, A: CloudApi>(
        &mut self,
        api: &'c A,
        call: &mut Option<Call<'c>>,
        saved: &mut Saved,
    ) -> Option<Duration> {
        loop {
            let now = self.clock.now();
            let Step { command, wake } = self.engine.next(now);
            if command == Command::Wait {
                return wake.map(|at| at.until(now));
            }
            if matches!(command, Command::Plan(_) | Command::Edit { .. })
                && let Some(machine) = (self.hooks.machine)()
            {
                self.feed(Event::Machine(machine), saved);
                if self.engine.next(now).command != command {
                    continue;
                }
            }
            // A disk that has room for one state and not for the next must not keep the loop busy.
            if !self.issue(&command, saved) {
                return wake.map(|at| at.until(now));
            }
            let platform = self.engine.platform().to_owned();
            *call = match command {
                Command::Wait | Command::Abandon => None,
                Command::Plan(_) => {
                    crash::point("planned");
                    None
                }
                Command::ReadDetails => {
                    Some(Box::pin(async move { Event::Details(api.details().await) }))
                }
                Command::ReadAllowedCores => Some(Box::pin(async move {
                    Event::AllowedCores(api.allowed_cores(&platform).await)
                })),
                Command::Edit { cores } => {
                    crash::point("before_edit");
                    Some(Box::pin(
                        async move { Event::Edited(api.edit(cores).await) },
                    ))
                }
            };
        }
    }

    /// Tells the engine that `command` is carried out. An edit is written down before that: where
    /// the disk turns out to be another than the engine knew, and it no longer wants the edit, then
    /// nothing was announced, and nothing may be carried out: `false`.
    fn issue(&mut self, command: &Command, saved: &mut Saved) -> bool {
        let now = self.clock.now();
        let issued = Event::Issued(command.clone());
        if !matches!(command, Command::Edit { .. }) {
            self.feed(issued, saved);
            return true;
        }
        let mut engine = self.engine.clone();
        let mut notices = engine.apply(now, issued);
        if let Some((durability, notice)) = saved.write(&mut self.store, engine.state()) {
            let disk = Event::Disk(durability);
            let mut held = self.engine.apply(now, disk.clone());
            if self.engine.next(now).command != *command {
                held.push(notice);
                self.write_journal(&held);
                return false;
            }
            notices.extend(engine.apply(now, disk));
            notices.push(notice);
        }
        self.engine = engine;
        self.publish(notices, saved);
        true
    }

    /// Until it is proven: an address may come after the daemon, as from DHCP.
    fn look_who_we_are(&mut self, saved: &mut Saved) {
        if self.engine.identity().is_err()
            && let Some(machine) = (self.hooks.machine)()
        {
            self.feed(Event::Machine(machine), saved);
        }
    }

    /// One event into the engine, its consequences onto the disk and into the journal.
    fn feed(&mut self, event: Event, saved: &mut Saved) {
        let notices = self.engine.apply(self.clock.now(), event);
        self.publish(notices, saved);
    }

    /// First the ledger, then the state, then the journal: a line that was announced is on disk,
    /// and a record that is on disk twice is told by its id.
    fn publish(&mut self, mut notices: Vec<Notice>, saved: &mut Saved) {
        let records: Vec<_> = notices.iter().filter_map(|n| n.record.clone()).collect();
        for record in &records {
            if let Err(why) = self.store.append(record) {
                notices.push(Notice::new(EventKind::Held, Loudness::Error, why));
            }
            crash::point("ledger_written");
        }
        if let Some((durability, notice)) = saved.write(&mut self.store, self.engine.state()) {
            notices.extend(self.engine.apply(self.clock.now(), Event::Disk(durability)));
            notices.push(notice);
        }
        if !records.is_empty() {
            crash::point("closed");
        }
        let asked = |n: &Notice| matches!(n.event, EventKind::ScaleUp | EventKind::ScaleDown);
        if notices.iter().any(asked) {
            crash::point("asked");
        }
        self.write_journal(&notices);
    }

    fn write_journal(&self, notices: &[Notice]) {
        for notice in notices {
            journal::write(&self.server_id, notice);
        }
    }

    fn reload(&mut self, saved: &mut Saved) {
        let notice = match (self.hooks.reload)() {
            Ok((policy, hash)) => {
                self.sampler.configure(&policy.sampling);
                let text = format!("policy {hash} is in force");
                self.feed(Event::Policy(Box::new(policy), hash), saved);
                Notice::new(EventKind::Reloaded, Loudness::Info, text)
            }
            Err(why) => {
                let text = format!("the new policy is refused, the old one goes on: {why}");
                Notice::new(EventKind::Reloaded, Loudness::Error, text)
            }
        };
        journal::write(&self.server_id, &notice);
    }

    fn stop(&mut self, saved: &mut Saved) {
        self.notifier.stopping();
        self.feed(Event::Stop, saved);
    }
}

fn disk_notice(durability: Durability, trouble: &str) -> Notice {
    let outcome = match durability {
        Durability::Durable => {
            let text = "state is written where it survives a reboot again".to_owned();
            return Notice::new(EventKind::Recovered, Loudness::Info, text);
        }
        Durability::UntilReboot => "raising goes on, lowering stops",
        Durability::Lost => "nothing is changed until one of them can",
    };
    let text = format!("{trouble}: {outcome}");
    Notice::new(EventKind::Held, Loudness::Error, text).because(Reason::DiskFull)
}

async fn answer(call: &mut Option<Call<'_>>) -> Event {
    match call {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn sleep_for(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}
