//! `status` and `history`: for people, and for scripts.

use crate::daemon::{Place, json_lines};
use crate::{bed, told, with_history};
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_record_has_the_fields_that_scripts_read() {
    let place = with_history();
    let record = place.history().remove(0);
    for (name, value) in [
        ("cores_from", json!(2)),
        ("cores_to", json!(3)),
        ("reason", json!("below_min")),
        ("result", json!("superseded")),
    ] {
        assert_eq!(record[name], value, "{name}: {record:#}");
    }
    for name in [
        "decision_id",
        "ts",
        "detail",
        "policy_hash",
        "engine_version",
    ] {
        assert!(record[name].is_string(), "{name}: {record:#}");
    }
    for name in ["demand", "utilization"] {
        assert!(record[name].is_number(), "{name}: {record:#}");
    }
    let ts = record["ts"].as_str().unwrap();
    let asked = glesys_autoscaler::adapters::clock::parse_rfc3339(ts);
    assert_eq!(asked, record["asked"]["wall_ms"].as_i64(), "{record:#}");

    let (code, out, err) = told(&place.run(&["history"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out.lines().count(), 1, "{out}");
    for part in [
        "2 → 3",
        "below_min",
        "superseded",
        "somebody else set 7 cores",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn since_leaves_out_what_is_older() {
    let place = with_history();
    let file = place.at("state/history.jsonl");
    let recent = fs::read_to_string(&file).unwrap();
    let mut older: Value = serde_json::from_str(&recent).unwrap();
    let week_ms = 7 * 24 * 3_600_000;
    older["decision_id"] = json!("older");
    older["asked"]["wall_ms"] = json!(older["asked"]["wall_ms"].as_i64().unwrap() - week_ms);
    // A later version may add to a record.
    older["from_the_future"] = json!([1]);
    fs::write(&file, format!("{older}\n{recent}")).unwrap();

    let ids = |since: &[&str]| -> Vec<String> {
        let arguments: Vec<&str> = [&["history", "--json"], since].concat();
        let (code, out, err) = told(&place.run(&arguments));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
        let ids = json_lines(&out)
            .into_iter()
            .map(|r| r["decision_id"].clone());
        ids.map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    let recent: Value = serde_json::from_str(&recent).unwrap();
    let recent = recent["decision_id"].as_str().unwrap();
    assert_eq!(ids(&[]), ["older", recent]);
    assert_eq!(ids(&["--since", "8d"]), ["older", recent]);
    assert_eq!(ids(&["--since", "6d"]), [recent]);
    assert_eq!(ids(&["--since", "9999years"]), ["older", recent]);
    assert!(ids(&["--since", "0s"]).is_empty());
}

#[test]
fn no_history_is_no_failure() {
    let (place, _api) = bed(2);
    let (code, out, err) = told(&place.run(&["history"]));
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(err.contains("no changes are on record"), "{err}");
    let (code, out, err) = told(&place.run(&["history", "--json"]));
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", ""));
}

#[test]
fn the_status_is_one_object_with_numbers_as_numbers() {
    let (place, _api) = bed(2);
    let daemon = place.daemon();
    let seen = |status: &Value| status["cores_known"] == true && status["demand"].is_number();
    let status = place.status_where("seen", seen);
    for (name, value) in [
        ("cores", json!(2)),
        ("min_cores", json!(2)),
        ("max_cores", json!(8)),
        ("changes_today", json!(0)),
        ("identity_proven", json!(true)),
        ("paused", json!(false)),
        ("dry_run", json!(false)),
        ("disk_full", json!(false)),
        ("at_limit", json!(false)),
        ("locked", json!(false)),
        ("wants", Value::Null),
        ("in_flight", Value::Null),
        ("api_trouble", Value::Null),
        ("waits_for", json!("warming")),
    ] {
        assert_eq!(status[name], value, "{name}: {status:#}");
    }
    for name in ["utilization", "demand", "steal"] {
        assert!(status[name].as_f64().unwrap() >= 0.0, "{name}: {status:#}");
    }
    assert!(status["guest"]["online"].as_u64().unwrap() >= 1);
    let output = place.run(&["status", "--json"]);
    assert_eq!(told(&output).1.lines().count(), 1);

    let (code, out, err) = told(&place.run(&["status"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in [
        "2 (limits 2 to 8)",
        "% busy",
        "filling its windows",
        "0 today",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    daemon.stop();
}

/// Beside a daemon whose policy file was spoilt since: it is what is asked about.
#[test]
fn the_status_needs_no_policy_file() {
    let (place, _api) = bed(2);
    let daemon = place.daemon();
    place.status_where("running", |_| true);
    let without_file = |place: &Place| {
        let mut command = crate::daemon::clean(crate::daemon::BINARY.as_ref());
        command
            .arg("status")
            .env("RUNTIME_DIRECTORY", place.at("run"));
        command.output().unwrap()
    };
    fs::write(place.at("policy.toml"), "spoilt").unwrap();
    let (code, out, _) = told(&without_file(&place));
    assert_eq!(code, Some(0));
    assert!(out.contains("limits 2 to 8"), "{out}");
    daemon.stop();
}
