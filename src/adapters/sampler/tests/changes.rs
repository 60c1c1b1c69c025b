//! CPUs that come and go.

use super::*;

#[test]
fn a_sample_of_cpus_with_a_hole_in_their_numbers() {
    let mut machine = Machine::based(&[0, 2, 3]);
    machine.run(5, USER, 0.4);
    let reading = machine.read(&[Refreshed::Busy(0.41)]);
    assert_eq!(
        reading.guest,
        Some(GuestCpus {
            online: 3,
            present: 8
        })
    );
    assert_eq!(
        reading.sample,
        Ok(Sample {
            span_ms: 5000,
            online: 3,
            busy_mc: 1230,
            steal_mc: 0,
            runnable_c: Some(100),
            pressure_bp: None,
        })
    );
}

#[test]
fn growth_and_shrinking_give_no_sample_at_the_change_and_a_true_one_after_it() {
    let mut machine = Machine::based(&[0]);
    for (step, numbers) in [&[0, 1, 2, 3][..], &[0, 2, 3], &[0, 1, 2, 3], &[0], &[0, 7]]
        .into_iter()
        .enumerate()
    {
        machine.run(5, USER, 0.9);
        machine.plug(numbers);
        // The 7 % that sysinfo gives at such a moment, then the base of a new `System`.
        let reading = machine.read(&[Refreshed::Busy(0.07), Refreshed::Base]);
        assert_eq!(reading.sample, Err(NoSample::OnlineChanged), "{numbers:?}");
        let online = u32::try_from(numbers.len()).unwrap();
        assert_eq!(reading.guest.unwrap().online, online);
        assert_eq!(machine.forgotten(), u32::try_from(step).unwrap() + 1);

        machine.run(5, USER, 0.9);
        let sample = machine.sample(0.9).unwrap();
        assert_eq!((sample.online, sample.busy_mc), (online, online * 900));
    }
}

#[test]
fn as_many_cpus_but_others_are_a_change() {
    let mut machine = Machine::based(&[0, 1]);
    machine.run(5, USER, 0.5);
    machine.plug(&[0, 2]);
    assert_eq!(
        machine
            .read(&[Refreshed::Busy(0.5), Refreshed::Base])
            .sample,
        Err(NoSample::OnlineChanged)
    );
}

#[test]
fn a_change_while_reading_gives_no_sample_and_no_base() {
    let mut machine = Machine::based(&[0]);
    machine.run(5, USER, 1.0);
    let root = machine.root.path().to_owned();
    machine
        .script
        .0
        .lock()
        .unwrap()
        .during
        .push_back(Box::new(move || {
            write(&root, "sys/devices/system/cpu/online", "0-1\n");
        }));
    let reading = machine.read(&[Refreshed::Busy(1.0)]);
    assert_eq!(reading.sample, Err(NoSample::OnlineChanged));
    assert_eq!(reading.guest.unwrap().online, 2);

    machine.plug(&[0, 1]);
    machine.run(5, USER, 1.0);
    machine.set_base();
    machine.run(5, USER, 1.0);
    assert_eq!(machine.sample(1.0).unwrap().busy_mc, 2000);
}

#[test]
fn the_first_value_of_a_new_system_is_never_reported() {
    // The restart at the change failed, so the base of sysinfo is set one reading later.
    let mut machine = Machine::based(&[0]);
    machine.run(5, USER, 0.5);
    machine.plug(&[0, 1]);
    machine.read(&[Refreshed::Busy(0.5), Refreshed::Nothing]);
    machine.run(5, USER, 0.5);
    machine.set_base();
    machine.run(5, USER, 0.5);
    assert_eq!(machine.sample(0.5).unwrap().busy_mc, 1000);
}

#[test]
fn counters_that_went_back_leave_the_other_cpus_to_judge_by() {
    let mut machine = Machine::based(&[0, 1]);
    machine.run(5, USER, 0.5);
    assert!(machine.sample(0.5).is_ok());
    machine.run(5, USER, 0.5);
    machine.cpus[1].1 = [0; 8];
    machine.write_stat(1);
    assert_eq!(machine.sample(0.5).unwrap().busy_mc, 1000);
    machine.run(5, USER, 0.5);
    machine.cpus[1].1 = [0; 8];
    machine.write_stat(1);
    // What sysinfo makes of a sum that went back.
    assert_eq!(
        machine
            .read(&[Refreshed::Busy(1.0), Refreshed::Base])
            .sample,
        Err(NoSample::Disagree)
    );
}
