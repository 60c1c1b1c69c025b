//! Arguments that are right, and wrong; and what exit status tells a script.

use crate::daemon::{BINARY, Place, clean};
use crate::{bed, told};
use std::fs;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    told(&clean(BINARY.as_ref()).args(arguments).output().unwrap())
}

#[test]
fn help_names_every_command_and_every_flag() {
    let everywhere = [
        "--config <FILE>",
        "--log-format <LOG_FORMAT>",
        "journal",
        "json",
        "--help",
    ];
    let rows: [(&[&str], &[&str]); 7] = [
        (
            &[],
            &[
                "run",
                "check",
                "status",
                "history",
                "pause",
                "resume",
                "--version",
            ],
        ),
        (&["run"], &["--dry-run", "--sandbox", "--load", "--hotplug"]),
        (
            &["check"],
            &[
                "--offline",
                "--print",
                "--prove-lowering",
                "--confirm-identity",
                "--yes",
            ],
        ),
        (&["status"], &["--json", "--watch"]),
        (&["history"], &["--since <DURATION>", "--json"]),
        (&["pause"], &["--for <DURATION>"]),
        (&["resume"], &["--raising", "--lowering"]),
    ];
    for (command, names) in rows {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let (code, out, err) = run(&arguments);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
        for name in names.iter().chain(&everywhere) {
            assert!(
                out.contains(name),
                "{arguments:?} does not tell of {name}:\n{out}"
            );
        }
    }
    assert_eq!(
        run(&["--version"]).1,
        format!("glesys-autoscaler {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn wrong_usage_is_2_and_names_what_is_wrong() {
    for (arguments, named) in [
        (&[][..], "Usage:"),
        (&["frobnicate"], "frobnicate"),
        (&["statsu"], "status"),
        (&["run", "--dryrun"], "--dry-run"),
        (&["run", "now"], "now"),
        (&["run", "--load"], "--sandbox"),
        (&["run", "--hotplug"], "--sandbox"),
        (
            &["check", "--offline", "--prove-lowering"],
            "--prove-lowering",
        ),
        (&["history", "--since", "yesterday"], "yesterday"),
        (&["pause", "--for", "10"], "10"),
        (&["pause", "2h"], "2h"),
        (&["run", "--log-format", "xml"], "journal"),
        (&["status", "--config"], "--config"),
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
        assert_eq!(out, "", "{arguments:?}");
        assert!(
            err.contains(named),
            "{arguments:?} does not name {named}: {err}"
        );
    }
}

#[test]
fn a_wrong_configuration_is_78_and_names_the_file() {
    let place = Place::new();
    let missing = place.run(&["run"]);
    let (code, out, err) = told(&missing);
    assert_eq!((code, out.as_str()), (Some(78), ""), "{err}");
    let file = place.at("policy.toml").display().to_string();
    assert!(err.contains(&file) && err.contains("No such file"), "{err}");

    fs::write(
        place.at("policy.toml"),
        "[limits]\nmin_cores = 0\nmax_coers = 4\n",
    )
    .unwrap();
    for arguments in [
        &["run"][..],
        &["history"],
        &["pause"],
        &["resume"],
        &["status"],
    ] {
        let (code, out, err) = told(&place.run(arguments));
        assert_eq!((code, out.as_str()), (Some(78), ""), "{arguments:?}: {err}");
        // All faults at once, each at its place.
        for part in [
            &format!("{file}:2:"),
            &format!("{file}:3:"),
            "max_cores",
            "api.project",
        ] {
            assert!(
                err.contains(part),
                "{arguments:?} does not say {part}: {err}"
            );
        }
    }
}

/// What only `run` needs: the key, and the certificate.
#[test]
fn a_key_or_certificate_that_is_not_there_is_78_too() {
    let (place, api) = bed(2);
    fs::remove_file(place.at("api-key")).unwrap();
    let (code, _, err) = told(&place.run(&["run"]));
    assert_eq!(code, Some(78), "{err}");
    assert!(err.contains("there is no API key"), "{err}");

    let place = Place::new();
    let keys = "api.ca_file = '/nonexistent/ca.pem'\nlimits.min_cores = 1\nlimits.max_cores = 2";
    place.policy(&api.url, keys);
    let (code, _, err) = told(&place.run(&["run"]));
    assert_eq!(code, Some(78), "{err}");
    assert!(err.contains("/nonexistent/ca.pem"), "{err}");
}

/// Whoever asked for JSON gets nothing else, not even of what went wrong.
#[test]
fn what_went_wrong_is_json_where_that_was_asked_for() {
    let place = Place::new();
    fs::write(place.at("policy.toml"), "[limits]\nmin_cores = 0\n").unwrap();
    let (code, _, err) = told(&place.run(&["--log-format", "json", "run"]));
    assert_eq!(code, Some(78));
    let lines = crate::daemon::json_lines(&err);
    assert_eq!(lines.len(), 1, "{err}");
    assert_eq!(lines[0]["level"], "error");
    assert!(
        lines[0]["message"].as_str().unwrap().contains("min_cores"),
        "{err}"
    );
    assert!(lines[0]["ts"].is_string(), "{err}");
}

#[test]
fn no_daemon_is_1_and_says_how_to_find_out_why() {
    let (place, _api) = bed(2);
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--watch"],
    ] {
        let (code, out, err) = told(&place.run(arguments));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}: {err}");
        assert!(err.contains("no daemon is running"), "{err}");
        assert!(err.contains("systemctl status"), "{err}");
    }
    // A socket that a killed daemon left behind is no daemon either.
    let daemon = place.daemon();
    place.status_where("running", |_| true);
    daemon.kill();
    assert!(place.at("run/control.sock").exists());
    let (code, _, err) = told(&place.run(&["status"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("no daemon is running"), "{err}");
}

/// The directories that systemd names go before those of the policy file, which is not needed then.
#[test]
fn systemds_directories_go_first() {
    let (place, _api) = bed(2);
    let mut command = place.command(&["run"]);
    command.env("STATE_DIRECTORY", place.at("s")).env(
        "RUNTIME_DIRECTORY",
        format!("{}:/elsewhere", place.at("r").display()),
    );
    let daemon = crate::daemon::Daemon::start(command);
    crate::until("the socket", || place.at("r/control.sock").exists());
    let mut status = clean(BINARY.as_ref());
    status.arg("status").env("RUNTIME_DIRECTORY", place.at("r"));
    assert_eq!(status.output().unwrap().status.code(), Some(0));
    daemon.stop();
    assert!(place.at("s/state.json").exists());
    assert!(!place.at("state").exists() && !place.at("run").exists());
}
