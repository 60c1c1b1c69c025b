//! `check --prove-lowering` on real CPUs of this machine. Alone in its binary: other tests count the
//! CPUs.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "check/bed.rs"]
mod bed;
#[path = "support/machine_lock.rs"]
mod machine_lock;
#[path = "support/emulator.rs"]
mod served;
#[path = "support/tls.rs"]
mod tls;

use bed::{Bed, KEY, SERVER, memory_mb, online, quiet, with};
use glesys_autoscaler::sandbox::hotplug::{Hotplug, SYSFS_CPUS};
use glesys_autoscaler::sandbox::{Key, Server};
use machine_lock::{Cpu1, MachineLock, hotplug_forbidden, say_skipped};
use served::Served;
use std::fs;
use std::path::Path;
use tls::PrivateCa;

/// The whole of it: the API over TLS takes a real CPU of this machine and gives it back, and the
/// kernel is the witness.
#[test]
fn on_real_cpus_without_a_daemon_it_is_proven() {
    if let Some(why) = hotplug_forbidden() {
        return say_skipped(&format!("a trial of lowering on real CPUs: {why}"));
    }
    let cpu = Cpu1::new(MachineLock::take());
    let before = online();
    let ca = PrivateCa::new();
    let server = Server::new(SERVER, before)
        .memory_mb(memory_mb() * 21 / 20)
        .address([127, 0, 0, 1].into())
        .machine(Hotplug::new(Path::new(SYSFS_CPUS)).unwrap());
    let api = Served::over_tls(
        with(Key::for_loopback(KEY), server),
        ca.server(&["127.0.0.1"]),
    );
    let mut bed = quiet(Bed::on(api));
    fs::write(bed.at("ca.pem"), ca.pem()).unwrap();
    let ca_file = format!("ca_file = {:?}", bed.at("ca.pem"));
    bed.api_key(&ca_file);
    bed.replace("timeout = \"5s\"\n", "timeout = \"60s\"\n");
    let run = bed.check(&["--prove-lowering", "--yes"]);
    assert_eq!(run.exit, 0, "{}{}", run.out, run.err);
    let line = run.line("✓ lowering works on this VM (");
    let less = before - 1;
    assert!(
        line.contains(&format!("{before} → {less}: applied")),
        "{line}"
    );
    assert!(
        line.contains(&format!("{less} → {before}: applied")),
        "{line}"
    );
    assert_eq!(online(), before);
    assert_eq!(bed.api.cores(SERVER).unwrap(), before);
    println!("{}", run.out);
    drop(cpu);

    // It is remembered.
    let run = bed.check(&[]);
    run.line("✓ lowering: on");
}
