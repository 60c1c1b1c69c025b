//! What can be read of a process and its directories from outside.

use super::daemon::{Daemon, Place};
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// One look.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// Since the begin of the run.
    pub age: Duration,
    /// `Rss`, `Pss` and `Anonymous` of `smaps_rollup` and `VmSize` of `status`, in KiB. Anonymous
    /// memory is what a leak is made of; the rest is pages of the program and its libraries.
    pub rss: u64,
    pub pss: u64,
    pub anonymous: u64,
    pub vm_size: u64,
    pub descriptors: u64,
    pub threads: u64,
    /// Of the main thread since its start: it went to sleep, or was made to.
    pub switches: u64,
    pub preemptions: u64,
    /// Used since the start, in milliseconds.
    pub cpu_ms: u64,
    /// Files in the state and the run-time directory.
    pub files: u64,
    /// Bytes in them, but for the ledger, which grows by a line a change.
    pub bytes: u64,
    pub ledger: u64,
    pub records: u64,
}

impl Gauges {
    pub const HEADER: &'static str = "soak:  time     RSS     PSS    anon  VmSize KiB   fds threads   files   bytes  ledger bytes/records   cpu ms  switches  preempted";

    pub fn of(daemon: &Daemon, place: &Place, age: Duration) -> Self {
        let process = Path::new("/proc").join(daemon.pid().to_string());
        let read = |name: &str| fs::read_to_string(process.join(name)).expect("the daemon ended");
        let (rollup, status, stat) = (read("smaps_rollup"), read("status"), read("stat"));
        // After the name, which may hold anything: state, then ten fields, utime and stime.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = times.map(|field| field.parse::<u64>().unwrap()).sum();
        let mut gauges = Self {
            age,
            rss: field(&rollup, "Rss"),
            pss: field(&rollup, "Pss"),
            anonymous: field(&rollup, "Anonymous"),
            vm_size: field(&status, "VmSize"),
            descriptors: fs::read_dir(process.join("fd")).unwrap().count() as u64,
            threads: field(&status, "Threads"),
            switches: field(&status, "voluntary_ctxt_switches"),
            preemptions: field(&status, "nonvoluntary_ctxt_switches"),
            cpu_ms: ticks * 10,
            ..Self::default()
        };
        for directory in ["state", "run"] {
            gauges.count_files(&place.at(directory));
        }
        gauges
    }

    fn count_files(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            // A file that is about to be renamed may be gone by now.
            let length = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len());
            self.files += 1;
            if path.ends_with("history.jsonl") {
                self.ledger = length;
                let text = fs::read(&path).unwrap();
                self.records = text.iter().filter(|byte| **byte == b'\n').count() as u64;
            } else {
                self.bytes += length;
            }
        }
    }
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name).then_some(value)
    });
    let number = value.and_then(|value| value.split_whitespace().next());
    number
        .unwrap_or_else(|| panic!("no {name}"))
        .parse()
        .unwrap()
}

impl fmt::Display for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.age.as_secs();
        write!(
            f,
            "soak: {:>2}:{:02} {:>7} {:>7} {:>7} {:>11} {:>5} {:>7} {:>7} {:>7} {:>13} / {:<7} {:>6} {:>9} {:>10}",
            seconds / 60,
            seconds % 60,
            self.rss,
            self.pss,
            self.anonymous,
            self.vm_size,
            self.descriptors,
            self.threads,
            self.files,
            self.bytes,
            self.ledger,
            self.records,
            self.cpu_ms,
            self.switches,
            self.preemptions,
        )
    }
}

/// Time since the boot, for counters that have to move as real ones do.
pub fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
