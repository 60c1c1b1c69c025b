//! Cores that come late, stay offline, or are not given back.

use crate::api::SERVER;
use crate::bed::Bed;
use glesys_autoscaler::sandbox::Behaviour;
use serde_json::Value;
use std::time::Duration;

/// Soon enough for a scenario, long enough for a guest that follows.
const SHORT: (&str, &str) = ("apply.timeout", "'20s'");
const RULE: &str = "/etc/udev/rules.d/60-glesys-autoscaler-cpu-online.rules";

fn message(line: &Value) -> &str {
    line["MESSAGE"].as_str().unwrap()
}

fn edited(bed: &Bed) -> Vec<u32> {
    bed.api.edits().iter().map(|(cores, _)| *cores).collect()
}

/// Nothing brings new CPUs online, as on Debian 12 without the package's rule.
fn without_the_rule(bed: &Bed) {
    bed.shell.run(&format!(
        "ln -s /dev/null {RULE} && udevadm control --reload"
    ));
}

/// New cores are there and stay offline: the journal names the mend, and the old count, which is
/// all that is used, is posted back. With the rule in place again the next raise works.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn cores_that_stay_offline_are_posted_back() {
    let mut bed = Bed::installed("cores_that_stay_offline_are_posted_back");
    bed.policy(&[SHORT]);
    without_the_rule(&bed);
    bed.start();
    bed.load(3);
    let said = bed.until_events("not_applied", 1);
    assert!(message(&said).contains("of which 1 are online"), "{said}");
    assert!(message(&said).contains("udev rule"), "{said}");
    bed.until_events("reverted", 1);
    bed.until_cores(1);
    assert_eq!(bed.results(), ["reverted"]);
    assert_eq!(edited(&bed)[1..], [1]);

    bed.shell
        .run(&format!("rm {RULE} && udevadm control --reload"));
    bed.shell.run("glesys-autoscaler resume --raising");
    bed.until_cores(3);
    bed.holds();
}

/// Where the operator wants such a raise to stand, it counts from when the cores are brought online
/// by hand.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn cores_brought_online_by_hand() {
    let mut bed = Bed::installed("cores_brought_online_by_hand");
    bed.policy(&[
        SHORT,
        ("apply.unapplied", "'hold'"),
        ("policy.up.max_step", "1"),
        ("apply.lowering", "'never'"),
    ]);
    without_the_rule(&bed);
    bed.start();
    bed.load(3);
    bed.until_status("the raise stands", |status| {
        status["raising"]["pending"] == 2
    });
    assert_eq!(bed.results(), ["not_applied"]);
    bed.shell.run("echo 1 >/sys/devices/system/cpu/cpu1/online");
    let said = bed.until_events("recovered", 1);
    assert!(message(&said).contains("2 cores"), "{said}");
    bed.until_cores(2);
    bed.until_status("no longer pending", |status| {
        status["raising"]["pending"].is_null()
    });
    assert_eq!(edited(&bed), [2]);
    bed.holds();
}

/// A guest whose kernel will not let a core go, since what it promised to deadline tasks would not
/// fit on fewer: the lowering is told as not done; a raise back is nothing new to the guest; once
/// the tasks are gone lowering works.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn a_core_that_is_not_given_back() {
    let mut bed = Bed::installed("a_core_that_is_not_given_back");
    bed.policy(&[SHORT, ("limits.max_cores", "2")]);
    bed.start();
    bed.load(3);
    bed.until_cores(2);
    for n in 1..=2 {
        bed.shell.run(&format!(
            "systemd-run --quiet --collect --unit deadline{n} chrt --deadline --sched-runtime 60000000 \
             --sched-deadline 100000000 --sched-period 100000000 0 sleep infinity"
        ));
    }
    bed.load(0);
    let said = bed.until_events("not_applied", 1);
    assert!(message(&said).contains("the VM still has 2 CPUs"), "{said}");
    assert_eq!(bed.results(), ["applied", "not_applied"]);
    assert_eq!(bed.online(), Some(2));
    let status = bed.status().unwrap();
    assert!(!status["lowering"]["pause"].is_null(), "{status:#}");

    bed.load(3);
    bed.until_cores(2);
    let record = bed.history().pop().unwrap();
    assert_eq!(record["result"], "applied", "{record:#}");
    assert_eq!(record["detail"], "the VM had that many CPUs before");

    bed.shell.run("systemctl stop deadline1 deadline2");
    bed.load(0);
    bed.until("lowering is held back", || {
        bed.events("held")
            .iter()
            .any(|line| line["REASON"] == "direction_off" && line["CORES_TO"] == "1")
    });
    bed.shell.run("glesys-autoscaler resume --lowering");
    bed.until_cores(1);
    assert_eq!(edited(&bed), [2, 1, 2, 1]);
    bed.holds();
}

/// The guest changes 20 s after the lock is gone: waited for, up and down.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn cores_that_come_and_go_late() {
    let mut bed = Bed::installed("cores_that_come_and_go_late");
    bed.policy(&[("apply.timeout", "'2m'"), ("limits.max_cores", "2")]);
    bed.api.kvm(|kvm| kvm.lag = Duration::from_secs(20));
    bed.start();
    bed.load(3);
    bed.until_cores(2);
    bed.load(0);
    bed.until_cores(1);
    assert_eq!(bed.results(), ["applied", "applied"]);
    assert_eq!(edited(&bed), [2, 1]);
    assert_eq!(bed.events("not_applied").len(), 0);
    bed.holds();
}

/// The platform refuses to raise (code 610): each count is tried once, told with the platform's word,
/// and then it is said that there is none to be had.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn a_raise_that_the_platform_refuses() {
    let bed = Bed::installed("a_raise_that_the_platform_refuses");
    bed.api.kvm(|kvm| kvm.up = Behaviour::Refusing);
    bed.start();
    bed.load(4);
    bed.until("no count is left", || {
        bed.events("held")
            .iter()
            .any(|line| line["REASON"] == "not_allowed_by_platform")
    });
    for line in bed.events("api_error") {
        assert!(message(&line).contains("code 610"), "{line}");
    }
    assert_eq!(bed.results(), ["refused", "refused"]);
    let mut counts = bed.api.edits();
    counts.sort_unstable();
    assert_eq!(counts, [(2, Some(500)), (3, Some(500))]);
    assert_eq!((bed.api.cores(SERVER), bed.online()), (Ok(1), Some(1)));
    bed.holds();
}

/// The platform takes a raise and forgets it: told when the time is up, and raising waits.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn a_raise_that_the_platform_forgets() {
    let mut bed = Bed::installed("a_raise_that_the_platform_forgets");
    bed.policy(&[SHORT]);
    bed.api.kvm(|kvm| kvm.up = Behaviour::Ignored);
    bed.start();
    bed.load(3);
    // An hour, and the load is there all the time.
    bed.until_status("raising waits", |status| {
        status["waits_for"] == "direction_off" && status["waits_s"].as_u64() > Some(3000)
    });
    assert_eq!(edited(&bed).len(), 1);
    assert_eq!((bed.api.cores(SERVER), bed.online()), (Ok(1), Some(1)));
    assert_eq!(bed.results(), ["not_applied"]);
    let said = bed.until_events("not_applied", 1);
    assert!(message(&said).contains("still shows 1"), "{said}");
    bed.holds();
}

/// Tasks that are bound to CPUs which go: `check` names them beforehand, and they run on.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn pinned_tasks_outlive_their_cpu() {
    let mut bed = Bed::installed("pinned_tasks_outlive_their_cpu");
    bed.policy(&[("policy.down.window", "'45s'")]);
    bed.start();
    bed.load(3);
    bed.until_cores(3);
    let beats = "sh -c 'while :; do date +%s >/run/$0; sleep 1; done'";
    // The fence first: a cpuset beside it makes the kernel forget what a task was pinned to.
    for (unit, how) in [
        ("fenced", "--property AllowedCPUs=1-2"),
        ("pinned", "taskset --cpu-list 2"),
    ] {
        bed.shell.run(&format!(
            "systemd-run --quiet --unit {unit} {how} {beats} {unit}"
        ));
        bed.until(&format!("{unit} runs"), || {
            let beat = bed.shell.any_end(&format!("test -s /run/{unit}"));
            beat.status.success()
        });
    }
    let check = bed.shell.any_end("glesys-autoscaler check");
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    for named in [
        "bound to CPUs that may go",
        "CPUs 2",
        "fenced.service: CPUs 1-2",
    ] {
        assert!(said.contains(named), "{said}");
    }
    bed.load(0);
    bed.until_cores(1);
    for unit in ["fenced", "pinned"] {
        let now = bed.shell.run("date +%s").trim().parse::<u64>().unwrap();
        bed.until(&format!("{unit} runs on"), || {
            let beat = bed.shell.run(&format!("cat /run/{unit}"));
            beat.trim().parse().is_ok_and(|at: u64| at > now)
        });
        bed.shell.run(&format!("systemctl is-active {unit}"));
    }
    bed.holds();
}

/// Twenty-five times up and down in the life of one guest: each change takes effect once, and the
/// daemon is as small afterwards as before. Ten minutes.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn fifty_changes() {
    let mut bed = Bed::installed("fifty_changes");
    bed.policy(&[
        ("limits.max_cores", "2"),
        ("limits.max_changes_per_day", "200"),
        ("policy.up.window", "'3s'"),
        ("policy.up.cooldown", "'1s'"),
        ("policy.down.window", "'4s'"),
        ("policy.down.cooldown", "'1s'"),
    ]);
    bed.api.locks_for(1);
    bed.start();
    let mut small = None;
    for _ in 0..25 {
        for (tasks, cores) in [(3, 2), (0, 1)] {
            bed.load(tasks);
            bed.until_cores(cores);
        }
        small.get_or_insert_with(|| footprint(&bed));
    }
    assert_eq!(bed.results(), ["applied"; 50]);
    let counts = edited(&bed);
    assert_eq!(counts, [2, 1].repeat(25));
    let (before, after) = (small.unwrap(), footprint(&bed));
    println!("  memory and descriptors: {before:?}, then {after:?}");
    assert!(after.0 < before.0 + 1024, "{before:?} {after:?}");
    assert!(after.1 <= before.1 + 1, "{before:?} {after:?}");
    assert_eq!(bed.restarts(), 0);
    bed.holds();
}

/// Resident kB of the daemon, and its open descriptors.
fn footprint(bed: &Bed) -> (u64, usize) {
    let shown = bed.shell.run(
        "p=$(systemctl show -P MainPID glesys-autoscaler); \
         awk '/^VmRSS/ {print $2}' /proc/$p/status; ls /proc/$p/fd | wc -l",
    );
    let mut numbers = shown.lines().map(|line| line.trim().parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap() as usize)
}
