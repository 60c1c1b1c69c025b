//! The main job: under heavy load, within limits, by the operator's word.

use crate::bed::Bed;

/// From an empty guest: install, `check`, more cores under load, fewer after it.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn first_scaling() {
    let bed = Bed::booted("first_scaling");
    bed.install();
    bed.set_up();
    let check = bed.shell.any_end("glesys-autoscaler check");
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    print!("{said}");
    assert_eq!(check.status.code(), Some(0), "{said}");
    bed.start();
    bed.load(3);
    bed.until_cores(3);
    bed.load(0);
    bed.until_cores(1);
    let results = bed.results();
    assert!(
        results.iter().all(|result| result == "applied"),
        "{results:?}"
    );
    assert_eq!(bed.restarts(), 0);
    bed.holds();
}

/// Eight busy workers on the one core, from before `check` on: it is raised, the commands answer
/// meanwhile, the watchdog is fed; and lowered once the workers are gone.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn beside_eight_busy_workers() {
    let bed = Bed::installed("beside_eight_busy_workers");
    bed.set_up();
    bed.load(8);
    bed.shell.run("glesys-autoscaler check");
    bed.start();
    bed.shell.run("glesys-autoscaler status");
    bed.shell.run("glesys-autoscaler pause --for 1h");
    assert_eq!(bed.status().unwrap()["paused"], true);
    bed.shell.run("glesys-autoscaler resume");
    bed.until_cores(3);
    let raise = bed.history().remove(0);
    let at = |what: &str| raise[what]["wall_ms"].as_u64().unwrap();
    bed.note(&format!(
        "the edit call took {} ms, the change {} ms",
        at("answered") - at("asked"),
        at("effect") - at("asked")
    ));
    // Past the watchdog's minute, under the same load.
    bed.until_status("at its limit for a minute", |status| {
        status["at_limit"] == true && status["last_change_s"].as_u64() > Some(70)
    });
    bed.load(0);
    bed.until_cores(1);
    assert_eq!(bed.restarts(), 0);
    assert_eq!(bed.said("Watchdog timeout"), 0);
    assert!(bed.results().iter().all(|result| result == "applied"));
    bed.holds();
}

/// Paused for a while: no load and no reboot changes anything before that time is over, and then
/// it goes on by itself.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn paused_over_a_reboot() {
    let bed = Bed::of_one_or_three_cores("paused_over_a_reboot");
    bed.start();
    bed.shell.run("glesys-autoscaler pause --for 150s");
    let paused = bed.until_events("paused", 1);
    bed.load(3);
    bed.until_status("wants and may not", |status| {
        status["wants"] == 3 && status["waits_for"] == "paused"
    });
    // The state is on disk by now; the journal's last lines need a moment.
    bed.shell.run("journalctl --sync");
    bed.reboot();
    bed.load(3);
    bed.until_status("still paused", |status| {
        status["wants"] == 3 && status["waits_for"] == "paused"
    });
    assert!(bed.asked_for().is_empty());
    bed.until_cores(3);
    let resumed = bed.until_events("resumed", 1);
    let at = |line: &serde_json::Value| {
        let micros = line["__REALTIME_TIMESTAMP"].as_str().unwrap();
        micros.parse::<u64>().unwrap() / 1_000_000
    };
    assert!(at(&resumed) >= at(&paused) + 149);
    let message = resumed["MESSAGE"].as_str().unwrap();
    assert!(message.contains("the pause is over"), "{message}");
    assert_eq!(bed.asked_for(), [3]);
    bed.holds();
}

/// As shipped, nothing is lowered until the operator has it tried: it is said once, tried by
/// `check --prove-lowering`, and used from then on.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn lowering_is_proven_first() {
    let mut bed = Bed::of_one_or_three_cores("lowering_is_proven_first");
    bed.policy(&[("apply.lowering", "'ask'")]);
    bed.start();
    bed.load(3);
    bed.until_cores(3);
    bed.load(0);
    bed.until_status("waits for the proof", |status| {
        status["wants"] == 1 && status["waits_for"] == "not_proven"
    });
    let held = bed.until_events("held", 1);
    assert_eq!(held["REASON"], "not_proven");
    let prove = "glesys-autoscaler check --prove-lowering";
    let unasked = bed.shell.any_end(prove);
    assert_eq!(unasked.status.code(), Some(1));
    assert_eq!(bed.asked_for(), [3]);

    let said = bed.shell.run(&format!("{prove} --yes"));
    print!("{said}");
    assert!(said.contains('✓'), "{said}");
    bed.until_cores(1);
    assert_eq!(bed.asked_for(), [3, 1, 3, 1]);
    assert_eq!(bed.results(), ["applied"; 4]);
    assert_eq!(bed.events("held").len(), 1);
    bed.holds();
}

/// More load than the limits serve: raised to the limit and no further, which is told once. The
/// day's changes are used up by that: the lowering waits for tomorrow, which is told once.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn at_the_limits() {
    let mut bed = Bed::installed("at_the_limits");
    bed.policy(&[
        ("limits.max_cores", "2"),
        ("limits.max_changes_per_day", "1"),
    ]);
    bed.start();
    bed.load(4);
    bed.until_cores(2);
    let line = bed.until_events("at_limit", 1);
    let message = line["MESSAGE"].as_str().unwrap();
    assert!(message.contains("limits.max_cores is 2"), "{message}");
    bed.until_status("at its limit for a while", |status| {
        status["at_limit"] == true && status["last_change_s"].as_u64() > Some(20)
    });
    bed.load(0);
    bed.until_status("the day's changes are used up", |status| {
        status["wants"] == 1 && status["waits_for"] == "changes_per_day"
    });
    let line = bed.until_events("held", 1);
    assert_eq!(line["REASON"], "changes_per_day");
    bed.until_status("held for a while", |status| {
        status["last_change_s"].as_u64() > Some(60)
    });
    assert_eq!(bed.events("at_limit").len(), 1);
    assert_eq!(bed.events("held").len(), 1);
    assert_eq!(bed.asked_for(), [2]);
    bed.holds();
}
