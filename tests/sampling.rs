//! The sampler against the real `sysinfo`: on this machine as it is, on recorded and made-up CPUs
//! in a mount namespace, and through a CPU that really goes and comes.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "support/machine_lock.rs"]
mod machine_lock;

use glesys_autoscaler::adapters::clock::SystemClock;
use glesys_autoscaler::adapters::proc_reader::ProcReader;
use glesys_autoscaler::adapters::sampler::{Options, RealSampler};
use glesys_autoscaler::engine::policy::Steal;
use glesys_autoscaler::engine::sample::{NoSample, Reading, Sample};
use glesys_autoscaler::engine::time::Timestamp;
use glesys_autoscaler::ports::{Clock, Sampler};
use machine_lock::{Cpu1, MachineLock, hotplug_forbidden, say_skipped};
use std::fs;
use std::hint::spin_loop;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

fn sampler(interval: Duration) -> RealSampler {
    RealSampler::new(Options {
        interval,
        // The hypervisor may take time from this machine; a full load is full all the same.
        steal: Steal::Demand,
        ignore_nice: false,
        root: PathBuf::from("/"),
    })
}

/// Threads that spin until dropped.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn of(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = || {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    spin_loop();
                }
            })
        };
        let threads = (0..threads).map(|_| spin()).collect();
        Self { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[test]
fn this_machine_is_sampled_and_its_load_seen() {
    const INTERVAL: Duration = Duration::from_millis(500);
    let clock = SystemClock::new();
    let mut sampler = sampler(INTERVAL);
    assert_eq!(sampler.read(clock.now()).sample, Err(NoSample::First));
    let _load = Load::of(1);
    // Some tries, since other tests may change the CPUs of this machine meanwhile.
    let (reading, sample) = (0..20)
        .find_map(|_| {
            sampler.read_queue();
            thread::sleep(INTERVAL);
            let reading = sampler.read(clock.now());
            reading.sample.ok().map(|sample| (reading, sample))
        })
        .expect("no sample in 20 intervals");
    assert!(sample.busy_mc >= 500, "one thread spins: {sample:?}");
    assert!(sample.busy_mc <= sample.online * 1000, "{sample:?}");
    assert!(sample.runnable_c.is_some_and(|tasks| tasks >= 100));
    let guest = reading.guest.unwrap();
    assert!(sample.online >= 1 && guest.present >= guest.online);
}

#[test]
fn a_real_cpu_that_goes_and_comes_never_gives_a_false_sample() {
    const INTERVAL: Duration = Duration::from_millis(500);
    if let Some(reason) = hotplug_forbidden() {
        say_skipped(&format!("taking CPU 1 of this machine off line: {reason}"));
        return;
    }
    let cpu1 = Cpu1::new(MachineLock::take());
    let all = ProcReader::new(Path::new("/")).online().unwrap().count();
    let _load = Load::of(2 * all as usize);
    let clock = SystemClock::new();
    let mut sampler = sampler(INTERVAL);
    let mut next = || {
        thread::sleep(INTERVAL);
        sampler.read(clock.now())
    };
    let full = |reading: Reading, online: u32| {
        let sample = reading.sample.unwrap();
        assert_eq!(sample.online, online);
        assert!(sample.utilization() >= 0.7, "{sample:?}");
    };

    assert_eq!(next().sample, Err(NoSample::First));
    full(next(), all);
    for _ in 0..3 {
        for (online, count) in [(false, all - 1), (true, all)] {
            cpu1.set_online(online);
            let change = next();
            assert_eq!(change.sample, Err(NoSample::OnlineChanged));
            assert_eq!(change.guest.unwrap().online, count);
            for _ in 0..2 {
                full(next(), count);
            }
        }
    }
}

/// Tells the test below that it runs in a mount namespace of its own; holds the one outside.
const NAMESPACE_OUTSIDE: &str = "GLESYS_AUTOSCALER_TEST_NAMESPACE_OUTSIDE";
const INSIDE: &str = "sysinfo_with_other_files_mounted_over_its_own";

#[test]
fn sysinfo_is_right_through_changes_and_holes() {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        command
    };
    if !unshare()
        .arg("true")
        .output()
        .is_ok_and(|o| o.status.success())
    {
        say_skipped("sysinfo on other CPUs: `unshare --mount` needs root");
        return;
    }
    let output = unshare()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", INSIDE, "--ignored", "--nocapture"])
        .env(NAMESPACE_OUTSIDE, namespace())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn namespace() -> PathBuf {
    fs::read_link("/proc/self/ns/mnt").unwrap()
}

#[test]
#[ignore = "run in a mount namespace by the test above"]
fn sysinfo_with_other_files_mounted_over_its_own() {
    let Some(outside) = std::env::var_os(NAMESPACE_OUTSIDE) else {
        say_skipped("this is only run by `sysinfo_is_right_through_changes_and_holes`");
        return;
    };
    assert_ne!(namespace(), PathBuf::from(outside), "not in a namespace");
    let mounted = Mounted::new();
    through_a_recorded_change(&mounted);
    through_holes(&mounted);
    without_usable_counters(&mounted);
}

fn through_a_recorded_change(mounted: &Mounted) {
    let readings: Vec<(&str, &str)> = include_str!("fixtures/proc/hotplug.txt")
        .split("\n\n")
        .skip(1)
        .map(|block| block.split_once('\n').unwrap())
        .collect();
    let mut sampler = MountedSampler::new(mounted);
    let mut sysinfo_alone = sysinfo::System::new().unwrap();
    let mut outcomes = Vec::new();
    let mut falsehoods = Vec::new();
    for (online, stat) in &readings {
        mounted.show(online.strip_prefix("online ").unwrap(), stat);
        outcomes.push(sampler.read().sample.map(utilization));
        sysinfo_alone.refresh_cpu_usage();
        falsehoods.push(sysinfo_alone.global_cpu_usage());
    }
    assert_eq!(
        outcomes,
        [
            Err(NoSample::First),
            Ok(50),
            Ok(50),
            Err(NoSample::OnlineChanged),
            Ok(100),
            Ok(100),
            Err(NoSample::OnlineChanged),
            Ok(60),
            Ok(51),
        ]
    );
    // One of two CPUs was busy, then the only one; if this fails, the recording proves nothing.
    assert!(falsehoods[3] < 20.0, "{falsehoods:?}");
}

fn through_holes(mounted: &Mounted) {
    let mut sampler = MountedSampler::new(mounted);
    let mut machine = MadeUp::default();
    let mut next = |online: &str, shares: &[(u32, u64)]| {
        machine.pass_time(shares);
        mounted.show(online, &machine.stat(shares));
        sampler.read().sample.map(|s| (s.online, utilization(s)))
    };
    assert_eq!(next("0,2", &[(0, 20), (2, 100)]), Err(NoSample::First));
    assert_eq!(next("0,2", &[(0, 20), (2, 100)]), Ok((2, 60)));
    // A CPU comes into the hole, and every line after it moves down by one.
    let three = [(0, 20), (1, 0), (2, 100)];
    assert_eq!(next("0-2", &three), Err(NoSample::OnlineChanged));
    assert_eq!(next("0-2", &three), Ok((3, 40)));
    // One leaves from the middle, another comes at the end, in the same interval.
    let others = [(0, 20), (2, 100), (5, 90)];
    assert_eq!(next("0,2,5", &others), Err(NoSample::OnlineChanged));
    assert_eq!(next("0,2,5", &others), Ok((3, 70)));
    assert_eq!(next("0", &[(0, 10)]), Err(NoSample::OnlineChanged));
    assert_eq!(next("0", &[(0, 10)]), Ok((1, 10)));
}

fn without_usable_counters(mounted: &Mounted) {
    let mut sampler = MountedSampler::new(mounted);
    let mut machine = MadeUp::default();
    let busy = [(0, 80)];
    let mut next = |stat: Option<&str>| {
        machine.pass_time(&busy);
        let real = machine.stat(&busy);
        mounted.show("0", stat.unwrap_or(&real));
        sampler.read().sample.map(utilization)
    };
    assert_eq!(next(None), Err(NoSample::First));
    assert_eq!(next(None), Ok(80));
    for unusable in [
        "",
        "intr 1\n",
        "cpu  1 2 3 4\n",
        "cpu  a b c d\ncpu0 a b c d\n",
    ] {
        assert_eq!(
            next(Some(unusable)),
            Err(NoSample::Unreadable),
            "{unusable}"
        );
    }
    assert_eq!(next(None), Err(NoSample::First));
    assert_eq!(next(None), Ok(80));
    let frozen = "cpu  90000 0 0 90000\ncpu0 90000 0 0 90000\n";
    // From the counters before it this is a jump that no span allows.
    assert_eq!(next(Some(frozen)), Err(NoSample::Unreadable));
    assert_eq!(next(Some(frozen)), Err(NoSample::Unreadable));
}

/// Utilization in whole percent.
fn utilization(sample: Sample) -> u32 {
    (sample.utilization() * 100.0).round() as u32
}

/// Files of ours in the place of the kernel's, seen by this process alone.
struct Mounted {
    folder: TempDir,
}

impl Mounted {
    fn new() -> Self {
        let mounted = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        mounted.show("0", "cpu  0 0 0 0\ncpu0 0 0 0 0\n");
        for (ours, theirs) in [
            ("stat", "/proc/stat"),
            ("online", "/sys/devices/system/cpu/online"),
        ] {
            let mount = Command::new("mount")
                .arg("--bind")
                .arg(mounted.folder.path().join(ours))
                .arg(theirs)
                .output()
                .unwrap();
            assert!(mount.status.success(), "{mount:?}");
        }
        mounted
    }

    fn show(&self, online: &str, stat: &str) {
        fs::write(self.folder.path().join("online"), format!("{online}\n")).unwrap();
        fs::write(self.folder.path().join("stat"), format!("{stat}\n")).unwrap();
    }
}

/// Reads what is mounted every 0.6 s of pretended time.
struct MountedSampler {
    sampler: RealSampler,
    now: Timestamp,
}

impl MountedSampler {
    const INTERVAL: Duration = Duration::from_millis(600);

    fn new(_mounted: &Mounted) -> Self {
        Self {
            sampler: sampler(Self::INTERVAL),
            now: Timestamp {
                boottime_ms: 0,
                wall_ms: 0,
            },
        }
    }

    fn read(&mut self) -> Reading {
        // sysinfo has its own clock and refuses to look again within 200 ms.
        thread::sleep(Duration::from_millis(250));
        self.now = self.now.plus(Self::INTERVAL);
        self.sampler.read(self.now)
    }
}

/// Counters of eight CPUs, of which some are online.
#[derive(Default)]
struct MadeUp {
    used: [u64; 8],
    idle: [u64; 8],
}

impl MadeUp {
    /// 60 ticks pass; each CPU is busy for its percentage of them.
    fn pass_time(&mut self, percentages: &[(u32, u64)]) {
        for (number, percent) in percentages {
            let used = 60 * percent / 100;
            self.used[*number as usize] += used;
            self.idle[*number as usize] += 60 - used;
        }
    }

    /// As the kernel writes it: CPUs that are off line count in the sum alone, and with a jump.
    fn stat(&self, online: &[(u32, u64)]) -> String {
        let off_line = 8 - online.len() as u64;
        let (used, idle): (u64, u64) = (self.used.iter().sum(), self.idle.iter().sum());
        let mut text = format!("cpu  {used} 0 0 {} 0 0 0 0 0 0\n", idle + 400 * off_line);
        for (number, _) in online {
            let (used, idle) = (self.used[*number as usize], self.idle[*number as usize]);
            text += &format!("cpu{number} {used} 0 0 {idle} 0 0 0 0 0 0\n");
        }
        text + "procs_running 1\n"
    }
}
