//! Makes the faults begin and end at their times, beside the daemon and while there is none.

use crate::cloud::{Cloud, Fate};
use crate::judge::Judge;
use crate::kinds::Kind;
use crate::schedule::{Episode, counts, policy};
use crate::vm::{After, World};
use crate::world::Dice;
use glesys_autoscaler::engine::policy::Policy;
use glesys_autoscaler::engine::record::Direction;
use glesys_autoscaler::runtime::{Operator, Request};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// After the last fault until the load must be served, or the reason told; and once more so long
/// after the operator's help until it must be served.
const CALM: Duration = Duration::from_secs(2 * 3600);

/// Something that happens to the world.
#[derive(Debug, Clone)]
pub enum Act {
    Begin(usize),
    End(usize),
    /// An edit arrives at the API.
    Arrive(u64, u32, Fate),
    /// The daemon ends.
    Interrupt(After),
    Terraform(usize),
    Operator(Operator),
    FaultsOver,
    Help,
    Finish,
}

/// What is to happen, by time, and in the order it was planned.
#[derive(Default)]
pub struct Queue {
    acts: RefCell<BTreeMap<(Duration, u64), Act>>,
    planned: Cell<u64>,
    changed: Notify,
}

impl World {
    pub fn at(&self, at: Duration, act: Act) {
        let number = self.queue.planned.get();
        self.queue.planned.set(number + 1);
        self.queue.acts.borrow_mut().insert((at, number), act);
        self.queue.changed.notify_one();
    }

    fn due(&self) -> Option<(Duration, u64)> {
        self.queue.acts.borrow().keys().next().copied()
    }
}

/// Plans the whole run.
pub fn plan(world: &World) {
    for (i, episode) in world.plan.episodes.iter().enumerate() {
        world.at(episode.at, Act::Begin(i));
        if !episode.span.is_zero() {
            world.at(episode.at + episode.span, Act::End(i));
        }
    }
    let end = world.plan.faults_end;
    world.at(end, Act::FaultsOver);
    world.at(end + CALM, Act::Help);
    world.at(end + CALM * 2, Act::Finish);
}

/// Lets things happen until the daemon is to end at once; what follows is in `world.after`. Can be
/// dropped at any point and called again.
pub async fn direct(world: &World, base: Instant) {
    loop {
        let changed = world.queue.changed.notified();
        let Some(due) = world.due() else {
            return changed.await;
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(base + due.0) => {}
            () = changed => continue,
        }
        let Some(act) = world.queue.acts.borrow_mut().remove(&due) else {
            continue;
        };
        if happen(world, act).await {
            return;
        }
    }
}

/// Whether the daemon ends here.
async fn happen(world: &World, act: Act) -> bool {
    match act {
        Act::Begin(i) => {
            let episode = world.plan.episodes[i].clone();
            world.log(format_args!(
                "fault: {} ({:.2}) for {} s",
                episode.kind.text(),
                episode.dose,
                episode.span.as_secs()
            ));
            Judge::fault(world, episode.kind);
            world.tally.borrow_mut().row(episode.kind).episodes += 1;
            if episode.kind.hits_at_once() {
                world.hit(episode.kind);
            }
            if !episode.span.is_zero() {
                world.active.borrow_mut().push(episode.clone());
            }
            begin(world, &episode, i).await
        }
        Act::End(i) => {
            let episode = &world.plan.episodes[i];
            let same = |e: &Episode| e.at == episode.at && e.kind == episode.kind;
            world.active.borrow_mut().retain(|e| !same(e));
            world.log(format_args!("over: {}", episode.kind.text()));
            end(world, episode.kind).await
        }
        Act::Arrive(number, cores, fate) => {
            Cloud::arrive(world, number, cores, &fate);
            false
        }
        Act::Interrupt(after) => {
            world.log(format_args!("interrupted: {after:?}"));
            interrupt(world, after)
        }
        Act::Terraform(i) => {
            let episode = &world.plan.episodes[i];
            if world.active(Kind::Terraform).is_some() {
                world.hit(Kind::Terraform);
                let policy = world.policy.borrow().clone();
                let share = episode.dose * f64::from(policy.limits.max_cores);
                Cloud::set_outside(world, (share as u32).max(1));
                let hours = 1.0 + (episode.dose * 97.0).fract() * 5.0;
                world.at(world.mono() + HOUR.mul_f64(hours), Act::Terraform(i));
            }
            false
        }
        Act::Operator(operator) => {
            operate(world, operator).await;
            false
        }
        Act::FaultsOver => {
            world.log("all faults are over");
            world.active.borrow_mut().clear();
            world.place.clear();
            world.fuse.set(None);
            world.steady.set(true);
            Cloud::heal(world);
            if world.life.borrow().clone || world.life.borrow().dry_run {
                return interrupt(world, After::default());
            }
            false
        }
        Act::Help => {
            if world.requests.borrow().is_none() {
                world.at(world.mono() + MINUTE, Act::Help);
                return false;
            }
            help(world).await;
            false
        }
        Act::Finish => {
            Judge::served_after_help(world);
            let after = After {
                finished: true,
                ..After::default()
            };
            stop(world, after).await
        }
    }
}

fn interrupt(world: &World, after: After) -> bool {
    world.after.replace(Some(after));
    true
}

/// Tells the daemon to end and lets it.
async fn stop(world: &World, after: After) -> bool {
    world.after.replace(Some(after));
    let requests = world.requests.borrow().clone();
    match requests {
        Some(requests) if requests.send(Request::Stop).await.is_ok() => pending().await,
        _ => true,
    }
}

async fn begin(world: &World, episode: &Episode, i: usize) -> bool {
    let Episode { kind, dose, .. } = *episode;
    let secs = |from: f64, to: f64| Duration::from_secs_f64(from + (to - from) * dose);
    let mut dice = Dice(world.plan.seed ^ (i as u64) << 20);
    let limits = world.policy.borrow().limits.clone();
    let down = match dice.below(3) {
        0 => secs(60.0, 2400.0),
        _ => secs(0.1, 30.0),
    };
    let after = After {
        down,
        ..After::default()
    };
    let killed = |after: After| {
        world.log("killed");
        interrupt(world, after)
    };
    match kind {
        Kind::OtherCounts => world.cloud.borrow_mut().counts = counts(&mut dice),
        Kind::LockedByOthers | Kind::LockedForHours => Cloud::lock(world, episode.span),
        Kind::PanelChange => {
            let span = limits.max_cores - limits.min_cores + 1;
            Cloud::set_outside(world, limits.min_cores + dice.below(span));
        }
        Kind::PanelOutside => {
            let low = limits.min_cores > 1 && dice.chance(0.5);
            let cores = if low { 1 } else { limits.max_cores + 2 };
            Cloud::set_outside(world, cores);
        }
        Kind::Terraform => world.at(world.mono(), Act::Terraform(i)),
        Kind::KillAnywhere => return killed(after),
        Kind::KillAtPort => world.fuse.set(Some(dice.below(60))),
        Kind::PlatformReboot => {
            return killed(After {
                reboot: true,
                ..after
            });
        }
        Kind::UnattendedReboot => {
            let after = After {
                reboot: true,
                ..after
            };
            return stop(world, after).await;
        }
        Kind::StopStart => return stop(world, after).await,
        Kind::DryRun => {
            let after = After {
                dry_run: true,
                ..after
            };
            return stop(world, after).await;
        }
        Kind::Clone => {
            return killed(After {
                clone: true,
                reboot: true,
                ..after
            });
        }
        Kind::StateTorn | Kind::StateGarbage | Kind::StateGone | Kind::StateForeign => {
            return killed(After {
                spoil: Some(kind),
                ..after
            });
        }
        Kind::DiskFull => world.place.obstruct(false),
        Kind::DiskNowhere => world.place.obstruct(true),
        Kind::WallForward => world.step_wall(secs(60.0, 3600.0).as_millis() as i64),
        Kind::WallBack => world.step_wall(-(secs(60.0, 3600.0).as_millis() as i64)),
        Kind::Suspend => world.suspend(secs(600.0, 30_000.0)),
        Kind::ReloadOther => reload(world, Ok(policy(&mut dice, None, 30))).await,
        Kind::ReloadExcludes => {
            let cores = world.cloud.borrow().cores;
            reload(world, Ok(policy(&mut dice, Some(cores), 30))).await;
        }
        Kind::ReloadBad => reload(world, Err("limits.max_cores: not a number".to_owned())).await,
        Kind::Pause => operate(world, Operator::Pause(None)).await,
        Kind::PauseFor => operate(world, Operator::Pause(Some(secs(60.0, 15_000.0)))).await,
        Kind::Forget => {
            let raising = dice.chance(0.5);
            let direction = [Direction::Lowering, Direction::Raising][usize::from(raising)];
            operate(world, Operator::Forget(direction)).await;
        }
        Kind::Prove => operate(world, Operator::Prove).await,
        Kind::Confirm => operate(world, Operator::Confirm).await,
        _ => {}
    }
    false
}

async fn end(world: &World, kind: Kind) -> bool {
    match kind {
        Kind::DiskFull | Kind::DiskNowhere => {
            world.place.clear();
            let both = world.active(Kind::DiskNowhere).is_some();
            if both || world.active(Kind::DiskFull).is_some() {
                world.place.obstruct(both);
            }
        }
        Kind::GuestOffline | Kind::GuestIgnores | Kind::GuestKeeps => Cloud::heal(world),
        Kind::DryRun => return stop(world, After::default()).await,
        Kind::Clone => {
            // The machine itself boots again, on its own disk.
            return interrupt(
                world,
                After {
                    reboot: true,
                    ..After::default()
                },
            );
        }
        Kind::Pause => {
            // A daemon that is down now is told once it is up.
            let again = world.requests.borrow().is_none();
            if again {
                world.at(world.mono() + MINUTE, Act::Operator(Operator::Resume));
            } else {
                operate(world, Operator::Resume).await;
            }
        }
        _ => {}
    }
    false
}

/// What `glesys-autoscaler pause` and its like do; nothing where no daemon runs.
async fn operate(world: &World, operator: Operator) {
    let Some(requests) = world.requests.borrow().clone() else {
        return;
    };
    // An order that a kill leaves without an answer may have been carried out.
    Judge::operates(world, operator);
    let (reply, status) = oneshot::channel();
    let asked = requests.send(Request::Operator(operator, reply)).await;
    if asked.is_ok() && status.await.is_ok() {
        world.log(format_args!("operator: {operator:?}"));
        Judge::operated(world, operator);
    }
}

async fn reload(world: &World, policy: Result<Policy, String>) {
    let Some(requests) = world.requests.borrow().clone() else {
        return;
    };
    world.reload.replace(Some(policy));
    let _gone = requests.send(Request::Reload).await;
    // It is read in the same instant.
    tokio::task::yield_now().await;
}

/// The faults are over for a while: the load is served, or it is told why not. Then the operator
/// does what the lines ask for.
async fn help(world: &World) {
    Judge::served_or_told(world);
    for operator in [
        Operator::Resume,
        Operator::Confirm,
        Operator::Forget(Direction::Raising),
        Operator::Forget(Direction::Lowering),
    ] {
        operate(world, operator).await;
    }
    let mut calm = crate::world::policy(1, 8);
    let policy = world.policy.borrow().clone();
    calm.limits = policy.limits;
    calm.limits.max_changes_per_day = 1000;
    calm.sampling = policy.sampling;
    calm.up.window = calm.up.window.max(calm.sampling.interval);
    calm.up.queue = calm.up.queue.max(calm.sampling.interval);
    reload(world, Ok(calm)).await;
    world.helped.set(true);
}
