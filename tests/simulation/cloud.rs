//! The provider as the simulated world has it: one server, its lock, what an edit does to the
//! guest, and what goes wrong with the calls.

use crate::director::Act;
use crate::judge::Judge;
use crate::kinds::Kind;
use crate::schedule::Episode;
use crate::vm::{After, World};
use glesys_autoscaler::engine::cloud::{ApiFailure, FailureKind, Server};
use glesys_autoscaler::engine::sample::GuestCpus;
use std::collections::BTreeMap;
use std::time::Duration;

/// How old the details of [`Kind::StaleDetails`] are at most, in milliseconds.
const STALE_MS: u64 = 15_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    Details,
    Edit,
    AllowedArguments,
}

/// What becomes of a call.
#[derive(Debug, Clone)]
pub struct Fate {
    pub failure: Option<ApiFailure>,
    carried_out: bool,
    pub latency: Duration,
}

#[derive(Debug)]
pub struct Cloud {
    /// `cpucores`: what is billed.
    pub cores: u32,
    /// The count before, and when it changed.
    before: (u32, u64),
    pub counts: Vec<u32>,
    locked_until: u64,
    /// When the guest follows, and how.
    follows: Option<(u64, GuestCpus)>,
    /// Answers to edits, by number.
    answers: BTreeMap<u64, Result<(), ApiFailure>>,
    edits: u64,
    /// When an edit was last said not to be done although it was.
    lied: u64,
}

impl Cloud {
    pub fn new(cores: u32, counts: Vec<u32>) -> Cloud {
        Cloud {
            cores,
            before: (cores, 0),
            counts,
            locked_until: 0,
            follows: None,
            answers: BTreeMap::new(),
            edits: 0,
            lied: 0,
        }
    }

    /// A boot gives the guest the count that is billed.
    pub fn reboot(&mut self) -> u32 {
        self.follows = None;
        self.cores
    }

    fn set(&mut self, cores: u32, now: u64) {
        self.before = (self.cores, now);
        self.cores = cores;
    }

    pub fn lock(world: &World, span: Duration) {
        let until = world.real_ms() + span.as_millis() as u64;
        let mut cloud = world.cloud.borrow_mut();
        cloud.locked_until = cloud.locked_until.max(until);
    }

    /// Somebody else sets a count in the panel, which the running guest takes.
    pub fn set_outside(world: &World, cores: u32) {
        let now = world.real_ms();
        let mut cloud = world.cloud.borrow_mut();
        if cloud.cores == cores {
            return;
        }
        cloud.set(cores, now);
        cloud.locked_until = cloud.locked_until.max(now + 10_000);
        let all = GuestCpus {
            online: cores,
            present: cores,
        };
        cloud.follows = Some((now + 10_000, all));
        drop(cloud);
        Judge::overtaken(world);
        world.log(format_args!("somebody else sets {cores} cores"));
    }

    /// All is well again: the guest has what is billed.
    pub fn heal(world: &World) {
        let mut cloud = world.cloud.borrow_mut();
        cloud.locked_until = cloud.locked_until.min(world.real_ms() + 60_000);
        if cloud.follows.is_none() {
            world.set_guest(cloud.cores, cloud.cores);
        }
    }

    /// The guest follows, when it is time.
    pub fn settle(world: &World) {
        let mut cloud = world.cloud.borrow_mut();
        if let Some((at, guest)) = cloud.follows
            && at <= world.real_ms()
        {
            cloud.follows = None;
            drop(cloud);
            world.set_guest(guest.online, guest.present);
            world.log(format_args!(
                "the guest has {} of {} CPUs online",
                guest.online, guest.present
            ));
        }
    }

    pub fn details(world: &World) -> Server {
        Cloud::settle(world);
        let cloud = world.cloud.borrow();
        let now = world.real_ms();
        let mut cores = cloud.cores;
        // An API that is behind, and that denied what it did, would be more than a client can
        // see through; the edit that it then repeats sets the same absolute count again.
        if world.active(Kind::StaleDetails).is_some()
            && now < cloud.before.1 + STALE_MS
            && now > cloud.lied + 60_000
        {
            cores = cloud.before.0;
            world.hit(Kind::StaleDetails);
        }
        let mut addresses = crate::world::machine().addresses;
        if world.active(Kind::AddressGone).is_some() {
            world.hit(Kind::AddressGone);
            addresses = vec![[198, 51, 100, 7].into()];
        }
        let says_locked = world.active(Kind::EditSaysLocked).is_none();
        Server {
            cores,
            memory_mb: Some(4096),
            platform: "KVM".to_owned(),
            addresses,
            locked: says_locked && now < cloud.locked_until,
            running: Some(true),
        }
    }

    /// The number of an edit that is being sent.
    pub fn number(&mut self) -> u64 {
        self.edits += 1;
        self.edits
    }

    /// The answer to an edit that arrived.
    pub fn answer(&mut self, number: u64) -> Result<(), ApiFailure> {
        let answer = self.answers.remove(&number);
        answer.expect("an edit arrives before it is answered")
    }

    /// The edit arrives; whether the count changed by it.
    pub fn arrive(world: &World, number: u64, cores: u32, fate: &Fate) {
        let (answer, changed) = Cloud::edited(world, cores, fate);
        world.log(format_args!(
            "edit {number} to {cores} arrives, changes {}: {}",
            if changed { "the count" } else { "nothing" },
            answer
                .as_ref()
                .map_or_else(|f| f.message.as_str(), |()| "ok")
        ));
        let mut cloud = world.cloud.borrow_mut();
        cloud.answers.insert(number, answer);
        drop(cloud);
        Judge::edit_arrived(world, number, changed);
    }

    fn edited(world: &World, cores: u32, fate: &Fate) -> (Result<(), ApiFailure>, bool) {
        let answer = match &fate.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        };
        if !fate.carried_out {
            return (answer, false);
        }
        let cloud = world.cloud.borrow();
        let now = world.real_ms();
        if now < cloud.locked_until || world.active(Kind::EditSaysLocked).is_some() {
            drop(cloud);
            if world.active(Kind::EditSaysLocked).is_some() {
                world.hit(Kind::EditSaysLocked);
            }
            let refused = failure(
                FailureKind::Locked,
                None,
                "server/edit: the server is locked",
            );
            return (answer.and(Err(refused)), false);
        }
        if !cloud.counts.contains(&cores) {
            let text = "server/edit: 400, this count is not allowed";
            return (
                answer.and(Err(failure(FailureKind::InvalidValue, None, text))),
                false,
            );
        }
        let before = cloud.cores;
        drop(cloud);
        Cloud::work(world, before, cores);
        let lies = matches!(&fate.failure, Some(f) if f.kind == FailureKind::Unavailable);
        let mut cloud = world.cloud.borrow_mut();
        if lies {
            cloud.lied = now;
        }
        (answer, cloud.cores != before)
    }

    /// The platform carries out an edit.
    fn work(world: &World, from: u32, to: u32) {
        let now = world.real_ms();
        let mut lock = Duration::from_secs_f64(5.0 + 35.0 * world.roll());
        let hit = |kind| {
            let dose = world.active(kind);
            if dose.is_some() {
                world.hit(kind);
            }
            dose
        };
        if let Some(dose) = hit(Kind::SlowPlatform) {
            lock = Duration::from_secs_f64(60.0 + dose * 1500.0);
        }
        let guest = world.guest.get();
        let mut after = GuestCpus {
            online: to,
            present: to,
        };
        let mut late = Duration::ZERO;
        if hit(Kind::GuestIgnores).is_some() || hit(Kind::OnlyAtReboot).is_some() {
            after = guest;
        } else if to > from && hit(Kind::GuestOffline).is_some() {
            after.online = guest.online;
        } else if to < from && hit(Kind::GuestKeeps).is_some() {
            after = guest;
        } else if let Some(dose) = hit(Kind::GuestLate) {
            late = Duration::from_secs_f64(dose * 400.0);
        }
        let mut cloud = world.cloud.borrow_mut();
        cloud.locked_until = now + lock.as_millis() as u64;
        if hit(Kind::AcceptedNotDone).is_some() {
            return;
        }
        cloud.set(to, now);
        cloud.follows = Some(((cloud.locked_until + late.as_millis() as u64), after));
        drop(cloud);
        let reset = match hit(Kind::EditReboots) {
            Some(dose) => Some(lock.mul_f64(dose)),
            None => hit(Kind::RebootInEdit).map(|dose| lock.mul_f64(dose * 1.5)),
        };
        if let Some(after) = reset {
            let boot = After {
                down: Duration::from_secs(20),
                reboot: true,
                ..After::default()
            };
            world.at(world.mono() + after, Act::Interrupt(boot));
        }
    }

    pub fn fate(world: &World, function: Function) -> Fate {
        let ms =
            |from: f64, to: f64| Duration::from_millis((from + (to - from) * world.roll()) as u64);
        let mut fate = Fate {
            failure: None,
            carried_out: true,
            latency: ms(60.0, 400.0),
        };
        let active: Vec<Episode> = world.active.borrow().clone();
        for Episode { kind, dose, .. } in active {
            let Some((failed, carried_out)) = strikes(kind, function) else {
                continue;
            };
            // Some faults hold for each call while they last, the others come and go.
            let lasting = matches!(
                kind,
                Kind::KeyWithdrawn401 | Kind::NotFound404 | Kind::AccountType419
            );
            if !lasting && world.roll() > 0.4 + 0.6 * dose {
                continue;
            }
            world.hit(kind);
            if kind == Kind::Slow {
                fate.latency = ms(2000.0, 9500.0);
                continue;
            }
            if matches!(kind, Kind::LostBefore | Kind::LostAfter) && world.roll() < 0.5 {
                fate.latency = Duration::from_secs(10);
            }
            let told = matches!(kind, Kind::Busy503 | Kind::TooMany429);
            let wait = told.then(|| Duration::from_secs(10 + (dose * 890.0) as u64));
            let text = format!("{function:?}: {}", kind.text());
            fate.failure = Some(failure(failed, wait, &text));
            fate.carried_out = carried_out;
            return fate;
        }
        fate
    }
}

/// What a fault makes of a call, and whether that is carried out all the same.
fn strikes(kind: Kind, function: Function) -> Option<(FailureKind, bool)> {
    let edit = function == Function::Edit;
    let of_edits = |failure| edit.then_some((failure, false));
    match kind {
        Kind::Slow => Some((FailureKind::Unknown, true)),
        Kind::LostBefore => Some((FailureKind::Unknown, false)),
        Kind::LostAfter | Kind::Malformed => Some((FailureKind::Unknown, true)),
        Kind::NoConnection | Kind::Busy503 | Kind::TooMany429 => {
            Some((FailureKind::Unavailable, false))
        }
        Kind::GatewayLies => edit.then_some((FailureKind::Unavailable, true)),
        Kind::KeyWithdrawn401 => Some((FailureKind::Credentials, false)),
        Kind::NotFound404 | Kind::AccountType419 => Some((FailureKind::Configuration, false)),
        Kind::Forbidden403 => of_edits(FailureKind::Forbidden),
        Kind::ManagedServer405 => of_edits(FailureKind::Configuration),
        Kind::ValueRefused400 => of_edits(FailureKind::InvalidValue),
        Kind::ApplyFailed608 => of_edits(FailureKind::ApplyFailed),
        Kind::NoRoom617 => of_edits(FailureKind::NoRoom),
        Kind::AccountLimit618 => of_edits(FailureKind::AccountLimit),
        Kind::HypervisorDown619 => of_edits(FailureKind::HypervisorDown),
        Kind::NoCounts => {
            (function == Function::AllowedArguments).then_some((FailureKind::Credentials, false))
        }
        _ => None,
    }
}

pub fn failure(kind: FailureKind, retry_after: Option<Duration>, message: &str) -> ApiFailure {
    ApiFailure {
        kind,
        retry_after,
        message: message.to_owned(),
    }
}
