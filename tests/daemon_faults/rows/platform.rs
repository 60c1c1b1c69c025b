//! What the platform makes of an edit that it accepted, up and down.

use crate::row::{IDLE, ROW, Row, Step::*, Waits};
use glesys_autoscaler::engine::policy::Unapplied;
use glesys_autoscaler::sandbox::Behaviour;
use glesys_autoscaler::sandbox::machine::GuestMode;
use std::time::Duration;

/// Accepted, billed, and not there: the old count is posted back once.
const REVERTED: Row = Row {
    run: &[Until("reverted"), Seconds(3.0)],
    edits: &[7, 2],
    details: 3..=8,
    ends_with: 2,
    told: &[
        "scale_up",
        "not_applied utilization ~posted back",
        "reverted utilization",
        "held direction_off",
    ],
    results: &["reverted"],
    waits: Waits::Seconds("direction_off", 3580..=3600),
    // Once is no proof.
    status: |s| s.raising.off.is_none() && s.raising.pause.is_some(),
    ..ROW
};

const LOWERED: Row = Row {
    cores: 4,
    demand: IDLE,
    edits: &[1],
    ends_with: 1,
    told: &["scale_down low_demand", "applied low_demand"],
    waits: Waits::ForNothing,
    status: |s| s.lowering_proven,
    ..ROW
};

const NOT_LOWERED: Row = Row {
    run: &[Until("not_applied"), Seconds(3.0)],
    details: 3..=6,
    results: &["not_applied"],
    waits: Waits::Whatever,
    status: |s| s.lowering.pause.is_some() && s.lowering.off.is_none() && !s.lowering_proven,
    ..LOWERED
};

pub const ROWS: &[Row] = &[
    Row {
        name: "up: live, after a while",
        given: |bed| bed.kvm(|kvm| kvm.lag = Duration::from_millis(1500)),
        ..ROW
    },
    Row {
        name: "up: pending until a reboot, reverted",
        given: |bed| bed.kvm(|kvm| kvm.up = Behaviour::PendingUntilReboot),
        ..REVERTED
    },
    Row {
        name: "up: pending until a reboot, held",
        policy: |p| p.apply.unapplied = Unapplied::Hold,
        given: |bed| bed.kvm(|kvm| kvm.up = Behaviour::PendingUntilReboot),
        run: &[
            Until("not_applied"),
            Do(|bed| bed.load(7.0)),
            Until("held"),
            Seconds(2.0),
        ],
        edits: &[7],
        ends_with: 7,
        told: &[
            "scale_up",
            "not_applied utilization ~the VM still has 2 CPUs",
            "held direction_off ~pending until a reboot",
        ],
        results: &["not_applied"],
        waits: Waits::For("direction_off"),
        status: |s| s.raising.pending == Some(7),
        ..REVERTED
    },
    Row {
        name: "up: the platform reboots the guest",
        given: |bed| bed.kvm(|kvm| kvm.up = Behaviour::Rebooting),
        ..ROW
    },
    Row {
        name: "up: accepted and forgotten",
        given: |bed| bed.kvm(|kvm| kvm.up = Behaviour::Ignored),
        run: &[Until("not_applied"), Seconds(3.0)],
        edits: &[7],
        told: &[
            "scale_up",
            "not_applied utilization ~still shows 2 cores",
            "held direction_off",
        ],
        results: &["not_applied"],
        ..REVERTED
    },
    Row {
        name: "up: the new CPUs stay offline",
        given: |bed| bed.guest.set_mode(GuestMode::StaysOffline),
        told: &[
            "scale_up",
            "not_applied utilization ~7 CPUs of which 2 are online: see the package's udev rule",
            "reverted utilization",
            "held direction_off",
        ],
        ..REVERTED
    },
    Row {
        name: "up: the new CPUs stay offline, held, and somebody brings them online",
        policy: |p| p.apply.unapplied = Unapplied::Hold,
        given: |bed| bed.guest.set_mode(GuestMode::StaysOffline),
        run: &[
            Until("not_applied"),
            Do(|bed| bed.guest.bring_online()),
            Until("recovered"),
        ],
        edits: &[7],
        ends_with: 7,
        told: &[
            "scale_up",
            "not_applied",
            "recovered ~this VM has the 7 cores",
        ],
        results: &["not_applied"],
        waits: Waits::ForNothing,
        status: |s| s.raising.pending.is_none(),
        ..REVERTED
    },
    Row {
        name: "up: the new CPUs come online late",
        given: |bed| bed.guest.set_mode(GuestMode::StaysOffline),
        run: &[
            Until("scale_up"),
            Seconds(1.0),
            Do(|bed| bed.guest.bring_online()),
            Until("applied"),
        ],
        ..ROW
    },
    Row {
        name: "up: a lock that outlasts the time for a change",
        given: |bed| bed.kvm(|kvm| kvm.lock_time = Duration::from_secs(7)),
        run: &[Until("applied"), Seconds(1.0)],
        details: 3..=6,
        told: &[
            "scale_up",
            "not_applied utilization ~still locked",
            "applied utilization",
        ],
        ..ROW
    },
    Row {
        name: "down: live",
        ..LOWERED
    },
    Row {
        name: "down: pending until a reboot",
        given: |bed| bed.kvm(|kvm| kvm.down = Behaviour::PendingUntilReboot),
        told: &[
            "scale_down low_demand",
            "not_applied low_demand ~lowering waits for 1h",
        ],
        ..NOT_LOWERED
    },
    Row {
        name: "down: the guest does not give its CPUs",
        given: |bed| bed.guest.set_mode(GuestMode::Refuses),
        told: &[
            "scale_down low_demand",
            "not_applied low_demand ~the VM still has 4 CPUs",
        ],
        ..NOT_LOWERED
    },
    Row {
        // Lived through it: the daemon of this row is not killed. What a new boot id says is in
        // the scenarios of the engine.
        name: "down: the platform reboots the guest",
        given: |bed| bed.kvm(|kvm| kvm.down = Behaviour::Rebooting),
        ..LOWERED
    },
    Row {
        name: "down: accepted and forgotten",
        given: |bed| bed.kvm(|kvm| kvm.down = Behaviour::Ignored),
        ends_with: 4,
        told: &[
            "scale_down low_demand",
            "not_applied low_demand ~still shows 4 cores",
            "held direction_off",
        ],
        ..NOT_LOWERED
    },
    Row {
        name: "down: a lock that outlasts the time for a change",
        given: |bed| bed.kvm(|kvm| kvm.lock_time = Duration::from_secs(7)),
        run: &[Until("applied"), Seconds(1.0)],
        details: 3..=6,
        told: &[
            "scale_down low_demand",
            "not_applied low_demand ~still locked",
            "applied low_demand",
        ],
        ..LOWERED
    },
];
