//! The package upgraded and purged while there is something going on.

use crate::bed::{Bed, Prepared};
use std::process::Command;
use tempfile::TempDir;

/// Puts the next version into the guest: the same files, a higher number, and a policy file that
/// the package changed.
fn bring_next_version(bed: &Bed) {
    let directory = TempDir::new().unwrap();
    let script = "set -e
        dpkg-deb --raw-extract \"$1\" next
        sed -i 's/^Version: .*/&+next/' next/DEBIAN/control
        echo '# A comment of the next version.' >>next/etc/glesys-autoscaler/policy.toml
        dpkg-deb --root-owner-group --build next next.deb >/dev/null";
    let built = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(&Prepared::get().package)
        .current_dir(&directory)
        .status();
    assert!(built.unwrap().success());
    let package = std::fs::read(directory.path().join("next.deb")).unwrap();
    bed.shell.write("/root/next.deb", "644", &package);
}

/// Installs the next version, which lies there, as an operator does who has edited the policy file.
fn upgrade(bed: &Bed) {
    let process = bed.process();
    bed.note("the upgrade begins");
    bed.shell
        .run("dpkg --force-confold -i /root/next.deb </dev/null 2>&1");
    bed.until_started_anew(process);
    let version = bed
        .shell
        .run("dpkg-query -W -f '${Version}' glesys-autoscaler");
    assert!(version.ends_with("+next"), "{version}");
}

/// An upgrade while a lowering waits for its cooldown: the new process holds it for what is left
/// of it, no longer and no shorter; the operator's policy file and the ledger stay.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn upgraded_in_the_middle_of_a_cooldown() {
    let mut bed = Bed::of_one_or_three_cores("upgraded_in_the_middle_of_a_cooldown");
    bed.policy(&[("policy.down.cooldown", "'2m'")]);
    bring_next_version(&bed);
    bed.start();
    bed.load(3);
    bed.until_cores(3);
    bed.load(0);
    let held = |what: &str| {
        bed.until_status(what, |status| {
            status["wants"] == 1 && status["waits_for"] == "cooldown"
        })
    };
    let before = held("the cooldown holds");
    let history = bed.history();
    let policy = "/etc/glesys-autoscaler/policy.toml";
    let edited = bed.shell.run(&format!("cat {policy}"));

    upgrade(&bed);
    let after = held("the cooldown still holds");
    let number = |status: &serde_json::Value, name: &str| status[name].as_u64().unwrap();
    assert!(number(&after, "last_change_s") > number(&before, "last_change_s"));
    assert!(number(&after, "waits_s") < number(&before, "waits_s"));
    assert_eq!(bed.history(), history);
    assert_eq!(bed.shell.run(&format!("cat {policy}")), edited);
    bed.shell.run(&format!("test -e {policy}.dpkg-dist"));

    bed.until_cores(1);
    let history = bed.history();
    let at = |record: usize, what: &str| history[record][what]["boottime_ms"].as_u64().unwrap();
    assert!(at(1, "asked") >= at(0, "effect") + 120_000, "{history:#?}");
    assert_eq!(bed.asked_for(), [3, 1]);
    bed.holds();
}

/// An upgrade while the server is locked for a raise: the new process sees it through.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn upgraded_in_the_middle_of_an_edit() {
    let mut bed = Bed::of_one_or_three_cores("upgraded_in_the_middle_of_an_edit");
    // dpkg took forty seconds beside three busy tasks on one emulated core.
    bed.policy(&[("apply.timeout", "'5m'")]);
    bring_next_version(&bed);
    bed.start();
    bed.raise_under_way(100);
    upgrade(&bed);
    bed.until_cores(3);
    assert_eq!(bed.said("a change is under way from before"), 1);
    assert_eq!(bed.results(), ["applied"]);
    assert_eq!(bed.asked_for(), [3]);
    bed.holds();
}

/// Purged while the server is locked for a raise: nothing is left that runs, scales, or holds the
/// key. The raise that the API had accepted comes, and stays.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn purged_in_the_middle_of_an_edit() {
    let bed = Bed::of_one_or_three_cores("purged_in_the_middle_of_an_edit");
    bed.start();
    bed.raise_under_way(15);
    bed.shell.run("dpkg --purge glesys-autoscaler 2>&1");
    let calls = bed.api.calls().len();
    bed.until("the platform is done", || bed.platform.cores() == 3);
    bed.load(0);
    let uptime = || {
        let shown = bed.shell.run("cut -d . -f 1 /proc/uptime");
        shown.trim().parse::<u64>().unwrap()
    };
    let idle_since = uptime();
    // The window, the cooldown, and as much again.
    bed.until("idle for long", || uptime() >= idle_since + 60);
    assert_eq!(bed.api.calls().len(), calls);
    assert_eq!(bed.asked_for(), [3]);
    let left = bed.shell.run(
        "find / -xdev -name '*glesys-autoscaler*' -not -path '/proc/*'; \
         find /run -name '*glesys-autoscaler*'; \
         pgrep -l glesys-auto; getent passwd glesys-autoscaler; getent group glesys-autoscaler; true",
    );
    assert_eq!(left, "");
    let unit = bed
        .shell
        .run("systemctl show -P LoadState glesys-autoscaler");
    assert_eq!(unit.trim(), "not-found");
    bed.purged();
}
