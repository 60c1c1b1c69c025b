//! No answer, or one that says only that something failed: whether the edit was done is not known,
//! and details are read before any new one.

use crate::bed::Bed;
use crate::row::{IDLE, Network, ROW, Row, Step::*, Waits};
use glesys_autoscaler::sandbox::{Fault, Function, Times};
use std::time::Duration;

fn next_edit(bed: &Bed, fault: Fault) {
    bed.api.inject(Function::Edit, fault, Times::Next(1));
}

fn first_details(bed: &Bed, fault: Fault) {
    bed.api.inject(Function::Details, fault, Times::Next(1));
}

/// The edit was lost on the way. For half a minute the old count may still become the new one:
/// nothing is sent again.
const LOST: Row = Row {
    run: &[Until("api_error"), Seconds(9.0)],
    edits: &[7],
    details: 4..=6,
    ends_with: 2,
    told: &[
        "scale_up",
        "api_error api_down ~the change may have been made",
    ],
    results: &[],
    waits: Waits::For("in_flight"),
    ..ROW
};

/// The edit was done and its answer was lost: it is found done, and not sent again.
const ANSWER_LOST: Row = Row {
    run: &[Until("applied"), Seconds(2.0)],
    edits: &[7],
    told: &[
        "scale_up",
        "api_error api_down ~the change may have been made",
        "applied",
    ],
    ..ROW
};

/// Reading fails once. Five seconds later, a fifth more or less, it does not.
const READ_FAILS_ONCE: Row = Row {
    run: &[Until("api_error"), Seconds(2.0), Until("applied")],
    details: 3..=6,
    told: &["api_error api_down", "recovered", "scale_up", "applied"],
    ..ROW
};

/// The API asks for two minutes of rest.
const TOLD_TO_WAIT: Row = Row {
    run: &[Until("api_error"), Seconds(8.0)],
    edits: &[7],
    details: 2..=2,
    ends_with: 2,
    told: &["scale_up", "api_error api_down ~takes no calls now"],
    results: &[],
    waits: Waits::Seconds("api_down", 105..=112),
    ..ROW
};

pub const ROWS: &[Row] = &[
    Row {
        name: "500 on the edit, which was not done",
        given: |bed| next_edit(bed, Fault::http(500, "Internal error.")),
        ..LOST
    },
    Row {
        name: "502 on the edit, which was not done",
        given: |bed| next_edit(bed, Fault::http(502, "Bad gateway.")),
        ..LOST
    },
    Row {
        name: "a reset before the edit was done",
        given: |bed| next_edit(bed, Fault::DropBefore),
        ..LOST
    },
    Row {
        name: "a timeout before the edit was done",
        given: |bed| next_edit(bed, Fault::DelayBefore(Duration::from_secs(10))),
        ..LOST
    },
    Row {
        name: "a lost edit is sent again when it surely was not done",
        given: |bed| next_edit(bed, Fault::DropBefore),
        run: &[Until("not_applied"), Until("applied")],
        edits: &[7, 7],
        details: 7..=12,
        ends_with: 7,
        told: &[
            "scale_up",
            "api_error api_down",
            "not_applied utilization ~nothing changed",
            "scale_up",
            "recovered",
            "applied",
        ],
        results: &["failed", "applied"],
        waits: Waits::Whatever,
        ..LOST
    },
    Row {
        name: "a reset after the edit was done",
        given: |bed| next_edit(bed, Fault::DropAfter),
        ..ANSWER_LOST
    },
    Row {
        name: "a timeout after the edit was done",
        given: |bed| next_edit(bed, Fault::DelayAfter(Duration::from_secs(10))),
        ..ANSWER_LOST
    },
    Row {
        name: "a reset after a lowering was done",
        cores: 4,
        demand: IDLE,
        given: |bed| next_edit(bed, Fault::DropAfter),
        edits: &[1],
        ends_with: 1,
        told: &["scale_down", "api_error api_down", "applied"],
        ..ANSWER_LOST
    },
    Row {
        name: "500 on details",
        given: |bed| first_details(bed, Fault::http(500, "Internal error.")),
        ..READ_FAILS_ONCE
    },
    Row {
        name: "a reset on details",
        given: |bed| first_details(bed, Fault::DropBefore),
        ..READ_FAILS_ONCE
    },
    Row {
        name: "a timeout on details",
        given: |bed| first_details(bed, Fault::DelayBefore(Duration::from_secs(10))),
        ..READ_FAILS_ONCE
    },
    Row {
        name: "503 on details, without a time",
        given: |bed| first_details(bed, Fault::unavailable(None)),
        ..READ_FAILS_ONCE
    },
    Row {
        // Sure not to be done: sent again after five seconds, a fifth more or less.
        name: "503 on the edit, without a time",
        given: |bed| next_edit(bed, Fault::unavailable(None)),
        run: &[Until("api_error"), Seconds(2.0), Until("applied")],
        edits: &[7, 7],
        details: 3..=6,
        told: &["scale_up", "api_error api_down", "recovered", "applied"],
        ..ROW
    },
    Row {
        name: "429 on the edit, with a time",
        given: |bed| next_edit(bed, Fault::too_many_requests(Some(120))),
        ..TOLD_TO_WAIT
    },
    Row {
        name: "503 on the edit, with a time",
        given: |bed| next_edit(bed, Fault::unavailable(Some(120))),
        ..TOLD_TO_WAIT
    },
    Row {
        name: "429 on details, with a time",
        given: |bed| first_details(bed, Fault::too_many_requests(Some(120))),
        edits: &[],
        details: 1..=1,
        allowed_arguments: 0..=0,
        told: &["api_error api_down ~takes no calls now"],
        ..TOLD_TO_WAIT
    },
    Row {
        name: "a certificate that nobody vouches for",
        network: Network::UntrustedTls,
        run: &[Until("api_error"), Seconds(8.0)],
        edits: &[],
        details: 0..=0,
        allowed_arguments: 0..=0,
        ends_with: 2,
        // The second attempt fails as the first did, and is not told again.
        told: &["api_error api_down ~signed by an unknown issuer"],
        results: &[],
        waits: Waits::Seconds("api_down", 0..=12),
        ..ROW
    },
    Row {
        name: "the API is down from the start, then up",
        network: Network::Closed,
        run: &[
            Until("api_error"),
            Seconds(7.0),
            Do(Bed::open),
            Until("applied"),
        ],
        told: &[
            "api_error api_down ~no connection",
            "recovered",
            "scale_up",
            "applied",
        ],
        ..ROW
    },
];
