//! The table of keys. Everything about a key stands in its row.

use super::kinds::{
    ApiUrl, Count, Counts, FilePath, Flag, Lasting, MaybePath, Name, Only, Words, factor, lasting,
    percent,
};
use super::slot::{Field, Slot};
use super::{AddressFamily, Config};
use crate::engine::policy::{Mode, Steal, Unapplied};

/// One key of the policy file.
pub struct Key {
    /// Its full name, as `policy.up.window`.
    pub path: &'static str,
    /// Its default as TOML; for a required key an example.
    pub value: &'static str,
    /// Whether it has to be given.
    pub required: bool,
    /// What it does, in a line.
    pub doc: &'static str,
    /// A word that a later version will take, and what to write today.
    pub(super) later: Option<(&'static str, &'static str)>,
    pub(super) slot: &'static dyn Slot,
}

impl Key {
    /// The row of `path`.
    pub(super) fn named(path: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.path == path)
    }

    /// Its value in `config`, as TOML.
    #[must_use]
    pub fn value_in(&self, config: &Config) -> String {
        self.slot.write(config)
    }

    /// What may be written.
    #[must_use]
    pub fn allowed(&self) -> String {
        self.slot.allowed()
    }
}

/// A key, or a table with all its keys, that a later version will have.
pub(super) struct Later {
    pub path: &'static str,
    /// What to do today.
    pub today: &'static str,
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Shortest time between samples, in milliseconds; no window is shorter. `sysinfo` skips calls
/// that are less than 200 ms apart.
const SHORTEST: u64 = 250;
/// Most cores that any limit or step names.
pub(super) const MOST_CORES: u32 = 256;
/// A window of up to so many milliseconds.
const fn window(longest: u64) -> Lasting {
    Lasting {
        ms: SHORTEST..=longest,
        least: Some("sampling.interval"),
        zero: None,
    }
}
/// The durations that a cooldown may have.
const COOLDOWN: Lasting = lasting(0..=DAY);
/// The steps that a change may take.
const STEP: Count = Count(1..=MOST_CORES);

/// A kind and the field that it fills.
macro_rules! field {
    ($kind:expr, $($field:ident).+) => {
        &Field {
            kind: $kind,
            get: |config: &Config| &config.$($field).+,
            set: |config: &mut Config, value| config.$($field).+ = value,
        }
    };
}

const fn key(
    path: &'static str,
    value: &'static str,
    slot: &'static dyn Slot,
    doc: &'static str,
) -> Key {
    Key {
        path,
        value,
        required: false,
        doc,
        later: None,
        slot,
    }
}

const fn required(key: Key) -> Key {
    Key {
        required: true,
        ..key
    }
}

const fn later(key: Key, word: &'static str, today: &'static str) -> Key {
    Key {
        later: Some((word, today)),
        ..key
    }
}

/// Every key that this version has, in the order of the file.
pub static KEYS: &[Key] = &[
    key(
        "state_dir",
        "\"/var/lib/glesys-autoscaler\"",
        field!(FilePath { of_key: false }, state_dir),
        "what must survive a reboot; systemd's $STATE_DIRECTORY goes first",
    ),
    key(
        "runtime_dir",
        "\"/run/glesys-autoscaler\"",
        field!(FilePath { of_key: false }, runtime_dir),
        "control socket; systemd's $RUNTIME_DIRECTORY goes first",
    ),
    required(key(
        "api.project",
        "\"cl12345\"",
        field!(Name, api.project),
        "the project that the key belongs to",
    )),
    later(
        required(key(
            "api.server_id",
            "\"kvm1234567\"",
            field!(Name, api.server_id),
            "the server that this machine is",
        )),
        "auto",
        "give the server id, as the control panel shows it",
    ),
    key(
        "api.key_file",
        "\"/etc/glesys-autoscaler/api-key\"",
        field!(FilePath { of_key: true }, api.key_file),
        "the file with the key, where systemd gave no credential",
    ),
    key(
        "api.url",
        "\"https://api.glesys.com\"",
        field!(ApiUrl, api.url),
        "address of the API",
    ),
    key(
        "api.ca_file",
        "\"\"",
        field!(MaybePath, api.ca_file),
        "a root certificate to trust besides the system's",
    ),
    key(
        "api.address_family",
        "\"any\"",
        field!(
            Words(&[
                ("any", AddressFamily::Any),
                ("ipv4", AddressFamily::Ipv4),
                ("ipv6", AddressFamily::Ipv6),
            ]),
            api.address_family
        ),
        "which address the API sees; the key's address list must have it",
    ),
    key(
        "api.timeout",
        "\"10s\"",
        field!(lasting(SECOND..=MINUTE), api.timeout),
        "for one call",
    ),
    required(key(
        "limits.min_cores",
        "1",
        field!(Count(1..=MOST_CORES), policy.limits.min_cores),
        "never fewer cores",
    )),
    required(key(
        "limits.max_cores",
        "8",
        field!(Count(1..=MOST_CORES), policy.limits.max_cores),
        "never more cores: the most that can be billed",
    )),
    key(
        "limits.allowed_cores",
        "[]",
        field!(Counts(Count(1..=MOST_CORES)), policy.limits.allowed_cores),
        "only these counts; none named: all that the platform allows",
    ),
    key(
        "limits.max_changes_per_day",
        "96",
        field!(Count(1..=1000), policy.limits.max_changes_per_day),
        "then lowering stops for the day; raising at twice the number",
    ),
    key(
        "sampling.interval",
        "\"5s\"",
        field!(lasting(SHORTEST..=MINUTE), policy.sampling.interval),
        "time between samples",
    ),
    key(
        "sampling.steal",
        "\"report\"",
        field!(
            Words(&[("report", Steal::Report), ("demand", Steal::Demand)]),
            policy.sampling.steal
        ),
        "time that the hypervisor took: only shown, or counted as demand",
    ),
    key(
        "sampling.ignore_nice",
        "false",
        field!(Flag, policy.sampling.ignore_nice),
        "niced work does not ask for cores",
    ),
    later(
        key(
            "policy.mode",
            "\"hysteresis\"",
            &Only("hysteresis"),
            "how the count is decided",
        ),
        "adaptive",
        "write \"hysteresis\" or leave the key out",
    ),
    key(
        "policy.boot_grace",
        "\"5m\"",
        field!(lasting(0..=HOUR), policy.boot_grace),
        "no lowering this soon after boot",
    ),
    key(
        "policy.up.utilization",
        "90",
        field!(percent(1), policy.up.utilization),
        "raise when this many percent busy, mean of window",
    ),
    key(
        "policy.up.window",
        "\"1m\"",
        field!(window(HOUR), policy.up.window),
        "the window of utilization and pressure",
    ),
    key(
        "policy.up.queue",
        "\"15s\"",
        field!(
            Lasting {
                zero: Some("not used"),
                ..window(10 * MINUTE)
            },
            policy.up.queue
        ),
        "or when all cores are busy and tasks wait for this long",
    ),
    key(
        "policy.up.pressure",
        "0",
        field!(percent(0), policy.up.pressure),
        "or when some task waits for a CPU this many percent of window; 0: not used",
    ),
    key(
        "policy.up.target",
        "80",
        field!(percent(1), policy.up.target),
        "go to the smallest count that is at most this many percent busy",
    ),
    key(
        "policy.up.cooldown",
        "\"1m\"",
        field!(COOLDOWN, policy.up.cooldown),
        "between a change and a raise",
    ),
    key(
        "policy.up.max_step",
        "8",
        field!(STEP, policy.up.max_step),
        "most cores a raise adds",
    ),
    key(
        "policy.down.utilization",
        "75",
        field!(percent(1), policy.down.utilization),
        "lower when the smaller count would be less busy than this, in percent",
    ),
    key(
        "policy.down.headroom",
        "0.5",
        field!(factor(0.0..=4.0), policy.down.headroom),
        "and has this times the square root of its cores idle",
    ),
    key(
        "policy.down.window",
        "\"10m\"",
        field!(window(DAY), policy.down.window),
        "both in the busiest minute of this time",
    ),
    key(
        "policy.down.cooldown",
        "\"10m\"",
        field!(COOLDOWN, policy.down.cooldown),
        "between a change and a lowering",
    ),
    key(
        "policy.down.max_step",
        "8",
        field!(STEP, policy.down.max_step),
        "most cores a lowering takes",
    ),
    key(
        "apply.raising",
        "\"learn\"",
        field!(
            Words(&[
                ("learn", Mode::Learn),
                ("always", Mode::Always),
                ("never", Mode::Never)
            ]),
            policy.apply.raising
        ),
        "whether to raise",
    ),
    key(
        "apply.lowering",
        "\"ask\"",
        field!(
            Words(&[
                ("ask", Mode::Ask),
                ("learn", Mode::Learn),
                ("always", Mode::Always),
                ("never", Mode::Never),
            ]),
            policy.apply.lowering
        ),
        "whether to lower; ask: not before `check --prove-lowering`",
    ),
    key(
        "apply.unapplied",
        "\"revert\"",
        field!(
            Words(&[("revert", Unapplied::Revert), ("hold", Unapplied::Hold)]),
            policy.apply.unapplied
        ),
        "a raise that is billed but did not take effect",
    ),
    key(
        "apply.timeout",
        "\"5m\"",
        field!(lasting(5 * SECOND..=20 * MINUTE), policy.apply.timeout),
        "for a change to be seen by the API and by this machine",
    ),
];

/// What later versions will have. Refused, so that nobody relies on what is not there.
pub(super) static LATER: &[Later] = &[
    Later {
        path: "budget",
        today: "leave it out; limits.max_cores is what bounds the cost",
    },
    Later {
        path: "schedule",
        today: "leave it out",
    },
    Later {
        path: "policy.starvation_weight",
        today: "leave it out",
    },
    Later {
        path: "apply.online_new_cores",
        today: "leave it out; the package's udev rule brings new cores on line",
    },
    Later {
        path: "apply.rehearsal",
        today: "leave it out",
    },
    Later {
        path: "notify",
        today: "leave it out; follow the journal instead",
    },
    Later {
        path: "metrics",
        today: "leave it out; `status --json` has the numbers",
    },
];
