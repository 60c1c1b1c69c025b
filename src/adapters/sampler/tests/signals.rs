//! What a sample holds besides the busy cores: steal, nice, queue, pressure.

use super::*;

#[test]
fn stolen_time_is_reported_or_demand_as_the_policy_asks() {
    for (steal, busy_mc) in [(Steal::Report, 0), (Steal::Demand, 800)] {
        let mut machine = Machine::with(&[0, 1], steal, false);
        machine.set_base();
        machine.run(5, STEAL, 0.4);
        let sample = machine.sample(0.4).unwrap();
        assert_eq!((sample.busy_mc, sample.steal_mc), (busy_mc, 800));
    }
}

#[test]
fn niced_time_is_taken_out_when_ignored_and_queue_and_pressure_with_it() {
    for (ignore, busy_mc, runnable_c, pressure_bp) in
        [(false, 600, Some(100), Some(1000)), (true, 0, None, None)]
    {
        let mut machine = Machine::with(&[0], Steal::Report, ignore);
        machine.pressure(1_000_000);
        machine.set_base();
        machine.run(5, NICE, 0.6);
        machine.pressure(1_500_000);
        let sample = machine.sample(0.6).unwrap();
        assert_eq!(sample.busy_mc, busy_mc, "ignore_nice = {ignore}");
        assert_eq!(sample.runnable_c, runnable_c);
        assert_eq!(sample.pressure_bp, pressure_bp);
    }
}

#[test]
fn pressure_is_the_waiting_within_the_interval() {
    let mut machine = Machine::new(&[0]);
    machine.pressure(7_000_000);
    machine.set_base();
    for (total, expected) in [
        (7_000_000, Some(0)),
        (8_250_000, Some(2500)),
        (99_000_000, Some(10_000)),
        // Counted anew: not known for this interval.
        (5, None),
        (500_005, Some(1000)),
    ] {
        machine.run(5, USER, 0.5);
        machine.pressure(total);
        assert_eq!(
            machine.sample(0.5).unwrap().pressure_bp,
            expected,
            "{total}"
        );
    }
}

#[test]
fn pressure_that_never_moves_from_zero_is_not_there() {
    let mut machine = Machine::new(&[0]);
    machine.pressure(0);
    machine.set_base();
    for _ in 0..3 {
        machine.run(5, USER, 1.0);
        assert_eq!(machine.sample(1.0).unwrap().pressure_bp, None);
    }
    machine.run(5, USER, 1.0);
    machine.pressure(2_500_000);
    assert_eq!(machine.sample(1.0).unwrap().pressure_bp, Some(5000));
    machine.run(5, USER, 1.0);
    assert_eq!(machine.sample(1.0).unwrap().pressure_bp, Some(0));
}

#[test]
fn pressure_that_cannot_be_read_is_unknown_until_two_readings_are_there() {
    let mut machine = Machine::new(&[0]);
    machine.pressure(1_000_000);
    machine.set_base();
    machine.remove("proc/pressure/cpu");
    machine.run(5, USER, 0.5);
    assert_eq!(machine.sample(0.5).unwrap().pressure_bp, None);
    machine.pressure(9_000_000);
    machine.run(5, USER, 0.5);
    assert_eq!(machine.sample(0.5).unwrap().pressure_bp, None);
    machine.pressure(9_500_000);
    machine.run(5, USER, 0.5);
    assert_eq!(machine.sample(0.5).unwrap().pressure_bp, Some(1000));
}

#[test]
fn the_queue_is_the_mean_of_its_readings_since_the_last_sample() {
    let mut machine = Machine::based(&[0]);
    machine.run(5, USER, 1.0);
    for tasks in [4, 5, 5] {
        machine.write("proc/loadavg", &format!("1.00 1.00 1.00 {tasks}/90 77\n"));
        machine.sampler.read_queue();
    }
    machine.write_stat(2);
    assert_eq!(machine.sample(1.0).unwrap().runnable_c, Some(400));
    machine.run(5, USER, 1.0);
    machine.write_stat(3);
    assert_eq!(machine.sample(1.0).unwrap().runnable_c, Some(300));
    // Readings that fail do not count as an empty queue.
    machine.remove("proc/loadavg");
    machine.run(5, USER, 1.0);
    machine.sampler.read_queue();
    machine.write_stat(3);
    assert_eq!(machine.sample(1.0).unwrap().runnable_c, Some(300));
}

#[test]
fn a_mean_is_rounded_and_without_readings_there_is_none() {
    let mut queue = QueueMean::default();
    assert_eq!(queue.take(None), None);
    for tasks in [1, 1] {
        queue.add(Some(tasks));
    }
    assert_eq!(queue.take(Some(3)), Some(167));
    assert_eq!(queue.take(Some(u32::MAX)), Some(u32::MAX));
}
