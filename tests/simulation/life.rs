//! A run: one life of the daemon after the other, in one simulated world.

use crate::client::Api;
use crate::director::{direct, plan};
use crate::disk::{SERVER, Watched, owner};
use crate::journal;
use crate::judge::Judge;
use crate::kinds::Kind;
use crate::schedule::Plan;
use crate::tally::Tally;
use crate::vm::{After, Killed, Ports, Sensors, World, day};
use glesys_autoscaler::adapters::state_dir::StateDir;
use glesys_autoscaler::config::policy_hash;
use glesys_autoscaler::engine::Engine;
use glesys_autoscaler::engine::event::Start;
use glesys_autoscaler::runtime::{Daemon, Hooks, Request};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;

/// What a run leaves.
pub struct Ran {
    pub tally: Tally,
    pub log: Vec<String>,
    /// What the judge found, and the last lines before it.
    pub failed: Option<String>,
}

/// Simulates a seed for so many days of faults, and some calm hours.
pub fn run(seed: u64, days: f64) -> Ran {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    // Its clock is also asked for after the end.
    let _context = runtime.enter();
    let world = World::new(Plan::of(seed, days));
    let listening = journal::listen(&world);
    let lived = catch_unwind(AssertUnwindSafe(|| runtime.block_on(live(&world))));
    drop(listening);
    journal::forget();
    let failed = lived.err().map(|why| {
        let text = why.downcast_ref::<String>().cloned();
        let text = text.or(why.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let text = text.unwrap_or_else(|| "a panic without words".to_owned());
        format!("{}\n{text}", world.tail(60))
    });
    let mut tally = world.tally.take();
    tally.runs = 1;
    // A suspend, and a time without the daemon, show nothing of it.
    tally.simulated = world.lived.get();
    Ran {
        tally,
        log: world.take_log(),
        failed,
    }
}

async fn live(world: &Rc<World>) {
    plan(world);
    loop {
        let began = world.mono();
        one_life(world).await;
        world.lived.set(world.lived.get() + world.mono() - began);
        world.requests.take();
        world.fuse.set(None);
        Judge::ended(world);
        let soon = After {
            down: Duration::from_millis(100),
            ..After::default()
        };
        let mut after = world.after.take().unwrap_or(soon);
        if after.finished {
            return Judge::finished(world);
        }
        // What happens while it is down comes to what it was ended for.
        let mut over = world.mono() + after.down;
        if after.reboot {
            world.reboot();
        }
        while world.mono() < over {
            let rest = tokio::time::sleep(over - world.mono());
            tokio::select! {
                biased;
                () = direct(world, world.base) => {
                    let more: After = world.after.take().unwrap_or_default();
                    if more.finished {
                        return Judge::finished(world);
                    }
                    if more.reboot {
                        world.reboot();
                    }
                    after.spoil = after.spoil.or(more.spoil);
                    over = over.max(world.mono() + more.down);
                }
                () = rest => {}
            }
        }
        if let Some(kind) = after.spoil
            && world.place.spoil(kind, world.roll())
        {
            world.hit(kind);
            Judge::spoilt(world);
        }
        // Also after a kill in the meantime.
        after.clone = world.active(Kind::Clone).is_some();
        after.dry_run = world.active(Kind::DryRun).is_some();
        world.life.replace(after);
        world.tally.borrow_mut().restarts += 1;
    }
}

/// From a start of the daemon to its end, whichever.
async fn one_life(world: &Rc<World>) {
    let now = world.now();
    let life = world.life.borrow().clone();
    let policy = world.policy.borrow().clone();
    let (dir, runtime_dir) = world.place.dirs(life.clone);
    let owner = owner(world);
    let (store, found) = StateDir::open(&dir, &runtime_dir, owner, now.wall_ms).unwrap();
    for remark in &found.remarks {
        tracing::warn!(target: "glesys_autoscaler", "{remark}");
    }
    Judge::started(world, &found);
    let (engine, notices) = Engine::start(
        now,
        Start {
            policy_hash: policy_hash(&policy),
            engine_version: "simulated".to_owned(),
            dry_run: life.dry_run,
            boot_id: world.boot_id(),
            machine: world.machine(),
            day: day(now),
            state: found.state,
            careful: found.careful,
            jitter_seed: world.plan.seed ^ u64::from(world.boot.get()),
            policy,
        },
    );
    let (requests, inbox) = mpsc::channel::<Request>(4);
    world.requests.replace(Some(requests));
    let daemon = Daemon {
        engine,
        sampler: Sensors {
            world: Rc::clone(world),
            interval: world.policy.borrow().sampling.interval,
            before: None,
        },
        clock: Ports(Rc::clone(world)),
        notifier: Ports(Rc::clone(world)),
        store: Watched {
            inner: store,
            world: Rc::clone(world),
            dir,
        },
        server_id: SERVER.to_owned(),
        hooks: Hooks {
            reload: Box::new(|| {
                let file = world.reload.take();
                let policy = file.unwrap_or_else(|| Ok(world.policy.borrow().clone()))?;
                world.policy.replace(policy.clone());
                Judge::reloaded(world, &policy);
                Ok((policy.clone(), policy_hash(&policy)))
            }),
            machine: Box::new(|| {
                world.port();
                Some(world.machine())
            }),
            done: Box::new(|status| {
                Judge::status(world, status);
                false
            }),
        },
        requests: inbox,
    };
    let api = Api {
        world: Rc::clone(world),
        budget: RefCell::default(),
    };
    let mut alive = pin!(daemon.run(&api, notices));
    let mut directing = pin!(direct(world, world.base));
    poll_fn(|cx| {
        match catch_unwind(AssertUnwindSafe(|| alive.as_mut().poll(cx))) {
            Ok(Poll::Ready(())) => return Poll::Ready(()),
            Ok(Poll::Pending) => {}
            Err(end) if end.is::<Killed>() => return Poll::Ready(()),
            Err(end) => resume_unwind(end),
        }
        directing.as_mut().poll(cx)
    })
    .await;
}
