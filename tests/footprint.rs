//! What the released daemon costs the machine that it serves: memory, threads, size on disk.
//!
//! Run by `packaging/tests/footprint`, which builds the release and names it in
//! `GLESYS_AUTOSCALER_BINARY`. A debug build would say nothing, so without the variable it skips.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "support/emulator.rs"]
mod served;
#[path = "support/tls.rs"]
mod tls;

use glesys_autoscaler::sandbox::{Emulator, Key, Platform, Project, Server};
use served::Served;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;
use tls::PrivateCa;

/// Resident memory before the first answer of the API, in KiB.
const IDLE_KIB: u64 = 5 * 1024;
/// Resident memory after calls over TLS, in KiB.
const AFTER_CALLS_KIB: u64 = 6 * 1024;
/// The program on disk, in bytes.
const BINARY_BYTES: u64 = 4_000_000;
/// Starts of the idle daemon.
const STARTS: usize = 5;
/// An edit, and the reading that follows it.
const CALLS: usize = 5;

const PROJECT: &str = "cl12345";
const KEY: &str = "canary-5b20";
const SERVER: &str = "kvm1234567";

#[test]
fn the_daemon_stays_within_its_budget() {
    let Some(binary) = std::env::var_os("GLESYS_AUTOSCALER_BINARY").map(PathBuf::from) else {
        eprintln!("SKIPPED: footprint: run packaging/tests/footprint, which measures the release");
        return;
    };
    let size = fs::metadata(&binary).unwrap().len();

    // Nothing listens there. The least of some starts: nine tenths of it are pages of files, and
    // how many neighbours the kernel maps along with those that are used is chance, 150 KiB of it.
    let starts = [(); STARTS].map(|()| {
        let idle = Daemon::start(&binary, "http://127.0.0.1:9", None, 1);
        idle.settle();
        idle.status("VmRSS")
    });
    let idle_kib = starts.into_iter().min().unwrap();

    let cores = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    let ca = PrivateCa::new();
    let api = Served::over_tls(emulator(cores), ca.server(&["localhost"]));
    // By name, as the real API: the lookup takes a thread for some seconds. One core more than
    // there is must be asked for, and never comes, so that the daemon edits and goes on reading.
    let url = api.url.replace("127.0.0.1", "localhost");
    let busy = Daemon::start(&binary, &url, Some(&ca), cores + 1);
    wait(180, "the calls", || api.calls().len() >= CALLS);
    busy.settle();
    let calls = api.calls().len();
    let after_kib = busy.status("VmRSS");
    let threads = busy.status("Threads");

    println!("footprint: binary            {size:>8} bytes (budget {BINARY_BYTES})");
    println!(
        "footprint: RSS idle          {idle_kib:>8} KiB   (budget {IDLE_KIB}; least of {starts:?})"
    );
    println!(
        "footprint: RSS after calls   {after_kib:>8} KiB   (budget {AFTER_CALLS_KIB}; {calls} calls over TLS)"
    );
    println!("footprint: threads at rest   {threads:>8}");
    assert!(size <= BINARY_BYTES, "the binary is too big");
    assert!(idle_kib <= IDLE_KIB, "too much memory when idle");
    assert!(after_kib <= AFTER_CALLS_KIB, "too much memory after calls");
    assert_eq!(threads, 1, "threads at rest");
}

fn emulator(cores: u32) -> Emulator {
    Emulator::builder()
        .platform("KVM", Platform::up_to(cores + 1))
        .project(
            Project::new(PROJECT)
                .key(Key::for_loopback(KEY))
                // An address that this machine has, whatever machine it is: the proof of identity.
                .server(Server::new(SERVER, cores).address([127, 0, 0, 1].into())),
        )
        .build()
}

/// A daemon with directories of its own. Dropping it ends it.
struct Daemon {
    child: Child,
    _files: TempDir,
}

impl Daemon {
    /// Starts it and waits until it says that it is ready. Nobody listens to it after that: a full
    /// socket would make it wait.
    fn start(binary: &Path, url: &str, ca: Option<&PrivateCa>, min_cores: u32) -> Self {
        let files = tempfile::tempdir().unwrap();
        let at = |name: &str| files.path().join(name);
        write_private(&at("api-key"), KEY);
        fs::write(at("ca.pem"), ca.map(PrivateCa::pem).unwrap_or_default()).unwrap();
        let ca_file = ca.map_or(String::new(), |_| at("ca.pem").display().to_string());
        let policy = format!(
            r#"
            [api]
            project = "{PROJECT}"
            server_id = "{SERVER}"
            url = "{url}"
            ca_file = "{ca_file}"
            key_file = {key:?}

            [limits]
            min_cores = {min_cores}
            max_cores = {max_cores}

            [sampling]
            interval = "1s"
            "#,
            key = at("api-key"),
            max_cores = min_cores + 1,
        );
        fs::write(at("policy.toml"), policy).unwrap();
        fs::create_dir(at("state")).unwrap();
        fs::create_dir(at("run")).unwrap();

        let notify = UnixDatagram::bind(at("notify")).unwrap();
        notify
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let child = Command::new(binary)
            .arg("--config")
            .arg(at("policy.toml"))
            .arg("run")
            .env("NOTIFY_SOCKET", at("notify"))
            .env("STATE_DIRECTORY", at("state"))
            .env("RUNTIME_DIRECTORY", at("run"))
            .env_remove("GLESYS_API_KEY")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self {
            child,
            _files: files,
        };
        let mut message = [0; 4096];
        loop {
            let length = notify.recv(&mut message).expect("READY=1 within a minute");
            let text = String::from_utf8_lossy(&message[..length]);
            if text.lines().any(|line| line == "READY=1") {
                return daemon;
            }
        }
    }

    /// Waits for the threads of name lookups to end.
    fn settle(&self) {
        wait(60, "one thread", || self.status("Threads") == 1);
    }

    /// A number of `/proc/PID/status`.
    fn status(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name == field).then_some(value)
        });
        let number = line.and_then(|value| value.split_whitespace().next());
        number.expect("the daemon has ended").parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn wait(seconds: u32, what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..seconds * 5 {
        if done() {
            return;
        }
        sleep(Duration::from_millis(200));
    }
    panic!("no {what} within {seconds} s");
}
