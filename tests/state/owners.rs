//! Who holds the directories, and who may write there.

use crate::daemon::{Daemon, NOBODY, Place};
use crate::machine_lock::say_skipped;
use crate::{names_in, wanting};
use glesys_autoscaler::sandbox::Function;
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Output;

#[test]
fn a_second_daemon_names_the_first_and_ends() {
    let place = Place::new();
    let _api = wanting(&place);
    let daemon = place.daemon();
    place.status_where("running", |_| true);
    names_the_first(&place.run(&["run"]), &daemon);
    // It took nothing away: not the socket either.
    assert!(place.status().is_some());
    daemon.stop();
    // The lock goes with its holder, however that ends.
    let daemon = place.daemon();
    place.status_where("running again", |_| true);
    daemon.kill();
    let daemon = place.daemon();
    place.status_where("running after a kill", |_| true);
    daemon.stop();
}

fn names_the_first(second: &Output, first: &Daemon) {
    let complaint = String::from_utf8(second.stderr.clone()).unwrap();
    assert_eq!(second.status.code(), Some(1), "{complaint}");
    let holder = format!(
        "another glesys-autoscaler is running (process {})",
        first.pid()
    );
    assert!(complaint.contains(&holder), "{complaint}");
}

/// Its socket and pid file are one daemon's, whatever state directory another one has.
#[test]
fn a_daemon_with_another_state_directory_takes_over_no_run_time_directory() {
    let (place, other) = (Place::new(), Place::new());
    let (_api, other_api) = (wanting(&place), wanting(&other));
    let daemon = place.daemon();
    place.status_where("running", |_| true);
    let pid = fs::read(place.at("run/pid")).unwrap();
    let sharing = |arguments: &[&str]| {
        let mut command = other.command(arguments);
        command.env("RUNTIME_DIRECTORY", place.at("run"));
        command.output().unwrap()
    };
    let refused = sharing(&["run"]);
    names_the_first(&refused, &daemon);
    let complaint = String::from_utf8(refused.stderr).unwrap();
    let held = format!("it holds {}", place.at("run").display());
    assert!(complaint.contains(&held), "{complaint}");
    assert_eq!(other_api.calls(), []);
    assert_eq!(fs::read(place.at("run/pid")).unwrap(), pid);
    let before = daemon.events("paused").len();
    assert!(sharing(&["pause"]).status.success());
    daemon.until("the first is told", |d| d.events("paused").len() > before);
    daemon.stop();
    assert!(sharing(&["resume"]).status.success());
}

/// The pid beside a daemon of another run-time directory is not that of who holds the state.
#[test]
fn the_holder_of_the_state_alone_is_not_named_after_another() {
    let (place, other) = (Place::new(), Place::new());
    let _api = wanting(&place);
    let daemon = place.daemon();
    place.status_where("running", |_| true);
    fs::create_dir(other.at("run")).unwrap();
    fs::write(other.at("run/pid"), "1\n").unwrap();
    for command in ["run", "pause"] {
        let mut second = place.command(&[command]);
        second.env("RUNTIME_DIRECTORY", other.at("run"));
        let output = second.output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        let held = format!(
            "another glesys-autoscaler is running: it holds {}",
            place.at("state").display()
        );
        assert!(complaint.contains(&held), "{complaint}");
    }
    daemon.stop();
}

/// What was saved in the one would be removed from the other.
#[test]
fn one_directory_for_both_is_refused() {
    let place = Place::new();
    let _api = wanting(&place);
    std::os::unix::fs::symlink(place.at("run"), place.at("link")).unwrap();
    for name in ["run", "link"] {
        let mut command = place.command(&["run"]);
        command.env("STATE_DIRECTORY", place.at(name));
        let output = command.output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        let said = format!(
            "state_dir and runtime_dir are both {}",
            place.at(name).display()
        );
        assert!(complaint.contains(&said), "{complaint}");
    }
}

/// Either directory, by its own name, and the state directory also where it is there already.
#[test]
fn a_directory_that_cannot_be_written_is_said_at_the_start() {
    for (name, there, what, key) in [
        ("state", true, "state directory", "state_dir"),
        ("state", false, "state directory", "state_dir"),
        ("run", false, "run-time directory", "runtime_dir"),
    ] {
        let place = Place::new();
        let _api = wanting(&place);
        for made in ["state", "run"]
            .iter()
            .filter(|made| there || **made != name)
        {
            fs::create_dir(place.at(made)).unwrap();
            if geteuid().is_root() && *made != name {
                chown(place.at(made), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        if there {
            fs::set_permissions(place.at(name), Permissions::from_mode(0o555)).unwrap();
        }
        let mut daemon = place.command_as_other_user(&["run"]);
        fs::set_permissions(place.at("."), Permissions::from_mode(0o555)).unwrap();
        let output = daemon.output().unwrap();
        fs::set_permissions(place.at("."), Permissions::from_mode(0o755)).unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        let subject = format!("{what} {}: Permission denied", place.at(name).display());
        assert!(complaint.contains(&subject), "{complaint}");
        assert!(
            complaint.contains(&format!("({key} in the policy file")),
            "{complaint}"
        );
    }
}

/// `pause` and `resume` are root's commands, the daemon is another user's.
#[test]
fn what_root_writes_belongs_to_the_user_of_the_directory() {
    if !geteuid().is_root() {
        say_skipped("files of another user: it needs root");
        return;
    }
    let place = Place::new();
    let _api = wanting(&place);
    for name in ["state", "run"] {
        fs::create_dir(place.at(name)).unwrap();
        chown(place.at(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    assert!(place.run(&["pause"]).status.success());
    for dir in ["state", "run"] {
        for name in names_in(&place.at(dir)) {
            let owner = fs::metadata(place.at(dir).join(&name)).unwrap().uid();
            assert_eq!(owner, NOBODY, "{dir}/{name}");
        }
    }

    let mut command = place.command_as_other_user(&["--log-format", "json", "run"]);
    command.env("RUST_LOG", "info");
    let daemon = Daemon::start(command);
    let status = place.status_where("paused", |status| status["waits_for"] == "paused");
    assert_eq!(status["disk_full"], false);
    names_the_first(
        &place.command_as_other_user(&["run"]).output().unwrap(),
        &daemon,
    );
    daemon.stop();
}

/// Root runs `pause` in directories that another user owns: links that lie in wait there lead to
/// no file of root's.
#[test]
fn a_link_in_the_directories_leads_root_nowhere() {
    if !geteuid().is_root() {
        say_skipped("links against root: it needs root");
        return;
    }
    let place = Place::new();
    let _api = wanting(&place);
    let victim = place.at("victim");
    fs::write(&victim, "root's own").unwrap();
    for (dir, names) in [
        ("state", ["state.json.new", "state.json", "history.jsonl"]),
        ("run", ["state.json.new", "pid.new", "pid"]),
    ] {
        fs::create_dir(place.at(dir)).unwrap();
        chown(place.at(dir), Some(NOBODY), Some(NOBODY)).unwrap();
        for name in names {
            std::os::unix::fs::symlink(&victim, place.at(dir).join(name)).unwrap();
        }
    }
    let _refused_or_not = place.run(&["pause"]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "root's own");
    assert_eq!(fs::metadata(&victim).unwrap().uid(), 0);
}

/// What may reboot the VM, or takes the operator's word, is not for everybody in the socket's group; who
/// is in no group of it gets nowhere.
#[test]
fn the_group_may_pause_and_only_root_may_forget() {
    if !geteuid().is_root() {
        say_skipped("a member of the socket's group: it needs root");
        return;
    }
    let place = Place::new();
    let _api = wanting(&place);
    let daemon = place.daemon();
    place.status_where("running", |_| true);
    let root = geteuid().as_raw();
    let told = |group: u32, arguments: &[&str]| {
        let mut command = place.command_as_other_user(arguments);
        fs::set_permissions(place.at("run"), Permissions::from_mode(0o750)).unwrap();
        let output = command.gid(group).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    };
    for arguments in [["resume", "--raising"], ["resume", "--lowering"]] {
        let (code, text) = told(root, &arguments);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("only root may ask that"), "{text}");
    }
    assert_eq!(told(root, &["pause"]), (Some(0), String::new()));
    place.status_where("paused", |status| status["paused"] == true);
    let (code, text) = told(NOBODY, &["pause"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("permission denied"), "{text}");
    daemon.stop();
}

/// Only `status` and its like are lost.
#[test]
fn without_a_control_socket_cores_are_scaled_all_the_same() {
    let place = Place::new();
    let api = wanting(&place);
    fs::create_dir_all(place.at("run/control.sock/in the way")).unwrap();
    let daemon = place.daemon();
    daemon.until("the edit", |_| !api.calls_of(Function::Edit).is_empty());
    let lines = daemon.stop();
    let told = |line: &String| line.contains("no control socket at");
    assert!(lines.iter().any(told), "{lines:#?}");
}
