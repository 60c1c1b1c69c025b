//! Files that are torn, spoilt, foreign, lost or of another version.

use crate::daemon::{Place, SERVER, emulator, json_lines, until};
use crate::served::Served;
use crate::{names_in, wanting};
use glesys_autoscaler::sandbox::Function;
use serde_json::{Value, json};
use std::fs;

/// A state file that a daemon of this place wrote.
pub fn written(place: &Place) -> Value {
    let idle = Served::over_http(emulator(3, 8));
    let rest = "limits.min_cores = 1\nlimits.max_cores = 3\nsampling.interval = '500ms'";
    place.policy(&idle.url, rest);
    let daemon = place.daemon();
    place.status_where("the server is known", |status| {
        status["cores_known"] == true
    });
    daemon.stop();
    serde_json::from_slice(&fs::read(place.at("state/state.json")).unwrap()).unwrap()
}

pub fn spoilt(place: &Place, document: &Value) {
    fs::write(place.at("state/state.json"), document.to_string()).unwrap();
}

/// Whether the daemon of this place waits for a cooldown, and made no edit; its warnings.
fn waits(place: &Place, api: &Served) -> Vec<String> {
    let daemon = place.daemon();
    let wanting = |status: &Value| status["cores_known"] == true && status["wants"] == 3;
    let status = place.status_where("wanting", wanting);
    assert_eq!(status["waits_for"], "cooldown", "{status:#}");
    assert_eq!(api.calls_of(Function::Edit).len(), 0);
    let lines = daemon.stop();
    let lines = json_lines(&lines.join("\n"));
    let warnings = lines.iter().filter(|line| line["level"] == "warn");
    warnings
        .filter_map(|line| Some(line["message"].as_str()?.to_owned()))
        .collect()
}

/// What cannot be used is set aside, said, and taken as if a change had just been made.
#[test]
fn a_state_file_that_cannot_be_used_is_set_aside_and_the_cooldown_begins_anew() {
    type Spoil = fn(&mut Value) -> String;
    let rows: [(&str, &str, Spoil); 8] = [
        ("corrupt", "not readable", |_| String::new()),
        ("corrupt", "not readable", |_| "\0\0\0\0\0\0\0\0".to_owned()),
        ("corrupt", "not readable", |whole| {
            let text = whole.to_string();
            text[..text.len() / 2].to_owned()
        }),
        ("corrupt", "not readable", |whole| {
            whole["state"]["sequence"] = json!("many");
            whole.to_string()
        }),
        ("corrupt", "too large", |_| " ".repeat(2 << 20)),
        ("foreign", "server kvm7", |whole| {
            whole["server_id"] = json!("kvm7");
            whole.to_string()
        }),
        ("foreign", "a cloned VM?", |whole| {
            whole["machine_id"] = json!("0123456789abcdef0123456789abcdef");
            whole.to_string()
        }),
        ("newer", "newer version (format 9)", |whole| {
            whole["format"] = json!(9);
            whole["readable_by"] = json!(9);
            whole.to_string()
        }),
    ];
    for (kind, said, spoil) in rows {
        let place = Place::new();
        let text = spoil(&mut written(&place));
        fs::write(place.at("state/state.json"), &text).unwrap();
        for ledger in ["history.jsonl", "history.1.jsonl"] {
            fs::write(place.at("state").join(ledger), "").unwrap();
        }
        let api = wanting(&place);
        let warnings = waits(&place, &api);
        let told = warnings
            .iter()
            .any(|line| line.contains(said) && line.contains("begin anew"));
        assert!(told, "{kind}: {said}: {warnings:#?}");
        let aside = |file: &str| {
            let names = names_in(&place.at("state"));
            let prefix = format!("{file}.{kind}-");
            names.into_iter().find(|name| name.starts_with(&prefix))
        };
        let kept = aside("state.json").unwrap_or_else(|| panic!("{kind}: nothing set aside"));
        assert_eq!(
            fs::read_to_string(place.at("state").join(kept)).unwrap(),
            text
        );
        // Another machine's changes are not this one's; a spoilt state says nothing of the ledger.
        for ledger in ["history.jsonl", "history.1.jsonl"] {
            assert_eq!(aside(ledger).is_some(), kind == "foreign", "{ledger}");
        }
    }
}

#[test]
fn a_missing_state_beside_a_history_is_a_loss_too() {
    let place = Place::new();
    written(&place);
    fs::remove_file(place.at("state/state.json")).unwrap();
    fs::write(place.at("state/history.jsonl"), "").unwrap();
    let api = wanting(&place);
    let warnings = waits(&place, &api);
    assert!(
        warnings
            .iter()
            .any(|line| line.contains("is missing beside")),
        "{warnings:#?}"
    );
}

/// A replacement that was under way when the power went is not read, and not in the way.
#[test]
fn a_half_written_replacement_changes_nothing() {
    let place = Place::new();
    let mut document = written(&place);
    let now = document["state"]["known_cores"].clone();
    assert_eq!(now, 3);
    document["state"]["known_cores"] = json!(2);
    spoilt(&place, &document);
    fs::write(place.at("state/state.json.new"), "{\"format\": 1, \"sta").unwrap();
    let api = wanting(&place);
    let daemon = place.daemon();
    until("the edit", || !api.calls_of(Function::Edit).is_empty());
    daemon.stop();
    assert_eq!(names_in(&place.at("state")), ["state.json"]);
}

/// A later version may add to the file, an earlier one did not have all of it: both are read.
#[test]
fn the_state_of_another_version_is_read_where_it_can_be() {
    let place = Place::new();
    let mut document = written(&place);
    document["format"] = json!(2);
    document["from_the_future"] = json!({"a": 1});
    document["state"]["also_new"] = json!([1, 2]);
    document["state"]["pause"] =
        json!({"since": {"boottime_ms": 0, "wall_ms": 0}, "span_ms": null});
    for old in ["refused", "trial", "raising", "last_trial"] {
        document["state"]
            .as_object_mut()
            .unwrap()
            .remove(old)
            .unwrap();
    }
    document
        .as_object_mut()
        .unwrap()
        .remove("unwritten")
        .unwrap();
    spoilt(&place, &document);
    let api = wanting(&place);
    let daemon = place.daemon();
    let status = place.status_where("wanting", |status| status["wants"] == 3);
    assert_eq!(status["waits_for"], "paused", "{status:#}");
    daemon.stop();
    assert_eq!(api.calls_of(Function::Edit).len(), 0);
    assert_eq!(names_in(&place.at("state")), ["state.json"]);
}

/// The last line of the ledger after a power cut. The next record begins a line of its own.
#[test]
fn a_torn_line_of_the_history_spoils_no_other() {
    let place = Place::new();
    let mut document = written(&place);
    document["state"]["known_cores"] = json!(2);
    spoilt(&place, &document);
    let torn = b"{\"ts\":\"2026-11-24T00:00:00.000Z\",\"decision_id\":\"0-0\",\"cores_\xc3";
    fs::write(place.at("state/history.jsonl"), torn).unwrap();
    let api = wanting(&place);
    let daemon = place.daemon();
    // The kernel may well show other CPUs than three: any edit will do, as will any end of it.
    until("the edit", || !api.calls_of(Function::Edit).is_empty());
    daemon.until("asked", |daemon| !daemon.events("scale_up").is_empty());
    let id = daemon.event("scale_up")["decision_id"].clone();
    api.set_cores(SERVER, 7).unwrap();
    until("the end of the change", || place.history().len() == 1);
    daemon.stop();
    assert_eq!(place.history()[0]["decision_id"], id);
    let output = place.run(&["history"]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("passed over: 1"), "{complaint}");
    assert!(
        fs::read(place.at("state/history.jsonl"))
            .unwrap()
            .starts_with(torn)
    );
}
