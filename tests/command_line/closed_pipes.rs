//! Readers that go away, as `head` does, and streams that are not there at all.

use crate::daemon::{Daemon, Place, clean};
use crate::{bed, told, with_history};
use std::fs;
use std::process::{Command, Stdio};

/// A pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn nobody_has_to_read_the_output() {
    let place = with_history();
    let one = fs::read(place.at("state/history.jsonl")).unwrap();
    // More than a pipe holds.
    fs::write(place.at("state/history.jsonl"), one.repeat(200)).unwrap();
    let daemon = place.daemon();
    place.status_where("running", |_| true);
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["history"],
        &["history", "--json"],
        &["status"],
        &["status", "--json"],
        &["status", "--watch"],
        &["status", "--json", "--watch"],
        &["pause", "--for", "1h"],
        &["resume"],
        &["resume", "--raising"],
        &["resume", "--lowering"],
        &["resume", "--raising", "--lowering"],
    ] {
        let output = place.command(arguments).stdout(unread()).output().unwrap();
        let (code, _, err) = told(&output);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
    }
    daemon.stop();
}

#[test]
fn nobody_has_to_read_the_complaint() {
    let (good, _api) = bed(2);
    let bad = Place::new();
    fs::write(bad.at("policy.toml"), "bad").unwrap();
    for (place, arguments, code) in [
        (&good, &["status"][..], 1),
        (&good, &["history"], 0),
        (&good, &["frobnicate"], 2),
        (&bad, &["run"], 78),
        (&bad, &["run", "--log-format", "json"], 78),
        (&bad, &["pause"], 78),
    ] {
        let mut command = place.command(arguments);
        command.stdout(unread()).stderr(unread());
        let status = command.status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}: {status}");
    }
}

/// The daemon goes on, whoever stops listening, and without any stream from the beginning.
#[test]
fn a_daemon_needs_no_listener() {
    let (place, _api) = bed(2);
    for format in ["text", "json"] {
        let mut command = place.command(&["--log-format", format, "run"]);
        command.env("RUST_LOG", "trace").stderr(unread());
        lives_and_ends(&place, command.stdout(unread()));

        let run = place.command(&["--log-format", format, "run"]);
        let mut shell = clean("sh".as_ref());
        shell
            .args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"])
            .arg(run.get_program())
            .args(run.get_args());
        lives_and_ends(&place, &mut shell);
    }
}

fn lives_and_ends(place: &Place, command: &mut Command) {
    let daemon = Daemon::of(command.spawn().unwrap());
    place.status_where("sampling", |status| status["utilization"].is_number());
    daemon.stop();
}
