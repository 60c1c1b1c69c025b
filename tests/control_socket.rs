//! Who may ask what of the running daemon: root and its own user all, a member of its group some,
//! everybody else nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/machine_lock.rs"]
mod machine_lock;
#[path = "support/emulator.rs"]
mod served;

use daemon::{Daemon, NOBODY, Place, emulator};
use glesys_autoscaler::adapters::control::{self, Ask};
use glesys_autoscaler::engine::Status;
use glesys_autoscaler::engine::record::Direction;
use machine_lock::say_skipped;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use serde_json::Value;
use served::Served;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::thread;

/// The daemon runs as this user; its group is the one of the same number.
const DAEMON: u32 = NOBODY;
/// A user of no other name than this number.
const SOMEBODY: u32 = NOBODY - 1;

/// For everybody in the group.
const OPEN: [Ask; 3] = [Ask::Status, Ask::Pause { for_ms: None }, Ask::Resume];
/// For root and the daemon's own user.
const CLOSED: [Ask; 4] = [
    Ask::Forget {
        direction: Direction::Raising,
    },
    Ask::Forget {
        direction: Direction::Lowering,
    },
    Ask::Confirm,
    Ask::Prove,
];

/// A person at a terminal.
#[derive(Clone, Copy)]
struct Person {
    user: u32,
    /// Beside a group of the user's own number.
    groups: &'static [u32],
}

impl Person {
    /// Asks as this person does. The kernel keeps the user and the groups of each thread apart.
    fn asks(self, runtime_dir: &Path, ask: &Ask) -> Result<Status, String> {
        let answer = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let groups: Vec<Gid> = self.groups.iter().map(|&g| Gid::from_raw(g)).collect();
                set_thread_groups(&groups).unwrap();
                set_thread_gid(Gid::from_raw(self.user)).unwrap();
                set_thread_uid(Uid::from_raw(self.user)).unwrap();
                control::ask(runtime_dir, ask)
            });
            thread.join().unwrap()
        });
        answer.map(Option::unwrap)
    }
}

/// A daemon as it is installed: a user of its own, its directories that user's, 0750.
struct Bed {
    place: Place,
    _api: Served,
    daemon: Daemon,
}

impl Bed {
    /// `None` where this is not root, who alone can be somebody else.
    fn new() -> Option<Self> {
        if !geteuid().is_root() {
            say_skipped("who may use the control socket: it needs root");
            return None;
        }
        let api = Served::over_http(emulator(2, 8));
        let place = Place::new();
        place.policy(
            &api.url,
            "limits.min_cores = 1\nlimits.max_cores = 8\nsampling.interval = '500ms'",
        );
        for name in ["state", "run"] {
            fs::create_dir(place.at(name)).unwrap();
            fs::set_permissions(place.at(name), Permissions::from_mode(0o750)).unwrap();
            chown(place.at(name), Some(DAEMON), Some(DAEMON)).unwrap();
        }
        let mut command = place.command_as_other_user(&["--log-format", "json", "run"]);
        command.env("RUST_LOG", "info");
        let daemon = Daemon::start(command);
        place.status_where("known", |status| status["cores_known"] == true);
        Some(Self {
            place,
            _api: api,
            daemon,
        })
    }

    /// What of the saved state the closed requests would change.
    fn learned(&self) -> [Value; 3] {
        let text = fs::read(self.place.at("state/state.json")).unwrap();
        let mut document: Value = serde_json::from_slice(&text).unwrap();
        let state = document["state"].as_object_mut().unwrap();
        ["raising", "lowering", "confirmed"].map(|key| state.remove(key).unwrap())
    }

    fn ask(&self, person: Person, ask: &Ask) -> Result<Status, String> {
        person.asks(&self.place.at("run"), ask)
    }
}

#[test]
fn a_member_of_the_group_looks_and_pauses_and_no_more() {
    let Some(bed) = Bed::new() else { return };
    let member = Person {
        user: SOMEBODY,
        groups: &[DAEMON],
    };
    for ask in &OPEN {
        let status = bed.ask(member, ask).unwrap();
        assert_eq!(status.paused, matches!(ask, Ask::Pause { .. }), "{ask:?}");
    }
    let learned = bed.learned();
    for ask in &CLOSED {
        let refused = bed.ask(member, ask).unwrap_err();
        assert_eq!(
            refused, "only root may ask that; run it with sudo",
            "{ask:?}"
        );
    }
    let status = bed.ask(member, &Ask::Status).unwrap();
    assert!(!status.trial);
    assert_eq!(bed.learned(), learned);

    // As the command says it.
    let mut resume = bed.place.command_as_other_user(&["resume", "--lowering"]);
    std::os::unix::process::CommandExt::uid(&mut resume, SOMEBODY);
    let output = resume.output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("only root may ask that"), "{complaint}");
    bed.daemon.stop();
}

/// What the members are refused is refused to them, not to all.
#[test]
fn root_and_the_daemons_own_user_may_ask_all_of_it() {
    for user in [0, DAEMON] {
        let Some(bed) = Bed::new() else { return };
        let person = Person { user, groups: &[] };
        for ask in OPEN.iter().chain(&CLOSED) {
            let status = bed.ask(person, ask).unwrap();
            assert_eq!(status.trial, *ask == Ask::Prove, "{user}: {ask:?}");
        }
        bed.daemon.stop();
    }
}

/// By the directory, and by the socket itself where that is open.
#[test]
fn nobody_else_reaches_the_socket() {
    let Some(bed) = Bed::new() else { return };
    let stranger = Person {
        user: SOMEBODY,
        groups: &[],
    };
    let socket = control::socket(&bed.place.at("run"));
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o660);
    for mode in [0o750, 0o755] {
        fs::set_permissions(bed.place.at("run"), Permissions::from_mode(mode)).unwrap();
        for ask in OPEN.iter().chain(&CLOSED) {
            let refused = bed.ask(stranger, ask).unwrap_err();
            assert!(
                refused.contains("permission denied; run this as root or as a member"),
                "{mode:o} {ask:?}: {refused}"
            );
        }
    }
    bed.daemon.stop();
}
