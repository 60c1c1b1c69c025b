//! The main job.

use crate::bed::Bed;

/// From an empty guest: install, `check`, more cores under load, fewer after it.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn first_scaling() {
    let bed = Bed::booted("first_scaling");
    bed.install();
    bed.set_up();
    let check = bed.shell.any_end("glesys-autoscaler check");
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    print!("{said}");
    assert_eq!(check.status.code(), Some(0), "{said}");
    bed.start();
    bed.load(3);
    bed.until_cores(3);
    bed.load(0);
    bed.until_cores(1);
    let results = bed.results();
    assert!(
        results.iter().all(|result| result == "applied"),
        "{results:?}"
    );
    assert_eq!(bed.restarts(), 0);
    bed.holds();
}
