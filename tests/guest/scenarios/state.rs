//! The disk full, the state torn, the state directory not to be written.

use crate::bed::Bed;
use crate::shell::text;

const DIRECTORY: &str = "/var/lib/glesys-autoscaler";

/// Takes the last block of the disk, those that are root's among them.
fn fill_the_disk(bed: &Bed) {
    bed.shell.run(
        "n=0
         for size in 256M 32M 4M 512K 64K 4K; do
             while fallocate -l $size /fill.$n 2>/dev/null; do n=$((n + 1)); done
         done",
    );
    let written = bed
        .shell
        .any_end("head -c 4096 /dev/zero >/var/lib/glesys-autoscaler/probe");
    assert!(!written.status.success(), "the disk is not full");
    bed.shell.run("rm /var/lib/glesys-autoscaler/probe");
    bed.note("the disk is full");
}

/// How many lines say that the disk is full and what follows.
fn told_of_the_disk(bed: &Bed) -> usize {
    bed.events("held")
        .iter()
        .filter(|line| {
            let message = line["MESSAGE"].as_str().unwrap();
            line["REASON"] == "disk_full" && message.contains("raising goes on, lowering stops")
        })
        .count()
}

/// Milliseconds since the guest booted.
fn uptime_ms(bed: &Bed) -> u64 {
    let seconds = bed.shell.run("cut -d . -f 1 /proc/uptime");
    seconds.trim().parse::<u64>().unwrap() * 1000
}

/// The disk is full while the guest is overloaded: it is raised all the same, and said once. A kill
/// loses nothing. Lowering waits for room on the disk; then the ledger has everything.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn disk_full_while_overloaded() {
    let bed = Bed::of_one_or_three_cores("disk_full_while_overloaded");
    bed.edit_unit("RestartSec=2s");
    // The journal has no room either: what it says is to be seen all the same.
    let journal = "/etc/systemd/journald.conf.d/zz-memory.conf";
    bed.shell
        .write(journal, "644", b"[Journal]\nStorage=volatile\n");
    bed.shell.run("systemctl restart systemd-journald");
    bed.start();
    fill_the_disk(&bed);
    bed.load(3);
    bed.until_cores(3);
    bed.until("it is told", || told_of_the_disk(&bed) == 1);
    assert!(bed.history().is_empty());

    let process = bed.process();
    bed.signal("KILL");
    bed.until_started_anew(process);
    bed.load(0);
    bed.until_status("lowering is held back", |status| {
        status["wants"] == 1 && status["waits_for"] == "disk_full"
    });
    // Once by each process.
    assert_eq!(told_of_the_disk(&bed), 2);
    assert_eq!(bed.asked_for(), [3]);

    bed.shell.run("rm /fill.*");
    bed.until_events("recovered", 1);
    bed.until_cores(1);
    assert_eq!(bed.results(), ["applied", "applied"]);
    assert_eq!(bed.asked_for(), [3, 1]);
    bed.shell.run(&format!(
        "test ! -e /run/glesys-autoscaler/state.json && test -s {DIRECTORY}/state.json"
    ));
    bed.holds();
}

/// Stops the daemon, does something to its files, and starts it again.
fn between_two_runs(bed: &Bed, script: &str) {
    bed.shell.run("systemctl stop glesys-autoscaler");
    bed.shell.run(&format!("cd {DIRECTORY} && {script}"));
    bed.note(script);
    bed.shell.run("systemctl start glesys-autoscaler");
}

/// Half of the state file is gone, then all of it is garbage: each is set aside and said, the
/// cooldowns begin anew, the history stays.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn the_state_file_torn() {
    let mut bed = Bed::of_one_or_three_cores("the_state_file_torn");
    bed.policy(&[("policy.down.cooldown", "'45s'")]);
    bed.start();
    bed.load(3);
    bed.until_cores(3);
    bed.load(0);
    between_two_runs(
        &bed,
        "truncate -s $(($(stat -c %s state.json) / 2)) state.json",
    );
    assert_eq!(bed.said("set aside as"), 1);
    assert_eq!(bed.said("the cooldowns begin anew"), 1);
    let restarted = uptime_ms(&bed);
    assert_eq!(bed.results(), ["applied"]);
    bed.until_cores(1);
    // Five seconds for starting and asking.
    let asked = bed.history()[1]["asked"]["boottime_ms"].as_u64().unwrap();
    assert!(asked >= restarted - 5000 + 45_000, "{asked} {restarted}");

    between_two_runs(&bed, "head -c 3000 /dev/urandom >state.json");
    assert_eq!(bed.said("set aside as"), 2);
    let aside = bed.shell.run(&format!("ls {DIRECTORY}"));
    assert_eq!(aside.matches("state.json.corrupt-").count(), 2, "{aside}");
    bed.load(3);
    bed.until_cores(3);
    assert_eq!(bed.results(), ["applied"; 3]);
    bed.holds();
}

/// The power is cut as soon as a change is over: state and ledger are whole, and the cooldown goes
/// on after the boot.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn power_cut_right_after_a_change() {
    let mut bed = Bed::of_one_or_three_cores("power_cut_right_after_a_change");
    bed.policy(&[("policy.down.cooldown", "'2m'")]);
    bed.start();
    bed.load(3);
    bed.until("the change is recorded", || bed.results() == ["applied"]);
    let effect = bed.history()[0]["effect"]["wall_ms"].as_u64().unwrap();
    bed.reboot();
    bed.until_status("the cooldown holds", |status| {
        status["wants"] == 1 && status["waits_for"] == "cooldown"
    });
    assert_eq!(bed.said("set aside as"), 0);
    assert_eq!(bed.said("is missing"), 0);
    bed.until_cores(1);
    let history = bed.history();
    let asked = history[1]["asked"]["wall_ms"].as_u64().unwrap();
    assert!(asked >= effect + 120_000, "{history:#?}");
    assert_eq!(bed.results(), ["applied", "applied"]);
    assert_eq!(bed.asked_for(), [3, 1]);
    bed.holds();
}

/// A state file of a newer version, as after a downgrade, and a ledger with a line that a kill cut
/// off: the one is set aside whole, the other spoils no line after it.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn files_of_a_newer_version_and_a_torn_line() {
    let bed = Bed::of_one_or_three_cores("files_of_a_newer_version_and_a_torn_line");
    bed.start();
    bed.load(3);
    bed.until_cores(3);
    between_two_runs(
        &bed,
        r#"sed -i 's/"format": 1,/"format": 9,/; s/"readable_by": 1,/"readable_by": 9,/' state.json &&
           cp state.json /root/newer.json &&
           printf '{"ts":"2026-01-01T00:00:00.000Z","decision_id":"never-annou' >>history.jsonl"#,
    );
    assert_eq!(bed.said("was written by a newer version (format 9)"), 1);
    bed.shell.run(&format!(
        "cmp /root/newer.json {DIRECTORY}/state.json.newer-*"
    ));
    let history = bed.shell.any_end("glesys-autoscaler history");
    assert_eq!(history.status.code(), Some(0));
    assert!(text(&history.stderr).contains("passed over: 1"));
    bed.load(0);
    bed.until_cores(1);
    assert_eq!(bed.results(), ["applied", "applied"]);
    bed.holds();
}

/// The file system of the state directory turns read-only: as with a full disk, raising goes on. A
/// start then is refused in plain words, and works as soon as it can be written again.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn the_state_directory_read_only() {
    let bed = Bed::of_one_or_three_cores("the_state_directory_read_only");
    bed.edit_unit("RestartSec=2s");
    bed.shell.run(&format!(
        "mkdir -p {DIRECTORY} && mount -t tmpfs -o size=1M,mode=750 state {DIRECTORY}"
    ));
    bed.start();
    bed.shell.run(&format!("mount -o remount,ro {DIRECTORY}"));
    bed.load(3);
    bed.until_cores(3);
    assert_eq!(told_of_the_disk(&bed), 1);

    bed.shell.any_end("systemctl restart glesys-autoscaler");
    let refusal = format!("state directory {DIRECTORY}: Read-only file system");
    bed.until("it is refused", || bed.said(&refusal) >= 2);
    assert!(bed.said("it must exist and be writable by this user") >= 2);
    bed.shell.run(&format!("mount -o remount,rw {DIRECTORY}"));
    bed.load(0);
    bed.until_cores(1);
    assert_eq!(bed.results(), ["applied", "applied"]);
    assert_eq!(bed.asked_for(), [3, 1]);
    bed.holds();
}

/// The state directory is given to another user while the daemon runs: raising goes on, and a
/// restart gives it back.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn the_state_directory_of_another_user() {
    let bed = Bed::of_one_or_three_cores("the_state_directory_of_another_user");
    bed.start();
    bed.shell.run(&format!(
        "chown -R root:root {DIRECTORY} && chmod 700 {DIRECTORY}"
    ));
    bed.load(3);
    bed.until_cores(3);
    assert_eq!(told_of_the_disk(&bed), 1);
    bed.shell.run("systemctl restart glesys-autoscaler");
    let owner = bed
        .shell
        .run(&format!("stat -c '%U %a' {DIRECTORY} {DIRECTORY}/*"));
    assert!(!owner.contains("root"), "{owner}");
    bed.load(0);
    bed.until_cores(1);
    assert_eq!(bed.results(), ["applied", "applied"]);
    bed.holds();
}
