//! Clocks that step, a guest that is suspended.

use crate::api::SERVER;
use crate::bed::Bed;
use std::thread;
use std::time::Duration;

/// Of a raise after a raise, in seconds. Far longer than what a step of the clock takes here.
const COOLDOWN: u64 = 90;
/// Longer than a boot and a sleep together.
const LONG_COOLDOWN: u64 = 240;
const HOUR: i64 = 3600;
/// Longer than the unit's watchdog.
const LONG: Duration = Duration::from_secs(75);

/// A guest with more load than its first raise serves, in the cooldown of that raise.
fn in_a_cooldown(name: &str, seconds: u64) -> Bed {
    let mut bed = Bed::installed(name);
    let cooldown = format!("'{seconds}s'");
    bed.policy(&[
        ("limits.max_cores", "4"),
        ("policy.up.max_step", "1"),
        ("policy.up.cooldown", &cooldown),
        ("apply.lowering", "'never'"),
    ]);
    bed.start();
    bed.load(4);
    bed.until_cores(2);
    bed
}

/// Seconds that the daemon still waits for its cooldown.
fn left(bed: &Bed) -> u64 {
    let status = bed.until_status("it waits for the cooldown", |status| {
        status["waits_for"] == "cooldown" && status["waits_s"].is_u64()
    });
    status["waits_s"].as_u64().unwrap()
}

/// Seconds from this result to the next change asked for, both by their number, on the clock that
/// does not step (and stands still in a suspend).
fn seconds_between(bed: &Bed, applied: usize, asked: usize) -> u64 {
    let at = |event: &str, number: usize| {
        let line = bed.until_events(event, number);
        let microseconds = line["__MONOTONIC_TIMESTAMP"].as_str().unwrap();
        microseconds.parse::<u64>().unwrap() / 1_000_000
    };
    at("scale_up", asked) - at("applied", applied)
}

/// The wall clock is set an hour forward in one cooldown, and an hour back in the next: neither ends
/// sooner for it, or later.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn wall_clock_stepped_in_a_cooldown() {
    let bed = in_a_cooldown("wall_clock_stepped_in_a_cooldown", COOLDOWN);
    for (cores, step) in [(3, HOUR), (4, 0)] {
        let before = left(&bed);
        bed.set_clock(step);
        let after = left(&bed);
        assert!(after <= before, "{before} {after}");
        bed.until_cores(cores);
    }
    for n in [1, 2] {
        let waited = seconds_between(&bed, n, n + 1);
        // The line comes a moment after what it speaks of.
        assert!((COOLDOWN - 5..2 * COOLDOWN).contains(&waited), "{waited}");
    }
    assert_eq!(bed.results(), ["applied"; 3]);
    let counts: Vec<u32> = bed.api.edits().iter().map(|(cores, _)| *cores).collect();
    assert_eq!(counts, [2, 3, 4]);
    assert_eq!(bed.events("held").len(), 0);
    assert_eq!(bed.restarts(), 0);
    bed.holds();
}

/// The guest suspends itself to memory in a cooldown, for longer than the watchdog: the sleep counts
/// for the cooldown, and neither for the watchdog nor for the load.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn suspended_in_a_cooldown() {
    let bed = in_a_cooldown("suspended_in_a_cooldown", LONG_COOLDOWN);
    // The firmware of QEMU wakes no guest whose CPUs were not all there at its boot.
    bed.reboot();
    bed.load(4);
    let before = left(&bed);
    let slept = asleep_for(&bed, LONG);
    let after = left(&bed);
    assert!(after + slept <= before, "{before} {after} {slept}");
    assert_eq!(bed.api.edits().len(), 1, "nothing was done in the cooldown");
    bed.until_cores(3);
    assert_eq!(bed.results(), ["applied", "applied"]);
    assert_eq!(bed.events("held").len(), 0);
    assert_eq!(bed.restarts(), 0);
    bed.holds();
}

/// Lets the guest suspend itself, and wakes it after `span`; the seconds that it slept at least.
fn asleep_for(bed: &Bed, span: Duration) -> u64 {
    bed.shell
        .run("systemd-run --quiet --on-active=1s sh -c 'echo mem >/sys/power/state'");
    let mut looks = 0;
    while bed.platform.qemu(|qemu| qemu.state()) != "suspended" {
        looks += 1;
        assert!(looks < 60, "it does not go to sleep");
        thread::sleep(Duration::from_secs(1));
    }
    thread::sleep(span);
    bed.platform.qemu(|qemu| qemu.wake());
    span.as_secs()
}

/// The platform stops the whole guest in the middle of an edit, for longer than the watchdog, as for
/// a backup or a move to another host: it goes on where it was, and checks the change once.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn stopped_by_the_platform_in_an_edit() {
    let mut bed = Bed::installed("stopped_by_the_platform_in_an_edit");
    bed.policy(&[("apply.timeout", "'4m'"), ("apply.lowering", "'never'")]);
    bed.api.locks_for(30);
    bed.start();
    bed.load(3);
    bed.until_accepted();
    let to = bed.api.cores(SERVER).unwrap();
    bed.platform.qemu(|qemu| qemu.pause(true));
    thread::sleep(LONG);
    bed.platform.qemu(|qemu| qemu.pause(false));
    bed.until_cores(to);
    assert_eq!(bed.api.edits(), [(to, Some(200))]);
    assert_eq!(bed.results(), ["applied"]);
    assert_eq!(bed.restarts(), 0);
    bed.holds();
}
