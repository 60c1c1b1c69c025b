//! Intervals and sources that give no sample, and the way back from each.

use super::*;
use proptest::prelude::*;

#[test]
fn more_than_ten_points_apart_is_no_sample_and_the_next_is_one_again() {
    let mut machine = Machine::based(&[0, 1]);
    machine.run(5, USER, 0.5);
    assert_eq!(machine.sample(0.599).unwrap().busy_mc, 1198);
    for wrong in [0.601, 0.399, 1.0, 0.0] {
        machine.run(5, USER, 0.5);
        let reading = machine.read(&[Refreshed::Busy(wrong), Refreshed::Base]);
        assert_eq!(reading.sample, Err(NoSample::Disagree), "{wrong}");
        assert_eq!(reading.guest.unwrap().online, 2);
    }
    assert_eq!(machine.forgotten(), 4);
    machine.run(5, USER, 0.5);
    assert_eq!(machine.sample(0.5).unwrap().busy_mc, 1000);
}

#[test]
fn short_intervals_may_differ_by_three_ticks() {
    let apart = |ms| agreement(Duration::from_millis(ms));
    assert_eq!(apart(250), 0.12);
    assert_eq!(apart(300), 0.10);
    assert_eq!(apart(5000), 0.10);
}

#[test]
fn an_interval_far_longer_than_configured_is_a_gap_and_the_next_is_not() {
    let mut machine = Machine::based(&[0]);
    machine.run(15, USER, 0.5);
    assert_eq!(machine.sample(0.5).unwrap().span_ms, 15_000);
    // A suspend: the clock ran on and the counters did not.
    machine.run(5, USER, 0.5);
    machine.wait(10_001);
    assert_eq!(machine.sample(0.5), Err(NoSample::Gap));
    machine.run(5, USER, 0.5);
    assert_eq!(machine.sample(0.5).unwrap().span_ms, 5_000);
}

#[test]
fn a_short_interval_has_five_seconds_of_grace() {
    let longest = |ms| longest_span(Duration::from_millis(ms)).as_millis();
    assert_eq!(longest(1_000), 6_000);
    assert_eq!(longest(5_000), 15_000);
    assert_eq!(longest_span(Duration::MAX), Duration::MAX);
}

#[test]
fn an_instant_before_the_base_is_a_gap() {
    let mut machine = Machine::based(&[0]);
    machine.run(5, USER, 0.5);
    machine.now.boottime_ms -= 60_000;
    assert_eq!(machine.sample(0.5), Err(NoSample::Gap));
    machine.run(5, USER, 0.5);
    assert!(machine.sample(0.5).is_ok());
}

#[test]
fn a_step_of_the_wall_clock_is_none_of_our_business() {
    let mut machine = Machine::based(&[0]);
    machine.run(5, USER, 0.5);
    machine.now.wall_ms += 86_400_000;
    assert_eq!(machine.sample(0.5).unwrap().span_ms, 5000);
}

#[test]
fn a_reading_too_soon_gives_nothing_and_the_interval_goes_on() {
    let mut machine = Machine::based(&[0]);
    machine.run(2, USER, 0.5);
    let reading = machine.read(&[Refreshed::TooSoon]);
    assert_eq!(reading.sample, Err(NoSample::Unreadable));
    assert_eq!(reading.guest.unwrap().online, 1);
    machine.run(3, USER, 0.5);
    let sample = machine.sample(0.5).unwrap();
    assert_eq!((sample.span_ms, sample.busy_mc), (5000, 500));
    assert_eq!(machine.forgotten(), 0);
}

#[test]
fn counters_that_stand_still_are_unreadable_not_idle() {
    let mut machine = Machine::based(&[0, 1]);
    for _ in 0..2 {
        machine.wait(5000);
        assert_eq!(machine.sample(0.0), Err(NoSample::Unreadable));
    }
    machine.run(5, USER, 0.5);
    assert_eq!(machine.sample(0.5).unwrap().busy_mc, 1000);
}

#[test]
fn sysinfo_without_a_value_is_unreadable() {
    let mut machine = Machine::based(&[0]);
    machine.run(5, USER, 0.5);
    assert_eq!(
        machine.read(&[Refreshed::Nothing]).sample,
        Err(NoSample::Unreadable)
    );
    machine.run(5, USER, 0.5);
    machine.set_base();
    machine.run(5, USER, 0.5);
    assert!(machine.sample(0.5).is_ok());
}

#[test]
fn files_that_cannot_be_used_give_no_sample_and_recovery_begins_with_a_base() {
    type Fault = fn(&Machine);
    let faults: [(&str, Fault, bool); 6] = [
        ("no stat", |m| m.remove("proc/stat"), true),
        ("empty stat", |m| m.write("proc/stat", ""), true),
        ("garbage", |m| m.write("proc/stat", "cpu x\ncpu0 y\n"), true),
        (
            "no online",
            |m| m.remove("sys/devices/system/cpu/online"),
            false,
        ),
        (
            "empty online",
            |m| m.write("sys/devices/system/cpu/online", "\n"),
            false,
        ),
        (
            "huge",
            |m| m.write("proc/stat", "cpu  1 2 3 99999999999999999999\n"),
            true,
        ),
    ];
    for (name, fault, has_guest) in faults {
        let mut machine = Machine::based(&[0, 1]);
        machine.run(5, USER, 0.5);
        fault(&machine);
        // sysinfo is not asked at all: it would take the text for numbers.
        let reading = machine.read(&[]);
        assert_eq!(reading.sample, Err(NoSample::Unreadable), "{name}");
        assert_eq!(reading.guest.is_some(), has_guest, "{name}");
        machine.plug(&[0, 1]);
        machine.run(5, USER, 0.5);
        machine.set_base();
        machine.run(5, USER, 0.5);
        assert_eq!(machine.sample(0.5).unwrap().busy_mc, 1000, "{name}");
    }
}

#[test]
fn a_stat_of_other_cpus_than_the_online_ones_is_unreadable() {
    let mut machine = Machine::based(&[0, 1]);
    machine.run(5, USER, 0.5);
    machine.cpus.pop();
    machine.write_stat(1);
    assert_eq!(machine.sample(0.5), Err(NoSample::Unreadable));
}

/// What may happen between two readings.
#[derive(Debug, Clone)]
enum Happening {
    Run(u64, f64),
    Online(Vec<u32>),
    Stat(String),
    Pressure(u64),
    Back,
}

fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (1..30u64, 0.0..=1.0f64).prop_map(|(s, share)| Happening::Run(s, share)),
        1 => proptest::collection::btree_set(0..8u32, 1..5)
            .prop_map(|set| Happening::Online(set.into_iter().collect())),
        1 => any::<String>().prop_map(Happening::Stat),
        1 => any::<u64>().prop_map(Happening::Pressure),
        1 => Just(Happening::Back),
    ]
}

fn any_answer() -> impl Strategy<Value = Refreshed> {
    prop_oneof![
        1 => Just(Refreshed::Base),
        1 => Just(Refreshed::TooSoon),
        1 => Just(Refreshed::Nothing),
        6 => (0.0..=1.0f64).prop_map(Refreshed::Busy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_a_sample_is_within_its_bounds(
        steps in proptest::collection::vec((any_happening(), any_answer()), 1..20),
        demand: bool,
        ignore_nice: bool,
    ) {
        let steal = if demand { Steal::Demand } else { Steal::Report };
        let mut machine = Machine::with(&[0, 1], steal, ignore_nice);
        for (happening, answer) in steps {
            match happening {
                Happening::Run(seconds, share) => machine.run(seconds, USER, share),
                Happening::Online(numbers) => machine.plug(&numbers),
                Happening::Stat(text) => machine.write("proc/stat", &text),
                Happening::Pressure(total) => machine.pressure(total),
                Happening::Back => machine.cpus[0].1 = [0; 8],
            }
            // Two answers more, for the restarts.
            machine.script.0.lock().unwrap().answers = VecDeque::from([answer; 3]);
            let reading = machine.sampler.read(machine.now);
            if let Ok(sample) = reading.sample {
                prop_assert!(sample.busy_mc <= sample.online * 1000);
                prop_assert!(sample.steal_mc <= sample.online * 1000);
                prop_assert!(sample.pressure_bp.is_none_or(|bp| bp <= 10_000));
                prop_assert!(sample.span_ms > 0 && sample.span_ms <= 15_000);
                prop_assert_eq!(Some(sample.online), reading.guest.map(|guest| guest.online));
            }
        }
    }
}
