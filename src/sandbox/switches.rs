//! Every switch of the emulator: where nobody knows what the real service does, each way that it
//! may be. All can be changed while it runs, see [`Handle::switch`](super::Handle::switch) and
//! [`Handle::platform`](super::Handle::platform).

use std::time::Duration;

/// Switches of the whole service.
#[derive(Debug, Clone, PartialEq)]
pub struct Switches {
    /// How an edit of a locked server is refused.
    pub lock_answer: LockAnswer,
    /// How a call is refused whose key may not come from this address, or not use this function.
    pub permission_answer: PermissionAnswer,
    /// How a server id is refused that the project does not have.
    pub unknown_server: UnknownServer,
    /// How `status.code` and the numbers of the payload are written.
    pub numbers: Numbers,
    /// The form of `server/allowedarguments`.
    pub shape: Shape,
    /// Price of a core for a month, in SEK: in `details.cost`, and in the old shape of
    /// `server/allowedarguments`.
    pub core_price: f64,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            lock_answer: LockAnswer::Forbidden,
            permission_answer: PermissionAnswer::Unauthorized,
            unknown_server: UnknownServer::BadRequest,
            numbers: Numbers::Plain,
            shape: Shape::Values,
            core_price: 30.0,
        }
    }
}

/// How an edit of a locked server is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockAnswer {
    /// HTTP 403, code 403 \[doc 14\].
    Forbidden,
    /// HTTP 500, code 606, a text that ends in a newline \[rec 7\].
    Code606,
}

/// How a call is refused for its address or its function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermissionAnswer {
    /// HTTP 401, code 401 \[doc 14\].
    Unauthorized,
    /// HTTP 403, code 403 \[inf\].
    Forbidden,
}

/// How an unknown server id is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownServer {
    /// HTTP 400, code 400 \[rec 7\].
    BadRequest,
    /// HTTP 404, code 404: published clients handle it.
    NotFound,
}

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// `200`
    Plain,
    /// `"200"` \[rec 7\]
    Quoted,
}

/// The form of `server/allowedarguments`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `argumentslist.platforms.KVM.cpucores`: `[{"value":1},…]` \[cli 11\].
    Values,
    /// `argumentslist.KVM.cpucores`: `{"units":[1,…],"costperunit":{…}}` \[rec 7\].
    Units,
}

/// What a platform allows, and what it does with an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The legal core counts, ascending: what `server/allowedarguments` tells and what
    /// `server/edit` takes.
    pub allowed: Vec<u32>,
    /// What a raise does.
    pub up: Behaviour,
    /// What a lowering does.
    pub down: Behaviour,
    /// How long an accepted change locks the server.
    pub lock_time: Duration,
    /// How long after the lock the guest changes.
    pub lag: Duration,
}

impl Platform {
    /// A platform that takes every count from 1 to `most`, and applies a change in both directions
    /// after two seconds of lock.
    #[must_use]
    pub fn up_to(most: u32) -> Self {
        Self {
            allowed: (1..=most.max(1)).collect(),
            up: Behaviour::Live,
            down: Behaviour::Live,
            lock_time: Duration::from_secs(2),
            lag: Duration::ZERO,
        }
    }
}

/// What an edit of the core count does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// The guest has the new count once lock and lag are over.
    Live,
    /// The service shows the new count, the guest has it after the next reboot.
    PendingUntilReboot,
    /// The platform reboots the guest, which then has the new count.
    Rebooting,
    /// Refused with HTTP 500, code 610; nothing changes.
    Refusing,
    /// Accepted and forgotten: after the lock the service shows the old count again.
    Ignored,
}
