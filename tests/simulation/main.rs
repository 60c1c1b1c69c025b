//! The whole daemon through thousands of simulated days of faults.
//!
//! The loop, the engine, the state directory and the ledger are the real ones, the latter two on a
//! real directory. Sampler, clock, service manager and cloud API are a simulated world in virtual
//! time, in which a seed decides what goes wrong, and when. At each step a judge holds what the
//! API was sent, what the journal says and what is on disk against the promises.
//!
//! `GLESYS_AUTOSCALER_SIMULATION_DAYS=10000` runs longer, `GLESYS_AUTOSCALER_SIMULATION_SEED=17` one
//! seed alone, with its log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its helpers too"
)]

#[path = "../support/world.rs"]
mod world;

mod client;
mod cloud;
mod director;
mod disk;
mod journal;
mod judge;
mod kinds;
mod life;
mod schedule;
mod tally;
mod vm;

use life::run;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use tally::Tally;

const SEED: &str = "GLESYS_AUTOSCALER_SIMULATION_SEED";
const DAYS: &str = "GLESYS_AUTOSCALER_SIMULATION_DAYS";
const WORKER: &str = "simulation";
/// Simulated days of a whole run, of which each seed takes a few.
const MANY_DAYS: f64 = 1000.0;

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let number = text.parse().ok();
    Some(number.unwrap_or_else(|| panic!("{name} is not a number: {text:?}")))
}

/// Days of faults of a seed: few to many, since some faults need others long before them.
fn days_of(seed: u64) -> f64 {
    [1.0, 2.0, 4.0, 8.0][(seed % 4) as usize]
}

fn again(seed: u64) -> String {
    format!("{SEED}={seed} cargo test --test simulation promises -- --nocapture")
}

#[test]
fn promises_hold_through_all_faults() {
    if let Some(seed) = number(SEED) {
        let ran = run(seed, days_of(seed));
        println!("{}", ran.log.join("\n"));
        assert!(ran.failed.is_none(), "seed {seed}: {}", ran.failed.unwrap());
        return;
    }
    // What fails is told with its seed, once.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if thread::current().name() != Some(WORKER) {
            usual(panic);
        }
    }));
    let most = number(DAYS).unwrap_or(MANY_DAYS);
    let next = AtomicU64::new(1);
    let all = Mutex::new((Tally::default(), Vec::new()));
    let work = || {
        while all.lock().unwrap().0.days() < most {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let ran = run(seed, days_of(seed));
            let mut all = all.lock().unwrap();
            all.0.add(&ran.tally);
            if let Some(why) = ran.failed {
                eprintln!("seed {seed}: {why}\nagain: {}\n", again(seed));
                all.1.push(seed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |n| n.get().min(8)) {
            let worker = thread::Builder::new().name(WORKER.to_owned());
            worker.spawn_scoped(scope, work).unwrap();
        }
    });
    let (tally, failed) = all.into_inner().unwrap();
    println!("{}\n{}", tally.table(), tally.summary());
    let commands: Vec<String> = failed.iter().copied().map(again).collect();
    assert!(failed.is_empty(), "again:\n{}", commands.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_log() {
    for seed in [1, 2, 3, 5] {
        let (one, two) = (run(seed, 2.0), run(seed, 2.0));
        let differs = one.log.iter().zip(&two.log).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.log.len(), two.log.len(), "seed {seed}");
        assert_eq!(one.tally, two.tally, "seed {seed}");
        assert!(one.log.len() > 100, "seed {seed}: nothing happened");
    }
}
