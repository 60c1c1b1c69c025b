//! `check --prove-lowering`, end to end, by the running daemon and by itself. On real CPUs it is
//! in a test binary of its own.

use crate::bed::{Bed, Run, SERVER, elsewhere, memory_mb, online, quiet};
use crate::machine_lock::say_skipped;
use glesys_autoscaler::adapters::control::{self, Ask};
use glesys_autoscaler::engine::Status;
use glesys_autoscaler::sandbox::{Behaviour, Function};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A daemon in the set-up's directories. Dropping it ends it.
struct Daemon(Child);

impl Daemon {
    /// Waits until it has read the API.
    fn start(bed: &Bed, arguments: &[&str]) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_glesys-autoscaler"));
        // For the policy file and the environment.
        let prepared = bed.command(&[]);
        for (name, value) in prepared.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command
            .arg("--config")
            .arg(bed.at("policy.toml"))
            .arg("run")
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Daemon(child);
        for _ in 0..300 {
            if status(bed).is_some_and(|status| status.cores_known) {
                return daemon;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("the daemon has not read the API within 30 s");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn status(bed: &Bed) -> Option<Status> {
    control::ask(&bed.at("run"), &Ask::Status).ok().flatten()
}

/// The sandbox's daemon pretends its CPUs: a guest that follows.
#[test]
fn the_running_daemon_tries_it_and_lowers_from_then_on() {
    if online() < 2 {
        return say_skipped("a trial in the sandbox: it pretends no more CPUs than there are");
    }
    let bed = quiet(Bed::new());
    let _daemon = Daemon::start(&bed, &["--sandbox"]);
    assert!(!status(&bed).unwrap().lowering_proven);

    let run = bed.check(&["--prove-lowering"]);
    assert_eq!(run.exit, 1, "{}", run.out);
    assert!(run.out.contains("REBOOT"), "{}", run.out);
    assert!(
        run.err
            .contains("there is no terminal to ask on; add --yes"),
        "{}",
        run.err
    );
    assert!(status(&bed).unwrap().last_trial.is_none());

    let run = bed.check(&["--prove-lowering", "--yes"]);
    assert_eq!(run.exit, 0, "{}{}", run.out, run.err);
    assert!(
        run.out
            .contains("from 1, its minimum, up to the next count"),
        "{}",
        run.out
    );
    run.line("1 → 2 cores: asked for");
    run.line("2 → 1 cores: asked for");
    let line = run.line("✓ lowering works on this VM (");
    assert!(line.contains("2 → 1: applied"), "{line}");
    run.line("from now on the daemon lowers");
    let status = status(&bed).unwrap();
    assert!(status.lowering_proven);
    assert_eq!(status.cores, 1);
}

#[test]
fn a_daemon_that_may_not_change_anything_says_so() {
    let bed = quiet(Bed::new());
    let _daemon = Daemon::start(&bed, &["--dry-run"]);
    let run = bed.check(&["--prove-lowering", "--yes"]);
    assert_eq!(run.exit, 1, "{}", run.out);
    run.line("✗ lowering was not tried: the daemon runs with --dry-run");
    assert!(bed.api.calls_of(Function::Edit).is_empty());
}

/// The API follows and this machine's kernel does not: the one witness is not enough.
#[test]
fn without_a_daemon_it_is_done_here_and_what_the_kernel_does_not_show_is_no_proof() {
    let bed = quiet(Bed::new());
    let run = bed.check(&["--prove-lowering", "--yes"]);
    if run.guest_is_wrong() {
        run.line("lowering is not tried before that is mended");
        return say_skipped("a trial without a daemon: this machine cannot change its CPUs");
    }
    assert_eq!(run.exit, 1, "{}{}", run.out, run.err);
    run.line("no daemon is running: this command does it itself");
    let line = run.line("✗ lowering is not proven (");
    assert!(
        line.contains("not_applied") || line.contains("reverted"),
        "{line}"
    );
    assert_eq!(bed.api.cores(SERVER).unwrap(), online(), "given back");
    assert_eq!(bed.api.calls_of(Function::Edit).len(), 2);

    // What came of it is there for the next look, and for the daemon.
    let run = bed.check(&[]);
    let line = run.line("– lowering: not done before");
    assert!(
        line.contains("the last time: lowering is not proven"),
        "{line}"
    );
    assert!(
        fs::read_to_string(bed.at("state/history.jsonl"))
            .unwrap()
            .contains("not_proven")
    );
}

#[test]
fn a_platform_that_refuses_is_told_in_its_own_words() {
    if online() < 2 {
        return say_skipped("a refused lowering: this machine has one CPU");
    }
    let bed = quiet(Bed::new());
    bed.api.platform("KVM", |p| p.down = Behaviour::Refusing);
    let run = bed.check(&["--prove-lowering", "--yes"]);
    if run.guest_is_wrong() {
        return say_skipped("a refused lowering: this machine cannot change its CPUs");
    }
    assert_eq!(run.exit, 1, "{}{}", run.out, run.err);
    let line = run.line("✗ lowering is not proven (");
    assert!(
        line.contains("refused") && line.contains("code 610"),
        "{line}"
    );
    assert_eq!(bed.api.calls_of(Function::Edit).len(), 1);
}

#[test]
fn what_is_wrong_is_mended_first() {
    let mut bed = quiet(Bed::new());
    bed.replace("max_cores = 8", "max_cores = 8\nallowed_cores = [8]");
    bed.api.platform("KVM", |p| p.allowed = vec![1, 2]);
    let run = bed.check(&["--prove-lowering", "--yes"]);
    assert_eq!(run.exit, 78, "{}", run.out);
    run.line("lowering is not tried before that is mended");
    assert!(bed.api.calls_of(Function::Edit).is_empty());
    assert!(!bed.at("state/state.json").exists());
}

#[test]
fn the_daemon_is_shown_and_takes_the_operators_word() {
    let bed = quiet(elsewhere(memory_mb() * 21 / 20));
    let _daemon = Daemon::start(&bed, &[]);
    assert!(!status(&bed).unwrap().identity_proven);
    let run = bed.check(&[]);
    let line = run.line("! daemon: running: ");
    assert!(!line.is_empty());
    assert!(
        run.out
            .contains("not proven to it that the server id is this machine"),
        "{}",
        run.out
    );

    let run = bed.check(&["--confirm-identity", "--yes"]);
    run.all_right();
    run.line("✓ this machine: kvm1234567 is this one by the operator's word, which the running");
    assert!(status(&bed).unwrap().identity_proven);
    run.line("✓ daemon: running: ");
}

#[test]
fn on_a_terminal_it_asks_and_no_is_no() {
    if !Path::new("/usr/bin/script").exists() {
        return say_skipped("the question on a terminal: there is no script(1)");
    }
    let answered = |bed: &Bed, arguments: &str, answer: &str| {
        // For the policy file and the environment.
        let prepared = bed.command(&[]);
        let program = env!("CARGO_BIN_EXE_glesys-autoscaler");
        let policy = bed.at("policy.toml");
        let mut command = Command::new("/usr/bin/script");
        for (name, value) in prepared.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command
            .arg("-qefc")
            .arg(format!(
                "{program} --config {} check {arguments}",
                policy.display()
            ))
            .arg("/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(answer.as_bytes()).unwrap();
        stdin.flush().unwrap();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        Run::of(output)
    };
    let nat = || elsewhere(memory_mb() * 21 / 20);
    let bed = nat();
    let run = answered(&bed, "--confirm-identity", "n\n");
    assert_eq!(run.exit, 78, "{}", run.out);
    assert!(
        run.out.contains("another server, says the operator"),
        "{}",
        run.out
    );
    let bed = nat();
    let run = answered(&bed, "--confirm-identity", "y\n");
    assert!(
        run.out.contains("by the operator's word, kept for"),
        "{}",
        run.out
    );

    let bed = quiet(Bed::new());
    let _daemon = Daemon::start(&bed, &[]);
    let run = answered(&bed, "--prove-lowering", "\n");
    assert_eq!(run.exit, 1, "{}", run.out);
    assert!(run.out.contains("not tried"), "{}", run.out);
    assert!(bed.api.calls_of(Function::Edit).is_empty());
}

#[test]
fn an_interrupted_trial_is_gone_on_with_by_the_next_daemon() {
    let bed = quiet(Bed::new());
    // Long enough that the interruption comes in the middle of the first step.
    bed.api
        .platform("KVM", |p| p.lock_time = Duration::from_secs(4));
    let child = bed
        .command(&["--prove-lowering", "--yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let mut child = Some(child);
    for _ in 0..300 {
        if !bed.api.calls_of(Function::Edit).is_empty() {
            break;
        }
        if child.as_mut().unwrap().try_wait().unwrap().is_some() {
            let run = Run::of(child.take().unwrap().wait_with_output().unwrap());
            assert!(run.guest_is_wrong(), "{}{}", run.out, run.err);
            return say_skipped("an interrupted trial: this machine cannot change its CPUs");
        }
        sleep(Duration::from_millis(100));
    }
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let run = Run::of(child.take().unwrap().wait_with_output().unwrap());
    assert_eq!(run.exit, 1, "{}", run.out);
    assert!(
        run.err.contains("stopped before the trial was over"),
        "{}",
        run.err
    );
    assert_ne!(bed.api.cores(SERVER).unwrap(), online());

    let _daemon = Daemon::start(&bed, &[]);
    assert!(status(&bed).unwrap().trial);
    for _ in 0..600 {
        if status(&bed).is_some_and(|status| !status.trial) {
            assert_eq!(bed.api.cores(SERVER).unwrap(), online(), "given back");
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("the trial is not over after a minute: {:?}", status(&bed));
}
