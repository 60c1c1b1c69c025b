//! The policy as meant: checked values, no text. `config` makes it from the policy file.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Everything that steers the engine. Shares are 0 to 1, durations are real time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Bounds on the core count and on the number of changes.
    pub limits: Limits,
    /// How the load is sampled.
    pub sampling: Sampling,
    /// No lowering this soon after boot.
    pub boot_grace: Duration,
    /// When and how far to raise.
    pub up: Up,
    /// When and how far to lower.
    pub down: Down,
    /// How a change is made and checked.
    pub apply: Apply,
}

/// Bounds on the core count and on the number of changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Fewest cores, at least 1.
    pub min_cores: u32,
    /// Most cores, at least `min_cores`.
    pub max_cores: u32,
    /// The only counts to use, ascending; empty: whatever the platform allows.
    pub allowed_cores: Vec<u32>,
    /// Changes a local day after which lowering stops; raising stops at twice the number.
    pub max_changes_per_day: u32,
}

/// How the load is sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Time between samples.
    pub interval: Duration,
    /// What stolen time means.
    pub steal: Steal,
    /// Take niced time out of the demand; switches queue and pressure off.
    pub ignore_nice: bool,
}

/// What time stolen by the hypervisor means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steal {
    /// Shown, not counted: more cores do not cure it.
    Report,
    /// Counted as demand that was not served.
    Demand,
}

/// When and how far to raise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Up {
    /// Raise when the mean demand of `window` is above this share of the cores.
    pub utilization: f64,
    /// The window of `utilization` and `pressure`.
    pub window: Duration,
    /// Raise when all cores were busy with tasks waiting for this long; zero: not used.
    pub queue: Duration,
    /// Raise when pressure was above this share of `window`; zero: not used.
    pub pressure: f64,
    /// Size: the smallest count that is at most this busy.
    pub target: f64,
    /// Between a change and a raise.
    pub cooldown: Duration,
    /// Most cores a raise adds (the next allowed count is always reachable).
    pub max_step: u32,
}

/// When and how far to lower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Down {
    /// Lower to a count only when the busiest minute stays below this share of it,
    pub utilization: f64,
    /// and leaves this times the square root of its cores idle.
    pub headroom: f64,
    /// The window whose busiest minute counts.
    pub window: Duration,
    /// Between a change and a lowering.
    pub cooldown: Duration,
    /// Most cores a lowering takes.
    pub max_step: u32,
}

/// How a change is made and checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Apply {
    /// Whether to raise.
    pub raising: Mode,
    /// Whether to lower.
    pub lowering: Mode,
    /// What to do with a raise that did not take effect.
    pub unapplied: Unapplied,
    /// For a change to be seen both by the API and by the guest.
    pub timeout: Duration,
}

/// Whether a direction may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Not before `check --prove-lowering` tried it once; then as `Learn`. Lowering only.
    Ask,
    /// Do it and watch what the platform does.
    Learn,
    /// Do it whatever was learned.
    Always,
    /// Do not.
    Never,
}

/// What to do with a raise that is billed but did not take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unapplied {
    /// Post the old count back, once.
    Revert,
    /// Leave it, and raise no further while it is pending.
    Hold,
}
