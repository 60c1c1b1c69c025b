//! The released daemon under a load that goes up and down, for an hour: whether memory,
//! descriptors, threads or files grow.
//!
//! Run by `packaging/tests/soak`, which builds the release and names it in
//! `GLESYS_AUTOSCALER_BINARY`. A debug build would say little, so without the variable it skips.
//!
//! The daemon is a process of its own, against the emulator over TLS. Only what the kernel says of
//! the CPUs is pretended, so that cores come and go without this machine losing any: the daemon
//! has a mount namespace in which other files stand there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its helpers too"
)]

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/emulator.rs"]
mod served;
#[path = "../support/tls.rs"]
mod tls;

mod gauges;
mod kernel;
mod life;
mod verdict;

use daemon::{Daemon, KEY, PROJECT, Place, SERVER};
use gauges::Gauges;
use glesys_autoscaler::adapters::ledger;
use glesys_autoscaler::sandbox::machine::PretendedCpus;
use glesys_autoscaler::sandbox::{Emulator, Key, Platform, Project, Server};
use kernel::Kernel;
use rustix::process::geteuid;
use served::Served;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tls::PrivateCa;

const MOST_CORES: u32 = 4;
/// Between two looks at the process.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two lines of the table.
const TELL_EVERY: Duration = Duration::from_secs(300);

#[test]
fn nothing_grows() {
    let Some(binary) = std::env::var_os("GLESYS_AUTOSCALER_BINARY").map(PathBuf::from) else {
        eprintln!("SKIPPED: soak: run packaging/tests/soak, which runs the release for an hour");
        return;
    };
    if !geteuid().is_root() {
        eprintln!("SKIPPED: soak: only root may count the descriptors of the daemon");
        return;
    }
    let seconds = std::env::var("SOAK_SECONDS").map_or(3600, |text| text.parse().unwrap());
    let span = Duration::from_secs(seconds);

    let guest = PretendedCpus::new(1);
    let kernel = Kernel::of(guest.clone());
    let ca = PrivateCa::new();
    let api = Served::over_tls(emulator(guest), ca.server(&["localhost"]));
    let place = Place::new();
    std::fs::write(place.at("ca.pem"), ca.pem()).unwrap();
    // By name, as the real API.
    let url = api.url.replace("127.0.0.1", "localhost");
    place.policy(&url, &policy(&place, life::Policy::One));

    let listener = life::ServiceManager::at(&place.at("notify"));
    let mut command = kernel.as_seen_by(&binary);
    command
        .arg("--config")
        .arg(place.at("policy.toml"))
        .args(["--log-format", "json", "run"])
        .env("NOTIFY_SOCKET", place.at("notify"))
        .env("WATCHDOG_USEC", "6000000");
    let daemon = Daemon::start(command);
    daemon.until("it is ready", |_| listener.heard("READY=1") > 0);

    let mut life = life::Life::new(&api, &kernel, &place, &daemon);
    let began = clock();
    let mut looks: Vec<Gauges> = Vec::new();
    let mut told = Duration::ZERO;
    println!("{}", Gauges::HEADER);
    let mut second = 0;
    while began.elapsed() < span {
        life.live_through(second, |one| place.policy(&url, &policy(&place, one)));
        second += 1;
        let age = began.elapsed();
        if looks.last().is_none_or(|last| age >= last.age + LOOK_EVERY) {
            let look = Gauges::of(&daemon, &place, age);
            if looks.is_empty() || age >= told + TELL_EVERY {
                println!("{look}");
                told = age;
            }
            looks.push(look);
        }
        sleep((began + Duration::from_secs(second)).saturating_duration_since(clock()));
    }
    if let Some(last) = looks.last().filter(|last| last.age > told) {
        println!("{last}");
    }
    let done = life.end();
    let lines = daemon.stop();
    let changes = ledger::read(&place.at("state")).unwrap().lines.len();
    let pings = listener.heard("WATCHDOG=1");
    println!(
        "{done}; {changes} changes, {} lines in the journal, {pings} pings",
        lines.len()
    );

    let verdict = verdict::of(&looks);
    println!("{verdict}");
    assert!(verdict.passed(), "something grows");
    // A run in which nothing happened would show nothing.
    let expected = seconds / 90;
    assert!(
        changes as u64 >= expected,
        "only {changes} changes, not {expected}"
    );
    assert!(pings >= seconds / 4, "only {pings} pings");
}

fn emulator(guest: PretendedCpus) -> Emulator {
    let server = Server::new(SERVER, guest.guest().online)
        // An address that this machine has, whatever machine it is: the proof of identity.
        .address([127, 0, 0, 1].into())
        .machine(guest);
    Emulator::builder()
        .platform("KVM", Platform::up_to(MOST_CORES))
        .project(
            Project::new(PROJECT)
                .key(Key::for_loopback(KEY))
                .server(server),
        )
        .build()
}

/// Windows short enough for many changes. A sample a second instead of one in five seconds: an
/// hour here is five hours of the daemon's life.
fn policy(place: &Place, which: life::Policy) -> String {
    let target = match which {
        life::Policy::One => 80,
        life::Policy::Other => 85,
        life::Policy::Wrong => 8500,
    };
    format!(
        "api.ca_file = {ca:?}
         api.timeout = '3s'
         limits.min_cores = 1
         limits.max_cores = {MOST_CORES}
         limits.max_changes_per_day = 1000
         sampling.interval = '1s'
         policy.boot_grace = '0s'
         policy.up.window = '6s'
         policy.up.queue = '3s'
         policy.up.target = {target}
         policy.up.cooldown = '6s'
         policy.down.window = '12s'
         policy.down.cooldown = '12s'
         policy.down.headroom = 0.25
         apply.lowering = 'learn'
         apply.timeout = '30s'",
        ca = place.at("ca.pem"),
    )
}

#[expect(clippy::disallowed_methods, reason = "this is about real time")]
fn clock() -> Instant {
    Instant::now()
}
