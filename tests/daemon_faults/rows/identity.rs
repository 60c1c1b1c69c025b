//! Whether the server is this machine, which may change while the daemon runs.

use crate::row::{Network, ROW, Row, Step::*};
use glesys_autoscaler::sandbox::Behaviour;

pub const ROWS: &[Row] = &[
    Row {
        name: "the address comes after the daemon, as from DHCP: looked for until it is there",
        given: |bed| bed.address(false),
        run: &[
            Until("held identity_unproven"),
            Do(|bed| bed.address(true)),
            Until("recovered"),
            Until("applied"),
        ],
        told: &[
            "held identity_unproven",
            "recovered ~proven again",
            "scale_up utilization",
            "applied utilization",
        ],
        ..ROW
    },
    Row {
        name: "the address comes after the daemon, and before the API: no word of it",
        network: Network::Closed,
        given: |bed| bed.address(false),
        run: &[
            Until("api_error"),
            Do(|bed| {
                bed.address(true);
                bed.open();
            }),
            Until("applied"),
        ],
        told: &[
            "api_error",
            "recovered ~the API answers again",
            "scale_up utilization",
            "applied utilization",
        ],
        ..ROW
    },
    Row {
        name: "the address went while a raise did not take effect: not posted back",
        given: |bed| bed.kvm(|kvm| kvm.up = Behaviour::PendingUntilReboot),
        run: &[
            Until("scale_up"),
            Do(|bed| bed.address(false)),
            Until("held identity_unproven"),
            Seconds(2.0),
        ],
        told: &[
            "scale_up utilization",
            "not_applied ~posted back",
            "held identity_unproven ~posting 2 cores back is held back",
        ],
        results: &[],
        ..ROW
    },
];
