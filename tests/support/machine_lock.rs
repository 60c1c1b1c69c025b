//! For tests that take a CPU of this very machine off line: one at a time on the whole machine,
//! only where asked for, and with the CPU back on line whatever happens.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Switches the tests on that change the CPUs of this machine.
pub const SWITCH: &str = "GLESYS_AUTOSCALER_TEST_HOTPLUG";

const CPU1: &str = "/sys/devices/system/cpu/cpu1/online";

/// Says that a test proved nothing here. Past the test harness, which shows what `eprintln!` writes
/// only when a test fails.
pub fn say_skipped(what: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {what}");
}

/// Why this machine's CPUs are not to be changed here, if they are not.
pub fn hotplug_forbidden() -> Option<String> {
    if std::env::var_os(SWITCH).is_none_or(|value| value != "1") {
        return Some(format!("{SWITCH}=1 is not set"));
    }
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    match fs::read_to_string(CPU1) {
        Ok(state) if state.trim() == "1" => None,
        Ok(_) => Some("CPU 1 is off line already".to_owned()),
        Err(e) => Some(format!("{CPU1}: {e}")),
    }
}

/// Held while a test changes the machine; ends with its process, however that ends.
pub struct MachineLock {
    _file: File,
}

impl MachineLock {
    /// Waits up to five minutes for the tests that have it.
    pub fn take() -> Self {
        Self::lock(FlockOperation::NonBlockingLockExclusive)
    }

    /// For a test that must not see the machine change: together with others like it.
    pub fn share() -> Self {
        Self::lock(FlockOperation::NonBlockingLockShared)
    }

    fn lock(how: FlockOperation) -> Self {
        let path = std::env::temp_dir().join("glesys-autoscaler-machine.lock");
        let file = open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for _ in 0..3000 {
            match flock(&file, how) {
                Ok(()) => return Self { _file: file },
                Err(e) if e == rustix::io::Errno::WOULDBLOCK => {
                    thread::sleep(Duration::from_millis(100));
                }
                Err(e) => panic!("{}: {e}", path.display()),
            }
        }
        panic!("another test has held {} for 5 minutes", path.display());
    }
}

/// Opened for reading where it is there, since it may be another user's.
fn open(path: &Path) -> io::Result<File> {
    match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            File::options().append(true).create(true).open(path)
        }
        opened => opened,
    }
}

/// CPU 1 of this machine; on line again when dropped, and so after a panic.
pub struct Cpu1 {
    _lock: MachineLock,
}

impl Cpu1 {
    pub fn new(lock: MachineLock) -> Self {
        Self { _lock: lock }
    }

    pub fn set_online(&self, online: bool) {
        set(online).unwrap_or_else(|e| panic!("{CPU1}: {e}"));
    }
}

impl Drop for Cpu1 {
    fn drop(&mut self) {
        // The kernel is busy for a moment when another change is under way.
        for _ in 0..50 {
            if set(true).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        eprintln!("CPU 1 stays off line: `echo 1 > {CPU1}` brings it back");
    }
}

fn set(online: bool) -> io::Result<()> {
    fs::write(CPU1, if online { "1" } else { "0" })
}
