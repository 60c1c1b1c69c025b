//! What a running daemon writes, and what it does when it is told something.

use crate::daemon::{Daemon, json_lines, until};
use crate::{bed, policy};
use glesys_autoscaler::adapters::clock::parse_rfc3339;
use glesys_autoscaler::sandbox::Function;
use rustix::process::Signal;
use std::fs;

#[test]
fn every_line_has_its_time_in_either_form() {
    let (place, _api) = bed(3);
    for format in ["json", "text", "auto"] {
        let mut command = place.command(&["--log-format", format, "run"]);
        command.env("RUST_LOG", "trace");
        let daemon = Daemon::start(command);
        place.status_where("sampling", |status| status["utilization"].is_number());
        let lines = daemon.stop();
        assert!(lines.len() > 3, "{lines:#?}");
        for line in &lines {
            if format != "json" {
                let (ts, rest) = line.split_once(' ').unwrap();
                assert!(parse_rfc3339(ts).is_some(), "{line}");
                let level = rest.split_whitespace().next().unwrap();
                assert!(
                    ["TRACE", "DEBUG", "INFO", "WARN"].contains(&level),
                    "{line}"
                );
                continue;
            }
            let object = json_lines(line).remove(0);
            let ts = object["ts"].as_str().unwrap();
            assert!(parse_rfc3339(ts).is_some(), "{line}");
            assert!(
                object["level"].is_string() && object["message"].is_string(),
                "{line}"
            );
        }
    }
}

/// The line of a change has everything that a script needs, by the names of the interface.
#[test]
fn a_change_is_told_with_its_fields() {
    let (place, api) = bed(3);
    let daemon = place.daemon();
    let asked = daemon.event("scale_up");
    for (name, value) in [
        ("cores_from", 2.into()),
        ("cores_to", 3.into()),
        ("reason", "below_min".into()),
        ("server_id", crate::SERVER.into()),
        ("level", serde_json::Value::from("info")),
    ] {
        assert_eq!(asked[name], value, "{name}: {asked:#}");
    }
    for name in ["utilization", "demand"] {
        assert!(asked[name].is_number(), "{name}: {asked:#}");
    }
    let message_id = asked["message_id"].as_str().unwrap();
    assert!(message_id.len() == 32 && message_id.bytes().all(|b| b.is_ascii_hexdigit()));
    until("the edit", || !api.calls_of(Function::Edit).is_empty());
    let lines = daemon.stop();
    let count = |event: &str| crate::daemon::of_event(&lines, event).len();
    assert_eq!(
        (count("started"), count("scale_up"), count("stopped")),
        (1, 1, 1)
    );
}

#[test]
fn a_reload_takes_a_good_file_and_refuses_a_bad_one() {
    let (place, api) = bed(2);
    let daemon = place.daemon();
    let known = |status: &serde_json::Value| status["cores_known"] == true;
    let before = place.status_where("known", known);

    fs::write(place.at("policy.toml"), "[limits]\nmin_cores = 0\n").unwrap();
    daemon.signal(Signal::HUP);
    let refused = daemon.event("reloaded");
    assert_eq!(refused["level"], "error");
    let message = refused["message"].as_str().unwrap();
    let place_of_fault = format!("{}:2:", place.at("policy.toml").display());
    assert!(message.contains("the old one goes on"), "{message}");
    assert!(message.contains(&place_of_fault), "{message}");
    let status = place.status().unwrap();
    assert_eq!(status["policy_hash"], before["policy_hash"]);

    policy(&place, &api, 4);
    daemon.signal(Signal::HUP);
    let limits = |status: &serde_json::Value| status["min_cores"] == 4;
    let after = place.status_where("the new policy", limits);
    assert_ne!(after["policy_hash"], before["policy_hash"]);
    daemon.until("both", |daemon| daemon.events("reloaded").len() == 2);
    let reloaded = daemon.events("reloaded").remove(1);
    assert_eq!(reloaded["level"], "info");
    let hash = after["policy_hash"].as_str().unwrap();
    assert!(
        reloaded["message"].as_str().unwrap().contains(hash),
        "{reloaded}"
    );
    // It is in force: two cores are too few now.
    assert_eq!(daemon.event("scale_up")["cores_to"], 4);
    daemon.stop();
}

/// What a running daemon cannot change is said, and the rest is in force.
#[test]
fn a_reload_says_what_needs_a_restart() {
    let (place, api) = bed(2);
    let daemon = place.daemon();
    place.status_where("running", |_| true);
    let text = fs::read_to_string(place.at("policy.toml")).unwrap();
    let text = text
        .replace("cl12345", "cl99999")
        .replace("max_cores = 8", "max_cores = 6");
    fs::write(place.at("policy.toml"), text).unwrap();
    daemon.signal(Signal::HUP);
    place.status_where("the new limit", |status| status["max_cores"] == 6);
    let told = |line: &String| line.contains("systemctl restart glesys-autoscaler");
    daemon.until("what needs a restart", |daemon| {
        daemon.lines().iter().any(told)
    });
    daemon.stop();
    assert!(api.calls().iter().all(|call| call.code != Some(401)));
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_not() {
    let (place, api) = bed(3);
    let daemon = Daemon::start(place.command(&["--log-format", "json", "run", "--dry-run"]));
    let started = daemon.event("started");
    let message = started["message"].as_str().unwrap();
    assert!(
        message.contains("--dry-run: nothing is changed"),
        "{message}"
    );
    let held = daemon.event("held");
    assert_eq!(held["reason"], "dry_run");
    assert_eq!(
        (&held["cores_from"], &held["cores_to"]),
        (&2.into(), &3.into())
    );
    let message = held["message"].as_str().unwrap();
    assert!(message.contains("would raise 2 → 3 cores"), "{message}");
    let status = place.status_where("waiting", |status| status["waits_for"] == "dry_run");
    assert_eq!(
        (&status["dry_run"], &status["wants"]),
        (&true.into(), &3.into())
    );
    let lines = daemon.stop();
    assert_eq!(
        crate::daemon::of_event(&lines, "held").len(),
        1,
        "said once"
    );
    assert_eq!(api.calls_of(Function::Edit).len(), 0);
    assert!(place.history().is_empty());
}

/// Ctrl-C of a terminal is as good as `systemctl stop`.
#[test]
fn an_interrupt_ends_it_well() {
    let (place, _api) = bed(2);
    let daemon = place.daemon();
    place.status_where("running", |_| true);
    daemon.signal(Signal::INT);
    let (status, lines) = daemon.end();
    assert!(status.success(), "{status}");
    assert_eq!(crate::daemon::of_event(&lines, "stopped").len(), 1);
}
