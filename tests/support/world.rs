//! A simulated VM around the engine: load with a queue, an API that applies changes late, loses
//! answers and refuses, a guest whose CPUs follow, clocks that step, restarts and reboots. Virtual
//! time; the engine is the real one. Checks the promises of the engine at every edit.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::expect_used,
    reason = "a test ends where its own premise fails"
)]

use glesys_autoscaler::engine::cloud::{ApiFailure, FailureKind, Server};
use glesys_autoscaler::engine::event::{Command, Event, Machine, Notice, Start};
use glesys_autoscaler::engine::policy::{
    Apply, Down, Limits, Mode, Policy, Sampling, Steal, Unapplied, Up,
};
use glesys_autoscaler::engine::record::{Direction, Outcome, Reason};
use glesys_autoscaler::engine::sample::{GuestCpus, NoSample, Reading, Sample};
use glesys_autoscaler::engine::time::{Day, Timestamp};
use glesys_autoscaler::engine::{Engine, span};
use std::time::Duration;

pub const DAY_MS: i64 = 86_400_000;

/// The defaults of the policy file, lowering allowed.
pub fn policy(min: u32, max: u32) -> Policy {
    Policy {
        limits: Limits {
            min_cores: min,
            max_cores: max,
            allowed_cores: Vec::new(),
            max_changes_per_day: 96,
        },
        sampling: Sampling {
            interval: Duration::from_secs(5),
            steal: Steal::Report,
            ignore_nice: false,
        },
        boot_grace: Duration::from_secs(300),
        up: Up {
            utilization: 0.9,
            window: Duration::from_secs(60),
            queue: Duration::from_secs(15),
            pressure: 0.0,
            target: 0.8,
            cooldown: Duration::from_secs(60),
            max_step: 8,
        },
        down: Down {
            utilization: 0.75,
            headroom: 0.5,
            window: Duration::from_secs(600),
            cooldown: Duration::from_secs(600),
            max_step: 8,
        },
        apply: Apply {
            raising: Mode::Learn,
            lowering: Mode::Learn,
            unapplied: Unapplied::Revert,
            timeout: Duration::from_secs(300),
        },
    }
}

/// Random numbers from a seed (splitmix64), so that a failing case is told by its seed alone.
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn chance(&mut self, share: f64) -> bool {
        self.roll() < share
    }

    pub fn below(&mut self, n: u32) -> u32 {
        (self.roll() * f64::from(n)) as u32
    }

    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + self.roll() * (to - from)
    }
}

/// How the load makes tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So many cores' worth of tasks that never end: what waits does not pile up.
    Tasks(f64),
    /// Work arrives at this rate; what is not served waits.
    Arrivals(f64),
}

/// Shares of calls and ticks on which something goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub calls: f64,
    pub samples: f64,
    pub clock: f64,
    pub restart: f64,
    pub outside: f64,
}

/// What the platform does with an accepted edit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Platform {
    Live,
    /// The API shows the count, the guest never follows.
    Ignores,
    /// CPUs are plugged in and stay offline.
    StaysOffline,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edit {
    pub at: Timestamp,
    pub from: u32,
    pub to: u32,
    pub revert: bool,
}

pub struct World {
    pub now: Timestamp,
    pub engine: Engine,
    pub policy: Policy,
    pub load: Load,
    pub waiting: f64,
    pub api_cores: u32,
    pub guest: GuestCpus,
    pub platform: Platform,
    pub lock_for: Duration,
    pub platform_counts: Vec<u32>,
    pub faults: Faults,
    pub dice: Dice,
    pub edits: Vec<Edit>,
    pub notices: Vec<Notice>,
    pub steps: u64,
    pub calls: u64,
    /// Every input of the engine since its last start, to be replayed.
    pub inputs: Vec<(Timestamp, Event)>,
    pub start: Start,
    pub started: Timestamp,
    /// A command that the fault injection answers in a special way: next edits.
    pub edit_answers: Vec<FailureKind>,
    pub applied_after_loss: bool,
    /// At the next edit the server turns out to be locked, for so long.
    pub lock_at_edit: Option<Duration>,
    /// What every read fails with.
    pub read_fails: Option<FailureKind>,
    /// `server/allowedarguments` is not permitted.
    pub allowed_fails: bool,
    /// `Retry-After` of the next failures.
    pub retry_after: Option<Duration>,
    /// The counts of all edits that were sent, in order, whatever came of them.
    pub asked: Vec<u32>,
    /// Addresses and memory of the server as the API shows them.
    pub addresses: Vec<std::net::IpAddr>,
    pub memory_mb: Option<u64>,
    /// Share of the time in which some task waits; `None`: the kernel does not say.
    pub pressure: Option<f64>,
    /// Nothing can be sampled.
    pub blind: bool,
    /// How far the wall clock goes on during a reboot, in milliseconds.
    pub reboot_takes: i64,
    locked_until: Timestamp,
    target: Option<u32>,
    last_good_sample: Option<Timestamp>,
    bad_online: bool,
    midnight_offset: i64,
    edits_today: (i64, u32),
}

const ADDRESS: [u8; 4] = [192, 0, 2, 10];

pub fn machine() -> Machine {
    Machine {
        machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
        macs: vec!["00:50:56:00:00:01".to_owned()],
        addresses: vec![ADDRESS.into()],
        memory_mb: 3900,
    }
}

impl World {
    pub fn new(policy: Policy, cores: u32, seed: u64) -> World {
        World::begun(policy, cores, seed, |_| {})
    }

    /// A world whose engine began in another way than from nothing.
    pub fn begun(policy: Policy, cores: u32, seed: u64, change: impl FnOnce(&mut Start)) -> World {
        // Long after boot: the grace is over unless a scenario reboots.
        let now = Timestamp {
            boottime_ms: 10 * DAY_MS,
            wall_ms: 1_790_000_000_000,
        };
        let mut start = Start {
            policy: policy.clone(),
            policy_hash: "test".to_owned(),
            engine_version: "test".to_owned(),
            dry_run: false,
            boot_id: "boot-0".to_owned(),
            machine: machine(),
            day: day(now),
            state: glesys_autoscaler::engine::state::State::default(),
            careful: false,
            jitter_seed: seed,
        };
        change(&mut start);
        let (engine, notices) = Engine::start(now, start.clone());
        World {
            now,
            engine,
            policy,
            load: Load::Tasks(0.0),
            waiting: 0.0,
            api_cores: cores,
            guest: GuestCpus {
                online: cores,
                present: cores,
            },
            platform: Platform::Live,
            lock_for: Duration::from_secs(12),
            platform_counts: Vec::new(),
            faults: Faults::default(),
            dice: Dice(seed),
            edits: Vec::new(),
            notices,
            steps: 0,
            calls: 0,
            inputs: Vec::new(),
            start,
            started: now,
            edit_answers: Vec::new(),
            applied_after_loss: false,
            lock_at_edit: None,
            read_fails: None,
            allowed_fails: false,
            retry_after: None,
            asked: Vec::new(),
            addresses: vec![ADDRESS.into()],
            memory_mb: Some(4096),
            pressure: None,
            blind: false,
            reboot_takes: 30_000,
            locked_until: now,
            target: None,
            last_good_sample: None,
            bad_online: false,
            midnight_offset: 0,
            edits_today: (now.wall_ms / DAY_MS, 0),
        }
    }

    /// Runs for `span` of virtual time.
    pub fn run(&mut self, span: Duration) {
        let end = self.now.plus(span);
        while !end.reached(self.now) {
            self.tick();
        }
    }

    /// One sampling interval.
    pub fn tick(&mut self) {
        let interval = self.policy.sampling.interval;
        if self.dice.chance(self.faults.restart) {
            let reboot = self.dice.chance(0.3);
            self.restart(reboot, self.faults.restart > 0.0);
        }
        if self.dice.chance(self.faults.outside) {
            self.api_cores = 1 + self.dice.below(self.policy.limits.max_cores + 2);
            self.set_guest(self.api_cores);
        }
        let mut elapsed = interval;
        if self.dice.chance(self.faults.clock) {
            // Suspend, or a stalled loop.
            elapsed += Duration::from_secs_f64(self.dice.between(0.0, 4000.0));
        }
        self.now = self.now.plus(elapsed);
        if self.dice.chance(self.faults.clock) {
            // The wall clock steps; the boot clock does not.
            let step = self.dice.between(-2.0, 2.0) * 3_600_000.0;
            self.now.wall_ms += step as i64;
        }
        let today = self.now.wall_ms.div_euclid(DAY_MS);
        if today != self.midnight_offset {
            self.midnight_offset = today;
            self.feed(Event::Day(day(self.now)));
        }
        self.note_day();
        self.platform_works();
        let reading = self.reading(elapsed, interval);
        self.feed(Event::Tick(reading));
        self.drive();
    }

    /// A midnight gives a fresh allowance once, however often the clock is set back over it. Two
    /// days back is a clock that had been wrong.
    fn note_day(&mut self) {
        let today = self.now.wall_ms.div_euclid(DAY_MS);
        let (counted, edits) = self.edits_today;
        if today > counted {
            self.edits_today = (today, 0);
        } else if today < counted - 1 {
            self.edits_today = (today, edits);
        }
    }

    fn platform_works(&mut self) {
        if !self.locked_until.reached(self.now) {
            return;
        }
        if let Some(target) = self.target.take() {
            match self.platform {
                Platform::Live => self.set_guest(target),
                Platform::Ignores => {}
                Platform::StaysOffline => {
                    let online = self.guest.online.min(target);
                    self.set_guest(online);
                    self.guest.present = target;
                }
            }
        }
    }

    pub fn set_guest(&mut self, cores: u32) {
        if self.guest.online != cores {
            self.bad_online = true;
        }
        self.guest = GuestCpus {
            online: cores,
            present: cores,
        };
    }

    fn reading(&mut self, elapsed: Duration, interval: Duration) -> Reading {
        let n = f64::from(self.guest.online);
        let seconds = elapsed.as_secs_f64();
        let (busy, runnable) = match self.load {
            Load::Tasks(demand) => (demand.min(n), demand),
            Load::Arrivals(rate) => {
                let work = self.waiting + rate * seconds;
                let served = work.min(n * seconds);
                self.waiting = work - served;
                (
                    served / seconds,
                    served / seconds + (self.waiting / 15.0).min(64.0),
                )
            }
        };
        let gap = elapsed > (interval * 3).max(interval + Duration::from_secs(5));
        let sample = if std::mem::take(&mut self.bad_online) {
            Err(NoSample::OnlineChanged)
        } else if gap {
            Err(NoSample::Gap)
        } else if self.blind || self.dice.chance(self.faults.samples) {
            Err(NoSample::Unreadable)
        } else {
            self.last_good_sample = Some(self.now);
            Ok(Sample {
                span_ms: elapsed.as_millis() as u32,
                online: self.guest.online,
                busy_mc: (busy * 1000.0).round() as u32,
                steal_mc: 0,
                runnable_c: Some(((runnable + 1.0) * 100.0).round() as u32),
                pressure_bp: self.pressure.map(|share| (share * 10_000.0) as u16),
            })
        };
        Reading {
            guest: Some(self.guest),
            sample,
        }
    }

    fn drive(&mut self) {
        for _ in 0..50 {
            let step = self.engine.next(self.now);
            assert_eq!(
                step,
                self.engine.next(self.now),
                "asked twice, the same answer"
            );
            self.steps += 1;
            if step.command == Command::Wait {
                return;
            }
            if let Command::Edit { cores } = step.command {
                self.check_edit(cores);
            }
            self.feed(Event::Issued(step.command.clone()));
            match step.command {
                Command::Wait | Command::Plan(_) | Command::Abandon => {}
                Command::ReadDetails => {
                    let answer = self.details();
                    self.feed(Event::Details(answer));
                }
                Command::ReadAllowedCores => {
                    self.calls += 1;
                    let counts = if self.allowed_fails {
                        Err(self.scripted(FailureKind::Credentials))
                    } else {
                        Ok(self.platform_counts.clone())
                    };
                    self.feed(Event::AllowedCores(counts));
                }
                Command::Edit { cores } => {
                    let answer = self.edit(cores);
                    self.feed(Event::Edited(answer));
                }
            }
        }
        panic!(
            "the engine does not come to rest: {:?}",
            self.engine.next(self.now)
        );
    }

    pub fn feed(&mut self, event: Event) {
        self.inputs.push((self.now, event.clone()));
        let notices = self.engine.apply(self.now, event);
        self.notices.extend(notices);
    }

    pub fn details(&mut self) -> Result<Server, ApiFailure> {
        self.calls += 1;
        if let Some(kind) = self.read_fails {
            return Err(self.scripted(kind));
        }
        if self.dice.chance(self.faults.calls) {
            return Err(self.failure(&[
                FailureKind::Unknown,
                FailureKind::Unavailable,
                FailureKind::Credentials,
                FailureKind::Configuration,
            ]));
        }
        Ok(Server {
            cores: self.api_cores,
            memory_mb: self.memory_mb,
            platform: "KVM".to_owned(),
            addresses: self.addresses.clone(),
            locked: !self.locked_until.reached(self.now),
            running: Some(true),
        })
    }

    fn failure(&mut self, kinds: &[FailureKind]) -> ApiFailure {
        let kind = kinds[self.dice.below(kinds.len() as u32) as usize];
        let retry_after = (kind == FailureKind::Unavailable && self.dice.chance(0.3))
            .then(|| Duration::from_secs(90));
        ApiFailure {
            kind,
            retry_after,
            message: format!("{kind:?}"),
        }
    }

    fn scripted(&self, kind: FailureKind) -> ApiFailure {
        ApiFailure {
            kind,
            retry_after: self.retry_after,
            message: format!("{kind:?}"),
        }
    }

    fn edit(&mut self, cores: u32) -> Result<(), ApiFailure> {
        self.calls += 1;
        self.asked.push(cores);
        if let Some(span) = self.lock_at_edit.take() {
            self.lock(span);
        }
        let scripted = (!self.edit_answers.is_empty()).then(|| self.edit_answers.remove(0));
        if !self.locked_until.reached(self.now) {
            return Err(self.scripted(scripted.unwrap_or(FailureKind::Locked)));
        }
        let failure = match scripted {
            Some(kind) => Some(self.scripted(kind)),
            None if self.dice.chance(self.faults.calls) => Some(self.failure(&[
                FailureKind::Unknown,
                FailureKind::Unavailable,
                FailureKind::Credentials,
                FailureKind::Forbidden,
                FailureKind::InvalidValue,
                FailureKind::ApplyFailed,
                FailureKind::NoRoom,
                FailureKind::AccountLimit,
                FailureKind::HypervisorDown,
            ])),
            None => None,
        };
        let applies = match &failure {
            None => true,
            Some(f) if f.kind == FailureKind::Unknown => {
                if scripted.is_some() {
                    self.applied_after_loss
                } else {
                    self.dice.chance(0.5)
                }
            }
            Some(_) => false,
        };
        if applies {
            self.edits.push(Edit {
                at: self.now,
                from: self.api_cores,
                to: cores,
                revert: self
                    .engine
                    .state()
                    .intent
                    .as_ref()
                    .is_some_and(|i| i.reverting),
            });
            self.api_cores = cores;
            self.target = Some(cores);
            self.locked_until = self.now.plus(self.lock_for);
        }
        failure.map_or(Ok(()), Err)
    }

    /// The promises that hold at every edit, whatever went wrong before.
    fn check_edit(&mut self, cores: u32) {
        let state = self.engine.state();
        let intent = state
            .intent
            .as_ref()
            .expect("an edit has its intent on disk");
        let limits = &self.policy.limits;
        if intent.reverting {
            assert_eq!(cores, intent.from, "a revert goes back and nowhere else");
            return;
        }
        assert!(
            (limits.min_cores..=limits.max_cores).contains(&cores),
            "{cores} is outside the limits"
        );
        assert!(
            self.platform_counts.is_empty()
                || self.platform_counts.contains(&cores)
                || self
                    .engine
                    .allowed_counts(self.now)
                    .as_slice()
                    .contains(&cores),
            "{cores} is not an allowed count"
        );
        let direction = Direction::of(self.engine.cores(), cores);
        let cooldown = match direction {
            Direction::Raising => self.policy.up.cooldown,
            Direction::Lowering => self.policy.down.cooldown,
        };
        let trial = intent.decision.reason == Reason::NotProven;
        if let Some(changed) = state.last_change
            && !trial
        {
            let since = self.now.since(changed);
            assert!(
                since >= cooldown,
                "{direction:?} {} after a change",
                span(since)
            );
        }
        if direction == Direction::Lowering && !trial {
            let age = self.last_good_sample.map(|at| self.now.since(at));
            let bad = age.is_none_or(|age| age > self.policy.sampling.interval * 4);
            assert!(!bad, "lowering without a sample, the last {age:?} ago");
        }
        if intent.asked.is_none() {
            let most = match direction {
                Direction::Raising => limits.max_changes_per_day * 2,
                Direction::Lowering => limits.max_changes_per_day,
            };
            assert!(self.edits_today.1 < most, "more than the day's changes");
            self.edits_today.1 += 1;
        }
    }

    /// The daemon dies and comes back; with `reboot` the VM does. `killed`: without being told.
    pub fn restart(&mut self, reboot: bool, killed: bool) {
        if !killed {
            self.feed(Event::Stop);
        }
        let state = serde_json::to_string(self.engine.state()).expect("state serialises");
        let state = serde_json::from_str(&state).expect("and comes back");
        if reboot {
            self.now.boottime_ms = 20_000;
            self.now.wall_ms += self.reboot_takes;
            self.locked_until = self.now;
            if let Some(target) = self.target.take() {
                self.set_guest(target);
            }
            let boot: u32 = self.start.boot_id["boot-".len()..].parse().unwrap_or(0);
            self.start.boot_id = format!("boot-{}", boot + 1);
            self.last_good_sample = None;
        }
        self.note_day();
        self.start.state = state;
        self.start.day = day(self.now);
        self.start.policy = self.policy.clone();
        let (engine, notices) = Engine::start(self.now, self.start.clone());
        self.engine = engine;
        self.notices.extend(notices);
        self.inputs.clear();
        self.started = self.now;
    }

    /// Runs until `happened`; at most for `longest` of virtual time.
    pub fn until(&mut self, longest: Duration, happened: impl Fn(&World) -> bool) {
        let end = self.now.plus(longest);
        while !happened(self) {
            assert!(
                !end.reached(self.now),
                "not within {}: {:#?}",
                span(longest),
                self.notices
            );
            self.tick();
        }
    }

    /// Somebody else sets a count, which the guest takes at once.
    pub fn set_outside(&mut self, cores: u32) {
        self.api_cores = cores;
        self.set_guest(cores);
    }

    /// The platform works on the server.
    pub fn lock(&mut self, span: Duration) {
        self.locked_until = self.now.plus(span);
    }

    /// What a wish waits for, and for how many seconds.
    pub fn waits(&self) -> (Option<Reason>, Option<u64>) {
        let status = self.engine.status(self.now);
        (status.waits_for, status.waits_s)
    }

    /// How often a notice with this name was told, of this reason where one is given.
    pub fn count(&self, event: &str, reason: Option<Reason>) -> usize {
        let told = self.notices.iter().filter(|n| n.event.names().0 == event);
        told.filter(|n| reason.is_none() || n.reason == reason)
            .count()
    }

    /// The changes that were made on purpose, not posted back.
    pub fn changes(&self) -> Vec<(u32, u32)> {
        let made = self.edits.iter().filter(|e| !e.revert);
        made.map(|e| (e.from, e.to)).collect()
    }

    /// How the changes ended, in the order of the ledger.
    pub fn results(&self) -> Vec<Outcome> {
        let records = self.notices.iter().filter_map(|n| n.record.as_ref());
        records.map(|r| r.result).collect()
    }

    /// The names of the notices so far.
    pub fn told(&self) -> Vec<&'static str> {
        self.notices.iter().map(|n| n.event.names().0).collect()
    }
}

pub fn day(now: Timestamp) -> Day {
    let number = now.wall_ms.div_euclid(DAY_MS);
    Day {
        number: number as i32,
        remaining_ms: (DAY_MS - now.wall_ms.rem_euclid(DAY_MS)) as u64,
    }
}
