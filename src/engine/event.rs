//! What goes into the engine and what comes out of it.

use super::cloud::{ApiFailure, Server};
use super::decision::Decision;
use super::policy::Policy;
use super::record::{Direction, Reason, Record};
use super::sample::Reading;
use super::state::State;
use super::time::{Day, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// How a run begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The policy in force.
    pub policy: Policy,
    /// Its hash, for the ledger.
    pub policy_hash: String,
    /// Version of the program, for the ledger.
    pub engine_version: String,
    /// Everything but the edit.
    pub dry_run: bool,
    /// This boot.
    pub boot_id: String,
    /// This machine.
    pub machine: Machine,
    /// Today.
    pub day: Day,
    /// What the last run left.
    pub state: State,
    /// The last run's state was lost: wait as if a change had just been made.
    pub careful: bool,
    /// Spreads the retries of many VMs.
    pub jitter_seed: u64,
}

/// What identifies this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Machine {
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// MAC addresses, ascending.
    pub macs: Vec<String>,
    /// The addresses that can prove it.
    pub addresses: Vec<IpAddr>,
    /// Memory that the kernel sees, in MB.
    pub memory_mb: u64,
}

/// How long the state that the engine hands out lasts, as its writer last found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// It survives a reboot.
    #[default]
    Durable,
    /// It survives a kill of the process. Enough for a raise, which a VM that is short of CPU must
    /// not be denied because of a full disk.
    UntilReboot,
    /// It is in memory only. A change now could be one that nobody knows of later.
    Lost,
}

impl Durability {
    /// Whether a change in `direction` may be made.
    #[must_use]
    pub fn suffices(self, direction: Direction) -> bool {
        match self {
            Durability::Durable => true,
            Durability::UntilReboot => direction == Direction::Raising,
            Durability::Lost => false,
        }
    }
}

/// Everything that can happen to the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A look at the machine.
    Tick(Reading),
    /// A command of [`Step`] is being carried out; its answer follows as an event of its own.
    Issued(Command),
    /// The answer to [`Command::ReadDetails`].
    Details(Result<Server, ApiFailure>),
    /// The answer to [`Command::Edit`].
    Edited(Result<(), ApiFailure>),
    /// The answer to [`Command::ReadAllowedCores`].
    AllowedCores(Result<Vec<u32>, ApiFailure>),
    /// The local calendar day.
    Day(Day),
    /// This machine, read anew.
    Machine(Machine),
    /// A reload: the new policy and its hash.
    Policy(Box<Policy>, String),
    /// What becomes of the state that is written, where that is news.
    Disk(Durability),
    /// Stop changing cores, for a while or until `Resume`.
    Pause(Option<Duration>),
    /// Go on.
    Resume,
    /// Forget what was learned of a direction, and go on with it.
    Forget(Direction),
    /// The operator's word that this machine is the server.
    Confirm,
    /// Try lowering now: one step and back.
    Prove,
    /// The daemon was told to end.
    Stop,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Nothing before [`Step::wake`] or the next event.
    Wait,
    /// Call `server/details`.
    ReadDetails,
    /// Call `server/allowedarguments`.
    ReadAllowedCores,
    /// Put the intent on disk. The state after `Issued` holds it.
    Plan(Decision),
    /// Call `server/edit`.
    Edit {
        /// The absolute count.
        cores: u32,
    },
    /// Take the intent back: it is no longer wanted, and was never sent.
    Abandon,
}

/// What to do, why nothing else, and when to ask again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The command. Before any but `Wait` is carried out, `Issued` is applied and the state is
    /// on disk.
    pub command: Command,
    /// Ask again at this instant at the latest; `None`: at the next event.
    pub wake: Option<Timestamp>,
}

/// The journal's events, one closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The daemon began.
    Started,
    /// A raise was asked for.
    ScaleUp,
    /// A lowering was asked for.
    ScaleDown,
    /// Both witnesses show the change.
    Applied,
    /// The change is not seen in time.
    NotApplied,
    /// The old count was posted back.
    Reverted,
    /// A wish is held back.
    Held,
    /// More is wanted than the limits give.
    AtLimit,
    /// Something that was told as wrong is right again.
    Recovered,
    /// Somebody else changed the count.
    ExternalChange,
    /// A call failed.
    ApiError,
    /// A direction was switched off or paused.
    DirectionOff,
    /// The operator stopped changes.
    Paused,
    /// The operator let them go on, or the pause ended.
    Resumed,
    /// A new policy is in force, or was refused.
    Reloaded,
    /// The daemon ends.
    Stopped,
}

impl EventKind {
    /// The name in the journal, and the fixed `MESSAGE_ID` of the event.
    #[must_use]
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            EventKind::Started => ("started", "4b1e2f6a9c7d4f0ea3a1d0c85e6f7101"),
            EventKind::ScaleUp => ("scale_up", "4b1e2f6a9c7d4f0ea3a1d0c85e6f7102"),
            EventKind::ScaleDown => ("scale_down", "4b1e2f6a9c7d4f0ea3a1d0c85e6f7103"),
            EventKind::Applied => ("applied", "4b1e2f6a9c7d4f0ea3a1d0c85e6f7104"),
            EventKind::NotApplied => ("not_applied", "4b1e2f6a9c7d4f0ea3a1d0c85e6f7105"),
            EventKind::Reverted => ("reverted", "4b1e2f6a9c7d4f0ea3a1d0c85e6f7106"),
            EventKind::Held => ("held", "4b1e2f6a9c7d4f0ea3a1d0c85e6f7107"),
            EventKind::AtLimit => ("at_limit", "4b1e2f6a9c7d4f0ea3a1d0c85e6f7108"),
            EventKind::Recovered => ("recovered", "4b1e2f6a9c7d4f0ea3a1d0c85e6f7109"),
            EventKind::ExternalChange => ("external_change", "4b1e2f6a9c7d4f0ea3a1d0c85e6f710a"),
            EventKind::ApiError => ("api_error", "4b1e2f6a9c7d4f0ea3a1d0c85e6f710b"),
            EventKind::DirectionOff => ("direction_off", "4b1e2f6a9c7d4f0ea3a1d0c85e6f710c"),
            EventKind::Paused => ("paused", "4b1e2f6a9c7d4f0ea3a1d0c85e6f710d"),
            EventKind::Resumed => ("resumed", "4b1e2f6a9c7d4f0ea3a1d0c85e6f710e"),
            EventKind::Reloaded => ("reloaded", "4b1e2f6a9c7d4f0ea3a1d0c85e6f710f"),
            EventKind::Stopped => ("stopped", "4b1e2f6a9c7d4f0ea3a1d0c85e6f7110"),
        }
    }
}

/// How loud a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loudness {
    /// For the record.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody has to act.
    Error,
}

/// One line for the journal, and the ledger's record where it closes a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Which line.
    pub event: EventKind,
    /// How loud.
    pub loudness: Loudness,
    /// The rule or the gate.
    pub reason: Option<Reason>,
    /// The count before.
    pub cores_from: Option<u32>,
    /// The count wanted.
    pub cores_to: Option<u32>,
    /// Demand by the count before.
    pub utilization: Option<f64>,
    /// Demand in cores.
    pub demand: Option<f64>,
    /// The change that it belongs to.
    pub decision_id: Option<String>,
    /// For a person.
    pub message: String,
    /// The change that it closes.
    pub record: Option<Box<Record>>,
}

impl Notice {
    /// A line with a message and nothing else.
    #[must_use]
    pub fn new(event: EventKind, loudness: Loudness, message: String) -> Notice {
        Notice {
            event,
            loudness,
            reason: None,
            cores_from: None,
            cores_to: None,
            utilization: None,
            demand: None,
            decision_id: None,
            message,
            record: None,
        }
    }

    /// With its reason.
    #[must_use]
    pub fn because(mut self, reason: Reason) -> Notice {
        self.reason = Some(reason);
        self
    }

    /// With the change that it speaks of.
    #[must_use]
    pub fn change(mut self, from: u32, to: u32) -> Notice {
        self.cores_from = Some(from);
        self.cores_to = Some(to);
        self
    }

    /// With the demand at `from` cores.
    #[must_use]
    pub fn load(mut self, demand: f64, from: u32) -> Notice {
        self.demand = Some(demand);
        self.utilization = Some(demand / f64::from(from.max(1)));
        self
    }
}
