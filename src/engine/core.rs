//! The two doors of the engine: [`Engine::apply`] takes in what happened, [`Engine::next`] says
//! what to do. The daemon, the tests and later `replay` use these two and nothing else.

use super::cloud::ApiFailure;
use super::event::{Command, Durability, Event, EventKind, Loudness, Machine, Notice, Start, Step};
use super::gate::Outlook;
use super::policy::Policy;
use super::record::{Direction, Reason};
use super::sample::{GuestCpus, NoSample, Reading, Sample};
use super::state::{Confirmed, Intent, Pause, Stage, State};
use super::tell::Told;
use super::time::{Day, Timestamp};
use super::trouble::{ApiView, Trouble, jitter, poll_delay};
use super::window::Windows;
use std::time::Duration;

/// Without permission for `server/allowedarguments`, ask again this often.
const ALLOWED_RETRY: Duration = Duration::from_secs(24 * 3600);
/// After a failure of that call that may pass by itself, this often.
const ALLOWED_SOON: Duration = Duration::from_secs(600);

/// Work that waits when cores are added is served after the raise, and then looks like demand.
/// A lowering judged on that would stop half way and need a second one: the window of the down
/// rule begins when the backlog is gone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Backlog {
    /// Nothing was raised yet in this run.
    None,
    /// Since the raise every sample was saturated.
    Draining,
    /// The first sample after the raise that was not.
    Drained(Timestamp),
}

/// The policy engine.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) policy: Policy,
    pub(super) policy_hash: String,
    pub(super) engine_version: String,
    pub(super) dry_run: bool,
    pub(super) machine: Machine,
    /// Today, and when it was told.
    pub(super) day: (Timestamp, Day),
    pub(super) state: State,
    pub(super) windows: Windows,
    pub(super) guest: Option<GuestCpus>,
    pub(super) latest: Option<(Timestamp, Sample)>,
    /// Work that had piled up before the last raise; see [`Backlog`].
    pub(super) backlog: Backlog,
    /// Looks in a row that gave no sample, and why the last did not.
    pub(super) missed: (u32, Option<NoSample>),
    pub(super) api: ApiView,
    pub(super) disk: Durability,
    pub(super) told: Told,
    /// A trial of lowering is to begin once the platform's counts are read.
    pub(super) trial_asked: bool,
    jitter_seed: u64,
    calls: u64,
}

impl Engine {
    /// Begins a run.
    #[must_use]
    pub fn start(now: Timestamp, start: Start) -> (Engine, Vec<Notice>) {
        let rebooted = start.state.boot_id != start.boot_id;
        let first_run = start.state.boot_id.is_empty();
        let stopped = start.state.stopped;
        let mut state = start.state.resumed(now, &start.boot_id);
        state.stopped = false;
        state.day.turn(start.day);
        if start.careful {
            state.last_change = Some(now);
        }
        let windows = Windows::new(start.policy.sampling.interval, longest(&start.policy));
        let mut engine = Engine {
            policy: start.policy,
            policy_hash: start.policy_hash,
            engine_version: start.engine_version,
            dry_run: start.dry_run,
            machine: start.machine,
            day: (now, start.day),
            state,
            windows,
            guest: None,
            latest: None,
            backlog: Backlog::None,
            missed: (0, None),
            api: ApiView::default(),
            disk: Durability::default(),
            told: Told::default(),
            trial_asked: false,
            jitter_seed: start.jitter_seed,
            calls: 0,
        };
        let mut notices = vec![engine.started_notice()];
        if rebooted && !first_run {
            engine.judge_reboot(now, stopped, &mut notices);
        }
        engine.drop_unsent_intent();
        (engine, notices)
    }

    /// What has to survive a restart. To be on disk before any command is carried out.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The server's platform; empty before it was read.
    #[must_use]
    pub fn platform(&self) -> &str {
        self.api
            .seen
            .as_ref()
            .map_or("", |seen| &seen.server.platform)
    }

    /// Takes in what happened at `now`, and tells what a person should know of it.
    pub fn apply(&mut self, now: Timestamp, event: Event) -> Vec<Notice> {
        let mut notices = Vec::new();
        let out = &mut notices;
        match event {
            Event::Tick(reading) => self.take_reading(now, reading),
            Event::Issued(command) => self.issue(now, command, out),
            Event::Details(answer) => {
                self.api.calling = false;
                match answer {
                    Ok(server) => self.take_details(now, server, out),
                    Err(failure) => self.read_failed(now, &failure, out),
                }
            }
            Event::Edited(answer) => {
                self.api.calling = false;
                self.take_edit_answer(now, answer, out);
            }
            Event::AllowedCores(answer) => {
                self.api.calling = false;
                let lasting = answer
                    .as_ref()
                    .err()
                    .is_none_or(|failure| failure.kind.needs_operator());
                let told = answer.as_ref().err().and_then(|f| f.retry_after);
                let again = if lasting { ALLOWED_RETRY } else { ALLOWED_SOON };
                let again = again.max(told.unwrap_or_default());
                self.api.allowed_due = Some(now.plus(again));
                self.api.allowed_not_before = told.map(|wait| now.plus(wait));
                // Without that permission every count within the limits is tried; a 400 teaches.
                if let Ok(counts) = answer
                    && !counts.is_empty()
                {
                    self.api.allowed = Some(counts);
                }
                if std::mem::take(&mut self.trial_asked) {
                    self.begin_trial(now);
                }
            }
            Event::Day(day) => {
                self.day = (now, day);
                self.state.day.turn(day);
            }
            Event::Machine(machine) => self.machine = machine,
            Event::Policy(policy, hash) => {
                self.windows
                    .resize(policy.sampling.interval, longest(&policy));
                self.policy = *policy;
                self.policy_hash = hash;
                self.api.hurry();
                self.told = Told::default();
            }
            Event::Disk(durability) => self.disk = durability,
            Event::Pause(span) => self.pause(now, span, out),
            Event::Resume => {
                if self.state.pause.take().is_some() {
                    let text = "changes go on".to_owned();
                    out.push(Notice::new(EventKind::Resumed, Loudness::Info, text));
                }
            }
            Event::Forget(direction) => {
                self.state.learned_mut(direction).worked();
                let cores = self.cores();
                self.state
                    .refused
                    .retain(|r| Direction::of(cores, r.cores) != direction);
                let text = format!(
                    "{} goes on: what was learned of it is forgotten",
                    direction.as_str()
                );
                out.push(Notice::new(EventKind::Resumed, Loudness::Info, text));
            }
            Event::Confirm => {
                self.state.confirmed = Some(Confirmed {
                    machine_id: self.machine.machine_id.clone(),
                    macs: self.machine.macs.clone(),
                });
            }
            Event::Prove => self.begin_trial(now),
            Event::Stop => {
                self.state.stopped = true;
                let mut text = "told to end".to_owned();
                if self.state.intent.as_ref().is_some_and(Intent::in_flight) {
                    text += "; the change under way is checked at the next start";
                }
                out.push(Notice::new(EventKind::Stopped, Loudness::Info, text));
            }
        }
        self.expire(now, out);
        self.tell(now, out);
        notices
    }

    /// What to do at `now`. Asked twice, it says the same.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Step {
        if self.api.calling {
            return Step {
                command: Command::Wait,
                wake: None,
            };
        }
        let outlook = self.outlook(now);
        let pause_ends = self.state.pause.and_then(Pause::end);
        let waits = [
            self.read_due(now, &outlook),
            pause_ends,
            outlook.refusal.and_then(|r| r.until),
        ];
        let wake = waits
            .into_iter()
            .flatten()
            .filter(|at| !at.reached(now))
            .min_by_key(|at| at.boottime_ms);
        Step {
            command: self.command(now, &outlook),
            wake,
        }
    }

    fn command(&self, now: Timestamp, outlook: &Outlook) -> Command {
        // Before the first look at the guest's CPUs a change could not be verified.
        if self.guest.is_none() {
            return Command::Wait;
        }
        let read_due = self
            .read_due(now, outlook)
            .is_some_and(|at| at.reached(now));
        if read_due {
            return Command::ReadDetails;
        }
        let permitted = outlook.permitted();
        match &self.state.intent {
            Some(intent) if intent.reverting && intent.stage == Stage::Planned => {
                let waits = self.api.blocked_until(now, &outlook.wish, outlook.cores);
                let unlocked = self.api.seen.as_ref().is_some_and(|s| !s.server.locked);
                if !self.dry_run
                    && waits.is_none()
                    && unlocked
                    && self.identity().is_ok()
                    && self.disk != Durability::Lost
                    && self.read_since(intent.planned, now)
                {
                    Command::Edit {
                        cores: intent.target(),
                    }
                } else {
                    Command::Wait
                }
            }
            Some(intent) if intent.in_flight() => Command::Wait,
            // Announced as one thing, it does not become the other.
            Some(intent)
                if permitted.is_some_and(|decision| {
                    intent.asked.is_some()
                        && Direction::of(outlook.cores, decision.to) != intent.direction()
                }) =>
            {
                Command::Abandon
            }
            Some(intent) => match permitted {
                Some(decision) if self.read_since(intent.planned, now) => {
                    Command::Edit { cores: decision.to }
                }
                Some(_) => Command::Wait,
                None if self.may_yet_pass(outlook) => Command::Wait,
                None => Command::Abandon,
            },
            // The platform's list is the authority on legal counts: never guess before it was asked.
            None if self.allowed_unasked(now) => Command::ReadAllowedCores,
            None => match permitted {
                Some(decision) => Command::Plan(decision),
                None if self.allowed_due(now) => Command::ReadAllowedCores,
                None => Command::Wait,
            },
        }
    }

    /// A planned change waits for the lock and for the API; anything else takes it back.
    fn may_yet_pass(&self, outlook: &Outlook) -> bool {
        outlook.refusal.is_some_and(|refusal| {
            outlook.wish.decision.is_some()
                && matches!(refusal.reason, Reason::Locked | Reason::ApiDown)
        })
    }

    fn take_reading(&mut self, now: Timestamp, reading: Reading) {
        if let Some(guest) = reading.guest {
            let changed = self.guest.is_some_and(|before| before != guest);
            self.guest = Some(guest);
            match &mut self.state.intent {
                // Do not wait out a long poll when the guest shows that something happened.
                Some(intent) if changed && intent.stage != Stage::Planned => intent.next_poll = now,
                Some(_) => {}
                None if changed => {
                    self.api.recheck = true;
                    self.api.guest_changed = Some(now);
                }
                None => {}
            }
        }
        match reading.sample {
            Ok(sample) => {
                self.windows.push(now, &sample, self.most_demand_mc());
                self.latest = Some((now, sample));
                if self.backlog == Backlog::Draining && !sample.saturated() {
                    self.backlog = Backlog::Drained(now);
                }
                self.missed = (0, None);
            }
            Err(why) => self.missed = (self.missed.0.saturating_add(1), Some(why)),
        }
    }

    /// The most demand that is believed: a queue of hundreds must not size a VM beyond its limits.
    pub(super) fn most_demand_mc(&self) -> u32 {
        let most = self.policy.limits.max_cores.saturating_add(8);
        most.saturating_mul(1000)
    }

    fn issue(&mut self, now: Timestamp, command: Command, out: &mut Vec<Notice>) {
        match command {
            Command::Wait => {}
            Command::ReadDetails | Command::ReadAllowedCores => self.api.calling = true,
            Command::Plan(decision) => self.plan(now, decision),
            Command::Edit { cores } => {
                self.api.calling = true;
                self.send(now, cores, out);
            }
            Command::Abandon => self.abandon(now, out),
        }
    }

    fn read_failed(&mut self, now: Timestamp, failure: &ApiFailure, out: &mut Vec<Notice>) {
        let jitter = self.jitter();
        if Trouble::note(&mut self.api.read, now, failure, jitter) {
            out.push(self.api_error(failure, None));
        }
        if let Some(intent) = &mut self.state.intent {
            intent.next_poll = now.plus(poll_delay(intent.polls));
            intent.polls += 1;
        }
    }

    pub(super) fn jitter(&mut self) -> f64 {
        self.calls += 1;
        jitter(self.jitter_seed, self.calls)
    }

    fn pause(&mut self, now: Timestamp, span: Option<Duration>, out: &mut Vec<Notice>) {
        let span_ms = span.map(|s| u64::try_from(s.as_millis()).unwrap_or(u64::MAX));
        self.state.pause = Some(Pause {
            since: now,
            span_ms,
        });
        let text = match span {
            Some(span) => format!("no changes for {}", super::tell::span(span)),
            None => "no changes until `glesys-autoscaler resume`".to_owned(),
        };
        out.push(Notice::new(EventKind::Paused, Loudness::Info, text).because(Reason::Paused));
    }

    fn expire(&mut self, now: Timestamp, out: &mut Vec<Notice>) {
        if self
            .state
            .pause
            .and_then(Pause::end)
            .is_some_and(|at| at.reached(now))
        {
            self.state.pause = None;
            let text = "the pause is over, changes go on".to_owned();
            out.push(Notice::new(EventKind::Resumed, Loudness::Info, text));
        }
        self.state.refused.retain(|r| !r.wait.end().reached(now));
        self.expire_trial(now);
    }

    /// A change that was planned and never sent is not known to anybody: it is decided anew.
    fn drop_unsent_intent(&mut self) {
        if self
            .state
            .intent
            .as_ref()
            .is_some_and(|i| i.asked.is_none())
        {
            self.state.intent = None;
        }
    }
}

fn longest(policy: &Policy) -> Duration {
    policy
        .up
        .window
        .max(policy.down.window)
        .max(policy.up.queue)
}
