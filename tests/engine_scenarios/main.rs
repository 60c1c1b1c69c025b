//! What the engine promises, one scenario each, in virtual time: what random worlds cannot tell
//! by a property, since it speaks of one certain course of things.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its helpers too"
)]

#[path = "../support/world.rs"]
mod world;

mod changes;
mod gates;
mod learning;
mod outages;
mod proofs;
mod restarts;
mod rules;

use glesys_autoscaler::engine::policy::Policy;
use std::time::Duration;
use world::{Load, World, policy};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// 1 to 8 cores, the shipped numbers, and `utilization` as the only up rule.
fn plain() -> Policy {
    let mut policy = policy(1, 8);
    policy.up.queue = Duration::ZERO;
    policy
}

/// As [`plain`], and a lowering needs one quiet minute alone.
fn quick() -> Policy {
    let mut policy = plain();
    policy.down.window = MINUTE;
    policy.down.cooldown = Duration::ZERO;
    policy
}

/// Five cores' worth of work on `cores`: 7 are wanted.
fn overloaded(policy: Policy, cores: u32) -> World {
    loaded(policy, cores, 5.0)
}

/// Almost nothing to do: one core is wanted.
fn idle(policy: Policy, cores: u32) -> World {
    loaded(policy, cores, 0.2)
}

fn loaded(policy: Policy, cores: u32, demand: f64) -> World {
    let mut world = World::new(policy, cores, 7);
    world.load = Load::Tasks(demand);
    world
}

/// No edit was sent.
const NOTHING: [u32; 0] = [];
