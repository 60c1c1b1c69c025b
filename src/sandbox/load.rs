//! A real load for the sandbox: threads that keep a chosen share of the machine's cores busy.
//!
//! Each thread runs for its share of every period, measured in its own CPU time, so that the load
//! stays right on a machine that has other work. Time that a thread wanted and did not get is made
//! up for, but no more than one period of it.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle, park_timeout};
use std::time::Duration;

/// Not a divisor of a second: a sampler that looks at the run queue once a second would else see
/// the same phase of the threads every time.
const PERIOD: Duration = Duration::from_millis(97);

/// The steps of `run --sandbox --load`, in cores.
pub const DEMO_CORES: [f64; 3] = [0.5, 1.8, 0.3];

/// A stretch of constant load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Cores to keep busy. What is below 0 or no number counts as 0.
    pub cores: f64,
    /// For how long.
    pub lasts: Duration,
}

/// The most of `cores` that a machine with `cpus` CPUs can be kept busy with.
#[must_use]
pub fn reachable(cores: f64, cpus: u32) -> f64 {
    cores.clamp(0.0, f64::from(cpus))
}

/// The steps of `run --sandbox --load`, as far as a machine with `cpus` CPUs goes.
#[must_use]
pub fn demo(cpus: u32, lasts: [Duration; 3]) -> Vec<Step> {
    std::iter::zip(DEMO_CORES, lasts)
        .map(|(cores, lasts)| Step {
            cores: reachable(cores, cpus),
            lasts,
        })
        .collect()
}

/// What the demonstration cannot show on a machine with `cpus` CPUs, for a person to read.
#[must_use]
pub fn caveat(cpus: u32) -> Option<String> {
    let most = DEMO_CORES.into_iter().fold(0.0, f64::max);
    (f64::from(cpus) < most).then(|| {
        format!(
            "this machine has {cpus} CPU: the load reaches {:.1} cores, not {most:.1}, and there is no second core to raise to; run it on a machine with 2 CPUs or more to see a change",
            reachable(most, cpus)
        )
    })
}

/// A running load. Dropping it ends and joins its threads, within a few milliseconds where a CPU
/// is free.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Thousandths of a core.
    wanted_mc: AtomicU32,
    used_ns: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    /// Starts the threads: as many as the highest step needs, and one that goes from step to step
    /// and calls `told` at the beginning of each. After the last step the load is 0.
    ///
    /// # Errors
    /// A thread cannot be started; those started before are ended.
    pub fn start(steps: Vec<Step>, told: impl FnMut(&Step) + Send + 'static) -> io::Result<Self> {
        let most_mc = steps.iter().map(|s| millicores(s.cores)).max().unwrap_or(0);
        let mut load = Self {
            shared: Arc::new(Shared::default()),
            threads: Vec::new(),
        };
        for index in 0..most_mc.div_ceil(1000) {
            load.spawn(format!("load-{index}"), move |shared| work(index, shared))?;
        }
        load.spawn("load-steps".to_owned(), move |shared| {
            go_through(&steps, told, shared);
        })?;
        Ok(load)
    }

    fn spawn(
        &mut self,
        name: String,
        body: impl FnOnce(&Shared) + Send + 'static,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = Builder::new().name(name).spawn(move || body(&shared))?;
        self.threads.push(thread);
        Ok(())
    }

    /// CPU time that the threads have used so far.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.shared.used_ns.load(Ordering::Relaxed))
    }

    /// Whether the last step is over.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.shared.stopped()
    }

    /// Ends the load and joins its threads.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A thread that panicked, which only `told` can do, has said so itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The share of time that thread `index` is to run: the load is spread evenly over as few
    /// threads as can carry it.
    fn share(&self, index: u32) -> f64 {
        let wanted_mc = self.wanted_mc.load(Ordering::Relaxed);
        let threads = wanted_mc.div_ceil(1000);
        if index < threads {
            f64::from(wanted_mc) / f64::from(threads * 1000)
        } else {
            0.0
        }
    }

    /// Sleeps until `until` on the monotonic clock, or until stopped.
    fn sleep(&self, until: Duration) {
        while !self.stopped() {
            match until.checked_sub(clock(ClockId::Monotonic)) {
                None | Some(Duration::ZERO) => return,
                Some(left) => park_timeout(left),
            }
        }
    }
}

fn go_through(steps: &[Step], mut told: impl FnMut(&Step), shared: &Shared) {
    for step in steps {
        shared
            .wanted_mc
            .store(millicores(step.cores), Ordering::Relaxed);
        told(step);
        shared.sleep(clock(ClockId::Monotonic).saturating_add(step.lasts));
        if shared.stopped() {
            return;
        }
    }
    shared.stop.store(true, Ordering::Relaxed);
}

fn work(index: u32, shared: &Shared) {
    // Spread over the period, so that the threads do not all run and rest together.
    let phase = PERIOD.mul_f64(f64::from(index) * 0.618 % 1.0);
    let mut begin = clock(ClockId::Monotonic) + phase;
    shared.sleep(begin);
    // CPU time in seconds that is still to be used; negative after an overrun.
    let mut owed = 0.0;
    while !shared.stopped() {
        let end = begin + PERIOD;
        let share = shared.share(index);
        owed = if share > 0.0 {
            owed + share * PERIOD.as_secs_f64()
        } else {
            0.0
        };
        let used = burn(Duration::from_secs_f64(owed.max(0.0)), end, shared);
        owed = (owed - used.as_secs_f64()).min(PERIOD.as_secs_f64());
        let used_ns = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        shared.used_ns.fetch_add(used_ns, Ordering::Relaxed);
        shared.sleep(end);
        // After a suspend, or a long wait for a CPU, begin afresh.
        let now = clock(ClockId::Monotonic);
        begin = if now > end + PERIOD { now } else { end };
    }
}

/// Computes until this thread has used `owed` of CPU time, or it is `end` on the monotonic clock,
/// or stopped; returns what it used.
fn burn(owed: Duration, end: Duration, shared: &Shared) -> Duration {
    let begin = clock(ClockId::ThreadCPUTime);
    loop {
        let used = clock(ClockId::ThreadCPUTime).saturating_sub(begin);
        if used >= owed || clock(ClockId::Monotonic) >= end || shared.stopped() {
            return used;
        }
        // Some ten microseconds between two looks at the clock: those are system calls, and the
        // load should be user time.
        for n in 0..10_000_u32 {
            black_box(n);
        }
    }
}

fn clock(id: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(id);
    Duration::new(
        u64::try_from(tv_sec).unwrap_or(0),
        u32::try_from(tv_nsec).unwrap_or(0),
    )
}

/// Saturates at both ends; NaN is 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and NaN becomes 0"
)]
fn millicores(cores: f64) -> u32 {
    // No machine has more, and each needs a thread.
    (cores * 1000.0).round().min(1_024_000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::thread::sleep;

    const LONG: Duration = Duration::from_secs(3600);

    fn step(cores: f64, lasts: Duration) -> Step {
        Step { cores, lasts }
    }

    /// Waits for the threads to use `cpu_time`: on a machine with other work that can take long.
    fn wait_for(load: &Load, cpu_time: Duration) {
        let limit = clock(ClockId::Monotonic) + Duration::from_secs(120);
        while load.cpu_time() < cpu_time {
            assert!(
                clock(ClockId::Monotonic) < limit,
                "only {:?}",
                load.cpu_time()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Never more than asked for, however idle the machine is; as much as asked for, given time.
    #[test]
    fn the_load_is_what_was_asked_for() {
        for (cores, threads) in [(0.3, 1), (0.5, 1), (1.8, 2)] {
            let begin = clock(ClockId::Monotonic);
            let load = Load::start(vec![step(cores, LONG)], |_| {}).unwrap();
            // One more goes from step to step.
            assert_eq!(load.threads.len(), threads + 1);
            wait_for(&load, Duration::from_secs_f64(cores));
            let used = load.cpu_time();
            let elapsed = clock(ClockId::Monotonic) - begin;
            // Two periods a thread: one that has been used ahead of its time, one for what was
            // missed before.
            let most = elapsed.mul_f64(cores) + PERIOD * 2 * u32::try_from(threads).unwrap();
            assert!(used <= most, "{cores} cores: {used:?} in {elapsed:?}");
            load.stop();
        }
    }

    #[test]
    fn steps_follow_each_other_and_end() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let short = Duration::from_millis(30);
        let steps = vec![
            step(0.5, short),
            step(0.0, short),
            step(f64::NAN, short),
            step(-1.0, short),
        ];
        let load = Load::start(steps, move |step| {
            let name = std::thread::current().name().map(str::to_owned);
            heard.lock().unwrap().push((step.cores, name));
        })
        .unwrap();
        let limit = clock(ClockId::Monotonic) + Duration::from_secs(60);
        while !load.finished() {
            assert!(clock(ClockId::Monotonic) < limit);
            sleep(Duration::from_millis(10));
        }
        drop(load);
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 4);
        assert_eq!(told[0], (0.5, Some("load-steps".to_owned())));
    }

    /// Would hang for an hour if the threads slept through it.
    #[test]
    fn a_drop_ends_the_threads_in_the_middle_of_a_step() {
        let load = Load::start(vec![step(0.1, LONG)], |_| {}).unwrap();
        let shared = Arc::downgrade(&load.shared);
        drop(load);
        assert!(shared.upgrade().is_none(), "a thread is left");
    }

    #[test]
    fn the_load_is_spread_evenly_over_few_threads() {
        let shared = Shared::default();
        for (cores, shares) in [
            (0.0, [0.0, 0.0, 0.0]),
            (0.3, [0.3, 0.0, 0.0]),
            (1.0, [1.0, 0.0, 0.0]),
            (1.8, [0.9, 0.9, 0.0]),
            (2.1, [0.7, 0.7, 0.7]),
        ] {
            shared.wanted_mc.store(millicores(cores), Ordering::Relaxed);
            assert_eq!([0, 1, 2].map(|i| shared.share(i)), shares, "{cores}");
        }
    }

    #[test]
    fn a_machine_with_one_cpu_says_what_that_changes() {
        let lasts = [LONG; 3];
        let cores = |cpus| {
            demo(cpus, lasts)
                .iter()
                .map(|s| s.cores)
                .collect::<Vec<_>>()
        };
        assert_eq!(cores(1), [0.5, 1.0, 0.3]);
        assert_eq!(cores(2), [0.5, 1.8, 0.3]);
        let told = caveat(1).unwrap();
        assert!(
            told.contains("1 CPU") && told.contains("1.0 cores"),
            "{told}"
        );
        assert_eq!(caveat(2), None);
    }
}
