//! The sampler of the sandbox: the real load of this machine, seen as a guest with fewer cores
//! would see it.

use super::machine::PretendedCpus;
use crate::engine::sample::{NoSample, Reading, Sample};
use crate::engine::time::Timestamp;
use crate::ports::Sampler;

/// Reads the real load through `S`, and reports it as the load of the pretended CPUs.
///
/// - Utilization is the real busy cores by the pretended count, at most 1.
/// - What does not fit waits, as it would on a machine of that size: the run queue is set such
///   that [`Sample::demand_mc`] is the real demand (rounded up to a hundredth of a core), and
///   some task waits all the time, so pressure is full where the kernel gives pressure at all.
/// - Where the real load fits, the real queue and pressure are passed on.
/// - Without a queue (`ignore_nice`) there is nothing to tell the rest of the demand with; it then
///   ends at the pretended count, as on a real machine.
///
/// The pretended count should be at most the machine's own: a larger one shows a load that the
/// machine cannot carry as smaller than it is.
#[derive(Debug)]
pub struct PretendedSampler<S> {
    real: S,
    cpus: PretendedCpus,
    /// [`PretendedCpus::changes`] at the last reading.
    changes: u64,
}

impl<S> PretendedSampler<S> {
    /// A sampler for `cpus` over the load that `real` reads.
    #[must_use]
    pub fn new(real: S, cpus: PretendedCpus) -> Self {
        let changes = cpus.changes();
        Self {
            real,
            cpus,
            changes,
        }
    }
}

impl<S: Sampler> Sampler for PretendedSampler<S> {
    fn read(&mut self, now: Timestamp) -> Reading {
        // Read in any case, so that the next interval begins here.
        let real = self.real.read(now);
        let guest = self.cpus.guest();
        let changes = self.cpus.changes();
        let changed = std::mem::replace(&mut self.changes, changes) != changes;
        let sample = match real.sample {
            Ok(_) if changed => Err(NoSample::OnlineChanged),
            Ok(sample) => Ok(pretend(&sample, guest.online)),
            Err(none) => Err(none),
        };
        Reading {
            guest: Some(guest),
            sample,
        }
    }

    fn read_queue(&mut self) {
        self.real.read_queue();
    }
}

fn pretend(real: &Sample, online: u32) -> Sample {
    let full_mc = online.saturating_mul(1000);
    if real.busy_mc <= full_mc {
        return Sample { online, ..*real };
    }
    Sample {
        online,
        busy_mc: full_mc,
        // One more for ourselves, who are runnable while we read.
        runnable_c: real
            .runnable_c
            .map(|_| real.demand_mc().div_ceil(10).saturating_add(100)),
        pressure_bp: real.pressure_bp.map(|_| 10_000),
        ..*real
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::Machine;
    use super::*;
    use crate::engine::sample::GuestCpus;

    const NOW: Timestamp = Timestamp {
        boottime_ms: 0,
        wall_ms: 0,
    };

    struct Fixed(Result<Sample, NoSample>, u32);

    impl Sampler for Fixed {
        fn read(&mut self, _: Timestamp) -> Reading {
            Reading {
                guest: None,
                sample: self.0,
            }
        }
        fn read_queue(&mut self) {
            self.1 += 1;
        }
    }

    fn real(online: u32, busy_mc: u32, runnable_c: Option<u32>) -> Sample {
        Sample {
            span_ms: 5000,
            online,
            busy_mc,
            steal_mc: 7,
            runnable_c,
            pressure_bp: Some(120),
        }
    }

    /// One row a mapping: the real sample, the pretended count, and what comes out.
    #[test]
    fn the_real_load_is_seen_by_the_pretended_count() {
        struct Row {
            real: Sample,
            online: u32,
            busy_mc: u32,
            runnable_c: Option<u32>,
            demand_mc: u32,
            pressure_bp: u16,
        }
        for row in [
            // Fits: busy, queue and pressure as they are.
            Row {
                real: real(4, 500, Some(150)),
                online: 1,
                busy_mc: 500,
                runnable_c: Some(150),
                demand_mc: 500,
                pressure_bp: 120,
            },
            // Fits exactly: saturated, and the real queue counts.
            Row {
                real: real(4, 1000, Some(210)),
                online: 1,
                busy_mc: 1000,
                runnable_c: Some(210),
                demand_mc: 1100,
                pressure_bp: 120,
            },
            // Does not fit: 1.8 real cores on one.
            Row {
                real: real(4, 1800, Some(150)),
                online: 1,
                busy_mc: 1000,
                runnable_c: Some(280),
                demand_mc: 1800,
                pressure_bp: 10_000,
            },
            // The demand is rounded up to a hundredth of a core.
            Row {
                real: real(4, 1803, Some(150)),
                online: 1,
                busy_mc: 1000,
                runnable_c: Some(281),
                demand_mc: 1810,
                pressure_bp: 10_000,
            },
            // The real machine is saturated itself: its own queue is the demand.
            Row {
                real: real(2, 1990, Some(600)),
                online: 1,
                busy_mc: 1000,
                runnable_c: Some(600),
                demand_mc: 5000,
                pressure_bp: 10_000,
            },
            // Saturated without waiting tasks: the busy cores.
            Row {
                real: real(2, 1990, Some(100)),
                online: 1,
                busy_mc: 1000,
                runnable_c: Some(299),
                demand_mc: 1990,
                pressure_bp: 10_000,
            },
            // All cores given: the machine as it is.
            Row {
                real: real(2, 1990, Some(600)),
                online: 2,
                busy_mc: 1990,
                runnable_c: Some(600),
                demand_mc: 5000,
                pressure_bp: 120,
            },
            // No queue, no demand beyond the count.
            Row {
                real: real(4, 1800, None),
                online: 1,
                busy_mc: 1000,
                runnable_c: None,
                demand_mc: 1000,
                pressure_bp: 10_000,
            },
        ] {
            let mut sampler =
                PretendedSampler::new(Fixed(Ok(row.real), 0), PretendedCpus::new(row.online));
            let reading = sampler.read(NOW);
            let expected = Sample {
                online: row.online,
                busy_mc: row.busy_mc,
                runnable_c: row.runnable_c,
                pressure_bp: Some(row.pressure_bp),
                ..row.real
            };
            assert_eq!(
                reading.sample,
                Ok(expected),
                "{:?} on {}",
                row.real,
                row.online
            );
            assert_eq!(expected.demand_mc(), row.demand_mc);
            assert_eq!(
                reading.guest,
                Some(GuestCpus {
                    online: row.online,
                    present: row.online
                })
            );
        }
    }

    #[test]
    fn pressure_that_the_kernel_does_not_give_is_not_invented() {
        let mut without = real(4, 1800, Some(150));
        without.pressure_bp = None;
        let mut sampler = PretendedSampler::new(Fixed(Ok(without), 0), PretendedCpus::new(1));
        assert_eq!(sampler.read(NOW).sample.unwrap().pressure_bp, None);
    }

    #[test]
    fn a_change_between_two_readings_gives_no_sample_once() {
        let mut cpus = PretendedCpus::new(1);
        let mut sampler = PretendedSampler::new(Fixed(Ok(real(4, 500, None)), 0), cpus.clone());
        assert!(sampler.read(NOW).sample.is_ok());

        cpus.resize(2).unwrap();
        assert_eq!(sampler.read(NOW).sample, Err(NoSample::OnlineChanged));
        assert_eq!(sampler.read(NOW).sample.unwrap().online, 2);

        // There and back within one interval is a change too.
        cpus.resize(3).unwrap();
        cpus.resize(2).unwrap();
        assert_eq!(sampler.read(NOW).sample, Err(NoSample::OnlineChanged));
        assert!(sampler.read(NOW).sample.is_ok());
    }

    #[test]
    fn what_the_real_sampler_cannot_read_is_passed_on() {
        for none in [
            NoSample::First,
            NoSample::Gap,
            NoSample::Unreadable,
            NoSample::Disagree,
        ] {
            let mut cpus = PretendedCpus::new(1);
            let mut sampler = PretendedSampler::new(Fixed(Err(none), 0), cpus.clone());
            cpus.resize(2).unwrap();
            assert_eq!(sampler.read(NOW).sample, Err(none));
        }
    }

    #[test]
    fn the_queue_is_read_through_the_real_sampler() {
        let mut sampler =
            PretendedSampler::new(Fixed(Err(NoSample::First), 0), PretendedCpus::new(1));
        sampler.read_queue();
        sampler.read_queue();
        assert_eq!(sampler.real.1, 2);
    }
}
