//! What the provider's API answers, as the engine needs it.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// What `server/details` says of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// `cpucores`: the count that is billed.
    pub cores: u32,
    /// `memorysize` in MB, where given.
    pub memory_mb: Option<u64>,
    /// `platform`: `KVM`, `VMware`; empty where not given.
    pub platform: String,
    /// `iplist`: every address that parses.
    pub addresses: Vec<IpAddr>,
    /// `islocked`, else what `state` and `status` say: a change is under way, edits are refused.
    pub locked: bool,
    /// `isrunning`, where given.
    pub running: Option<bool>,
}

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiFailure {
    /// What to do next.
    pub kind: FailureKind,
    /// `Retry-After`, where the answer had one.
    pub retry_after: Option<Duration>,
    /// For a person: function, what happened, what mends it. Never holds the key.
    pub message: String,
}

/// What to do after a failed call (`glesys-api.md` section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Key refused, expired, not allowed from this address or for this function: retry slowly.
    Credentials,
    /// Nothing changes before the operator acts: unknown server, managed server, wrong account.
    Configuration,
    /// Not an error: the server is locked. Wait, read, try again when unlocked.
    Locked,
    /// A 403 that names no lock: read details; if it is not locked, a matter of permission.
    Forbidden,
    /// The value was refused (400, code 610): choose another count.
    InvalidValue,
    /// Applying failed (608).
    ApplyFailed,
    /// The hypervisor has no room (617): wait long, try a smaller step.
    NoRoom,
    /// The account's limit (618): stop raising.
    AccountLimit,
    /// The hypervisor cannot be reached (619).
    HypervisorDown,
    /// Surely not done: no connection, name lookup failed, bad TLS, 429 or 503.
    Unavailable,
    /// It may have been done: read before any new edit (other 5xx, timeout, reset, cut answer).
    Unknown,
}

impl FailureKind {
    /// Whether it lasts until the operator acts. Then there is no hurry to try again, however much
    /// the VM is short of CPU.
    #[must_use]
    pub fn needs_operator(self) -> bool {
        matches!(
            self,
            FailureKind::Credentials | FailureKind::Forbidden | FailureKind::Configuration
        )
    }
}
