//! The daemon killed, frozen, started twice, told nonsense; the journal gone. It and what it
//! began come through.

use crate::api::KEY;
use crate::bed::Bed;
use crate::shell::text;
use glesys_autoscaler::sandbox::{Fault, Function, Times};
use std::time::Duration;

/// Killed while the answer to a raise was on its way, and again while the server was locked for a
/// lowering: systemd starts it again, and both changes are seen through and recorded, once each.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn killed_in_the_middle_of_an_edit() {
    let bed = Bed::of_one_or_three_cores("killed_in_the_middle_of_an_edit");
    bed.start();
    let late = Fault::DelayAfter(Duration::from_secs(8));
    bed.api.inject(Function::Edit, late, Times::Next(1));
    bed.load(3);
    bed.until("the edit is on its way", || !bed.asked_for().is_empty());
    bed.signal("KILL");
    bed.until_cores(3);
    assert_eq!(bed.restarts(), 1);
    assert_eq!(bed.results(), ["applied"]);

    bed.api.locks_for(20);
    bed.load(0);
    bed.until_accepted();
    bed.signal("KILL");
    bed.until_cores(1);
    assert_eq!(bed.restarts(), 2);
    assert_eq!(bed.results(), ["applied", "applied"]);
    assert_eq!(bed.asked_for(), [3, 1]);
    assert_eq!(bed.said("code=killed, status=9/KILL"), 2);
    assert_eq!(bed.said("a change is under way from before"), 2);
    bed.holds();
}

/// A task takes all memory while the guest is overloaded: the kernel kills the task, and the
/// daemon goes on.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn memory_runs_out() {
    let bed = Bed::of_one_or_three_cores("memory_runs_out");
    bed.start();
    let process = bed.process();
    bed.load(3);
    bed.shell
        .run("systemd-run --quiet --unit hog tail /dev/zero");
    bed.until("the hog is killed", || {
        bed.shell.run("systemctl show -P Result hog").trim() == "oom-kill"
    });
    let kernel = bed
        .shell
        .run("journalctl -k -o cat --no-pager | grep 'Out of memory'");
    print!("{kernel}");
    assert!(kernel.contains("(tail)"), "{kernel}");
    bed.until_cores(3);
    assert_eq!(bed.process(), process);
    assert_eq!(bed.restarts(), 0);
    assert_eq!(bed.results(), ["applied"]);
    bed.holds();
}

/// The daemon itself is killed for its memory, in the middle of an edit: systemd starts it again
/// and nothing is lost.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn killed_for_its_memory() {
    let bed = Bed::of_one_or_three_cores("killed_for_its_memory");
    bed.start();
    bed.raise_under_way(15);
    let process = bed.process();
    let limit = |most: &str| {
        bed.shell.run(&format!(
            "systemctl set-property --runtime glesys-autoscaler MemoryMax={most}"
        ));
    };
    limit("256K");
    bed.until("it is killed", || bed.process() != process);
    limit("64M");
    bed.until_started_anew(process);
    bed.until_cores(3);
    let kernel = bed
        .shell
        .run("journalctl -k -o cat --no-pager | grep 'Memory cgroup out of memory'");
    assert!(kernel.contains("(glesys-autoscal"), "{kernel}");
    assert!(bed.said("Failed with result 'oom-kill'") >= 1);
    assert_eq!(bed.results(), ["applied"]);
    assert_eq!(bed.asked_for(), [3]);
    bed.holds();
}

/// The process stands still in the middle of an edit: the watchdog ends it, systemd starts it
/// again, the change ends well. It leaves no core file, and the key is in no new file at all.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn frozen_past_the_watchdog() {
    let bed = Bed::of_one_or_three_cores("frozen_past_the_watchdog");
    bed.edit_unit("WatchdogSec=10s\nRestartSec=2s");
    bed.shell
        .run("sysctl -q -w kernel.core_pattern=/var/tmp/core.%e");
    // That a core file could be written here at all.
    bed.shell
        .run("ulimit -c unlimited; sh -c 'kill -ABRT $$'; true");
    bed.shell
        .run("test -s /var/tmp/core.sh && touch /root/begin");
    bed.start();
    bed.raise_under_way(15);
    let process = bed.process();
    bed.signal("STOP");
    bed.until_started_anew(process);
    bed.until_cores(3);
    assert_eq!(bed.restarts(), 1);
    assert_eq!(bed.said("Watchdog timeout"), 1);
    assert_eq!(bed.said("code=killed, status=6/ABRT"), 1);
    assert_eq!(bed.results(), ["applied"]);
    assert_eq!(bed.asked_for(), [3]);

    assert_eq!(bed.shell.run("ls /var/tmp | grep core"), "core.sh\n");
    let with_key = bed.shell.run(&format!(
        "find / /run /tmp /var/tmp -xdev -type f -newer /root/begin -print0 | xargs -0 grep -l {KEY}"
    ));
    let places: Vec<&str> = with_key.lines().collect();
    let credential = "/run/credentials/glesys-autoscaler.service/api-key";
    let may_have_it = ["/etc/glesys-autoscaler/api-key", credential];
    assert!(
        places.iter().all(|place| may_have_it.contains(place)),
        "{with_key}"
    );
    bed.holds();
}

/// A second daemon, started by hand beside the unit: by root, by somebody who may not read the
/// key, and by somebody who has a key of his own. Each is told what is wrong, and the first goes
/// on.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn two_daemons_at_once() {
    let bed = Bed::of_one_or_three_cores("two_daemons_at_once");
    bed.start();
    let process = bed.process();
    let refused = |script: &str, status: i32, words: &[&str]| {
        let output = bed.shell.any_end(script);
        let said = text(&output.stderr);
        print!("{said}");
        assert_eq!(output.status.code(), Some(status), "{said}");
        for word in words {
            assert!(said.contains(word), "no {word} in: {said}");
        }
    };
    let holder = format!("another glesys-autoscaler is running (process {process})");
    let held = "/run/glesys-autoscaler";
    refused("glesys-autoscaler run", 1, &[&holder, held]);
    let key_file = "/etc/glesys-autoscaler/api-key";
    let nobody = "runuser -u nobody -- glesys-autoscaler";
    refused(&format!("{nobody} run"), 78, &[key_file]);
    bed.shell.run(
        "install -o nobody -m 600 /etc/glesys-autoscaler/api-key /tmp/key && \
         (cat /etc/glesys-autoscaler/policy.toml; echo \"api.key_file = '/tmp/key'\") >/tmp/policy.toml",
    );
    let own = format!("{nobody} --config /tmp/policy.toml run");
    let state = "/var/lib/glesys-autoscaler";
    refused(&own, 1, &[state, "ermission denied"]);
    bed.shell.run("rm /tmp/key");

    assert!(bed.status().is_some(), "the first does not answer any more");
    bed.load(3);
    bed.until_cores(3);
    assert_eq!(bed.process(), process);
    assert_eq!(bed.restarts(), 0);
    assert_eq!(bed.asked_for(), [3]);
    bed.holds();
}

/// The journal is restarted in the middle of an edit, then stands still through a whole change,
/// then is gone through another: the daemon waits for none of it, and its lines come again.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn the_journal_comes_and_goes() {
    let bed = Bed::of_one_or_three_cores("the_journal_comes_and_goes");
    bed.start();
    let process = bed.process();
    bed.raise_under_way(8);
    bed.shell.run("systemctl restart systemd-journald");
    bed.until_cores(3);
    bed.until_events("applied", 1);

    bed.shell
        .run("systemctl kill --signal STOP systemd-journald");
    bed.load(0);
    bed.until_cores(1);
    bed.shell
        .run("systemctl kill --signal CONT systemd-journald");
    bed.until_events("applied", 2);
    assert_eq!(bed.events("scale_down").len(), 1);

    let journal = "systemd-journald.socket systemd-journald-dev-log.socket \
                   systemd-journald-audit.socket systemd-journald.service";
    bed.shell.run(&format!("systemctl stop {journal} 2>&1"));
    bed.load(3);
    bed.until_cores(3);
    bed.shell.run(&format!("systemctl start {journal} 2>&1"));
    bed.load(0);
    bed.until_cores(1);
    bed.until("the lines of the last change", || {
        bed.events("scale_down").len() >= 2 && bed.events("applied").len() >= 3
    });
    assert_eq!(bed.process(), process);
    assert_eq!(bed.restarts(), 0);
    assert_eq!(bed.results(), ["applied"; 4]);
    bed.holds();
}

/// A mistyped key in the policy file: `systemctl reload` fails and names the place, as does the
/// journal on a bare SIGHUP; the old policy goes on scaling until a good file comes.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn reload_with_a_bad_file() {
    let mut bed = Bed::installed("reload_with_a_bad_file");
    bed.policy(&[("limits.max_cores", "2")]);
    bed.start();
    let process = bed.process();
    let lines = bed
        .shell
        .run("echo 'limits.max_coers = 3' >>/etc/glesys-autoscaler/policy.toml; wc -l </etc/glesys-autoscaler/policy.toml");
    let place = format!("policy.toml:{}:8: limits.max_coers", lines.trim());
    let reload = "systemctl reload glesys-autoscaler";
    let refused = bed.shell.any_end(reload);
    print!("{}", text(&refused.stderr));
    assert!(!refused.status.success());
    bed.until("the journal names the place", || bed.said(&place) == 1);
    assert!(bed.said("did you mean `max_cores`?") >= 1);
    bed.load(3);
    bed.until_cores(2);

    bed.signal("HUP");
    let line = bed.until_events("reloaded", 1);
    assert_eq!(line["PRIORITY"], "3");
    let message = line["MESSAGE"].as_str().unwrap();
    assert!(message.contains("the old one goes on"), "{message}");
    assert!(message.contains(&place), "{message}");

    bed.policy(&[("limits.max_cores", "3")]);
    bed.write_policy();
    bed.shell.run(reload);
    let line = bed.until_events("reloaded", 2);
    assert_ne!(line["PRIORITY"], "3");
    bed.until_cores(3);
    assert_eq!(bed.process(), process);
    assert_eq!(bed.restarts(), 0);
    bed.holds();
}

/// Without a key nothing starts and nothing fails. A key file that others can read is refused by
/// `check`, with the mend; after it all is well.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn no_key_and_an_open_key_file() {
    let bed = Bed::of_one_or_three_cores("no_key_and_an_open_key_file");
    bed.write_policy();
    bed.shell.run("systemctl start glesys-autoscaler");
    assert_eq!(bed.property("ActiveState"), "inactive");
    assert_eq!(bed.property("ConditionResult"), "no");
    assert_eq!(bed.property("Result"), "success");
    let check = bed.shell.any_end("glesys-autoscaler check --offline");
    assert_eq!(check.status.code(), Some(78), "{}", text(&check.stdout));

    bed.set_up();
    let key_file = "/etc/glesys-autoscaler/api-key";
    bed.shell.run(&format!("chmod 644 {key_file}"));
    let check = bed.shell.any_end("glesys-autoscaler check --offline");
    let said = text(&check.stdout);
    print!("{said}");
    assert_eq!(check.status.code(), Some(78), "{said}");
    let mend = format!("chmod 600 {key_file}");
    assert!(said.contains(&mend), "{said}");
    bed.shell.run(&mend);
    bed.shell.run("glesys-autoscaler check");
    bed.start();
    bed.load(3);
    bed.until_cores(3);
    bed.holds();
}

/// Stopped in the middle of an edit and started again after it: it ends at once, and takes up the
/// change where it was.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn stopped_in_the_middle_of_an_edit() {
    let bed = Bed::of_one_or_three_cores("stopped_in_the_middle_of_an_edit");
    bed.start();
    bed.raise_under_way(15);
    bed.shell.run("systemctl stop glesys-autoscaler");
    assert_eq!(bed.property("Result"), "success");
    assert_eq!(bed.said("is checked at the next start"), 1);
    bed.until("the platform is done", || bed.platform.cores() == 3);
    assert!(bed.history().is_empty());
    bed.shell.run("systemctl start glesys-autoscaler");
    bed.until_cores(3);
    assert_eq!(bed.results(), ["applied"]);
    assert_eq!(bed.asked_for(), [3]);
    bed.holds();
}
