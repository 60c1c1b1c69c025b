//! Somebody else changes the count.

use crate::bed::{Bed, SERVER};
use crate::row::{IDLE, ROW, Row, STEADY, Step::*, Waits};
use glesys_autoscaler::sandbox::Function::{AllowedArguments, Details};
use glesys_autoscaler::sandbox::{Fault, Times};
use std::time::Duration;

fn set(bed: &Bed, cores: u32) {
    bed.api.set_cores(SERVER, cores).unwrap();
}

const STANDING: Row = Row {
    cores: 4,
    demand: STEADY,
    ..ROW
};

pub const ROWS: &[Row] = &[
    Row {
        name: "within the limits, and it fits: adopted",
        run: &[
            UntilCalled(AllowedArguments, 1),
            Do(|bed| set(bed, 3)),
            Until("external_change"),
            Seconds(3.0),
        ],
        edits: &[],
        ends_with: 3,
        told: &["external_change ~4 → 3 cores: adopted"],
        results: &[],
        waits: Waits::ForNothing,
        ..STANDING
    },
    Row {
        name: "within the limits, and it does not fit: changed after the cooldown",
        policy: |p| p.down.cooldown = Duration::from_secs(4),
        run: &[
            UntilCalled(AllowedArguments, 1),
            Do(|bed| set(bed, 8)),
            Until("external_change"),
            // The window is full long before.
            Seconds(2.5),
            Do(|bed| assert_eq!(bed.api.cores(SERVER).unwrap(), 8)),
            Until("applied"),
        ],
        edits: &[4],
        details: 3..=7,
        ends_with: 4,
        told: &["external_change ~4 → 8", "scale_down low_demand", "applied"],
        ..STANDING
    },
    Row {
        name: "above the limits: left for a down window, then lowered",
        policy: |p| p.down.window = Duration::from_secs(4),
        run: &[
            UntilCalled(AllowedArguments, 1),
            Do(|bed| set(bed, 10)),
            Until("external_change"),
            Seconds(2.5),
            Do(|bed| assert_eq!(bed.api.cores(SERVER).unwrap(), 10)),
            Until("applied"),
        ],
        edits: &[4],
        details: 3..=7,
        ends_with: 4,
        told: &[
            "external_change ~outside the limits of 1 to 8",
            "scale_down above_max",
            "applied above_max",
        ],
        ..STANDING
    },
    Row {
        name: "above the limits, and too busy to be lowered",
        run: &[
            UntilCalled(AllowedArguments, 1),
            Do(|bed| {
                bed.load(9.0);
                set(bed, 10);
            }),
            Until("held above_max_busy"),
            Seconds(3.0),
        ],
        // The load came first: what it asked for before the change was seen was not sent.
        edits: &[],
        ends_with: 10,
        told: &["external_change ~outside the limits", "held above_max_busy"],
        results: &[],
        waits: Waits::For("above_max_busy"),
        ..STANDING
    },
    Row {
        name: "below the limits: left for a down window, then raised",
        policy: |p| {
            p.limits.min_cores = 3;
            p.down.window = Duration::from_secs(4);
        },
        run: &[
            UntilCalled(AllowedArguments, 1),
            Do(|bed| {
                bed.load(IDLE);
                set(bed, 1);
            }),
            Until("external_change"),
            Seconds(2.5),
            Do(|bed| assert_eq!(bed.api.cores(SERVER).unwrap(), 1)),
            Until("applied"),
        ],
        edits: &[3],
        details: 3..=7,
        ends_with: 3,
        told: &[
            "external_change ~outside the limits of 3 to 8",
            "scale_up below_min",
            "applied below_min",
        ],
        ..STANDING
    },
    Row {
        name: "during a change of ours: ours is overtaken",
        given: |bed| bed.kvm(|kvm| kvm.lag = Duration::from_secs(2)),
        run: &[
            Until("scale_up"),
            Seconds(1.0),
            Do(|bed| {
                bed.kvm(|kvm| kvm.lag = Duration::ZERO);
                set(bed, 6);
            }),
            Until("not_applied ~somebody else set 6 cores"),
            Until("external_change"),
            Seconds(1.0),
        ],
        // 5 cores on 6 are 83 %: not above 90.
        edits: &[7],
        details: 3..=8,
        ends_with: 6,
        told: &[
            "scale_up",
            "not_applied utilization ~somebody else set 6 cores",
            "external_change ~7 → 6",
        ],
        results: &["superseded"],
        ..ROW
    },
    Row {
        name: "between the plan and the edit: adopted, nothing is sent",
        // The look before the edit is answered late, with what somebody else did meanwhile.
        run: &[
            UntilCalled(AllowedArguments, 1),
            Do(|bed| {
                bed.load(IDLE);
                let late = Fault::DelayBefore(Duration::from_millis(500));
                bed.api.inject(Details, late, Times::Next(1));
                bed.kvm(|kvm| kvm.lag = Duration::from_secs(30));
            }),
            UntilCalled(Details, 2),
            Do(|bed| set(bed, 5)),
            Until("external_change"),
            Seconds(1.0),
        ],
        edits: &[],
        details: 2..=3,
        ends_with: 5,
        told: &["external_change ~4 → 5"],
        results: &[],
        waits: Waits::Whatever,
        ..STANDING
    },
];
