//! Reboots by the platform, by people, by themselves, and a clone.

use crate::api::SERVER;
use crate::bed::Bed;
use crate::hypervisor::Reboot;
use glesys_autoscaler::sandbox::{Behaviour, Platform};
use serde_json::Value;
use std::time::Duration;

/// Longer than a boot takes, so that the guest comes up while the server is still locked.
const LONG_LOCK: u64 = 90;

/// The daemon's word that the change under way may take longer than this lock.
const PATIENT: (&str, &str) = ("apply.timeout", "'4m'");
/// Nothing but what the scenario is about.
const NO_LOWERING: (&str, &str) = ("apply.lowering", "'never'");

/// A guest whose raise from one core is accepted, and of which nothing is to be seen yet: the
/// platform holds the server locked. With the count that was asked for.
fn in_a_raise(name: &str, lock: u64) -> (Bed, u32) {
    let mut bed = Bed::installed(name);
    bed.policy(&[PATIENT, NO_LOWERING]);
    bed.api.locks_for(lock);
    bed.start();
    bed.load(3);
    bed.until_accepted();
    let to = bed.api.cores(SERVER).unwrap();
    assert!(to > 1 && bed.platform.cores() == 1, "{to}");
    (bed, to)
}

/// A guest that was scaled up to three cores, on a platform that then changes to `then`.
fn scaled_up(name: &str, policy: &[(&str, &str)], then: impl FnOnce(&mut Platform)) -> Bed {
    let mut bed = Bed::installed(name);
    bed.policy(policy);
    bed.start();
    bed.load(3);
    bed.until_cores(3);
    bed.api.kvm(then);
    bed
}

fn message(line: &Value) -> &str {
    line["MESSAGE"].as_str().unwrap()
}

/// The power is cut while a raise is under way: the daemon of the next boot finds the change in its
/// state, checks it, and records it once.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn power_cut_in_an_edit() {
    let (bed, to) = in_a_raise("power_cut_in_an_edit", LONG_LOCK);
    bed.reboot();
    bed.until_cores(to);
    let records = bed.history();
    assert_eq!(bed.results(), ["applied"], "{records:#?}");
    assert_eq!(bed.api.edits(), [(to, Some(200))]);
    // Nobody inside asked for the reboot: as far as the daemon can know, its edit did.
    let off = bed.until_events("direction_off", 1);
    assert!(message(&off).contains("no shutdown from inside"), "{off}");
    assert!(bed.journal().contains("a change is under way from before"));
    bed.holds();
}

/// A guest that somebody reboots from inside while a raise is under way: that is not held against
/// raising.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn reboot_from_inside_in_an_edit() {
    let (bed, to) = in_a_raise("reboot_from_inside_in_an_edit", LONG_LOCK);
    let before = bed.boot_id();
    bed.shell.try_run("systemctl reboot");
    bed.until_another_boot(&before);
    bed.until_cores(to);
    let records = bed.history();
    assert_eq!(bed.results(), ["applied"], "{records:#?}");
    assert_eq!(bed.api.edits(), [(to, Some(200))]);
    let status = bed.status().unwrap();
    assert!(status["raising"]["off"].is_null(), "{status:#}");
    assert_eq!(bed.events("direction_off").len(), 0);
    bed.holds();
}

/// The platform's way to raise is to cut the power: done once, then never again before the operator
/// says so.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn platform_reboots_for_a_raise() {
    let mut bed = Bed::installed("platform_reboots_for_a_raise");
    bed.policy(&[("policy.up.max_step", "1"), PATIENT, NO_LOWERING]);
    bed.api.kvm(|kvm| kvm.up = Behaviour::Rebooting);
    bed.start();
    let before = bed.boot_id();
    bed.load(3);
    bed.until_another_boot(&before);
    bed.until_cores(2);
    let off = bed.until_events("direction_off", 1);
    assert!(message(&off).contains("resume --raising"), "{off}");
    let record = bed.history().remove(0);
    assert_eq!(record["result"], "applied", "{record:#}");
    assert!(
        record["detail"].as_str().unwrap().contains("rebooted"),
        "{record:#}"
    );

    bed.load(3);
    bed.until("held back", || {
        bed.events("held")
            .iter()
            .any(|line| line["REASON"] == "direction_off" && line["CORES_TO"] == "3")
    });
    assert_eq!(bed.api.edits(), [(2, Some(200))]);
    assert_eq!(bed.api.reboots(SERVER), Ok(1));

    bed.api.kvm(|kvm| kvm.up = Behaviour::Live);
    bed.shell.run("glesys-autoscaler resume --raising");
    bed.until_cores(3);
    assert_eq!(bed.api.reboots(SERVER), Ok(1));
    bed.holds();
}

/// The same of lowering; raising goes on.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn platform_reboots_for_a_lowering() {
    let bed = scaled_up("platform_reboots_for_a_lowering", &[PATIENT], |kvm| {
        kvm.down = Behaviour::Rebooting;
    });
    let before = bed.boot_id();
    bed.load(0);
    bed.until_another_boot(&before);
    let cores = bed.api.cores(SERVER).unwrap();
    assert!(cores < 3, "{cores}");
    bed.until_cores(cores);
    let off = bed.until_events("direction_off", 1);
    assert!(
        message(&off).starts_with("lowering is switched off"),
        "{off}"
    );

    bed.load(3);
    bed.until_cores(3);
    bed.load(0);
    bed.until("held back", || {
        bed.events("held")
            .iter()
            .any(|line| line["REASON"] == "direction_off")
    });
    assert_eq!(bed.platform.cores(), 3);
    assert_eq!(bed.api.reboots(SERVER), Ok(1));
    bed.holds();
}

/// The platform's way to raise is the power button: nothing tells that from a shutdown by a person,
/// and so it is not held against raising the first time. A second time in a row it is.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn platform_reboots_cleanly_for_each_raise() {
    let mut bed = Bed::installed("platform_reboots_cleanly_for_each_raise");
    bed.policy(&[
        ("limits.max_cores", "4"),
        ("policy.up.max_step", "1"),
        PATIENT,
        NO_LOWERING,
    ]);
    bed.platform.reboots(Reboot::Clean);
    bed.api.kvm(|kvm| kvm.up = Behaviour::Rebooting);
    bed.start();
    for cores in [2, 3] {
        assert_eq!(bed.events("direction_off").len(), 0);
        let before = bed.boot_id();
        bed.load(4);
        bed.until_another_boot(&before);
        bed.until_cores(cores);
    }
    let off = bed.until_events("direction_off", 1);
    assert!(message(&off).contains("the change before it"), "{off}");
    assert!(bed.journal().contains("the change under way is checked"));
    bed.load(4);
    bed.until("held back", || {
        bed.events("held")
            .iter()
            .any(|line| line["REASON"] == "direction_off" && line["CORES_TO"] == "4")
    });
    assert_eq!(bed.results(), ["applied", "applied"]);
    assert_eq!(bed.api.edits(), [(2, Some(200)), (3, Some(200))]);
    bed.holds();
}

/// A platform that gives cores only at the next boot: the raise is posted back, since it would be
/// billed, and not tried again soon.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn only_at_a_reboot_is_posted_back() {
    let mut bed = Bed::installed("only_at_a_reboot_is_posted_back");
    bed.policy(&[("apply.timeout", "'15s'")]);
    bed.api.kvm(|kvm| kvm.up = Behaviour::PendingUntilReboot);
    bed.start();
    bed.load(3);
    bed.until_events("reverted", 1);
    let said = bed.until_events("not_applied", 1);
    assert!(message(&said).contains("the VM still has 1 CPUs"), "{said}");
    assert_eq!(bed.results(), ["reverted"]);
    let counts: Vec<u32> = bed.api.edits().iter().map(|(cores, _)| *cores).collect();
    assert!(counts.len() == 2 && counts[1] == 1, "{counts:?}");
    assert_eq!(bed.api.cores(SERVER), Ok(1));
    // An hour, and the load is there all the time.
    bed.until_status("raising waits", |status| {
        status["waits_for"] == "direction_off" && status["waits_s"].as_u64() > Some(3000)
    });
    bed.holds();
}

/// The operator may want it so: then the raise stands, nothing further is asked for, and the next
/// boot brings it.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn only_at_a_reboot_is_held() {
    let mut bed = Bed::installed("only_at_a_reboot_is_held");
    bed.policy(&[
        ("apply.timeout", "'15s'"),
        ("apply.unapplied", "'hold'"),
        ("policy.up.max_step", "1"),
        NO_LOWERING,
    ]);
    bed.api.kvm(|kvm| kvm.up = Behaviour::PendingUntilReboot);
    bed.start();
    bed.load(3);
    bed.until("held back", || {
        bed.events("held")
            .iter()
            .any(|line| message(line).contains("pending until a reboot"))
    });
    assert_eq!(bed.results(), ["not_applied"]);
    assert_eq!(bed.api.edits(), [(2, Some(200))]);
    bed.reboot();
    bed.until_cores(2);
    bed.until_status("no longer pending", |status| {
        status["raising"]["pending"].is_null()
    });
    assert_eq!(bed.api.edits(), [(2, Some(200))]);
    bed.holds();
}

/// The platform asks for a core back while the guest boots, when nobody in it listens, and then asks
/// again.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn lowering_while_the_guest_boots() {
    let bed = scaled_up("lowering_while_the_guest_boots", &[PATIENT], |kvm| {
        kvm.lock_time = Duration::from_secs(15);
    });
    bed.load(0);
    bed.until_accepted();
    let before = bed.boot_id();
    bed.shell.try_run("systemctl reboot");
    bed.until_another_boot(&before);
    bed.until_cores(1);
    let results = bed.results();
    assert!(
        results.iter().all(|result| result == "applied"),
        "{results:?}"
    );
    assert_eq!(bed.events("direction_off").len(), 0);
    bed.holds();
}

/// Gives the guest another address and another card, as the copy of a disk gets them, and perhaps
/// another machine-id; then boots it with one core, whatever the API's server has.
fn becomes_a_clone(bed: &Bed, machine_id: &str) {
    let file = "/etc/systemd/network/10-api.network";
    bed.shell.run(&format!(
        "sed -i s/10.0.2.15/10.0.2.16/ {file} && \
         printf '[Link]\\nMACAddress=52:54:00:00:00:16\\n' >>{file} && {machine_id} && sync"
    ));
    bed.api.clear_calls();
    let before = bed.boot_id();
    bed.platform.power_cycle(1);
    bed.until_another_boot(&before);
}

/// The clone is idle on one core and would lower the server that its original has scaled up: it
/// says so, and does not.
fn nothing_is_edited(bed: &Bed) {
    let cores = bed.api.cores(SERVER);
    let held = bed.until_events("held", 1);
    assert_eq!(held["REASON"], "identity_unproven", "{held}");
    assert!(message(&held).contains("no address of this"), "{held}");
    bed.until_status("it waits", |status| {
        status["waits_for"] == "identity_unproven" && status["identity_proven"] == false
    });
    assert_eq!(bed.api.edits(), []);
    assert_eq!(bed.api.cores(SERVER), cores);
    assert_eq!(bed.platform.cores(), 1);
}

/// A clone of a scaled-up VM that has a machine-id of its own: what it finds of its original is set
/// aside, and the server of the original is left alone.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn clone_with_a_machine_id_of_its_own() {
    let bed = scaled_up("clone_with_a_machine_id_of_its_own", &[], |_| {});
    becomes_a_clone(
        &bed,
        "rm -f /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup",
    );
    nothing_is_edited(&bed);
    let journal = bed.journal();
    for file in ["state.json", "history.jsonl"] {
        let said = format!("/var/lib/glesys-autoscaler/{file} belongs to the machine ");
        assert!(journal.contains(&said), "{journal}");
        let aside = format!("ls /var/lib/glesys-autoscaler/{file}.foreign-*");
        bed.shell.run(&aside);
    }
    assert!(journal.contains("a cloned VM?"), "{journal}");
    assert_eq!(bed.history().len(), 0);
    bed.holds();
}

/// A clone that nobody gave a machine-id of its own: the state is taken for its own, and the server
/// is left alone all the same, since it has none of this machine's addresses.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn clone_with_the_machine_id_of_its_original() {
    let bed = scaled_up("clone_with_the_machine_id_of_its_original", &[], |_| {});
    becomes_a_clone(&bed, "true");
    nothing_is_edited(&bed);
    bed.shell
        .run("! ls /var/lib/glesys-autoscaler/*.foreign-* 2>/dev/null");
    bed.holds();
}

/// The same, copied while a raise of the original was under way: the clone, which will never see
/// that raise, does not post it back.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn clone_made_in_an_edit() {
    let mut bed = Bed::installed("clone_made_in_an_edit");
    bed.policy(&[("apply.timeout", "'1m'")]);
    // The original, whose cores come and go elsewhere.
    bed.api.kvm(|kvm| kvm.up = Behaviour::PendingUntilReboot);
    bed.start();
    bed.load(3);
    bed.until_accepted();
    let to = bed.api.cores(SERVER).unwrap();
    becomes_a_clone(&bed, "true");
    assert!(bed.journal().contains("a change is under way from before"));
    let last = bed.until_events("not_applied", 1);
    assert!(
        message(&last).contains("not known to be this machine"),
        "{last}"
    );
    nothing_is_edited(&bed);
    assert_eq!(bed.api.cores(SERVER), Ok(to));
    bed.holds();
}

/// Booted with the three cores it was scaled up to, the guest gives two of them back.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn rebooted_while_scaled_up() {
    let bed = scaled_up("rebooted_while_scaled_up", &[], |_| {});
    bed.reboot();
    bed.until_cores(1);
    let results = bed.results();
    assert!(
        results.iter().all(|result| result == "applied"),
        "{results:?}"
    );
    assert_eq!(bed.events("external_change").len(), 0);
    bed.holds();
}
