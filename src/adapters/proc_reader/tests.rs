use super::*;
use proptest::prelude::*;
use std::fs;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// Long enough that no number of ticks of a test is implausible.
const LONG: Duration = Duration::from_secs(3600);

/// A `/proc/stat` of the CPUs given as number and fields; the line of all CPUs is their sum as far
/// as it can be written.
fn stat_text(cpus: &[(u32, [u64; 10])]) -> String {
    let mut text = String::new();
    let sum = cpus.iter().fold([0u64; 10], |mut sum, (_, fields)| {
        for (total, field) in sum.iter_mut().zip(fields) {
            *total = total.saturating_add(*field);
        }
        sum
    });
    let line = |name: String, fields: [u64; 10]| {
        let fields: Vec<String> = fields.iter().map(u64::to_string).collect();
        format!("{name} {}\n", fields.join(" "))
    };
    text += &line("cpu ".to_owned(), sum);
    for (number, fields) in cpus {
        text += &line(format!("cpu{number}"), *fields);
    }
    text + "intr 12 0 0 3\nctxt 99\nprocs_running 3\nprocs_blocked 0\n"
}

fn stat(cpus: &[(u32, [u64; 10])]) -> Stat {
    Stat::parse(&stat_text(cpus)).unwrap()
}

/// `user` and `idle` ticks, the rest zero.
fn busy_idle(user: u64, idle: u64) -> [u64; 10] {
    [user, 0, 0, idle, 0, 0, 0, 0, 0, 0]
}

fn near(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9
}

#[test]
fn sets_of_cpus() {
    for (text, count, numbers) in [
        ("0\n", 1, vec![0]),
        ("0-3\n", 4, vec![0, 1, 2, 3]),
        ("0,2-3\n", 3, vec![0, 2, 3]),
        ("1,3,5-6,95", 5, vec![1, 3, 5, 6, 95]),
        ("7-7", 1, vec![7]),
    ] {
        let set = CpuSet::parse(text).unwrap();
        assert_eq!(set.count(), count, "{text}");
        assert_eq!(set.numbers().collect::<Vec<_>>(), numbers, "{text}");
    }
}

#[test]
fn the_same_set_is_equal_however_it_is_written() {
    let set = |text| CpuSet::parse(text).unwrap();
    assert_eq!(set("0,1,2"), set("0-2\n"));
    assert_ne!(set("0,2"), set("0-1"));
    assert_eq!(set("0,1,3-4,5").to_string(), "0-1,3-5");
}

#[test]
fn what_is_no_set_of_cpus_is_refused() {
    for text in [
        "",
        "\n",
        "-",
        "0-",
        "-1",
        "0,,1",
        "0,",
        "a",
        "0 1",
        "1-0",
        "2,1",
        "0-2,2",
        "0,0",
        "+1",
        "0x1",
        "4294967296",
        "0-99999999999999999999",
    ] {
        assert!(CpuSet::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_largest_set_neither_overflows_nor_takes_memory() {
    let set = CpuSet::parse("0-4294967295").unwrap();
    assert_eq!(set.count(), u32::MAX);
}

#[test]
fn a_stat_as_the_kernel_writes_it() {
    let read = stat(&[(0, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0]), (2, busy_idle(9, 10))]);
    assert_eq!(read.runnable, Some(3));
    assert_eq!(
        read.cpus[0],
        CpuTimes {
            number: 0,
            user: 1,
            nice: 2,
            system: 3,
            idle: 4,
            iowait: 5,
            irq: 6,
            softirq: 7,
            steal: 8
        }
    );
    assert_eq!(read.cpus[1].number, 2);
}

#[test]
fn fields_that_other_kernels_have_or_lack() {
    let old = Stat::parse("cpu 1 2 3 4\ncpu0 1 2 3 4\n").unwrap();
    assert_eq!((old.cpus[0].idle, old.cpus[0].steal), (4, 0));
    assert_eq!(old.runnable, None);
    let new = Stat::parse("cpu 1 2 3 4\ncpu0 1 2 3 4 5 6 7 8 9 10 11 12\n").unwrap();
    assert_eq!(new.cpus[0].steal, 8);
}

#[test]
fn a_stat_that_is_none_is_refused() {
    for text in [
        "",
        "\n",
        "garbage\n",
        "\0\0\0\0",
        "cpu0 1 2 3 4\n",
        "cpu  1 2 3 4\n",
        "cpu  1 2 3 4\nintr 5\n",
        "cpu  1 2 3 4\ncpu0 1 2 3\n",
        "cpu  1 2 3 4\ncpu0 1 2 3 -4\n",
        "cpu  1 2 3 4\ncpu0 1 2 3 4 x\n",
        "cpu  1 2 3 4\ncpu0\n",
        "cpu  1 2 3 4\ncpux 1 2 3 4\n",
        "cpu  1 2 3 4\ncpu 1 2 3 4\n",
        "cpu  1 2 3 4\ncpu0 1 2 3 4\ncpu0 1 2 3 4\n",
        "cpu  1 2 3 99999999999999999999\ncpu0 1 2 3 4\n",
        "cpu  1 2 3 4\ncpu0 1 2 3 18446744073709551616\n",
    ] {
        assert!(Stat::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_run_queue_that_is_no_number_is_unknown_and_the_times_stay() {
    let read = Stat::parse("cpu  1 2 3 4\ncpu0 1 2 3 4\nprocs_running many\n").unwrap();
    assert_eq!((read.runnable, read.cpus.len()), (None, 1));
    let read = Stat::parse("cpu  1 2 3 4\ncpu0 1 2 3 4\nprocs_running 99999999999\n").unwrap();
    assert_eq!(read.runnable, Some(u32::MAX));
}

#[test]
fn cpus_are_matched_by_number_not_by_place() {
    let before = stat(&[(0, busy_idle(0, 0)), (2, busy_idle(1000, 500))]);
    let after = stat(&[
        (0, busy_idle(25, 75)),
        (1, busy_idle(9, 90_000)),
        (2, busy_idle(1075, 525)),
    ]);
    let usage = after.usage_since(&before, SECOND).unwrap();
    assert!(near(usage.busy, 0.5), "{usage:?}");
    // And back: what left is left out.
    let later = stat(&[(0, busy_idle(125, 75)), (2, busy_idle(1175, 525))]);
    let usage = later.usage_since(&after, SECOND).unwrap();
    assert!(near(usage.busy, 1.0), "{usage:?}");
}

#[test]
fn a_cpu_whose_counters_went_back_is_left_out() {
    let before = stat(&[
        (0, busy_idle(0, 0)),
        (1, [900, 0, 50, 90_000, 0, 0, 0, 7, 0, 0]),
    ]);
    for restarted in [
        [900, 0, 50, 40, 0, 0, 0, 7, 0, 0],
        [899, 0, 50, 90_100, 0, 0, 0, 7, 0, 0],
        [900, 0, 50, 90_100, 0, 0, 0, 6, 0, 0],
        [0; 10],
    ] {
        let after = stat(&[(0, busy_idle(30, 70)), (1, restarted)]);
        let usage = after.usage_since(&before, SECOND).unwrap();
        assert!(near(usage.busy, 0.3), "{restarted:?}: {usage:?}");
    }
}

#[test]
fn time_that_the_kernel_moves_between_idle_and_iowait_is_no_restart() {
    let before = stat(&[(0, [0, 0, 0, 100, 50, 0, 0, 0, 0, 0])]);
    let after = stat(&[(0, [100, 0, 0, 40, 109, 0, 0, 0, 0, 0])]);
    let usage = after.usage_since(&before, SECOND).unwrap();
    assert!(near(usage.busy, 1.0), "{usage:?}");
}

#[test]
fn stolen_time_is_busy_and_told_apart_iowait_is_idle() {
    let before = stat(&[(0, [0; 10]), (1, [0; 10])]);
    let after = stat(&[
        (0, [20, 10, 10, 30, 10, 3, 2, 15, 0, 0]),
        (1, [0, 0, 0, 100, 0, 0, 0, 0, 0, 0]),
    ]);
    let usage = after.usage_since(&before, SECOND).unwrap();
    assert!(near(usage.busy, 0.30), "{usage:?}");
    assert!(near(usage.steal, 0.075), "{usage:?}");
    assert!(near(usage.nice, 0.05), "{usage:?}");
}

#[test]
fn guest_time_is_part_of_user_and_nice_and_not_counted_twice() {
    let before = stat(&[(0, [0; 10])]);
    let after = stat(&[(0, [30, 20, 0, 50, 0, 0, 0, 0, 30, 20])]);
    let usage = after.usage_since(&before, SECOND).unwrap();
    assert!(near(usage.busy, 0.5), "{usage:?}");
    assert!(near(usage.nice, 0.2), "{usage:?}");
}

#[test]
fn counters_that_stand_still_are_no_usage_rather_than_an_idle_one() {
    let frozen = stat(&[(0, busy_idle(5, 6)), (1, busy_idle(7, 8))]);
    assert_eq!(frozen.usage_since(&frozen, SECOND), None);
}

#[test]
fn no_cpu_in_common_is_no_usage() {
    let before = stat(&[(0, busy_idle(5, 6))]);
    let after = stat(&[(1, busy_idle(50, 60))]);
    assert_eq!(after.usage_since(&before, SECOND), None);
}

#[test]
fn a_cpu_that_claims_far_more_time_than_passed_is_left_out() {
    let before = stat(&[(0, [0; 10]), (1, [0; 10])]);
    // Stolen time that jumped as the VM was moved.
    let jumped = [40, 0, 0, 60, 0, 0, 0, 3_000_000, 0, 0];
    let after = stat(&[(0, busy_idle(40, 60)), (1, jumped)]);
    let usage = after.usage_since(&before, SECOND).unwrap();
    assert!(near(usage.busy, 0.4) && near(usage.steal, 0.0), "{usage:?}");
    let alone = stat(&[(1, jumped)]);
    assert_eq!(alone.usage_since(&before, SECOND), None);
}

#[test]
fn huge_numbers_do_not_overflow() {
    let huge = [u64::MAX; 10];
    let before = stat(&[(0, [0; 10]), (1, huge)]);
    let after = stat(&[(0, huge), (1, huge)]);
    let forever = Duration::from_secs(u64::MAX);
    let usage = after.usage_since(&before, forever).unwrap();
    assert!(near(usage.busy, 0.75), "{usage:?}");
}

/// The readings of a fixture: online set and `/proc/stat`.
fn hotplug_recording() -> Vec<(CpuSet, Stat)> {
    include_str!("../../../tests/fixtures/proc/hotplug.txt")
        .split("\n\n")
        .skip(1)
        .map(|block| {
            let (online, stat) = block.split_once('\n').unwrap();
            let online = online.strip_prefix("online ").unwrap();
            (CpuSet::parse(online).unwrap(), Stat::parse(stat).unwrap())
        })
        .collect()
}

#[test]
fn usage_is_right_through_every_change_of_a_real_recording() {
    let readings = hotplug_recording();
    assert_eq!(readings.len(), 9);
    // One busy task on one or two CPUs, as seen on the CPUs that were there throughout. The task
    // is on CPU 1 until that leaves, then on CPU 0, and goes back within the last but one.
    let truth = [0.5, 0.5, 0.08, 1.0, 1.0, 1.0, 0.6, 0.5];
    for (i, (pair, truth)) in readings.windows(2).zip(truth).enumerate() {
        let usage = pair[1].1.usage_since(&pair[0].1, SECOND).unwrap();
        assert!((usage.busy - truth).abs() < 0.02, "interval {i}: {usage:?}");
    }
}

#[test]
fn the_run_queue_is_the_fourth_field_of_loadavg() {
    assert_eq!(parse_runnable("0.50 0.40 0.30 3/89 5928\n"), Some(3));
    assert_eq!(parse_runnable("0 0 0 99999999999/1 1"), Some(u32::MAX));
    for none in [
        "",
        "1 2 3",
        "0.5 0.4 0.3 3 5928",
        "0.5 0.4 0.3 x/89 1",
        "0 0 0 /9",
    ] {
        assert_eq!(parse_runnable(none), None, "{none:?}");
    }
}

#[test]
fn pressure_is_the_total_of_the_line_some() {
    let some = "some avg10=0.25 avg60=0.42 avg300=0.32 total=6353397\n";
    let full = "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
    assert_eq!(parse_pressure(some), Some(6_353_397));
    assert_eq!(parse_pressure(&format!("{some}{full}")), Some(6_353_397));
    assert_eq!(parse_pressure(&format!("{full}{some}")), Some(6_353_397));
    for none in [
        "",
        full,
        "some avg10=0.00\n",
        "some total=\n",
        "some total=-1\n",
    ] {
        assert_eq!(parse_pressure(none), None, "{none:?}");
    }
}

#[test]
fn files_are_read_below_the_root_and_errors_name_them() {
    let root = tempfile::tempdir().unwrap();
    let mut reader = ProcReader::new(root.path());
    let write = |path: &str, text: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let missing = reader.online().unwrap_err();
    assert!(matches!(missing, ReadError::Io { .. }), "{missing}");
    assert!(missing.to_string().contains("cpu/online"), "{missing}");
    assert_eq!((reader.runnable(), reader.pressure_us()), (None, None));

    write("sys/devices/system/cpu/online", b"0,2\n");
    write("sys/devices/system/cpu/present", b"0-3\n");
    write(
        "proc/stat",
        stat_text(&[(0, [1; 10]), (2, [1; 10])]).as_bytes(),
    );
    write("proc/loadavg", b"0.00 0.00 0.00 2/9 1\n");
    write("proc/pressure/cpu", b"some avg10=0.00 total=77\n");
    assert_eq!(reader.online().unwrap().count(), 2);
    assert_eq!(reader.present().unwrap().count(), 4);
    assert_eq!(reader.stat().unwrap().cpus.len(), 2);
    assert_eq!(reader.runnable(), Some(2));
    assert_eq!(reader.pressure_us(), Some(77));

    for bad in [&b""[..], b"\xff\xfe", b"cpu"] {
        write("proc/stat", bad);
        let error = reader.stat().unwrap_err();
        assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
        assert!(error.to_string().contains("proc/stat"), "{error}");
    }
}

fn any_cpus() -> impl Strategy<Value = Vec<(u32, [u64; 10])>> {
    let field = prop_oneof![0..300u64, any::<u64>(), Just(u64::MAX)];
    let fields = proptest::array::uniform10(field);
    proptest::collection::btree_map(0..6u32, fields, 1..6).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text: String, bytes: Vec<u8>) {
        let lossy = String::from_utf8_lossy(&bytes);
        for text in [text.as_str(), &lossy] {
            let _ = CpuSet::parse(text);
            let _ = Stat::parse(text);
            let _ = Stat::parse(&format!("cpu  1 2 3 4\ncpu0 {text}\nprocs_running {text}"));
            let _ = parse_runnable(text);
            let _ = parse_pressure(&format!("some {text} total={text}"));
        }
    }

    #[test]
    fn a_set_is_read_back_as_it_is_written(text in "[0-9]{1,3}(-[0-9]{1,3})?(,[0-9]{1,3}(-[0-9]{1,3})?){0,4}") {
        if let Ok(set) = CpuSet::parse(&text) {
            prop_assert_eq!(CpuSet::parse(&set.to_string()), Ok(set));
        }
    }

    #[test]
    fn shares_are_finite_and_between_0_and_1(before in any_cpus(), after in any_cpus(), ms: u32) {
        let (before, after) = (stat(&before), stat(&after));
        for span in [Duration::from_millis(ms.into()), LONG, Duration::MAX] {
            if let Some(usage) = after.usage_since(&before, span) {
                for share in [usage.busy, usage.steal, usage.nice] {
                    prop_assert!((0.0..=1.0).contains(&share), "{:?}", usage);
                }
                prop_assert!(usage.steal + usage.nice <= usage.busy + 1e-9);
            }
        }
    }
}
