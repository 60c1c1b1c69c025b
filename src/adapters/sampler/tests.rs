//! The sampler on a pretended machine: a tree of files and a scripted `sysinfo`.

mod changes;
mod faults;
mod signals;

use super::*;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// What the scripted half did and will say: `sysinfo` as the sampler sees it.
#[derive(Default)]
struct Script {
    answers: VecDeque<Refreshed>,
    forgotten: u32,
    /// Changes that happen to the machine while it is being read.
    during: VecDeque<Box<dyn FnOnce() + Send>>,
}

#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Utilization for Scripted {
    fn refresh(&mut self) -> Refreshed {
        let mut script = self.0.lock().unwrap();
        if let Some(change) = script.during.pop_front() {
            change();
        }
        script.answers.pop_front().expect("one refresh too many")
    }

    fn forget(&mut self) {
        self.0.lock().unwrap().forgotten += 1;
    }
}

/// A pretended machine: a tree of files, and a sampler on it.
struct Machine {
    root: TempDir,
    script: Scripted,
    sampler: RealSampler,
    now: Timestamp,
    /// Of each CPU: number and the eight times of its line.
    cpus: Vec<(u32, [u64; 8])>,
}

const USER: usize = 0;
const NICE: usize = 1;
const IDLE: usize = 3;
const STEAL: usize = 7;

impl Machine {
    fn new(numbers: &[u32]) -> Self {
        Self::with(numbers, Steal::Report, false)
    }

    fn with(numbers: &[u32], steal: Steal, ignore_nice: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let script = Scripted::default();
        let options = Options {
            interval: Duration::from_secs(5),
            steal,
            ignore_nice,
            root: root.path().to_owned(),
        };
        let mut machine = Self {
            sampler: RealSampler::with_utilization(options, Box::new(script.clone())),
            root,
            script,
            now: Timestamp {
                boottime_ms: 1_000_000,
                wall_ms: 1_800_000_000_000,
            },
            cpus: Vec::new(),
        };
        machine.plug(numbers);
        machine
    }

    /// A machine whose base is set.
    fn based(numbers: &[u32]) -> Self {
        let mut machine = Self::new(numbers);
        machine.set_base();
        machine
    }

    fn set_base(&mut self) {
        assert_eq!(self.read(&[Refreshed::Base]).sample, Err(NoSample::First));
    }

    /// These CPUs are online from now on; new ones begin at zero.
    fn plug(&mut self, numbers: &[u32]) {
        let before = std::mem::take(&mut self.cpus);
        self.cpus = numbers
            .iter()
            .map(|number| {
                let known = before.iter().find(|cpu| cpu.0 == *number);
                known.copied().unwrap_or((*number, [0; 8]))
            })
            .collect();
        let list: Vec<String> = numbers.iter().map(u32::to_string).collect();
        self.write("sys/devices/system/cpu/online", &(list.join(",") + "\n"));
        self.write("sys/devices/system/cpu/present", "0-7\n");
        self.write_stat(1);
    }

    fn write(&self, path: &str, text: &str) {
        write(self.root.path(), path, text);
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.root.path().join(path)).unwrap();
    }

    fn write_stat(&self, runnable: u32) {
        let line = |name: &str, times: &[u64; 8]| {
            let times: Vec<String> = times.iter().map(u64::to_string).collect();
            format!("{name} {} 0 0\n", times.join(" "))
        };
        // The sampler has no use for the values of the first line.
        let mut text = line("cpu ", &[1; 8]);
        for (number, times) in &self.cpus {
            text += &line(&format!("cpu{number}"), times);
        }
        text += &format!("intr 5 0\nprocs_running {runnable}\n");
        self.write("proc/stat", &text);
    }

    /// `seconds` pass in which every CPU spends `share` of its time as `what`, else idle.
    fn run(&mut self, seconds: u64, what: usize, share: f64) {
        let ticks = seconds * 100;
        let used = (share * ticks as f64).round() as u64;
        for (_, times) in &mut self.cpus {
            times[what] += used;
            times[IDLE] += ticks - used;
        }
        self.wait(seconds * 1000);
        self.write_stat(1);
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.plus(Duration::from_millis(ms));
    }

    fn pressure(&self, total: u64) {
        self.write(
            "proc/pressure/cpu",
            &format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n"),
        );
    }

    /// Reads while `sysinfo` gives `answers`, of which none may be left over.
    fn read(&mut self, answers: &[Refreshed]) -> Reading {
        self.script.0.lock().unwrap().answers = answers.iter().copied().collect();
        let reading = self.sampler.read(self.now);
        let left = self.script.0.lock().unwrap().answers.len();
        assert_eq!(left, 0, "sysinfo was asked less often than expected");
        reading
    }

    fn sample(&mut self, busy: f64) -> Result<Sample, NoSample> {
        self.read(&[Refreshed::Busy(busy)]).sample
    }

    fn forgotten(&self) -> u32 {
        self.script.0.lock().unwrap().forgotten
    }
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
