//! The simulated world but for the cloud: clocks, load, the guest's CPUs, the service manager.

use crate::cloud::Cloud;
use crate::director::Queue;
use crate::disk::Place;
use crate::judge::Judge;
use crate::kinds::Kind;
use crate::schedule::{Episode, Plan};
use crate::tally::Tally;
use crate::world::{DAY_MS, Dice};
use glesys_autoscaler::engine::event::Machine;
use glesys_autoscaler::engine::policy::{Policy, Sampling};
use glesys_autoscaler::engine::sample::{GuestCpus, NoSample, Reading, Sample};
use glesys_autoscaler::engine::time::{Day, Timestamp};
use glesys_autoscaler::engine::window::Windows;
use glesys_autoscaler::ports::{Clock, Notifier, Sampler};
use glesys_autoscaler::runtime::Request;
use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What the daemon's future unwinds with where it is killed.
pub struct Killed;

/// What follows the end of a life.
#[derive(Debug, Clone, Default)]
pub struct After {
    pub down: Duration,
    pub reboot: bool,
    pub clone: bool,
    pub dry_run: bool,
    pub spoil: Option<Kind>,
    pub finished: bool,
}

/// Everything outside the daemon.
pub struct World {
    pub plan: Plan,
    pub base: Instant,
    /// Boot clock and wall clock less the clock of the loop, and the time spent suspended.
    boot_offset: Cell<i64>,
    wall_offset: Cell<i64>,
    asleep: Cell<u64>,
    /// How long the daemon ran, by the clock of the loop.
    pub lived: Cell<Duration>,
    pub boot: Cell<u32>,
    pub dice: RefCell<Dice>,
    pub policy: RefCell<Policy>,
    pub cloud: RefCell<Cloud>,
    pub guest: Cell<GuestCpus>,
    pub active: RefCell<Vec<Episode>>,
    /// Work that waits, in core seconds.
    waiting: Cell<f64>,
    /// All faults are over: the load is steady.
    pub steady: Cell<bool>,
    /// The daemon dies at the port call when this reaches zero.
    pub fuse: Cell<Option<u32>>,
    pub place: Place,
    pub judge: RefCell<Judge>,
    pub tally: RefCell<Tally>,
    pub after: RefCell<Option<After>>,
    pub life: RefCell<After>,
    pub requests: RefCell<Option<mpsc::Sender<Request>>>,
    pub queue: Queue,
    /// What the policy file holds at the next reload.
    pub reload: RefCell<Option<Result<Policy, String>>>,
    /// The operator did what the lines asked for.
    pub helped: Cell<bool>,
    log: RefCell<Vec<String>>,
    readings: Cell<u64>,
}

impl World {
    pub fn new(plan: Plan) -> Rc<World> {
        let cores = plan.cores;
        let world = World {
            base: Instant::now(),
            boot_offset: Cell::new(2 * DAY_MS),
            wall_offset: Cell::new(plan.begin_ms),
            asleep: Cell::new(0),
            lived: Cell::default(),
            boot: Cell::new(0),
            dice: RefCell::new(Dice(plan.seed ^ 0x5eed)),
            policy: RefCell::new(plan.policy.clone()),
            cloud: RefCell::new(Cloud::new(cores, plan.counts.clone())),
            guest: Cell::new(GuestCpus {
                online: cores,
                present: cores,
            }),
            active: RefCell::default(),
            waiting: Cell::new(0.0),
            steady: Cell::new(false),
            fuse: Cell::new(None),
            place: Place::new(),
            judge: RefCell::new(Judge::new(plan.policy.clone())),
            tally: RefCell::default(),
            after: RefCell::default(),
            life: RefCell::default(),
            requests: RefCell::default(),
            queue: Queue::default(),
            reload: RefCell::default(),
            helped: Cell::new(false),
            log: RefCell::default(),
            readings: Cell::new(0),
            plan,
        };
        Rc::new(world)
    }

    /// Time on the clock of the loop.
    pub fn mono(&self) -> Duration {
        self.base.elapsed()
    }

    /// Real time since the begin, in milliseconds.
    pub fn real_ms(&self) -> u64 {
        self.mono().as_millis() as u64 + self.asleep.get()
    }

    pub fn now(&self) -> Timestamp {
        let mono = self.mono().as_millis() as i64;
        Timestamp {
            boottime_ms: mono + self.boot_offset.get(),
            wall_ms: mono + self.wall_offset.get(),
        }
    }

    pub fn suspend(&self, span: Duration) {
        let ms = span.as_millis() as i64;
        self.asleep.set(self.asleep.get() + ms as u64);
        self.boot_offset.set(self.boot_offset.get() + ms);
        self.step_wall(ms);
    }

    pub fn step_wall(&self, ms: i64) {
        self.wall_offset.set(self.wall_offset.get() + ms);
    }

    pub fn boot_id(&self) -> String {
        format!("boot-{}", self.boot.get())
    }

    /// The VM boots: another boot id, the run-time directory empty, the CPUs as the provider
    /// has them.
    pub fn reboot(&self) {
        self.boot.set(self.boot.get() + 1);
        // The wall clock is as much behind.
        let up = 5000;
        self.boot_offset.set(up - self.mono().as_millis() as i64);
        self.place.reboot();
        Judge::rebooted(self);
        let cores = self.cloud.borrow_mut().reboot();
        self.set_guest(cores, cores);
        self.tally.borrow_mut().reboots += 1;
        self.log("the VM boots");
    }

    pub fn set_guest(&self, online: u32, present: u32) {
        self.guest.set(GuestCpus { online, present });
    }

    pub fn machine(&self) -> Machine {
        let machine = crate::world::machine();
        if self.life.borrow().clone {
            return Machine {
                machine_id: "fedcba9876543210fedcba9876543210".to_owned(),
                macs: vec!["00:50:56:00:00:02".to_owned()],
                addresses: vec![[192, 0, 2, 99].into()],
                ..machine
            };
        }
        machine
    }

    /// The dose of a fault of this kind that lasts now.
    pub fn active(&self, kind: Kind) -> Option<f64> {
        let active = self.active.borrow();
        active.iter().find(|e| e.kind == kind).map(|e| e.dose)
    }

    pub fn hit(&self, kind: Kind) {
        self.tally.borrow_mut().row(kind).hits += 1;
    }

    pub fn roll(&self) -> f64 {
        self.dice.borrow_mut().roll()
    }

    /// A port is called: here a killed daemon ends.
    pub fn port(&self) {
        match self.fuse.get() {
            Some(0) => self.die("killed at a call of a port"),
            Some(left) => self.fuse.set(Some(left - 1)),
            None => {}
        }
    }

    /// Ends the daemon as `kill -9` would: nothing of it runs any more.
    pub fn die(&self, what: &str) -> ! {
        self.fuse.set(None);
        self.log(what);
        resume_unwind(Box::new(Killed))
    }

    pub fn log(&self, line: impl std::fmt::Display) {
        let now = self.now();
        let ms = self.real_ms();
        let (s, ms) = (ms / 1000, ms % 1000);
        let line = format!(
            "day {} {:02}:{:02}:{:02}.{ms:03} (boot {} +{} s, wall {}) {}",
            s / 86_400,
            s / 3600 % 24,
            s / 60 % 60,
            s % 60,
            self.boot.get(),
            now.boottime_ms / 1000,
            now.wall_ms,
            self.place.anonymous(&line.to_string())
        );
        self.log.borrow_mut().push(line);
    }

    /// The log, and a number that depends on each reading there was.
    pub fn take_log(&self) -> Vec<String> {
        self.log(format_args!("readings: {:016x}", self.readings.get()));
        self.log.take()
    }

    /// The last lines of the log, for a person.
    pub fn tail(&self, lines: usize) -> String {
        let log = self.log.borrow();
        log[log.len().saturating_sub(lines)..].join("\n")
    }

    /// What the load would use now, in cores.
    pub fn demand(&self) -> f64 {
        let noise = self.roll() * 2.0 - 1.0;
        if self.steady.get() {
            return self.plan.last_demand * (1.0 + 0.005 * noise);
        }
        let most = f64::from(self.policy.borrow().limits.max_cores);
        let load = &self.plan.demand;
        let hour = self.now().wall_ms.rem_euclid(DAY_MS) as f64 / DAY_MS as f64;
        let mut demand = load.base * (1.0 + load.daily * (std::f64::consts::TAU * hour).sin());
        if let Some(dose) = self.active(Kind::Burst) {
            demand += dose * most;
        }
        if let Some(dose) = self.active(Kind::Flood) {
            demand += (1.0 + dose) * most;
        }
        (demand * (1.0 + load.noise * noise)).max(0.0)
    }

    fn sample(&self, span: Duration, online: u32) -> Sample {
        let seconds = span.as_secs_f64();
        let stolen = self.active(Kind::Steal).map_or(0.0, |dose| dose * 0.5);
        let there = f64::from(online) * (1.0 - stolen);
        let demand = self.demand();
        let mut runnable = demand;
        let mut busy = demand.min(there);
        if self.plan.demand.waits && !self.steady.get() {
            let work = self.waiting.get() + demand * seconds;
            let served = work.min(there * seconds);
            // Who waits for minutes goes away.
            self.waiting
                .set((work - served).min(f64::from(online) * 120.0));
            busy = served / seconds;
            runnable = busy + (self.waiting.get() / 15.0).min(64.0);
        }
        let steal = f64::from(online) * stolen * (runnable / f64::from(online)).min(1.0);
        Sample {
            span_ms: span.as_millis() as u32,
            online,
            busy_mc: (busy * 1000.0) as u32,
            steal_mc: (steal * 1000.0) as u32,
            runnable_c: Some((runnable * 100.0) as u32 + 100),
            pressure_bp: None,
        }
    }
}

/// Summer time of central Europe in 2026.
const SUMMER: std::ops::Range<i64> = 1_774_746_000_000..1_792_890_000_000;

/// The local day there.
pub fn day(at: Timestamp) -> Day {
    let hours = if SUMMER.contains(&at.wall_ms) { 2 } else { 1 };
    let local = at.wall_ms + hours * 3_600_000;
    Day {
        number: local.div_euclid(DAY_MS) as i32,
        remaining_ms: (DAY_MS - local.rem_euclid(DAY_MS)) as u64,
    }
}

/// How often summer time began or ended from one instant of the wall clock to another.
pub fn turns_of_the_clock(from: i64, to: i64) -> u64 {
    let within = |at: i64| u64::from((from..to).contains(&at));
    within(SUMMER.start) + within(SUMMER.end)
}

/// The ports of one life.
pub struct Ports(pub Rc<World>);

impl Clock for Ports {
    fn now(&self) -> Timestamp {
        self.0.port();
        self.0.now()
    }

    fn day(&self, at: Timestamp) -> Day {
        day(at)
    }
}

impl Notifier for Ports {
    fn ready(&self) {
        self.0.port();
    }
    fn watchdog(&self) {}
    fn watchdog_interval(&self) -> Option<Duration> {
        None
    }
    fn status(&self, line: &str) {
        self.0.port();
        assert!(line.len() < 1000 && !line.contains('\n'), "{line:?}");
    }
    fn stopping(&self) {
        self.0.port();
    }
}

pub struct Sensors {
    pub world: Rc<World>,
    pub interval: Duration,
    pub before: Option<(Timestamp, u32)>,
}

impl Sampler for Sensors {
    fn read(&mut self, now: Timestamp) -> Reading {
        let world = &self.world;
        world.port();
        Cloud::settle(world);
        let guest = world.guest.get();
        let before = self.before.replace((now, guest.online));
        let sample = match before {
            _ if world.active(Kind::NoSamples).is_some() => {
                world.hit(Kind::NoSamples);
                Err(NoSample::Unreadable)
            }
            None => Err(NoSample::First),
            Some((_, online)) if online != guest.online => Err(NoSample::OnlineChanged),
            Some((before, _)) => {
                let span = now.since(before);
                if span > Windows::stale_after(self.interval) {
                    Err(NoSample::Gap)
                } else {
                    Ok(world.sample(span.max(Duration::from_millis(1)), guest.online))
                }
            }
        };
        if world.active(Kind::Steal).is_some() {
            world.hit(Kind::Steal);
        }
        let mut reading = Reading {
            guest: Some(guest),
            sample,
        };
        if world.active(Kind::NoGuest).is_some() {
            world.hit(Kind::NoGuest);
            reading = Reading {
                guest: None,
                sample: Err(NoSample::Unreadable),
            };
        }
        let seen = reading.sample.map_or(1, |s| u64::from(s.busy_mc) + 2);
        let mixed = world.readings.get().rotate_left(5) ^ seen.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        world.readings.set(mixed);
        Judge::looked(world, reading.sample.ok());
        reading
    }

    fn read_queue(&mut self) {}

    fn configure(&mut self, sampling: &Sampling) {
        self.interval = sampling.interval;
    }
}
