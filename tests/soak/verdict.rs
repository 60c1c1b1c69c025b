//! Whether anything grows: the second half of the run against the first, after a warm-up.
//!
//! Memory by the median of each half: single looks catch a call or a reload at work. What leaks at
//! a steady pace has grown by the leak of half the run between the two medians. Descriptors,
//! threads and files by the least of the first half and of the last eighth: what is open for a
//! moment is not there in all looks, what is never closed is.

use super::gauges::Gauges;
use std::fmt;
use std::time::Duration;

/// How much of the run is warm-up.
const WARM_UP: f64 = 0.2;
/// Anonymous memory may be so many KiB more. What the allocator cannot give back differs by some
/// pages; 100 bytes a second, which are 100 bytes a sample here, make 140 KiB in half of an hour
/// less the warm-up.
const MEMORY_KIB: u64 = 96;
/// And all of it, to which pages of files come and from which they go.
const RESIDENT_KIB: u64 = 256;
/// Times may be so much longer, on a machine that does other things too.
const PACE: f64 = 1.5;
/// A record of the ledger is no longer than this many bytes.
const RECORD: u64 = 2048;

#[derive(Debug)]
pub struct Verdict {
    rows: Vec<Row>,
    half: Duration,
}

#[derive(Debug)]
struct Row {
    what: &'static str,
    first: f64,
    second: f64,
    most: f64,
}

/// # Panics
/// With fewer looks than halves can be made of.
pub fn of(looks: &[Gauges]) -> Verdict {
    let end = looks.last().map_or(Duration::ZERO, |look| look.age);
    let warm = looks.partition_point(|look| look.age < end.mul_f64(WARM_UP));
    let looks = &looks[warm..];
    let (first, second) = looks.split_at(looks.len() / 2);
    assert!(first.len() > 3, "too short a run to tell anything");

    let last = &second[second.len() - (second.len() / 4).max(6).min(second.len())..];

    let plus = |what, of: fn(&[Gauges]) -> f64, more: f64| {
        let before = of(first);
        Row {
            what,
            first: before,
            second: of(second),
            most: before + more,
        }
    };
    let never = |what, of: fn(&Gauges) -> u64| Row {
        what,
        first: least(first, of),
        second: least(last, of),
        most: least(first, of),
    };
    let times = |what, of: fn(&[Gauges]) -> f64, factor: f64| {
        let before = of(first);
        Row {
            what,
            first: before,
            second: of(second),
            most: before * factor + 1.0,
        }
    };
    let rows = vec![
        plus(
            "anonymous KiB",
            |l| median(l, |g| g.anonymous),
            MEMORY_KIB as f64,
        ),
        plus("Pss KiB", |l| median(l, |g| g.pss), RESIDENT_KIB as f64),
        plus("Rss KiB", |l| median(l, |g| g.rss), RESIDENT_KIB as f64),
        // The least, since a thread for a name lookup has 2 MB of stack and an arena.
        plus(
            "VmSize KiB",
            |l| least(l, |g| g.vm_size),
            RESIDENT_KIB as f64,
        ),
        never("descriptors", |g| g.descriptors),
        never("threads", |g| g.threads),
        never("files", |g| g.files),
        plus("bytes in files", |l| median(l, |g| g.bytes), 1024.0),
        Row {
            most: RECORD as f64,
            ..plus("ledger bytes/record", per_record, 0.0)
        },
        times("CPU ms/s", |l| pace(l, |g| g.cpu_ms), PACE),
        times("switches/s", |l| pace(l, |g| g.switches), PACE),
    ];
    let half = (end.mul_f64(1.0 - WARM_UP)) / 2;
    Verdict { rows, half }
}

fn median(looks: &[Gauges], of: fn(&Gauges) -> u64) -> f64 {
    let mut values: Vec<u64> = looks.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2] as f64
}

fn least(looks: &[Gauges], of: fn(&Gauges) -> u64) -> f64 {
    looks.iter().map(of).min().unwrap_or_default() as f64
}

fn per_record(looks: &[Gauges]) -> f64 {
    let (first, last) = (&looks[0], &looks[looks.len() - 1]);
    let records = last.records - first.records;
    (last.ledger - first.ledger) as f64 / records.max(1) as f64
}

fn pace(looks: &[Gauges], of: fn(&Gauges) -> u64) -> f64 {
    let (first, last) = (&looks[0], &looks[looks.len() - 1]);
    (of(last) - of(first)) as f64 / (last.age - first.age).as_secs_f64()
}

impl Verdict {
    pub fn passed(&self) -> bool {
        self.rows.iter().all(Row::holds)
    }
}

impl Row {
    fn holds(&self) -> bool {
        self.second <= self.most
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "soak: {:<20} {:>12} {:>12} {:>12}",
            "", "first half", "second half", "at most"
        )?;
        for row in &self.rows {
            let word = if row.holds() { "" } else { "  GROWS" };
            let Row {
                what,
                first,
                second,
                most,
            } = row;
            writeln!(
                f,
                "soak: {what:<20} {first:>12.1} {second:>12.1} {most:>12.1}{word}"
            )?;
        }
        let found = MEMORY_KIB as f64 * 1024.0 / self.half.as_secs_f64();
        let word = if self.passed() {
            "nothing grows"
        } else {
            "FAILED"
        };
        write!(
            f,
            "soak: {word}; a leak of more than {found:.0} bytes a second, or of one descriptor, would have shown"
        )
    }
}

mod tests {
    use super::*;

    /// An hour as it may look: calls and reloads in the midst of some looks.
    fn hour(leak: impl Fn(u64, &mut Gauges)) -> Vec<Gauges> {
        let look = |second: u64| {
            let at_work = u64::from(second.is_multiple_of(7));
            let mut gauges = Gauges {
                age: Duration::from_secs(second),
                rss: 5600 + 40 * at_work,
                pss: 4000 + 40 * at_work,
                anonymous: 1000 + 40 * at_work,
                vm_size: 12_000 + 70_000 * at_work,
                descriptors: 12 + 2 * at_work,
                threads: 1 + at_work,
                switches: 3 * second,
                cpu_ms: 2 * second,
                files: 5 + at_work,
                bytes: 4000,
                ledger: 1100 * (second / 45),
                records: second / 45,
                ..Gauges::default()
            };
            leak(second, &mut gauges);
            gauges
        };
        (0..3600).step_by(5).map(look).collect()
    }

    fn growing(leak: impl Fn(u64, &mut Gauges)) -> Vec<&'static str> {
        let rows = of(&hour(leak)).rows.into_iter();
        rows.filter(|row| !row.holds())
            .map(|row| row.what)
            .collect()
    }

    #[test]
    fn an_hour_without_growth_passes() {
        assert_eq!(growing(|_, _| {}), [""; 0]);
    }

    #[test]
    fn a_hundred_bytes_a_sample_show() {
        let leak = |second: u64, gauges: &mut Gauges| gauges.anonymous += second * 100 / 1024;
        assert_eq!(growing(leak), ["anonymous KiB"]);
    }

    #[test]
    fn a_descriptor_a_call_and_a_single_one_show() {
        let every_call = |second: u64, gauges: &mut Gauges| gauges.descriptors += second / 10;
        assert_eq!(growing(every_call), ["descriptors"]);
        let one = |second: u64, gauges: &mut Gauges| gauges.descriptors += second / 2400;
        assert_eq!(growing(one), ["descriptors"]);
    }

    #[test]
    fn a_thread_a_file_and_a_growing_file_show() {
        let thread = |second: u64, gauges: &mut Gauges| gauges.threads += second / 2400;
        assert_eq!(growing(thread), ["threads"]);
        let file = |second: u64, gauges: &mut Gauges| gauges.files += second / 2400;
        assert_eq!(growing(file), ["files"]);
        let bytes = |second: u64, gauges: &mut Gauges| gauges.bytes += second;
        assert_eq!(growing(bytes), ["bytes in files"]);
    }

    #[test]
    fn work_that_gets_longer_shows() {
        let longer = |second: u64, gauges: &mut Gauges| gauges.cpu_ms += second * second / 500;
        assert_eq!(growing(longer), ["CPU ms/s"]);
    }
}
