//! Bytes as a script for the engine: a policy within the ranges that the policy file allows, then
//! events with any values, some of them the answers to what the engine asked for, at instants on
//! clocks that step. Whatever comes, it does not panic and never asks for a count outside the
//! limits.

use glesys_autoscaler::engine::Engine;
use glesys_autoscaler::engine::cloud::{ApiFailure, FailureKind, Server};
use glesys_autoscaler::engine::event::{Command, Durability, Event, Machine, Start};
use glesys_autoscaler::engine::policy::{
    Apply, Down, Limits, Mode, Policy, Sampling, Steal, Unapplied, Up,
};
use glesys_autoscaler::engine::record::Direction;
use glesys_autoscaler::engine::sample::{GuestCpus, NoSample, Reading, Sample};
use glesys_autoscaler::engine::state::State;
use glesys_autoscaler::engine::time::{Day, Timestamp};
use std::time::Duration;

/// Reads numbers off the input; zeros at its end.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Small numbers mostly, the far end of the range now and then.
    fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..=199 => byte.into(),
            200..=229 => u64::from(self.byte()) << 8 | u64::from(self.byte()),
            230..=244 => (0..8).fold(0, |sum, _| sum << 8 | u64::from(self.byte())),
            byte => u64::MAX >> (byte & 1) >> (32 * u64::from(byte & 2 == 2)),
        }
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }

    fn between(&mut self, from: u32, to: u32) -> u32 {
        from + u32::from(self.byte()) % (to - from + 1)
    }

    fn share(&mut self) -> f64 {
        f64::from(1 + self.byte() % 100) / 100.0
    }

    fn secs(&mut self, from: u32, to: u32) -> Duration {
        Duration::from_secs(self.between(from, to).into())
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| value(self))
    }
}

/// The engine at the other end of a script.
pub struct Driver<'a> {
    script: Script<'a>,
    engine: Engine,
    now: Timestamp,
    disk: Durability,
}

fn policy(script: &mut Script<'_>) -> Policy {
    let min = script.between(1, 8);
    let max = min + script.between(0, 24);
    let mode = [Mode::Learn, Mode::Always, Mode::Never, Mode::Ask];
    Policy {
        limits: Limits {
            min_cores: min,
            max_cores: max,
            allowed_cores: (min..=max).filter(|_| script.byte() > 200).collect(),
            max_changes_per_day: script.between(1, 100),
        },
        sampling: Sampling {
            interval: script.secs(1, 60),
            steal: Steal::Report,
            ignore_nice: script.flag(),
        },
        boot_grace: script.secs(0, 30),
        up: Up {
            utilization: script.share(),
            window: script.secs(60, 200),
            queue: script.secs(0, 60),
            pressure: script.share() - 0.01,
            target: script.share(),
            cooldown: script.secs(0, 120),
            max_step: script.between(1, 64),
        },
        down: Down {
            utilization: script.share(),
            headroom: script.share() * 4.0,
            window: script.secs(60, 250),
            cooldown: script.secs(0, 120),
            max_step: script.between(1, 64),
        },
        apply: Apply {
            raising: mode[script.byte() as usize % 3],
            lowering: mode[script.byte() as usize % 4],
            unapplied: if script.flag() {
                Unapplied::Revert
            } else {
                Unapplied::Hold
            },
            timeout: script.secs(10, 250),
        },
    }
}

fn machine() -> Machine {
    Machine {
        machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
        macs: vec!["00:50:56:00:00:01".to_owned()],
        addresses: vec![[192, 0, 2, 10].into()],
        memory_mb: 3900,
    }
}

impl<'a> Driver<'a> {
    /// A first run.
    pub fn new(data: &'a [u8]) -> Driver<'a> {
        Driver::resume(State::default(), data)
    }

    /// A run that finds this state.
    pub fn resume(state: State, data: &'a [u8]) -> Driver<'a> {
        let mut script = Script(data);
        let now = Timestamp {
            boottime_ms: 864_000_000,
            wall_ms: 1_790_000_000_000,
        };
        let start = Start {
            policy: policy(&mut script),
            policy_hash: "fuzz".to_owned(),
            engine_version: "fuzz".to_owned(),
            dry_run: false,
            boot_id: "boot-0".to_owned(),
            machine: machine(),
            day: Day {
                number: 20_000,
                remaining_ms: 1000,
            },
            state,
            careful: script.flag(),
            jitter_seed: script.number(),
        };
        let (engine, _) = Engine::start(now, start);
        Driver {
            script,
            engine,
            now,
            disk: Durability::Durable,
        }
    }

    /// Applies these, carrying out what the engine asks for in between.
    pub fn feed(&mut self, events: Vec<Event>) {
        for event in events {
            self.apply(event);
            self.carry_out();
        }
    }

    /// Runs the script to its end.
    pub fn run(&mut self) {
        while !self.script.0.is_empty() {
            let event = self.event();
            self.apply(event);
            if self.script.byte() < 200 {
                self.carry_out();
            }
        }
        self.carry_out();
        let status = self.engine.status(self.now);
        assert!(!status.line().chars().any(|c| c == '\n'));
        serde_json::to_string(&status).expect("a status is written");
    }

    fn apply(&mut self, event: Event) {
        for notice in self.engine.apply(self.now, event) {
            for number in [notice.utilization, notice.demand].into_iter().flatten() {
                assert!(number.is_finite() && number >= 0.0, "{notice:?}");
            }
            if let Some(record) = notice.record {
                let text = serde_json::to_string(&record).expect("a record is written");
                assert_eq!(serde_json::from_str(&text).ok(), Some(record), "{text}");
            }
        }
    }

    /// What the runtime does with the engine's command; the answer, if any, is the script's.
    fn carry_out(&mut self) {
        // A planned change, the reads before it, the edit: more at one instant is a loop.
        for _ in 0..12 {
            let step = self.engine.next(self.now);
            assert_eq!(step, self.engine.next(self.now), "asked twice");
            self.check(&step.command);
            if step.command == Command::Wait {
                return;
            }
            self.apply(Event::Issued(step.command.clone()));
            let answer = match step.command {
                Command::ReadDetails => self.details(),
                Command::ReadAllowedCores => self.allowed(),
                Command::Edit { .. } => self.edited(),
                Command::Wait | Command::Plan(_) | Command::Abandon => continue,
            };
            // No call is answered in no time: what was read is later than what led to it.
            self.now = self.now.plus(Duration::from_millis(1));
            self.apply(answer);
        }
        panic!(
            "the engine does not come to rest: {:?}",
            self.engine.state()
        );
    }

    fn check(&self, command: &Command) {
        let limits = &self.engine.policy().limits;
        let within = |cores: u32| {
            (limits.min_cores..=limits.max_cores).contains(&cores)
                && (limits.allowed_cores.is_empty() || limits.allowed_cores.contains(&cores))
        };
        match command {
            Command::Plan(decision) => assert!(within(decision.to), "{decision:?}"),
            Command::Edit { cores } => {
                let intent = self.engine.state().intent.as_ref();
                let intent = intent.expect("an edit has its intent on disk");
                if intent.reverting {
                    assert_eq!(*cores, intent.from, "a revert goes back and nowhere else");
                    assert_ne!(self.disk, Durability::Lost, "{intent:?}");
                } else {
                    assert!(within(*cores), "{cores} {intent:?}");
                    let direction = Direction::of(intent.from, *cores);
                    assert!(self.disk.suffices(direction), "{:?} {intent:?}", self.disk);
                }
            }
            _ => {}
        }
    }

    fn event(&mut self) -> Event {
        let script = &mut self.script;
        match script.byte() % 18 {
            // Time passes, and the load is looked at: most of what happens.
            0..=5 => {
                let span = script.number().min(4_000_000) * 100;
                self.now = self.now.plus(Duration::from_millis(span));
                self.tick()
            }
            6 => {
                let step = script.number() as i64;
                self.now.wall_ms = self.now.wall_ms.saturating_add(step);
                self.tick()
            }
            7 => self.details(),
            8 => self.edited(),
            9 => self.allowed(),
            10 => Event::Day(Day {
                number: script.small() as i32,
                remaining_ms: script.number(),
            }),
            11 => {
                self.disk = match script.byte() & 3 {
                    1 => Durability::UntilReboot,
                    3 => Durability::Lost,
                    _ => Durability::Durable,
                };
                Event::Disk(self.disk)
            }
            12 => Event::Pause(script.maybe(|s| Duration::from_millis(s.number()))),
            13 => Event::Resume,
            14 => Event::Forget(if script.flag() {
                Direction::Raising
            } else {
                Direction::Lowering
            }),
            15 => {
                if script.flag() {
                    Event::Confirm
                } else {
                    Event::Prove
                }
            }
            16 => Event::Policy(Box::new(policy(script)), "other".to_owned()),
            _ => Event::Machine(Machine {
                addresses: script
                    .maybe(|_| [192, 0, 2, 10].into())
                    .into_iter()
                    .collect(),
                memory_mb: script.number(),
                ..machine()
            }),
        }
    }

    fn tick(&mut self) -> Event {
        let script = &mut self.script;
        let online = script.between(1, 33);
        let sample = match script.byte() {
            250.. => Err(NoSample::OnlineChanged),
            245..250 => Err(NoSample::Gap),
            byte => Ok(Sample {
                span_ms: script.small(),
                online,
                busy_mc: if byte & 1 == 1 {
                    online * 1000
                } else {
                    script.small()
                },
                steal_mc: script.small(),
                runnable_c: script.maybe(Script::small),
                pressure_bp: script.maybe(|s| u16::from(s.byte()) * 40),
            }),
        };
        Event::Tick(Reading {
            guest: script.maybe(|s| GuestCpus {
                online,
                present: online.saturating_add(s.between(0, 3)),
            }),
            sample,
        })
    }

    fn details(&mut self) -> Event {
        let script = &mut self.script;
        if script.byte() > 200 {
            return Event::Details(Err(self.failure()));
        }
        Event::Details(Ok(Server {
            cores: 1 + u32::try_from(script.number()).unwrap_or(0) % 1024,
            memory_mb: script.maybe(Script::number),
            platform: "KVM".to_owned(),
            addresses: match script.byte() {
                0..=239 => vec![[192, 0, 2, 10].into()],
                _ => Vec::new(),
            },
            locked: script.byte() > 200,
            running: script.maybe(Script::flag),
        }))
    }

    fn edited(&mut self) -> Event {
        if self.script.byte() > 127 {
            return Event::Edited(Err(self.failure()));
        }
        Event::Edited(Ok(()))
    }

    fn allowed(&mut self) -> Event {
        if self.script.byte() > 200 {
            return Event::AllowedCores(Err(self.failure()));
        }
        let mut counts: Vec<u32> = (0..self.script.byte() % 8)
            .map(|_| self.script.between(1, 40))
            .collect();
        counts.sort_unstable();
        counts.dedup();
        Event::AllowedCores(Ok(counts))
    }

    fn failure(&mut self) -> ApiFailure {
        let kinds = [
            FailureKind::Credentials,
            FailureKind::Configuration,
            FailureKind::Locked,
            FailureKind::Forbidden,
            FailureKind::InvalidValue,
            FailureKind::ApplyFailed,
            FailureKind::NoRoom,
            FailureKind::AccountLimit,
            FailureKind::HypervisorDown,
            FailureKind::Unavailable,
            FailureKind::Unknown,
        ];
        ApiFailure {
            kind: kinds[self.script.byte() as usize % kinds.len()],
            retry_after: self.script.maybe(|s| s.secs(0, 250) * 15),
            message: "no".to_owned(),
        }
    }
}
