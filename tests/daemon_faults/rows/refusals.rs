//! The API says no: the lock, the configuration, values, and the service's own codes.

use crate::bed::{Bed, KEY, SERVER};
use crate::row::{IDLE, ROW, Row, Step::*, Waits};
use glesys_autoscaler::sandbox::{
    Behaviour, Fault, Function, LockAnswer, Shape, Times, UnknownServer,
};
use std::time::Duration;

fn next_edit(bed: &Bed, fault: Fault) {
    bed.api.inject(Function::Edit, fault, Times::Next(1));
}

fn every_edit(bed: &Bed, fault: Fault) {
    bed.api.inject(Function::Edit, fault, Times::Always);
}

/// One edit, refused, and then an hour of nothing in that direction.
const PAUSED: Row = Row {
    run: &[Until("api_error"), Seconds(3.0)],
    edits: &[7],
    details: 2..=3,
    ends_with: 2,
    told: &[
        "scale_up",
        "api_error utilization ~raising waits for 1h",
        "held direction_off",
    ],
    results: &["refused"],
    waits: Waits::Seconds("direction_off", 3580..=3600),
    status: |s| s.raising.pause.is_some() && s.raising.off.is_none() && s.lowering.pause.is_none(),
    ..ROW
};

/// The configuration is wrong: a quarter of an hour, a fifth more or less.
const MISCONFIGURED: Row = Row {
    run: &[Until("api_error"), Seconds(3.0)],
    edits: &[7],
    details: 2..=3,
    ends_with: 2,
    results: &[],
    waits: Waits::Seconds("api_down", 700..=1080),
    ..ROW
};

const UNKNOWN_SERVER: Row = Row {
    server_id: "kvm999999",
    edits: &[],
    details: 1..=1,
    allowed_arguments: 0..=0,
    told: &["api_error api_down ~no server kvm999999 in the project cl12345"],
    ..MISCONFIGURED
};

/// The first count is refused, and the next larger one is not.
const ANOTHER_COUNT: Row = Row {
    run: &[Until("applied"), Seconds(1.0)],
    edits: &[7, 8],
    details: 3..=7,
    // Read anew after the refusal.
    allowed_arguments: 2..=2,
    ends_with: 8,
    told: &[
        "scale_up ~2 → 7",
        "api_error utilization ~7 cores are refused",
        "scale_up ~2 → 8",
        "recovered ~the API accepts changes again",
        "applied",
    ],
    results: &["refused", "applied"],
    ..ROW
};

/// Three counts refused in a row: it is not the count.
const NO_COUNT: Row = Row {
    run: &[
        Until("api_error"),
        Until("api_error"),
        Until("api_error ~raising waits for 1h"),
        Seconds(3.0),
    ],
    edits: &[7, 8, 6],
    details: 4..=8,
    allowed_arguments: 2..=4,
    ends_with: 2,
    told: &[
        "scale_up",
        "api_error utilization ~7 cores are refused",
        "scale_up",
        "api_error utilization ~8 cores are refused",
        "scale_up",
        "api_error utilization ~6 cores are refused",
    ],
    results: &["refused", "refused", "refused"],
    waits: Waits::Whatever,
    status: |s| s.raising.pause.is_some(),
    ..ROW
};

/// The lock begins between the daemon's look and its edit, which is under way for half a second.
const LOCKED_BEFORE_THE_EDIT: Row = Row {
    run: &[
        Do(|bed| next_edit(bed, Fault::DelayBefore(Duration::from_millis(500)))),
        Until("scale_up"),
        Do(|bed| bed.api.lock(SERVER, Duration::from_secs(3)).unwrap()),
        Until("applied"),
    ],
    edits: &[7, 7],
    details: 3..=7,
    ..ROW
};

pub const ROWS: &[Row] = &[
    Row {
        name: "the edit is answered with a lock, as 403",
        given: |bed| next_edit(bed, Fault::http(403, "The server is locked.")),
        edits: &[7, 7],
        details: 3..=6,
        ..ROW
    },
    Row {
        name: "the edit is answered with a lock, as 500 and 606",
        given: |bed| next_edit(bed, Fault::code(606, "Server Locked\n")),
        edits: &[7, 7],
        details: 3..=6,
        ..ROW
    },
    Row {
        name: "somebody else's lock, which the edit meets as 403",
        given: |bed| bed.api.switch(|s| s.lock_answer = LockAnswer::Forbidden),
        ..LOCKED_BEFORE_THE_EDIT
    },
    Row {
        name: "somebody else's lock, which the edit meets as 606",
        given: |bed| bed.api.switch(|s| s.lock_answer = LockAnswer::Code606),
        ..LOCKED_BEFORE_THE_EDIT
    },
    Row {
        name: "the server is locked, and stays so",
        given: |bed| bed.api.lock(SERVER, Duration::from_secs(600)).unwrap(),
        run: &[Seconds(9.0)],
        edits: &[],
        details: 2..=4,
        ends_with: 2,
        told: &[],
        results: &[],
        waits: Waits::Seconds("locked", 0..=12),
        status: |s| s.locked && s.wants == Some(7),
        ..ROW
    },
    Row {
        name: "the server is locked, then unlocked",
        given: |bed| bed.api.lock(SERVER, Duration::from_secs(4)).unwrap(),
        details: 3..=7,
        ..ROW
    },
    Row {
        name: "a server that is not the project's, told as 400",
        ..UNKNOWN_SERVER
    },
    Row {
        name: "a server that is not the project's, told as 404",
        given: |bed| {
            bed.api
                .switch(|s| s.unknown_server = UnknownServer::NotFound);
        },
        ..UNKNOWN_SERVER
    },
    Row {
        name: "405, a managed server",
        given: |bed| every_edit(bed, Fault::managed_server()),
        told: &["scale_up", "api_error api_down ~it is a managed server"],
        ..MISCONFIGURED
    },
    Row {
        name: "419, the wrong type of account",
        given: |bed| every_edit(bed, Fault::wrong_account()),
        told: &["scale_up", "api_error api_down ~this type of account"],
        ..MISCONFIGURED
    },
    Row {
        name: "the count is refused, and another is chosen",
        given: |bed| next_edit(bed, Fault::invalid_value()),
        ..ANOTHER_COUNT
    },
    Row {
        name: "610, and another count is chosen",
        given: |bed| next_edit(bed, Fault::option_refused()),
        ..ANOTHER_COUNT
    },
    Row {
        name: "counts with gaps that nobody told the daemon",
        given: |bed| {
            bed.kvm(|kvm| kvm.allowed = vec![1, 2, 4, 8]);
            let list = Function::AllowedArguments;
            bed.api.key(KEY, |key| *key = key.clone().may_not(list));
        },
        ..ANOTHER_COUNT
    },
    Row {
        name: "counts with gaps, told in the new form",
        given: |bed| bed.kvm(|kvm| kvm.allowed = vec![1, 2, 4, 8]),
        edits: &[8],
        ends_with: 8,
        ..ROW
    },
    Row {
        name: "counts with gaps, told in the old form",
        given: |bed| {
            bed.kvm(|kvm| kvm.allowed = vec![1, 2, 4, 8]);
            bed.api.switch(|s| s.shape = Shape::Units);
        },
        edits: &[8],
        ends_with: 8,
        ..ROW
    },
    Row {
        name: "the platform has no larger count",
        given: |bed| bed.kvm(|kvm| kvm.allowed = vec![1, 2]),
        run: &[Until("held"), Seconds(3.0)],
        edits: &[],
        details: 1..=2,
        ends_with: 2,
        told: &["held not_allowed_by_platform", "at_limit"],
        results: &[],
        waits: Waits::For("not_allowed_by_platform"),
        ..ROW
    },
    Row {
        name: "every count is refused",
        given: |bed| every_edit(bed, Fault::invalid_value()),
        ..NO_COUNT
    },
    Row {
        name: "the platform refuses raises",
        given: |bed| bed.kvm(|kvm| kvm.up = Behaviour::Refusing),
        ..NO_COUNT
    },
    Row {
        name: "the platform refuses lowerings",
        cores: 4,
        demand: IDLE,
        given: |bed| bed.kvm(|kvm| kvm.down = Behaviour::Refusing),
        run: &[
            Until("api_error"),
            Until("api_error"),
            Until("api_error ~lowering waits for 1h"),
            Seconds(3.0),
        ],
        edits: &[1, 2, 3],
        ends_with: 4,
        told: &[
            "scale_down",
            "api_error low_demand ~1 cores are refused",
            "scale_down",
            "api_error low_demand ~2 cores are refused",
            "scale_down",
            "api_error low_demand ~3 cores are refused",
        ],
        status: |s| s.lowering.pause.is_some() && s.raising.pause.is_none(),
        ..NO_COUNT
    },
    Row {
        name: "608, applying failed",
        given: |bed| every_edit(bed, Fault::apply_failed()),
        ..PAUSED
    },
    Row {
        name: "617, no room: the next step will be a small one",
        given: |bed| every_edit(bed, Fault::no_room()),
        // After the pause 3, where 7 was wanted.
        status: |s| s.raising.small_steps && s.wants == Some(3),
        ..PAUSED
    },
    Row {
        name: "618, the limit of the account",
        given: |bed| every_edit(bed, Fault::account_limit()),
        told: &[
            "scale_up",
            "api_error utilization ~raising waits for 1d",
            "held direction_off",
        ],
        waits: Waits::Seconds("direction_off", 86_380..=86_400),
        ..PAUSED
    },
    Row {
        name: "619, the hypervisor cannot be reached",
        given: |bed| every_edit(bed, Fault::hypervisor_down()),
        ..PAUSED
    },
    Row {
        name: "a pause of raising does not hold back lowering",
        given: |bed| next_edit(bed, Fault::apply_failed()),
        run: &[
            Until("api_error"),
            Do(|bed| bed.load(IDLE)),
            Until("applied"),
            Seconds(1.0),
        ],
        edits: &[7, 1],
        details: 4..=7,
        ends_with: 1,
        told: &[
            "scale_up",
            "api_error",
            "held direction_off",
            "scale_down",
            "applied",
        ],
        results: &["refused", "applied"],
        waits: Waits::Whatever,
        ..PAUSED
    },
];
