//! The API key, planted as a word that nothing else writes, is in nothing that the program gives
//! away: its output at the loudest level, its files, its answers, what the kernel shows of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/journal.rs"]
mod journal;
#[path = "support/key_search.rs"]
mod key_search;
#[path = "support/machine_lock.rs"]
mod machine_lock;
#[path = "support/emulator.rs"]
mod served;
#[path = "support/tls.rs"]
mod tls;

use daemon::{Daemon, KEY, Place, emulator, write_private};
use glesys_autoscaler::sandbox::{Fault, Function, Times};
use journal::Journal;
use key_search::{assert_clean, assert_files_clean};
use machine_lock::say_skipped;
use rustix::process::Signal;
use served::Served;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use tls::PrivateCa;

/// How the daemon is given its key.
enum Given {
    File,
    Credential,
    /// It is in the environment of the process then, as of every process given a secret that way:
    /// the one place that is exempt.
    Environment,
}

struct Bed {
    place: Place,
    api: Served,
}

impl Bed {
    /// A server with two cores, over TLS, whose first answers are wrong in many ways.
    fn new() -> Self {
        let ca = PrivateCa::new();
        let api = Served::over_tls(emulator(2, 8), ca.server(&["127.0.0.1"]));
        // First, since only the first failure of a kind is told.
        let echo = Fault::http(500, &format!("who is {KEY}?"));
        api.inject(Function::Details, echo, Times::Next(1));
        for fault in FAULTS {
            api.inject(Function::Details, fault, Times::Next(1));
        }
        let place = Place::new();
        fs::write(place.at("ca.pem"), ca.pem()).unwrap();
        let bed = Self { place, api };
        bed.policy(2);
        bed
    }

    fn policy(&self, least: u32) {
        let keys = format!(
            "api.ca_file = {:?}
             limits.min_cores = {least}
             limits.max_cores = 8
             sampling.interval = '500ms'",
            self.place.at("ca.pem")
        );
        self.place.policy(&self.api.url, &keys);
    }

    fn give(&self, given: &Given, command: &mut Command) {
        let take_file = || fs::remove_file(self.place.at("api-key")).unwrap();
        match given {
            Given::File => {}
            Given::Credential => {
                take_file();
                let directory = self.place.at("credentials");
                fs::create_dir(&directory).unwrap();
                write_private(&directory.join("api-key"), KEY);
                command.env("CREDENTIALS_DIRECTORY", directory);
            }
            Given::Environment => {
                take_file();
                command.env("GLESYS_API_KEY", KEY);
            }
        }
    }

    /// Everything that a daemon meets, while it writes whatever it can.
    fn lives(&self, daemon: Daemon, given: &Given) -> Vec<String> {
        // Before it answers, it may not yet listen to signals.
        self.place.status_where("running", |_| true);
        let known = || {
            let status = self.place.status().unwrap();
            assert_clean("the status", status.to_string().as_bytes());
            status["cores_known"] == true
        };
        hurried("the server is known", &daemon, known);
        let met = self.api.calls_of(Function::Details);
        assert_eq!(
            met.iter().filter(|call| call.fault.is_some()).count(),
            FAULTS.len() + 1
        );

        self.policy(3);
        assert!(self.api.withdraw_key(KEY));
        let refused = || self.api.calls().iter().any(|call| call.code == Some(401));
        hurried("the key is refused", &daemon, refused);
        assert!(self.api.restore_key(KEY));
        let edited = || !self.api.calls_of(Function::Edit).is_empty();
        hurried("the edit", &daemon, edited);
        for arguments in [
            &["status"][..],
            &["status", "--json"],
            &["history"],
            &["history", "--json"],
            &["pause"],
            &["resume"],
            &["--help"],
        ] {
            let mut command = self.place.command(arguments);
            command.env("RUST_LOG", "trace").env("GLESYS_API_KEY", KEY);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            assert_clean(&format!("{arguments:?}"), &output.stdout);
            assert_clean(&format!("{arguments:?}"), &output.stderr);
        }
        the_kernel_shows_nothing(daemon.pid(), given);
        daemon.stop()
    }
}

const FAULTS: [Fault; 3] = [Fault::HtmlBody(502), Fault::CutBody, Fault::DropBefore];

/// Waits, with a reload now and then: after one, the next call is due at once.
fn hurried(what: &str, daemon: &Daemon, mut done: impl FnMut() -> bool) {
    let mut looks = 0;
    daemon.until(what, |daemon| {
        if looks % 20 == 0 {
            daemon.signal(Signal::HUP);
        }
        looks += 1;
        done()
    });
}

/// What `ps` and `/proc` tell of a running process.
fn the_kernel_shows_nothing(pid: u32, given: &Given) {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let command_line = fs::read(proc.join("cmdline")).unwrap();
    assert!(!command_line.is_empty());
    assert_clean("the command line", &command_line);
    match fs::read(proc.join("environ")) {
        Ok(environment) if matches!(given, Given::Environment) => {
            assert!(environment.windows(KEY.len()).any(|w| w == KEY.as_bytes()));
        }
        Ok(environment) => assert_clean("the environment", &environment),
        // A process that must not be dumped is closed even to its own user.
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
    }
    // It starts no other program, which would inherit its environment.
    let parent = |stat: &str| -> Option<u32> {
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.split(' ').nth(1)?.parse().ok()
    };
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        assert_ne!(parent(&stat), Some(pid), "a child: {stat}");
    }
}

#[test]
fn nothing_that_is_written_holds_the_key() {
    for (format, given) in [
        ("text", Given::File),
        ("json", Given::Credential),
        ("auto", Given::Environment),
    ] {
        let bed = Bed::new();
        let mut command = bed.place.command(&["--log-format", format, "run"]);
        command
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full");
        bed.give(&given, &mut command);
        let lines = bed.lives(Daemon::start(command), &given);
        let output = lines.join("\n");
        // As loud as was asked for.
        assert!(output.to_lowercase().contains("trace"), "{output}");
        // What the other side said of the key is told, but for the key.
        assert!(output.contains("who is "), "{output}");
        assert_clean(format, output.as_bytes());
        assert!(assert_files_clean(&bed.place.at("state")) > 0);
        assert_files_clean(&bed.place.at("run"));
    }
}

/// The journal's own protocol.
#[test]
fn no_field_of_the_journal_holds_the_key() {
    let bed = Bed::new();
    let journal = Journal::at(bed.place.at("journal"));
    let mut command = journal.instead_of_the_systems(&bed.place);
    command.env("RUST_LOG", "trace");
    let daemon = Daemon::start(command);
    daemon.until("running", |daemon| {
        bed.place.status().is_some() || daemon.ended()
    });
    if daemon.ended() {
        let (status, lines) = daemon.end();
        assert_eq!(status.code(), Some(journal::CANNOT_MOUNT), "{lines:#?}");
        say_skipped("the key in the journal: no file system can be mounted here");
        return;
    }
    let lines = bed.lives(daemon, &Given::File);
    assert!(lines.is_empty(), "all lines go to the journal: {lines:#?}");
    let entries = journal.until("EVENT=stopped");
    for entry in &entries {
        assert_clean("the journal", entry.join("\n").as_bytes());
    }
    let scale_up = "EVENT=scale_up".to_owned();
    let asked = entries.iter().find(|entry| entry.contains(&scale_up));
    let asked = asked.unwrap_or_else(|| panic!("no scale_up in {entries:#?}"));
    for field in [
        "REASON=below_min",
        "CORES_FROM=2",
        "CORES_TO=3",
        "SERVER_ID=kvm1234567",
        "DECISION_ID=",
        "MESSAGE_ID=",
        "UTILIZATION=",
        "DEMAND=",
        "MESSAGE=raising 2 → 3 cores",
    ] {
        assert!(
            asked.iter().any(|f| f.starts_with(field)),
            "{field}: {asked:#?}"
        );
    }
}

#[test]
fn a_panic_does_not_tell_the_key() {
    let bed = Bed::new();
    let mut command = bed.place.command(&["run"]);
    command
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "full")
        .env("GLESYS_API_KEY", KEY)
        .env("GLESYS_AUTOSCALER_CRASH_AT", "panic:answered");
    let (status, lines) = Daemon::start(command).end();
    let output = lines.join("\n");
    assert!(!status.success(), "{output}");
    assert!(output.contains("please report it"), "{output}");
    assert_clean("the panic", output.as_bytes());
    assert!(assert_files_clean(&bed.place.at("state")) > 0);
}

/// What is wrong with a key is told without the key.
#[test]
fn a_key_that_cannot_be_used_is_not_quoted() {
    let long = KEY.repeat(300);
    for (text, mode, said) in [
        (format!("{KEY}\nsecond line\n"), 0o600, "more than one line"),
        (
            format!("{KEY} {KEY}"),
            0o600,
            "a character that no API key has",
        ),
        (format!("{KEY}é"), 0o600, "a character that no API key has"),
        (
            format!("\u{7}{KEY}"),
            0o600,
            "a character that no API key has",
        ),
        (long, 0o600, "more than 4096 bytes"),
        (KEY.to_owned(), 0o644, "chmod 600"),
    ] {
        let place = Place::new();
        place.policy(
            "http://127.0.0.1:9",
            "limits.min_cores = 1\nlimits.max_cores = 2",
        );
        let file = place.at("api-key");
        fs::write(&file, &text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let mut command = place.command(&["run"]);
        let output = command.env("RUST_LOG", "trace").output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{complaint}");
        assert!(complaint.contains(said), "{said}: {complaint}");
        assert_clean(said, &output.stderr);
        assert_clean(said, &output.stdout);
    }
    // The same of the variable.
    let place = Place::new();
    place.policy(
        "http://127.0.0.1:9",
        "limits.min_cores = 1\nlimits.max_cores = 2",
    );
    fs::remove_file(place.at("api-key")).unwrap();
    let mut command = place.command(&["run"]);
    let output = command
        .env("GLESYS_API_KEY", format!("{KEY} x"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert_clean("the variable", &output.stderr);
}
