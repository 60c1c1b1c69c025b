//! Others who change the server, and an API that is not there.

use crate::api::SERVER;
use crate::bed::Bed;
use serde_json::Value;
use std::time::Duration;

/// Somebody gives the VM two cores in the control panel. That is taken over, is told, counts as a
/// change for the cooldowns, and is lowered again only by the rules.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn panel_changes_the_count() {
    let mut bed = Bed::installed("panel_changes_the_count");
    bed.policy(&[("policy.down.cooldown", "'30s'")]);
    bed.start();
    bed.until_status("idle", |status| status["cores_known"] == true);
    bed.api.set_cores(SERVER, 2).unwrap();
    let changed = bed.until_events("external_change", 1);
    bed.until_status("the cooldown", |s| {
        s["cores"] == 2 && s["wants"] == 1 && s["waits_for"] == "cooldown"
    });
    assert_eq!(bed.api.edits(), []);
    bed.until_cores(1);
    let lowered = bed.until_events("scale_down", 1);
    let at = |line: &Value| {
        let microseconds = line["__MONOTONIC_TIMESTAMP"].as_str().unwrap();
        Duration::from_micros(microseconds.parse().unwrap())
    };
    // A line comes a moment after what it speaks of.
    let waited = at(&lowered) - at(&changed);
    assert!(waited > Duration::from_secs(29), "{waited:?}");
    assert_eq!(bed.results(), ["applied"]);
    bed.holds();
}

/// A count above the maximum, set in the panel, while the VM is busy: it is not taken away from
/// the load, and not added to.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn panel_goes_above_the_maximum() {
    let mut bed = Bed::installed("panel_goes_above_the_maximum");
    bed.policy(&[("limits.max_cores", "2")]);
    bed.load(4);
    bed.start();
    bed.until_cores(2);
    bed.api.set_cores(SERVER, 4).unwrap();
    bed.until_events("external_change", 1);
    bed.until_status("above the maximum", |s| s["cores"] == 4);
    bed.until("four cores in the kernel", || bed.online() == Some(4));
    // Past the window and the cooldown of a lowering, under the same load.
    let edits = bed.api.edits();
    bed.until_status("too busy to be lowered, for long", |status| {
        status["waits_for"] == "above_max_busy" && status["last_change_s"].as_u64() > Some(45)
    });
    assert_eq!(bed.api.edits(), edits);
    assert_eq!(bed.platform.cores(), 4);
    bed.load(0);
    bed.until_cores(1);
    bed.holds();
}

/// Another program sets the count back after each raise. The daemon says so, and never changes
/// more often than its cooldown allows.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn terraform_sets_it_back() {
    let mut bed = Bed::installed("terraform_sets_it_back");
    bed.policy(&[("policy.up.cooldown", "'20s'"), ("limits.max_cores", "2")]);
    bed.start();
    bed.load(3);
    for round in 1..=3 {
        bed.until_cores(2);
        bed.api.set_cores(SERVER, 1).unwrap();
        bed.until_events("external_change", round);
    }
    bed.load(0);
    bed.until_status("idle", |s| s["wants"].is_null() && s["in_flight"].is_null());
    let raises: Vec<Duration> = bed
        .api
        .calls_of(glesys_autoscaler::sandbox::Function::Edit)
        .iter()
        .filter(|call| call.arguments["cpucores"] == 2)
        .map(|call| call.at)
        .collect();
    assert!(raises.len() >= 3, "{raises:?}");
    for pair in raises.windows(2) {
        // The guest's clock and this machine's are not the same.
        assert!(pair[1] - pair[0] > Duration::from_secs(18), "{raises:?}");
    }
    bed.holds();
}

/// Nobody answers when the VM boots, overloaded. The unit runs all the same, says what it waits
/// for, and raises when the API is there.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn api_down_from_boot_on() {
    let mut bed = Bed::installed("api_down_from_boot_on");
    bed.set_up();
    bed.shell.run("systemctl enable --quiet glesys-autoscaler");
    bed.api.close();
    bed.reboot();
    bed.load(4);
    bed.until_events("api_error", 1);
    let status = bed.until_status("api_down", |s| s["waits_for"] == "api_down");
    assert_eq!(status["cores_known"], false, "{status:#}");
    let line = bed.shell.run(
        "systemctl is-active glesys-autoscaler; systemctl show -P StatusText glesys-autoscaler",
    );
    assert!(line.starts_with("active"), "{line}");
    assert!(line.contains("API"), "{line}");
    bed.api.open();
    bed.until_cores(3);
    assert_eq!(bed.restarts(), 0);
    assert_eq!(bed.results(), ["applied"]);
    bed.holds();
}

/// The platform works on the server when the load comes: the raise waits for the lock to end.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn locked_by_the_platform() {
    let bed = Bed::installed("locked_by_the_platform");
    bed.api.lock(SERVER, Duration::from_secs(45)).unwrap();
    bed.start();
    bed.load(4);
    bed.until_status("the lock", |s| s["waits_for"] == "locked");
    assert_eq!(bed.api.edits(), []);
    bed.until_cores(3);
    assert_eq!(bed.api.edits(), [(3, Some(200))]);
    bed.holds();
}
