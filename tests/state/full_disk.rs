//! A state directory on a disk that is full, or read only: a small file system of its own, in a
//! mount namespace that ends with the test.

use crate::daemon::{BINARY, Busy, Daemon, Place, clean, cpus, emulator, until};
use crate::machine_lock::{MachineLock, say_skipped};
use crate::served::Served;
use glesys_autoscaler::sandbox::Function;
use rustix::process::geteuid;
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// An overload raises although nothing can be written, and nothing of it is lost, not even by a
/// kill.
#[test]
fn an_overload_raises_on_a_full_disk_and_its_record_is_written_later() {
    let _lock = MachineLock::share();
    let most = cpus();
    if most == 1 {
        say_skipped("an overload on a full disk: with one CPU no raise shows in the kernel");
        return;
    }
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place, 256) else {
        return;
    };
    let api = Served::over_http(emulator(most - 1, most));
    place.policy(
        &api.url,
        &format!(
            "limits.min_cores = 1
             limits.max_cores = {most}
             sampling.interval = '500ms'
             policy.up.window = '2s'
             policy.up.queue = '2s'
             policy.down.cooldown = '1h'"
        ),
    );
    let daemon = disk.daemon(&place);
    place.status_where("known", |status| status["cores_known"] == true);
    disk.fill();
    let busy = Busy::of(most + 1);
    let asked = daemon.event("scale_up");
    let held = daemon.event("held");
    assert_eq!(
        (&held["reason"], &held["level"]),
        (&"disk_full".into(), &"error".into())
    );
    let message = held["message"].as_str().unwrap();
    assert!(
        message.contains("raising goes on, lowering stops"),
        "{message}"
    );
    let intent = || saved(&place)["state"]["intent"]["decision_id"].clone();
    assert_eq!(
        intent(),
        asked["decision_id"],
        "the intent is in the run-time directory"
    );
    daemon.event("applied");
    drop(busy);
    let kept = |line: &Value| line["message"].as_str().unwrap().contains("written later");
    assert!(
        daemon.events("held").iter().any(kept),
        "{:#?}",
        daemon.lines()
    );
    assert_eq!(api.calls_of(Function::Edit).len(), 1);
    assert!(disk.history().is_empty(), "the disk is full");
    assert_eq!(place.status().unwrap()["disk_full"], true);
    daemon.kill();

    let daemon = disk.daemon(&place);
    place.status_where("known after the kill", |status| {
        status["cores_known"] == true && status["cores"] == most && status["disk_full"] == true
    });
    disk.free();
    daemon.event("recovered");
    until("the record", || !disk.history().is_empty());
    daemon.stop();
    let history = disk.history();
    let record: Value = serde_json::from_str(history.trim_end()).unwrap();
    assert_eq!(record["decision_id"], asked["decision_id"]);
    assert_eq!(record["result"], "applied");
    assert_eq!(
        saved(&place),
        Value::Null,
        "the run-time directory holds no state any more"
    );
    assert_eq!(api.calls_of(Function::Edit).len(), 1);
}

/// Sixty-four cores are too many for whatever this machine does.
#[test]
fn a_full_disk_stops_lowering_until_there_is_space() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place, 256) else {
        return;
    };
    let api = Served::over_http(emulator(64, 64));
    place.policy(
        &api.url,
        "limits.min_cores = 1
         limits.max_cores = 64
         sampling.interval = '500ms'
         policy.boot_grace = '0s'
         policy.down.window = '1s'
         policy.down.cooldown = '0s'
         apply.lowering = 'always'",
    );
    // Full from the beginning: that is no reason not to start.
    disk.fill();
    let daemon = disk.daemon(&place);
    let lowering = |status: &Value| status["wants"].as_u64().is_some_and(|to| to < 64);
    let status = place.status_where("lowering is wanted", lowering);
    assert_eq!(status["waits_for"], "disk_full", "{status:#}");
    let held = daemon.events("held");
    assert!(
        held.iter().any(|line| line["level"] == "error"),
        "{held:#?}"
    );
    assert_eq!(api.calls_of(Function::Edit).len(), 0);

    disk.free();
    until("the lowering", || !api.calls_of(Function::Edit).is_empty());
    daemon.event("recovered");
    daemon.event("scale_down");
    daemon.stop();
}

/// The record for which the ledger would have to begin anew. The old part stays, and the daemon may
/// be killed before there is space for the new one.
#[test]
fn a_ledger_that_is_full_on_a_disk_that_is_full_loses_nothing() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place, 20 << 10) else {
        return;
    };
    let before = crate::ledger::full(&disk.dir);
    let api = crate::wanting(&place);
    // Fresh, or a ledger without a state is a loss that has to be waited out.
    fs::write(disk.dir.join("state.json"), crate::ledger::state()).unwrap();
    disk.fill();
    let daemon = disk.daemon(&place);
    let id = daemon.event("scale_up")["decision_id"].clone();
    api.set_cores(crate::daemon::SERVER, 7).unwrap();
    let kept = |line: &Value| line["message"].as_str().unwrap().contains("written later");
    daemon.until("the end of the change", |daemon| {
        daemon.events("held").iter().any(kept)
    });
    daemon.kill();
    let older = || fs::read(disk.dir.join("history.1.jsonl")).unwrap_or_default();
    assert!(older() == before && disk.history().is_empty());

    let daemon = disk.daemon(&place);
    place.status_where("known after the kill", |status| {
        status["cores_known"] == true
    });
    assert!(older() == before && disk.history().is_empty());
    disk.free();
    until("the record", || !disk.history().is_empty());
    daemon.stop();
    let record: Value = serde_json::from_str(disk.history().trim_end()).unwrap();
    assert_eq!(record["decision_id"], id);
    assert!(older() == before, "renamed once");
}

#[test]
fn a_read_only_disk_is_said_at_the_start() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place, 256) else {
        return;
    };
    disk.make_read_only();
    let _api = crate::wanting(&place);
    let (status, lines) = disk.daemon(&place).end();
    assert_eq!(status.code(), Some(1), "{lines:#?}");
    let complaint = lines.join("\n");
    assert!(complaint.contains("Read-only file system"), "{complaint}");
    assert!(
        complaint.contains(&place.at("state").display().to_string()),
        "{complaint}"
    );
}

/// The state as it is in the run-time directory.
fn saved(place: &Place) -> Value {
    let text = fs::read(place.at("run/state.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// A process that holds a mount namespace in which a place's state directory is a file system of
/// so many KiB.
struct SmallDisk {
    holder: Child,
    /// The directory as it is in the namespace.
    dir: PathBuf,
}

impl SmallDisk {
    /// `None`, and said, where this machine does not let us.
    fn mount(place: &Place, kib: u32) -> Option<Self> {
        fs::create_dir(place.at("state")).unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private"]);
        if !geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        let script = format!(
            "mount -t tmpfs -o size={kib}k,mode=0750 none \"$0\" && echo mounted && exec cat"
        );
        let mut holder = unshare
            .args(["sh", "-c", &script])
            .arg(place.at("state"))
            // It ends when this is closed, and so with the test.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answer = [0; 8];
        let told = holder.stdout.as_mut().unwrap().read_exact(&mut answer);
        if told.is_err() {
            let _ = holder.wait();
            say_skipped("a full disk: no file system can be mounted here");
            return None;
        }
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let dir = root.join(place.at("state").strip_prefix("/").unwrap());
        Some(Self { holder, dir })
    }

    /// The command that runs another in the namespace.
    fn inside(&self) -> Command {
        let mut nsenter = clean(Path::new("nsenter"));
        nsenter
            .arg(format!("--target={}", self.holder.id()))
            .arg("--mount");
        if !geteuid().is_root() {
            nsenter.args(["--user", "--preserve-credentials"]);
        }
        nsenter
    }

    fn daemon(&self, place: &Place) -> Daemon {
        let mut command = self.inside();
        command
            .arg(BINARY)
            .arg("--config")
            .arg(place.at("policy.toml"))
            .args(["--log-format", "json", "run"]);
        Daemon::start(command)
    }

    fn make_read_only(&self) {
        let mut remount = self.inside();
        let dir = self
            .dir
            .strip_prefix(format!("/proc/{}/root", self.holder.id()))
            .unwrap();
        remount
            .args(["mount", "-o", "remount,ro"])
            .arg(Path::new("/").join(dir));
        assert!(remount.status().unwrap().success());
    }

    fn history(&self) -> String {
        fs::read_to_string(self.dir.join("history.jsonl")).unwrap_or_default()
    }

    fn fill(&self) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("filler"))
            .unwrap();
        let full = (0..1 << 15).any(|_| file.write_all(&[0; 1024]).is_err());
        assert!(full, "32 MiB and still not full");
    }

    fn free(&self) {
        fs::remove_file(self.dir.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
