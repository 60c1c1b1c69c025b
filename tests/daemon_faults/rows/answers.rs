//! Answers that are none: pages of proxies, cut, empty and endless bodies; and answers in every
//! form that the API has.

use crate::bed::Bed;
use crate::row::{ROW, Row, Step::*};
use glesys_autoscaler::sandbox::{Fault, Function, Numbers, Times};

fn next(bed: &Bed, function: Function, fault: Fault) {
    bed.api.inject(function, fault, Times::Next(1));
}

/// The first look at the server comes to nothing, the second does not.
const ON_DETAILS: Row = Row {
    details: 3..=6,
    told: &[
        "api_error api_down ~server/details: the answer",
        "recovered",
        "scale_up",
        "applied",
    ],
    ..ROW
};

/// The edit is done whatever its answer looks like: it is found done, and not sent again.
const ON_EDIT: Row = Row {
    run: &[Until("applied"), Seconds(2.0)],
    told: &[
        "scale_up",
        "api_error api_down ~the change may have been made",
        "applied",
    ],
    ..ROW
};

pub const ROWS: &[Row] = &[
    Row {
        name: "the answer as the API gives it",
        ..ROW
    },
    Row {
        name: "numbers written as strings",
        given: |bed| bed.api.switch(|s| s.numbers = Numbers::Quoted),
        ..ROW
    },
    Row {
        name: "details: a page of a proxy",
        given: |bed| next(bed, Function::Details, Fault::HtmlBody(200)),
        ..ON_DETAILS
    },
    Row {
        name: "details: a page of a proxy, as 502",
        given: |bed| next(bed, Function::Details, Fault::HtmlBody(502)),
        told: &[
            "api_error api_down ~server/details: the API failed (HTTP 502)",
            "recovered",
            "scale_up",
            "applied",
        ],
        ..ON_DETAILS
    },
    Row {
        name: "details: a cut body",
        given: |bed| next(bed, Function::Details, Fault::CutBody),
        told: &[
            "api_error api_down ~server/details",
            "recovered",
            "scale_up",
            "applied",
        ],
        ..ON_DETAILS
    },
    Row {
        name: "details: an empty body",
        given: |bed| next(bed, Function::Details, Fault::EmptyBody),
        ..ON_DETAILS
    },
    Row {
        name: "details: an endless body",
        given: |bed| next(bed, Function::Details, Fault::EndlessBody),
        told: &[
            "api_error api_down ~server/details",
            "recovered",
            "scale_up",
            "applied",
        ],
        ..ON_DETAILS
    },
    Row {
        name: "edit: a page of a proxy",
        given: |bed| next(bed, Function::Edit, Fault::HtmlBody(200)),
        ..ON_EDIT
    },
    Row {
        name: "edit: a page of a proxy, as 502",
        given: |bed| next(bed, Function::Edit, Fault::HtmlBody(502)),
        ..ON_EDIT
    },
    Row {
        name: "edit: a cut body",
        given: |bed| next(bed, Function::Edit, Fault::CutBody),
        ..ON_EDIT
    },
    Row {
        name: "edit: an empty body",
        given: |bed| next(bed, Function::Edit, Fault::EmptyBody),
        ..ON_EDIT
    },
    Row {
        name: "edit: an endless body",
        given: |bed| next(bed, Function::Edit, Fault::EndlessBody),
        ..ON_EDIT
    },
    Row {
        // Then every count within the limits is tried.
        name: "allowedarguments: a page of a proxy",
        given: |bed| next(bed, Function::AllowedArguments, Fault::HtmlBody(200)),
        ..ROW
    },
];
