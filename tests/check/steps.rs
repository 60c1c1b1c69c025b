//! The steps where all is right or nearly, what they leave behind, and the flags.

use crate::bed::{Bed, KEY, Run, emulator, online, server, with};
use crate::served::Served;
use crate::tls::PrivateCa;
use glesys_autoscaler::sandbox::{Function, Key, Shape};
use rcgen::{CertificateParams, date_time_ymd};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

#[test]
fn everything_right_is_said_step_by_step_and_leaves_nothing_behind() {
    let bed = Bed::new();
    fs::write(bed.at("policy.toml"), &bed.policy).unwrap();
    let before = bed.listing();
    let run = bed.check(&[]);
    run.all_right();
    let steps = [
        "✓ policy file: ",
        "✓ limits: 1 to 8 cores",
        "✓ no flapping: ",
        "✓ key: read from the key file ",
        "– TLS: not used",
        "✓ API: http://127.0.0.1:",
        "✓ key accepted: ",
        "✓ server/details: permitted",
        "– server/edit: ",
        "✓ this machine: kvm1234567 is this one: both have the address 127.0.0.1",
        "✓ running: it runs and is not locked",
        "✓ platform: KVM has 1, 2, 3, 4, 5, 6, 7, 8; within the limits: 1, 2",
        "✓ cores now: ",
        "✓ state: ",
        "– daemon: none is running",
        "✓ raising: on",
        "– lowering: not done before `glesys-autoscaler check --prove-lowering`",
    ];
    let mut rest = run.out.as_str();
    for step in steps {
        let at = rest.find(step);
        let at = at.unwrap_or_else(|| panic!("`{step}` is missing or late in:\n{}", run.out));
        rest = &rest[at..];
    }
    assert_eq!(bed.listing(), before);
    let edits = bed.api.calls_of(Function::Edit);
    assert!(edits.is_empty(), "looking changes nothing");
}

#[test]
fn everything_right_over_tls() {
    let ca = PrivateCa::new();
    let api = Served::over_tls(emulator(online()), ca.server(&["127.0.0.1"]));
    let mut bed = Bed::on(api);
    fs::write(bed.at("ca.pem"), ca.pem()).unwrap();
    let ca_file = format!("ca_file = {:?}", bed.at("ca.pem"));
    bed.api_key(&ca_file);
    let run = bed.check(&[]);
    run.all_right();
    assert!(run.line("✓ TLS: ").contains("ca.pem"));
    assert!(run.line("✓ API: ").contains("its certificate is trusted"));
}

#[test]
fn mends_are_commands_to_paste() {
    let bed = Bed::new();
    fs::set_permissions(bed.at("api-key"), Permissions::from_mode(0o640)).unwrap();
    let run = bed.check(&[]);
    let line = run.line("✗ key: ");
    assert!(
        line.contains(&format!("run `chmod 600 {}`", bed.at("api-key").display())),
        "{line}"
    );
}

#[test]
fn a_certificate_that_does_not_hold_is_named() {
    let ca = PrivateCa::new();
    let other = PrivateCa::new();
    let expired = || {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        ca.server_with(params)
    };
    for (config, root, says) in [
        (ca.server(&["127.0.0.1"]), &other, "its certificate is "),
        (ca.server(&["api.example.com"]), &ca, "for another name"),
        (expired(), &ca, "has expired"),
    ] {
        let mut bed = Bed::on(Served::over_tls(emulator(online()), config));
        fs::write(bed.at("ca.pem"), root.pem()).unwrap();
        let line = format!("ca_file = {:?}", bed.at("ca.pem"));
        bed.api_key(&line);
        let run = bed.check(&[]);
        let line = run.line("✗ API: ");
        assert!(line.contains("no secure connection"), "{line}");
        assert!(line.contains(says), "{line}");
        assert_eq!(run.exit, 1);
        assert!(bed.api.calls().is_empty());
    }
    // Without the file nobody vouches for it.
    let api = Served::over_tls(emulator(online()), ca.server(&["127.0.0.1"]));
    let run = Bed::on(api).check(&[]);
    assert!(run.line("✗ API: ").contains("api.ca_file"), "{}", run.out);
}

#[test]
fn without_the_permission_for_the_counts_it_says_what_will_be_tried() {
    let key = Key::for_loopback(KEY).may_not(Function::AllowedArguments);
    let mut bed = Bed::on(Served::over_http(with(key, server(online()))));
    bed.replace("max_cores = 8", "max_cores = 4");
    let run = bed.check(&[]);
    run.all_right();
    let line = run.line("– platform: KVM: ");
    assert!(line.contains("(1, 2, 3, 4)"), "{line}");
    assert!(line.contains("server/allowedarguments"), "{line}");
}

#[test]
fn both_shapes_of_the_counts_are_understood_and_met_with_the_limits() {
    for shape in [Shape::Values, Shape::Units] {
        let mut bed = Bed::new();
        bed.replace(
            "max_cores = 8",
            "max_cores = 8\nallowed_cores = [1, 2, 3, 4]",
        );
        bed.api.switch(|s| s.shape = shape);
        bed.api.platform("KVM", |p| p.allowed = vec![1, 2, 4, 8]);
        let run = bed.check(&[]);
        run.all_right();
        let line = run.line("✓ platform: ");
        assert!(line.ends_with("within the limits: 1, 2, 4"), "{line}");
    }
}

#[test]
fn a_count_outside_the_limits_is_a_warning() {
    let mut bed = Bed::new();
    let cores = online();
    bed.replace("min_cores = 1", &format!("min_cores = {}", cores + 1));
    let run = bed.check(&[]);
    run.all_right();
    assert!(run.line("! cores now: ").contains("below limits.min_cores"));
}

#[test]
fn offline_stops_before_the_network_and_says_so() {
    let bed = Bed::new();
    let run = bed.check(&["--offline"]);
    assert_eq!(run.exit, 0, "{}{}", run.out, run.err);
    run.line("✓ policy file: ");
    run.line("✓ key: ");
    assert!(run.line("– network: ").contains("--offline"));
    assert!(bed.api.calls().is_empty());

    let mut bed = Bed::new();
    bed.replace("min_cores = 1", "min_cores = 9");
    assert_eq!(bed.check(&["--offline"]).exit, 78);
    let bed = Bed::new();
    fs::remove_file(bed.at("api-key")).unwrap();
    assert_eq!(bed.check(&["--offline"]).exit, 78);
}

#[test]
fn print_is_a_policy_file_and_nothing_else() {
    let mut bed = Bed::new();
    bed.replace("max_cores = 8", "max_cores = 6");
    let run = bed.check(&["--print"]);
    assert_eq!((run.exit, run.err.as_str()), (0, ""));
    let again = glesys_autoscaler::config::parse(&run.out, "printed").unwrap();
    assert_eq!(
        again,
        glesys_autoscaler::config::load(&bed.at("policy.toml")).unwrap()
    );
    assert!(bed.api.calls().is_empty());

    bed.replace("max_cores = 6", "max_cores = 0");
    let run = bed.check(&["--print"]);
    assert_eq!((run.exit, run.out.as_str()), (78, ""));
    assert!(run.err.contains("limits.max_cores"), "{}", run.err);
}

#[test]
fn a_reader_who_goes_does_not_end_it_with_a_panic() {
    let bed = Bed::new();
    let mut child = bed
        .command(&[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let run = Run::of(output);
    assert!(run.exit <= 1, "{}", run.err);
    assert!(!run.err.contains("panic"), "{}", run.err);
}
