//! The form of a row. [`ROW`] is the row in which nothing goes wrong: an overloaded VM is raised
//! from 2 to 7 cores.

use crate::bed::Bed;
use glesys_autoscaler::engine::Status;
use glesys_autoscaler::engine::policy::Policy;
use glesys_autoscaler::sandbox::Function;
use std::ops::RangeInclusive;

/// Enough work to want 7 cores: 5 cores are 80 % of 6.25.
pub const OVERLOAD: f64 = 5.0;
/// So little that one core is enough.
pub const IDLE: f64 = 0.3;
/// On 3 to 5 cores neither too much nor too little.
pub const STEADY: f64 = 2.5;

/// One case of the table.
pub struct Row {
    pub name: &'static str,
    /// What the API and the guest have at the start.
    pub cores: u32,
    /// What the load would use, in cores.
    pub demand: f64,
    pub network: Network,
    /// `api.server_id`; the emulator knows `kvm123456`.
    pub server_id: &'static str,
    /// Changes to the quick policy of the table.
    pub policy: fn(&mut Policy),
    /// Switches and faults, before the daemon starts.
    pub given: fn(&Bed),
    /// What happens while it runs.
    pub run: &'static [Step],
    /// The counts of the edits that reached the API, in order.
    pub edits: &'static [u32],
    /// Calls of `server/details` that reached the API.
    pub details: RangeInclusive<usize>,
    /// Calls of `server/allowedarguments` that reached the API.
    pub allowed_arguments: RangeInclusive<usize>,
    /// What the API shows in the end.
    pub ends_with: u32,
    /// The journal between `started` and `stopped`, every line: `EVENT REASON`, and after a `~`
    /// a part of the message.
    pub told: &'static [&'static str],
    /// The ledger's results.
    pub results: &'static [&'static str],
    /// What the daemon waits for in the end.
    pub waits: Waits,
    /// What else its status has to show.
    pub status: fn(&Status) -> bool,
}

/// How the API can be reached.
pub enum Network {
    Http,
    /// A certificate that the daemon has no reason to trust.
    UntrustedTls,
    /// Nobody listens before [`Bed::open`].
    Closed,
}

#[derive(Debug)]
pub enum Step {
    /// Until the journal has a further line like this, in the form of `told`.
    Until(&'static str),
    /// Until this function was called so often; the last call need not be answered.
    UntilCalled(Function, usize),
    /// So many seconds, to see what does not happen.
    Seconds(f64),
    Do(fn(&Bed)),
    /// Reads the policy file again, as `systemctl reload` does.
    Reload,
}

pub enum Waits {
    /// The row says nothing of it.
    Whatever,
    /// For this gate.
    For(&'static str),
    /// For this gate, and so many seconds more.
    Seconds(&'static str, RangeInclusive<u64>),
    /// For nothing: nothing is wanted.
    ForNothing,
}

pub const ROW: Row = Row {
    name: "nothing goes wrong",
    cores: 2,
    demand: OVERLOAD,
    network: Network::Http,
    server_id: "kvm123456",
    policy: |_| {},
    given: |_| {},
    run: &[Step::Until("applied"), Step::Seconds(1.0)],
    edits: &[7],
    details: 2..=5,
    allowed_arguments: 1..=1,
    ends_with: 7,
    told: &["scale_up utilization", "applied utilization"],
    results: &["applied"],
    waits: Waits::Whatever,
    status: |_| true,
};
