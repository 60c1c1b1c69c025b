//! One row for each way that a set-up can be wrong.

use crate::bed::{Bed, KEY, SERVER, write_private};
use glesys_autoscaler::sandbox::{Fault, Function, PermissionAnswer, Times, UnknownServer};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Spoils a set-up, and what is then said.
struct Row {
    name: &'static str,
    spoil: fn(&mut Bed),
    says: &'static [&'static str],
    exit: i32,
}

#[test]
fn each_fault_has_its_line_with_the_mend_and_its_exit_status() {
    let rows = [
        Row {
            name: "a policy file that does not parse",
            spoil: |bed| bed.replace("min_cores = 1", "min_cores = one"),
            says: &["✗ policy file: ", "– API: not called"],
            exit: 78,
        },
        Row {
            name: "a policy that can flap",
            spoil: |bed| {
                bed.policy += "[policy.up]\ntarget = 60\nutilization = 90\n[policy.down]\nutilization = 85\nheadroom = 0.0\n";
            },
            says: &["✗ policy file: "],
            exit: 78,
        },
        Row {
            name: "a key in the policy file",
            spoil: |bed| bed.api_key(&format!("key = \"{KEY}\"")),
            says: &["✗ policy file: "],
            exit: 78,
        },
        Row {
            name: "plain http to another machine",
            spoil: |bed| {
                let url = bed.api.url.clone();
                bed.replace(&url, "http://192.0.2.1");
            },
            says: &["✗ policy file: "],
            exit: 78,
        },
        Row {
            name: "no key",
            spoil: |bed| fs::remove_file(bed.at("api-key")).unwrap(),
            says: &[
                "✗ key: there is no API key: looked at ",
                "– API: not called",
            ],
            exit: 78,
        },
        Row {
            name: "a key that others can read",
            spoil: |bed| {
                fs::set_permissions(bed.at("api-key"), Permissions::from_mode(0o644)).unwrap();
            },
            says: &["✗ key: "],
            exit: 78,
        },
        Row {
            name: "a wrong key",
            spoil: |bed| write_private(&bed.at("api-key"), "another-key"),
            says: &["✓ API: ", "✗ key accepted: server/details: the API refuses"],
            exit: 78,
        },
        Row {
            name: "an address that is not on the key's list",
            spoil: |bed| {
                bed.api.key(KEY, |key| key.addresses.clear());
                bed.api
                    .switch(|s| s.permission_answer = PermissionAnswer::Forbidden);
            },
            says: &["✗ key accepted: server/details: the API refuses the call: the key"],
            exit: 78,
        },
        Row {
            name: "server/details not permitted",
            spoil: |bed| {
                bed.api.key(KEY, |key| {
                    key.functions.remove(&Function::Details);
                });
            },
            says: &[
                "✓ key accepted: ",
                "✗ server/details: this key may not use it: permit server/details and server/edit",
            ],
            exit: 78,
        },
        Row {
            name: "an unknown server",
            spoil: |bed| bed.replace(SERVER, "kvm7654321"),
            says: &[
                "✓ API: ",
                "✗ server id: server/details: there is no server kvm7654321",
            ],
            exit: 78,
        },
        Row {
            name: "an unknown server, answered with 404",
            spoil: |bed| {
                bed.replace(SERVER, "kvm7654321");
                bed.api
                    .switch(|s| s.unknown_server = UnknownServer::NotFound);
            },
            says: &["✗ server id: "],
            exit: 78,
        },
        Row {
            name: "a locked server",
            spoil: |bed| bed.api.lock(SERVER, Duration::from_secs(3600)).unwrap(),
            says: &[
                "✓ this machine: ",
                "✗ running: the server is locked",
                "✓ platform: ",
            ],
            exit: 1,
        },
        Row {
            name: "a server that is powered off",
            spoil: |bed| bed.api.set_running(SERVER, false).unwrap(),
            says: &["✗ running: the API says that this server is powered off"],
            exit: 1,
        },
        Row {
            name: "counts that do not meet the limits",
            spoil: |bed| bed.api.platform("KVM", |p| p.allowed = vec![16, 32]),
            says: &["✗ platform: KVM has 16, 32: none of these is within limits.min_cores = 1"],
            exit: 78,
        },
        Row {
            name: "an API that fails",
            spoil: |bed| {
                bed.api.inject(
                    Function::Details,
                    Fault::http(502, "Bad gateway"),
                    Times::Always,
                );
            },
            says: &["✗ API: server/details: ", "– server: not checked"],
            exit: 1,
        },
        Row {
            name: "an API that takes no calls",
            spoil: |bed| {
                bed.api.inject(
                    Function::Details,
                    Fault::unavailable(Some(60)),
                    Times::Always,
                );
            },
            says: &["✗ API: server/details: the API takes no calls now"],
            exit: 1,
        },
        Row {
            name: "nothing listens",
            spoil: |bed| {
                let url = bed.api.url.clone();
                bed.replace(&url, "http://127.0.0.1:9");
            },
            says: &["✗ API: server/details: no connection to 127.0.0.1:9"],
            exit: 1,
        },
        Row {
            name: "a state directory that is a file",
            spoil: |bed| {
                fs::remove_dir(bed.at("state")).unwrap();
                fs::write(bed.at("state"), "").unwrap();
            },
            says: &["✓ API: ", "✗ state: "],
            exit: 78,
        },
        Row {
            name: "a CA file that is none",
            spoil: |bed| {
                fs::write(bed.at("ca.pem"), "no certificate").unwrap();
                let line = format!("ca_file = {:?}", bed.at("ca.pem"));
                bed.api_key(&line);
            },
            says: &["✓ key: ", "✗ TLS: api.ca_file "],
            exit: 78,
        },
        Row {
            name: "two faults: the one of the configuration decides, and both are said",
            spoil: |bed| {
                bed.api.set_running(SERVER, false).unwrap();
                bed.api.platform("KVM", |p| p.allowed = vec![16]);
            },
            says: &["✗ running: ", "✗ platform: "],
            exit: 78,
        },
    ];
    for row in rows {
        let mut bed = Bed::new();
        (row.spoil)(&mut bed);
        let run = bed.check(&[]);
        for start in row.says {
            assert!(
                run.out.lines().any(|line| line.starts_with(start)),
                "{}: no line `{start}` in:\n{}{}",
                row.name,
                run.out,
                run.err
            );
        }
        assert_eq!(run.exit, row.exit, "{}:\n{}{}", row.name, run.out, run.err);
        // What concerns this machine alone is looked at all the same.
        assert!(run.out.contains("pinned: "), "{}:\n{}", row.name, run.out);
    }
}
