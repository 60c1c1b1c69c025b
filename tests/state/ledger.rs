//! A ledger that is full, begins anew, and whoever ends the daemon in the middle of that.

use crate::daemon::Place;
use crate::names_in;
use glesys_autoscaler::adapters::directory_locks::DirectoryError;
use glesys_autoscaler::adapters::ledger::{self, LARGEST, Ledger, Line, NAME, OLDER};
use glesys_autoscaler::adapters::state_dir::{Owner, StateDir, UNWRITTEN};
use glesys_autoscaler::engine::state::State;
use glesys_autoscaler::ports::{Kept, StateStore};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// A record as the daemon writes it, with this id.
fn line(id: &str) -> Line {
    let text = format!(
        r#"{{"ts":"2026-11-24T19:13:00.939Z","decision_id":"{id}",
            "asked":{{"boottime_ms":14762248,"wall_ms":1795547580939}},
            "answered":{{"boottime_ms":14762304,"wall_ms":1795547580995}},
            "effect":{{"boottime_ms":14765256,"wall_ms":1795547583947}},
            "closed":{{"boottime_ms":14765256,"wall_ms":1795547583947}},
            "cores_from":1,"cores_to":4,"reason":"queue","result":"applied","detail":"",
            "demand":3.0,"utilization":3.0,
            "evidence":{{"demand":"warming","recent":{{"fresh":3.0}},"queued":{{"fresh":true}},
                "pressure":"warming","busiest_minute":"warming"}},
            "gates":[],"policy_hash":"b165707bfaf2dd93","engine_version":"0.1.0"}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// Fills the ledger of a directory, so that no record fits any more; what is in it.
pub fn full(dir: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0.. {
        let line = serde_json::to_vec(&line(&format!("old-{number}"))).unwrap();
        if text.len() + line.len() + 1 > LARGEST as usize {
            break;
        }
        text.extend_from_slice(&line);
        text.push(b'\n');
    }
    fs::write(dir.join(NAME), &text).unwrap();
    text
}

fn append(ledger: &mut Ledger, id: &str) {
    let line = line(id);
    ledger.append(&line.ts, &line.record).unwrap();
}

fn ids(dir: &Path) -> Vec<String> {
    let history = ledger::read(dir).unwrap();
    assert_eq!(history.unreadable, 0);
    let lines = history.lines.into_iter();
    lines.map(|line| line.record.decision_id).collect()
}

#[test]
fn a_full_ledger_begins_anew_and_keeps_what_was_in_it() {
    let place = Place::new();
    let dir = place.at("state");
    fs::create_dir(&dir).unwrap();
    let before = full(&dir);
    let records = ids(&dir);
    let mut ledger = Ledger::open(&dir);
    append(&mut ledger, "new-0");
    append(&mut ledger, "new-1");
    assert_eq!(names_in(&dir), [OLDER, NAME]);
    assert!(fs::read(dir.join(OLDER)).unwrap() == before);
    let expected = [&records[..], &["new-0".to_owned(), "new-1".to_owned()]].concat();
    assert!(ids(&dir) == expected, "{:?}", ids(&dir).last());

    // `history` reads both.
    place.policy(
        "http://127.0.0.1:9",
        "limits.min_cores = 1\nlimits.max_cores = 2",
    );
    let output = place.run(&["history"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told.lines().count(), expected.len());

    // And again: what goes is the oldest.
    let newest = full(&dir);
    append(&mut ledger, "new-2");
    assert_eq!(names_in(&dir), [OLDER, NAME]);
    assert!(fs::read(dir.join(OLDER)).unwrap() == newest);
    assert_eq!(ids(&dir).last().map(String::as_str), Some("new-2"));
}

/// After the rename, before the first line of the new file: the record that was to be written may be
/// written, and the last one that was is known.
#[test]
fn a_kill_between_the_two_files_loses_and_doubles_nothing() {
    let place = Place::new();
    let dir = place.at("");
    let mut records = {
        full(&dir);
        ids(&dir)
    };
    fs::rename(dir.join(NAME), dir.join(OLDER)).unwrap();
    let last = records.last().unwrap().clone();
    append(&mut Ledger::open(&dir), &last);
    assert!(ids(&dir) == records, "written twice");
    append(&mut Ledger::open(&dir), "new-0");
    append(&mut Ledger::open(&dir), "new-0");
    // Of the older file, although there is a newer one.
    append(&mut Ledger::open(&dir), &last);
    records.push("new-0".to_owned());
    assert!(ids(&dir) == records, "{:?}", ids(&dir).last());
}

#[test]
fn a_ledger_that_ends_within_a_line_spoils_no_other_when_it_begins_anew() {
    let place = Place::new();
    let dir = place.at("");
    let mut torn = full(&dir);
    torn.truncate(torn.len() - 100);
    fs::write(dir.join(NAME), &torn).unwrap();
    let records = ledger::read(&dir).unwrap().lines.len();
    for id in ["new-0", "new-1"] {
        append(&mut Ledger::open(&dir), id);
    }
    let history = ledger::read(&dir).unwrap();
    assert_eq!((history.lines.len(), history.unreadable), (records + 2, 1));
}

/// The directory is the daemon's user's, and root may write there too.
#[test]
fn a_link_in_the_place_of_the_older_ledger_is_replaced_not_followed() {
    let place = Place::new();
    let dir = place.at("state");
    fs::create_dir(&dir).unwrap();
    let victim = place.at("victim");
    fs::write(&victim, "root's own").unwrap();
    std::os::unix::fs::symlink(&victim, dir.join(OLDER)).unwrap();
    full(&dir);
    append(&mut Ledger::open(&dir), "new-0");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "root's own");
    assert!(!dir.join(OLDER).is_symlink());
}

/// Root appends here too: a second name of another file leads it nowhere, nor does a pipe let it wait.
#[test]
fn a_ledger_that_is_not_a_file_of_its_own_is_not_written() {
    let place = Place::new();
    let dir = place.at("state");
    fs::create_dir(&dir).unwrap();
    let victim = place.at("victim");
    fs::write(&victim, "another's").unwrap();
    type Lay<'a> = &'a dyn Fn(&Path);
    let pipe = |at: &Path| {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let ways: [Lay; 3] = [
        &|at| fs::hard_link(&victim, at).unwrap(),
        &|at| std::os::unix::fs::symlink(&victim, at).unwrap(),
        &pipe,
    ];
    for lay in ways {
        lay(&dir.join(NAME));
        let line = line("new-0");
        Ledger::open(&place.at(""))
            .append(&line.ts, &line.record)
            .unwrap();
        assert!(Ledger::open(&dir).append(&line.ts, &line.record).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "another's");
        fs::remove_file(dir.join(NAME)).unwrap();
    }
}

fn owner() -> Owner {
    Owner {
        server_id: crate::daemon::SERVER.to_owned(),
        machine_id: fs::read_to_string("/etc/machine-id")
            .unwrap()
            .trim()
            .to_owned(),
    }
}

/// A state of this machine, as a first run leaves it.
pub fn state() -> Vec<u8> {
    let place = Place::new();
    let (mut store, _) = StateDir::open(&place.at("state"), &place.at("run"), owner(), 0).unwrap();
    store.save(&State::default()).unwrap();
    fs::read(place.at("state/state.json")).unwrap()
}

/// In words that name both, since it is then that nothing is sent.
#[test]
fn where_neither_directory_takes_the_state_both_are_named() {
    let place = Place::new();
    let (dir, runtime_dir) = (place.at("state"), place.at("run"));
    for each in [&dir, &runtime_dir] {
        fs::create_dir_all(each.join("state.json.new/in the way")).unwrap();
    }
    let (mut store, _) = StateDir::open(&dir, &runtime_dir, owner(), 0).unwrap();
    let error = store.save(&State::default()).unwrap_err();
    for each in [&dir, &runtime_dir] {
        let path = each.join("state.json").display().to_string();
        assert!(error.contains(&path), "{error}");
    }
    fs::remove_dir_all(runtime_dir.join("state.json.new")).unwrap();
    let kept = store.save(&State::default()).unwrap();
    assert!(matches!(kept, Kept::UntilReboot(_)), "{kept:?}");
}

/// A ledger that is never to be written, as when it is a directory: the state that keeps the records
/// stays small enough to be read again, and what it keeps is the newest.
#[test]
fn records_that_wait_for_the_ledger_are_bounded() {
    let place = Place::new();
    let (dir, runtime_dir) = (place.at("state"), place.at("run"));
    // A process that another test starts has our locks too, from its fork until its exec.
    let open = || loop {
        match StateDir::open(&dir, &runtime_dir, owner(), 0) {
            Err(DirectoryError::Held { .. }) => thread::sleep(Duration::from_millis(10)),
            opened => return opened.unwrap(),
        }
    };
    fs::create_dir_all(dir.join(NAME)).unwrap();
    let (mut store, _) = open();
    let mut told = Vec::new();
    for number in 0..3 * UNWRITTEN {
        told.push(
            store
                .append(&line(&format!("new-{number}")).record)
                .unwrap_err(),
        );
    }
    store.save(&State::default()).unwrap();
    let lost = |text: &&String| text.contains("in place of the oldest");
    assert_eq!(told.iter().filter(lost).count(), 2 * UNWRITTEN);
    let length = fs::metadata(dir.join("state.json")).unwrap().len();
    assert!(length < 512 << 10, "{length}");
    drop(store);

    let (mut store, found) = open();
    assert_eq!(found.remarks, [""; 0]);
    fs::remove_dir(dir.join(NAME)).unwrap();
    let before = fs::read(dir.join("state.json")).unwrap();
    for _ in 0..UNWRITTEN {
        store.save(&State::default()).unwrap();
    }
    drop(store);
    let expected: Vec<String> = (2 * UNWRITTEN..3 * UNWRITTEN)
        .map(|number| format!("new-{number}"))
        .collect();
    assert_eq!(ids(&dir), expected);

    // Killed between ledger and state, each time, and so told anew what waits.
    fs::remove_file(dir.join(NAME)).unwrap();
    fs::write(dir.join("state.json"), before).unwrap();
    while ids(&dir).len() < UNWRITTEN {
        let (mut store, _) = open();
        let waiting = fs::read(dir.join("state.json")).unwrap();
        store.save(&State::default()).unwrap();
        drop(store);
        fs::write(dir.join("state.json"), waiting).unwrap();
        let (mut store, _) = open();
        store.save(&State::default()).unwrap();
    }
    assert_eq!(ids(&dir), expected);
}
