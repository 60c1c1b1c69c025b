//! The whole way with the real program and a real load: up under it and down after it, and then
//! nothing more. Once with cores that are pretended, as the README shows it, in every `cargo test`;
//! once, where it is asked for, with a real CPU of this machine and the API over TLS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/foreign_load.rs"]
mod foreign_load;
#[path = "support/machine_lock.rs"]
mod machine_lock;
#[path = "support/emulator.rs"]
mod served;
#[path = "support/tls.rs"]
mod tls;

use daemon::{BINARY, Busy, Daemon, Place, SERVER, clean, cpus, json_lines, of_platform};
use foreign_load::ForeignLoad;
use glesys_autoscaler::sandbox::hotplug::{Hotplug, SYSFS_CPUS};
use glesys_autoscaler::sandbox::{Function, Platform, Server};
use machine_lock::{MachineLock, hotplug_forbidden, say_skipped};
use serde_json::Value;
use served::Served;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tls::PrivateCa;

/// `run --sandbox --load`.
#[test]
fn pretended() {
    let _lock = MachineLock::take();
    let place = Place::new();
    let mut command = clean(BINARY.as_ref());
    command
        .args(["run", "--sandbox", "--load", "--log-format", "json"])
        .env("STATE_DIRECTORY", place.at("state"))
        .env("RUNTIME_DIRECTORY", place.at("run"));
    let daemon = Daemon::start(command);
    let mut foreign = ForeignLoad::beside(daemon.pid(), 0.3);
    daemon.until("the end", |daemon| {
        foreign.look();
        daemon.ended()
    });
    let (status, lines) = daemon.end();
    let text = lines.join("\n");
    let cpus = cpus();

    if cpus == 1 {
        assert!(status.success(), "{status}\n{text}");
        assert!(text.contains("this machine has 1 CPU"), "{text}");
        assert!(text.contains("nothing to raise to"), "{text}");
        assert!(changes(&lines).is_empty(), "{text}");
        return;
    }
    if !status.success() && !foreign.was_quiet_for(20) {
        say_skipped(
            "the sandbox with its load: something else kept this machine busy all the time",
        );
        return;
    }
    assert!(status.success(), "{status}\n{text}");
    let to = shows_up_and_down(&changes(&lines), 1);
    if cpus == 2 {
        assert_eq!(to, 2, "{text}");
    }
    let mut history = clean(BINARY.as_ref());
    history
        .args(["history", "--json"])
        .env("STATE_DIRECTORY", place.at("state"));
    let output = history.output().unwrap();
    agrees(&json_lines(&String::from_utf8(output.stdout).unwrap()), to);
}

/// The daemon as installed, the API over TLS with a certificate of its own, a load made by
/// processes, and a CPU that really comes and goes.
#[test]
fn hotplug() {
    if let Some(why) = hotplug_forbidden() {
        say_skipped(&format!("a real CPU off and on line, end to end: {why}"));
        return;
    }
    let _lock = MachineLock::take();
    let most = cpus();
    let least = most - 1;
    let _guardian = Guardian::of(&last_cpu());
    let cpu = Hotplug::new(Path::new(SYSFS_CPUS)).unwrap();
    cpu.set_online(least).unwrap();
    let ca = PrivateCa::new();
    let server = Server::new(SERVER, least).machine(cpu);
    let emulator = of_platform(Platform::up_to(most), server);
    let api = Served::over_tls(emulator, ca.server(&["127.0.0.1"]));
    let place = Place::new();
    std::fs::write(place.at("ca.pem"), ca.pem()).unwrap();
    place.policy(
        &api.url,
        &format!(
            "api.ca_file = {ca_file:?}
             limits.min_cores = {least}
             limits.max_cores = {most}
             sampling.interval = '1s'
             sampling.steal = 'demand'
             policy.boot_grace = '0s'
             policy.up.utilization = 95
             policy.up.target = 90
             policy.up.window = '3s'
             policy.up.queue = '2s'
             policy.up.cooldown = '5s'
             policy.down.utilization = 90
             policy.down.headroom = 0.05
             policy.down.window = '4s'
             policy.down.cooldown = '5s'
             policy.down.max_step = 1
             apply.lowering = 'learn'
             apply.timeout = '30s'",
            ca_file = place.at("ca.pem"),
        ),
    );

    let busy = Busy::of(most + 1);
    let daemon = place.daemon();
    daemon.event("applied");
    assert_eq!(cpus(), most, "under load");
    drop(busy);
    let mut foreign = ForeignLoad::beside(daemon.pid(), 0.7);
    let lowered = daemon.comes_to(Duration::from_secs(40), |daemon| {
        foreign.look();
        daemon.events("applied").len() == 2
    });
    if !lowered && !foreign.was_quiet_for(20) {
        say_skipped("a real CPU off line after a load: something else kept this machine busy");
        return;
    }
    assert!(lowered, "{}", daemon.lines().join("\n"));
    assert_eq!(cpus(), least, "after the load");
    // Longer than both cooldowns and both windows.
    sleep(Duration::from_secs(8));
    let lines = daemon.stop();
    assert_eq!(cpus(), least);

    let to = shows_up_and_down(&changes(&lines), least);
    assert_eq!(to, most);
    agrees(&place.history(), to);
    assert_eq!(api.calls_of(Function::Edit).len(), 2);
    drop(api);
    assert_eq!(cpus(), most, "the machine is as it was");
}

/// The journal lines about changes.
fn changes(lines: &[String]) -> Vec<Value> {
    let mut changes = json_lines(&lines.join("\n"));
    changes.retain(|line| !line["decision_id"].is_null());
    changes
}

/// Exactly one raise from `from` and one lowering back to it, both applied, each with its reason;
/// returns the count in between.
fn shows_up_and_down(changes: &[Value], from: u32) -> u32 {
    let events: Vec<&str> = changes
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect();
    assert_eq!(
        events,
        ["scale_up", "applied", "scale_down", "applied"],
        "{changes:#?}"
    );
    let [up, up_applied, down, down_applied] = changes else {
        unreachable!("four lines, as just compared")
    };
    let to = u32::try_from(up["cores_to"].as_u64().unwrap()).unwrap();
    assert!(to > from, "{up}");
    assert_eq!(up["cores_from"], from, "{up}");
    assert!(
        up["reason"] == "utilization" || up["reason"] == "queue",
        "{up}"
    );
    assert_eq!(
        (&down["cores_from"], &down["cores_to"]),
        (&to.into(), &from.into())
    );
    assert_eq!(down["reason"], "low_demand", "{down}");
    for (asked, applied) in [(up, up_applied), (down, down_applied)] {
        for field in [
            "decision_id",
            "reason",
            "cores_from",
            "cores_to",
            "server_id",
        ] {
            assert_eq!(asked[field], applied[field], "{asked} {applied}");
        }
        for field in ["utilization", "demand"] {
            assert!(asked[field].is_number(), "{asked}");
        }
    }
    assert_ne!(up["decision_id"], down["decision_id"]);
    assert!(
        up["demand"].as_f64() > down["demand"].as_f64(),
        "{changes:#?}"
    );
    to
}

/// The ledger says what the journal said.
fn agrees(history: &[Value], to: u32) {
    let told: Vec<_> = history
        .iter()
        .map(|r| (r["cores_to"].as_u64(), r["result"].as_str()))
        .collect();
    let from = history.first().and_then(|r| r["cores_from"].as_u64());
    assert_eq!(
        told,
        [(Some(to.into()), Some("applied")), (from, Some("applied"))]
    );
}

/// The switch of the CPU that [`Hotplug`] takes first.
fn last_cpu() -> PathBuf {
    let online = std::fs::read_to_string(Path::new(SYSFS_CPUS).join("online")).unwrap();
    let last = online.trim().rsplit([',', '-']).next().unwrap();
    Path::new(SYSFS_CPUS).join(format!("cpu{last}/online"))
}

/// Brings a CPU back when this process ends, even by a signal that nothing can catch: then the
/// pipe that it reads from is closed.
struct Guardian(Child);

impl Guardian {
    fn of(switch: &Path) -> Self {
        let script = "trap '' INT TERM HUP; cat >/dev/null; grep -q 1 \"$0\" || echo 1 >\"$0\"";
        let child = Command::new("sh")
            .args(["-c", script])
            .arg(switch)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
