//! Is the server this machine? By address, by the operator's word, or not.

use crate::bed::{elsewhere, memory_mb};
use crate::machine_lock::say_skipped;

#[test]
fn another_machines_server_is_refused_with_the_facts_to_compare() {
    let memory = memory_mb();
    let bed = elsewhere(memory * 3);
    // Where memory differs no word of the operator helps.
    for arguments in [&[][..], &["--confirm-identity", "--yes"]] {
        let run = bed.check(arguments);
        assert_eq!(run.exit, 78, "{}", run.out);
        let line = run.line("✗ this machine: kvm1234567 is another server: ");
        assert!(line.contains("203.0.113.9"), "{line}");
        assert!(
            line.contains(&format!("{} MB of memory, here {memory}", memory * 3)),
            "{line}"
        );
        assert!(line.ends_with("mend api.server_id"), "{line}");
    }
}

#[test]
fn behind_nat_the_operators_word_is_asked_for_and_kept() {
    let bed = elsewhere(memory_mb() * 21 / 20);
    let run = bed.check(&[]);
    assert_eq!(run.exit, 78, "{}", run.out);
    let line = run.line("✗ this machine: it is not proven");
    assert!(
        line.contains("`glesys-autoscaler check --confirm-identity`"),
        "{line}"
    );

    // Nobody to ask: nothing is taken for granted.
    let run = bed.check(&["--confirm-identity"]);
    assert_eq!(run.exit, 1, "{}", run.out);
    run.line("✗ this machine: there is no terminal to ask on");
    assert!(!bed.at("state/state.json").exists());

    let run = bed.check(&["--confirm-identity", "--yes"]);
    run.all_right();
    run.line("✓ this machine: kvm1234567 is this one by the operator's word, kept for");

    let run = bed.check(&[]);
    run.all_right();
    run.line("✓ this machine: kvm1234567 is this one by the operator's word");
}

#[test]
fn what_root_writes_is_the_daemons() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !rustix::process::geteuid().is_root() {
        return say_skipped("files of root in the daemon's directory: this needs root");
    }
    let bed = elsewhere(memory_mb() * 21 / 20);
    let daemon = 54_321;
    chown(bed.at("state"), Some(daemon), Some(daemon)).unwrap();
    bed.check(&["--confirm-identity", "--yes"]).all_right();
    let files: Vec<_> = std::fs::read_dir(bed.at("state")).unwrap().collect();
    assert!(!files.is_empty());
    for file in files {
        let file = file.unwrap();
        let meta = file.metadata().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (daemon, daemon), "{file:?}");
    }
}
