//! The operator's pause, which outlives the daemon that was told of it.

use crate::daemon::{Place, until};
use crate::spoilt::{spoilt, written};
use crate::wanting;
use glesys_autoscaler::sandbox::Function;
use serde_json::json;

fn told(place: &Place, arguments: &[&str]) -> String {
    let output = place.run(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_pause_outlives_a_kill_and_ends_with_resume() {
    let place = Place::new();
    let api = wanting(&place);
    // For the next start: none runs.
    let answer = told(&place, &["pause"]);
    assert!(
        answer.contains("from the next start of the daemon on"),
        "{answer}"
    );

    let daemon = place.daemon();
    let paused = |status: &serde_json::Value| status["waits_for"] == "paused";
    let status = place.status_where("paused", paused);
    assert_eq!(
        (&status["paused"], &status["wants"]),
        (&true.into(), &3.into())
    );
    daemon.kill();
    let daemon = place.daemon();
    place.status_where("still paused", paused);
    assert_eq!(api.calls_of(Function::Edit).len(), 0);

    let answer = told(&place, &["resume"]);
    assert_eq!(answer, "changes go on\n");
    daemon.event("resumed");
    until("the edit", || !api.calls_of(Function::Edit).is_empty());
    daemon.stop();
}

#[test]
fn a_pause_with_an_end_ends_by_itself() {
    let place = Place::new();
    let api = wanting(&place);
    told(&place, &["pause", "--for", "4s"]);
    let daemon = place.daemon();
    let started = daemon.event("started");
    let message = started["message"].as_str().unwrap();
    assert!(message.contains("changes are paused"), "{message}");
    let resumed = daemon.event("resumed");
    assert_eq!(resumed["message"], "the pause is over, changes go on");
    until("the edit", || !api.calls_of(Function::Edit).is_empty());
    daemon.stop();
}

#[test]
fn a_running_daemon_is_told_and_says_so() {
    let place = Place::new();
    let api = wanting(&place);
    told(&place, &["pause", "--for", "2h"]);
    let daemon = place.daemon();
    place.status_where("running", |status| status["waits_for"] == "paused");
    // Another length, told to the daemon itself.
    let answer = told(&place, &["pause", "--for", "30m"]);
    assert_eq!(answer, "changes are paused for 30m\n");
    let paused = daemon.event("paused");
    assert_eq!(paused["reason"], "paused");
    let left = place.status().unwrap()["pause_left_s"].as_u64().unwrap();
    assert!((1..=1800).contains(&left), "{left}");
    daemon.stop();

    // Taken back while none runs.
    let answer = told(&place, &["resume"]);
    assert!(
        answer.contains("from the next start of the daemon on"),
        "{answer}"
    );
    let daemon = place.daemon();
    until("the edit", || !api.calls_of(Function::Edit).is_empty());
    daemon.stop();
}

/// `resume --raising` without a daemon forgets what one would: the reason that raising is off, and
/// the counts that were refused on the way up, but not those on the way down.
#[test]
fn what_was_learned_of_a_direction_is_forgotten_without_a_daemon_too() {
    let place = Place::new();
    let mut document = written(&place);
    let wait = json!({"since": {"boottime_ms": 0, "wall_ms": 0}, "span_ms": 86_400_000});
    let state = &mut document["state"];
    assert_eq!(state["known_cores"], 3);
    state["raising"]["off"] = json!("it never came");
    state["lowering"]["off"] = json!("it rebooted");
    state["refused"] = json!([{"cores": 2, "wait": wait}, {"cores": 4, "wait": wait}]);
    spoilt(&place, &document);
    told(&place, &["resume", "--raising"]);
    let saved = std::fs::read(place.at("state/state.json")).unwrap();
    let saved: serde_json::Value = serde_json::from_slice(&saved).unwrap();
    let state = &saved["state"];
    assert_eq!(
        state["raising"]["off"],
        serde_json::Value::Null,
        "{state:#}"
    );
    assert_eq!(state["lowering"]["off"], "it rebooted", "{state:#}");
    assert_eq!(state["refused"], json!([{"cores": 2, "wait": wait}]));
}
