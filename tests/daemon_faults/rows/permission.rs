//! Who may call: keys, their address list and their function list. Stop editing, say so once,
//! retry slowly.

use crate::bed::{Bed, KEY};
use crate::row::{IDLE, ROW, Row, Step::*, Waits};
use glesys_autoscaler::sandbox::{Fault, Function, PermissionAnswer, Times};

fn forbidden(bed: &Bed) {
    bed.api
        .switch(|s| s.permission_answer = PermissionAnswer::Forbidden);
}

fn no_addresses(bed: &Bed) {
    bed.api.key(KEY, |key| key.addresses.clear());
}

fn may_not(bed: &Bed, function: Function) {
    bed.api.key(KEY, |key| *key = key.clone().may_not(function));
}

/// The first call is refused: nothing is known, nothing is asked for, nothing is called again.
const REFUSED_AT_ONCE: Row = Row {
    run: &[Until("api_error"), Seconds(4.0)],
    edits: &[],
    details: 1..=1,
    allowed_arguments: 0..=0,
    ends_with: 2,
    told: &["api_error api_down ~the API keys in the Glesys control panel"],
    results: &[],
    // Two minutes, a fifth more or less.
    waits: Waits::Seconds("api_down", 90..=144),
    status: |s| !s.cores_known && !s.identity_proven,
    ..ROW
};

/// Reading is permitted, editing is not.
const EDIT_REFUSED: Row = Row {
    run: &[Until("api_error"), Seconds(4.0)],
    edits: &[7],
    details: 2..=3,
    ends_with: 2,
    told: &["scale_up", "api_error api_down ~may not use server/edit"],
    results: &[],
    waits: Waits::Seconds("api_down", 90..=144),
    ..ROW
};

pub const ROWS: &[Row] = &[
    Row {
        name: "a key that the API does not know",
        given: |bed| assert!(bed.api.withdraw_key(KEY)),
        ..REFUSED_AT_ONCE
    },
    Row {
        name: "an address that the key does not have, told as 401",
        given: no_addresses,
        told: &["api_error api_down ~this call left from 127.0.0.1"],
        ..REFUSED_AT_ONCE
    },
    Row {
        name: "an address that the key does not have, told as 403",
        given: |bed| {
            forbidden(bed);
            no_addresses(bed);
        },
        told: &["api_error api_down ~this call left from 127.0.0.1"],
        ..REFUSED_AT_ONCE
    },
    Row {
        name: "server/details is not permitted, told as 401",
        given: |bed| may_not(bed, Function::Details),
        told: &["api_error api_down ~may not use server/details"],
        ..REFUSED_AT_ONCE
    },
    Row {
        name: "server/details is not permitted, told as 403",
        given: |bed| {
            forbidden(bed);
            may_not(bed, Function::Details);
        },
        told: &["api_error api_down ~may not use server/details"],
        ..REFUSED_AT_ONCE
    },
    Row {
        name: "server/edit is not permitted, told as 401",
        given: |bed| may_not(bed, Function::Edit),
        ..EDIT_REFUSED
    },
    Row {
        // A 403 may be a lock: details decide that it is none.
        name: "server/edit is not permitted, told as 403",
        given: |bed| {
            forbidden(bed);
            may_not(bed, Function::Edit);
        },
        details: 3..=4,
        ..EDIT_REFUSED
    },
    Row {
        name: "server/edit is not permitted, and lowering is wanted",
        cores: 4,
        demand: IDLE,
        given: |bed| may_not(bed, Function::Edit),
        edits: &[1],
        ends_with: 4,
        told: &["scale_down", "api_error api_down ~may not use server/edit"],
        ..EDIT_REFUSED
    },
    Row {
        // Every count within the limits is tried then.
        name: "server/allowedarguments is not permitted",
        given: |bed| may_not(bed, Function::AllowedArguments),
        ..ROW
    },
    Row {
        name: "the key is withdrawn and given back",
        given: |bed| assert!(bed.api.withdraw_key(KEY)),
        run: &[
            Until("api_error"),
            Seconds(2.0),
            Do(|bed| assert!(bed.api.restore_key(KEY))),
            // The daemon would ask again in two minutes; the operator does not wait.
            Reload,
            Until("applied"),
        ],
        details: 3..=6,
        told: &[
            "api_error api_down",
            "reloaded",
            "recovered ~the API answers again",
            "scale_up",
            "applied",
        ],
        ..ROW
    },
    Row {
        name: "the key is withdrawn in the middle of a change",
        given: |bed| bed.kvm(|kvm| kvm.lag = std::time::Duration::from_secs(2)),
        run: &[
            Until("scale_up"),
            Seconds(0.5),
            Do(|bed| assert!(bed.api.withdraw_key(KEY))),
            Until("api_error"),
            Seconds(2.0),
            Do(|bed| assert!(bed.api.restore_key(KEY))),
            Reload,
            Until("applied"),
            // A reload reads them anew.
            UntilCalled(Function::AllowedArguments, 2),
        ],
        details: 4..=7,
        allowed_arguments: 2..=2,
        told: &[
            "scale_up",
            "api_error api_down",
            "reloaded",
            "recovered",
            "applied",
        ],
        ..ROW
    },
    Row {
        // A refusal with a code of its own, as the key of a managed server would get.
        name: "403 for another reason than a lock",
        given: |bed| {
            let fault = Fault::http(403, "Your address is blocked.");
            bed.api.inject(Function::Edit, fault, Times::Next(1));
        },
        details: 3..=4,
        told: &["scale_up", "api_error api_down ~Your address is blocked."],
        ..EDIT_REFUSED
    },
];
