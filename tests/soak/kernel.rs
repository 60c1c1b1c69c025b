//! A kernel that says of the CPUs what the emulator made of them.

use glesys_autoscaler::adapters::proc_reader::TICKS_PER_SECOND;
use glesys_autoscaler::sandbox::machine::PretendedCpus;
use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

/// As often as a real kernel's counters move for a daemon that looks once a second.
const STEP: Duration = Duration::from_millis(50);
/// As many lines of CPUs as `/proc/stat` ever has here.
const LINES: usize = super::MOST_CORES as usize;

/// Its files, which a thread keeps up to date.
pub struct Kernel {
    files: TempDir,
    /// What the work would use if there were cores enough, in hundredths of a core.
    demand: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: OnceLock<JoinHandle<()>>,
}

impl Kernel {
    pub fn of(guest: PretendedCpus) -> Self {
        let files = tempfile::tempdir().unwrap();
        fs::create_dir(files.path().join("cpu")).unwrap();
        let demand = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let mut counters = Counters::new(files.path());
        counters.step(guest.guest().online, 0);
        let (asked, ended) = (Arc::clone(&demand), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                counters.step(guest.guest().online, asked.load(Ordering::Relaxed));
                thread::sleep(STEP);
            }
        });
        Self {
            files,
            demand,
            over,
            thread: thread.into(),
        }
    }

    /// From now on the work would use so many cores.
    pub fn demand(&self, cores: f64) {
        let hundredths = (cores * 100.0).round() as u64;
        self.demand.store(hundredths, Ordering::Relaxed);
    }

    /// A program for which this is the kernel.
    pub fn as_seen_by(&self, program: &Path) -> Command {
        let script = "mount --bind \"$1/cpu\" /sys/devices/system/cpu \
             && mount --bind \"$1/stat\" /proc/stat \
             && mount --bind \"$1/loadavg\" /proc/loadavg || exit 77; shift; exec \"$@\"";
        let mut command = super::daemon::clean(Path::new("unshare"));
        command
            .args(["--mount", "--propagation", "private"])
            .args(["sh", "-c", script, "sh"])
            .arg(self.files.path())
            .arg(program);
        command
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The CPU times so far, and where they are written.
struct Counters {
    sets: PathBuf,
    stat: File,
    loadavg: File,
    online: u32,
    /// Busy and idle microseconds of each CPU.
    times: [(u64, u64); LINES],
    last: Duration,
}

impl Counters {
    fn new(files: &Path) -> Self {
        let file = |name| File::create(files.join(name)).unwrap();
        Self {
            sets: files.join("cpu"),
            stat: file("stat"),
            loadavg: file("loadavg"),
            online: 0,
            times: [(0, 0); LINES],
            last: super::gauges::uptime(),
        }
    }

    fn step(&mut self, online: u32, demand: u64) {
        let now = super::gauges::uptime();
        let passed = u64::try_from((now - self.last).as_micros()).unwrap();
        self.last = now;
        let busy = (passed * demand / u64::from(online) / 100).min(passed);
        for (used, idle) in self.times.iter_mut().take(online as usize) {
            *used += busy;
            *idle += passed - busy;
        }
        let queue = demand.div_ceil(100) + 1;
        self.write_times(online, queue);
        if online != self.online {
            self.online = online;
            let set = format!("0-{}\n", online - 1);
            for name in ["online", "present"] {
                // Whole or not at all, as a kernel's.
                let fresh = self.sets.join("fresh");
                fs::write(&fresh, &set).unwrap();
                fs::rename(&fresh, self.sets.join(name)).unwrap();
            }
        }
    }

    /// Files that are mounted one by one can only be written over: each keeps its length, so that
    /// no rest of an older text is ever read.
    fn write_times(&self, online: u32, queue: u64) {
        let ticks = |us: u64| us * TICKS_PER_SECOND / 1_000_000;
        let line = |name: &str, used: u64, idle: u64| {
            format!("{name:<6} {used:>12} 0 0 {idle:>12} 0 0 0 0 0 0\n")
        };
        let mut text = String::new();
        let mut sum = (0, 0);
        for (number, (used, idle)) in self.times.iter().enumerate().take(online as usize) {
            let (used, idle) = (ticks(*used), ticks(*idle));
            sum = (sum.0 + used, sum.1 + idle);
            text += &line(&format!("cpu{number}"), used, idle);
        }
        let mut stat = line("cpu", sum.0, sum.1) + &text;
        writeln!(stat, "procs_running {queue:>4}").unwrap();
        let length = line("cpu", 0, 0).len() * (LINES + 1) + 32;
        writeln!(stat, "{:1$}", "softirq 0", length - stat.len() - 1).unwrap();
        self.stat.write_all_at(stat.as_bytes(), 0).unwrap();
        let loadavg = format!("0.00 0.00 0.00 {queue:>4}/100 {:>7}\n", 1);
        self.loadavg.write_all_at(loadavg.as_bytes(), 0).unwrap();
    }
}
