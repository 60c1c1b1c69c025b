//! What was done and why: the reasons, the journal's events, and the record of a change.

use super::decision::Evidence;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Why something was done, or was not: the rules and the gates, one closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Mean demand above `up.utilization`.
    Utilization,
    /// All cores busy and tasks waiting.
    Queue,
    /// Tasks waited for a CPU longer than `up.pressure`.
    Pressure,
    /// A smaller VM carries the busiest minute.
    LowDemand,
    /// Fewer cores than `limits.min_cores`.
    BelowMin,
    /// More cores than `limits.max_cores`.
    AboveMax,
    /// Gate: a window is not filled yet.
    Warming,
    /// Gate: no sample lately.
    Stale,
    /// Gate: no lowering soon after boot.
    BootGrace,
    /// Gate: too soon after the last change.
    Cooldown,
    /// Gate: the operator said so.
    Paused,
    /// Gate: the platform is changing the server.
    Locked,
    /// Gate: a change of ours is under way.
    InFlight,
    /// Gate: the day's number of changes is used up.
    ChangesPerDay,
    /// Gate: this direction is switched off, by the policy or by what was learned.
    DirectionOff,
    /// Gate: lowering was never tried on this VM. As a rule: the trial of it.
    NotProven,
    /// Gate: it is not sure that the server id is this machine.
    IdentityUnproven,
    /// Gate: the API does not answer, or refuses us.
    ApiDown,
    /// Gate: `--dry-run`.
    DryRun,
    /// Gate: above the maximum, but too busy to be lowered.
    AboveMaxBusy,
    /// Gate: no allowed count in that direction.
    NotAllowedByPlatform,
    /// Gate: nothing can be written.
    DiskFull,
}

impl Reason {
    /// The name in journal, ledger and status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Utilization => "utilization",
            Reason::Queue => "queue",
            Reason::Pressure => "pressure",
            Reason::LowDemand => "low_demand",
            Reason::BelowMin => "below_min",
            Reason::AboveMax => "above_max",
            Reason::Warming => "warming",
            Reason::Stale => "stale",
            Reason::BootGrace => "boot_grace",
            Reason::Cooldown => "cooldown",
            Reason::Paused => "paused",
            Reason::Locked => "locked",
            Reason::InFlight => "in_flight",
            Reason::ChangesPerDay => "changes_per_day",
            Reason::DirectionOff => "direction_off",
            Reason::NotProven => "not_proven",
            Reason::IdentityUnproven => "identity_unproven",
            Reason::ApiDown => "api_down",
            Reason::DryRun => "dry_run",
            Reason::AboveMaxBusy => "above_max_busy",
            Reason::NotAllowedByPlatform => "not_allowed_by_platform",
            Reason::DiskFull => "disk_full",
        }
    }
}

/// A direction of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More cores.
    Raising,
    /// Fewer cores.
    Lowering,
}

impl Direction {
    /// The direction from one count to another.
    #[must_use]
    pub fn of(from: u32, to: u32) -> Direction {
        if to > from {
            Direction::Raising
        } else {
            Direction::Lowering
        }
    }

    /// The name in messages, keys and flags.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Raising => "raising",
            Direction::Lowering => "lowering",
        }
    }
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// API and guest both show it.
    Applied,
    /// The API took it, the guest does not show it.
    NotApplied,
    /// Not applied, and the old count was posted back.
    Reverted,
    /// The API refused it; nothing changed.
    Refused,
    /// It surely did not happen.
    Failed,
    /// Somebody else set another count meanwhile.
    Superseded,
}

impl Outcome {
    /// The name in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::NotApplied => "not_applied",
            Outcome::Reverted => "reverted",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Superseded => "superseded",
        }
    }
}

/// One change, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Unique for this server.
    pub decision_id: String,
    /// When the edit was first sent.
    pub asked: Timestamp,
    /// When the API accepted it.
    pub answered: Option<Timestamp>,
    /// When both witnesses showed it.
    pub effect: Option<Timestamp>,
    /// When the record was closed.
    pub closed: Timestamp,
    /// The count before.
    pub cores_from: u32,
    /// The count asked for.
    pub cores_to: u32,
    /// The rule.
    pub reason: Reason,
    /// How it ended.
    pub result: Outcome,
    /// More on the result, for a person; empty where there is no more to say.
    pub detail: String,
    /// The demand that the rule looked at, in cores.
    pub demand: f64,
    /// That demand by the count before; above 1 when tasks waited.
    pub utilization: f64,
    /// What the windows said.
    pub evidence: Evidence,
    /// The gates that had held this change back, in order of appearance.
    pub gates: Vec<Reason>,
    /// Hash of the policy in force.
    pub policy_hash: String,
    /// Version of the program.
    pub engine_version: String,
}
