//! The built program as a process of its own, with directories of its own, against an emulator.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use glesys_autoscaler::adapters::proc_reader::ProcReader;
use glesys_autoscaler::sandbox::{Builder, Emulator, Key, Platform, Project, Server};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_glesys-autoscaler");
pub const PROJECT: &str = "cl12345";
pub const SERVER: &str = "kvm1234567";
/// A word that nothing else writes, so that it can be looked for.
pub const KEY: &str = "canary5b20f7d1e94c";

/// The user that owns nothing, on every Linux.
pub const NOBODY: u32 = 65534;

/// Only for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(150);

/// CPUs of this machine that run tasks.
pub fn cpus() -> u32 {
    ProcReader::new(Path::new("/")).online().unwrap().count()
}

/// An emulator with [`SERVER`], which has `cores` of at most `most` cores and is this machine.
pub fn emulator(cores: u32, most: u32) -> Emulator {
    of_platform(Platform::up_to(most), Server::new(SERVER, cores))
}

/// An emulator with this server on this platform, and the key for it.
pub fn of_platform(platform: Platform, server: Server) -> Emulator {
    builder(platform, server).build()
}

fn builder(platform: Platform, server: Server) -> Builder {
    // An address that this machine has, whatever machine it is: the proof of identity.
    let server = server.address([127, 0, 0, 1].into());
    let project = Project::new(PROJECT)
        .key(Key::for_loopback(KEY))
        .server(server);
    Emulator::builder()
        .platform("KVM", platform)
        .project(project)
}

/// Looks until `done`, with some patience.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    assert!(look_until(&mut done), "it never came to this: {what}");
}

fn look_until(done: &mut dyn FnMut() -> bool) -> bool {
    look_for(PATIENCE, done)
}

fn look_for(patience: Duration, done: &mut dyn FnMut() -> bool) -> bool {
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 0..patience.as_millis() / PAUSE.as_millis() {
        if done() {
            return true;
        }
        thread::sleep(PAUSE);
    }
    false
}

/// Where one daemon lives: policy file, key file, state and run-time directory.
pub struct Place {
    root: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let place = Self { root };
        write_private(&place.at("api-key"), KEY);
        place
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes the policy file: the API at `url`, this place's directories, and `keys` as lines of
    /// full names, as in `limits.min_cores = 1`.
    pub fn policy(&self, url: &str, keys: &str) {
        let text = format!(
            "state_dir = {state:?}
             runtime_dir = {run:?}
             api.project = '{PROJECT}'
             api.server_id = '{SERVER}'
             api.url = '{url}'
             api.key_file = {key:?}
             {keys}\n",
            state = self.at("state"),
            run = self.at("run"),
            key = self.at("api-key"),
        );
        fs::write(self.at("policy.toml"), text).unwrap();
    }

    /// The program with this place's policy file and a clean environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(BINARY.as_ref(), arguments)
    }

    /// Likewise, as a user other than root: this one, or [`NOBODY`] where this is root. What the
    /// place holds by then stays root's, but for the key.
    pub fn command_as_other_user(&self, arguments: &[&str]) -> Command {
        if !geteuid().is_root() {
            return self.command(arguments);
        }
        // Out of a home or build directory that is closed to others.
        let program = self.at("glesys-autoscaler");
        if !program.exists() {
            fs::copy(BINARY, &program).unwrap();
        }
        fs::set_permissions(self.root.path(), Permissions::from_mode(0o755)).unwrap();
        chown(self.at("api-key"), Some(NOBODY), Some(NOBODY)).unwrap();
        let mut command = self.command_of(&program, arguments);
        command.uid(NOBODY).gid(NOBODY);
        command
    }

    fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = clean(program);
        command
            .arg("--config")
            .arg(self.at("policy.toml"))
            .args(arguments);
        command
    }

    /// The daemon, with lines as JSON.
    pub fn daemon(&self) -> Daemon {
        Daemon::start(self.command(&["--log-format", "json", "run"]))
    }

    /// A command that ends by itself.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What the running daemon says of itself; `None` while it does not answer.
    pub fn status(&self) -> Option<Value> {
        let mut command = self.command(&["status", "--json"]);
        // The policy file may be a wrong one by now.
        let output = command.env("RUNTIME_DIRECTORY", self.at("run"));
        let output = output.output().unwrap();
        output
            .status
            .success()
            .then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Waits for a status that fits.
    pub fn status_where(&self, what: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let mut last = None;
        let found = look_until(&mut || {
            last = self.status();
            last.as_ref().is_some_and(&mut fits)
        });
        assert!(found, "the status never came to this: {what}\n{last:#?}");
        last.unwrap()
    }

    /// The records of the ledger.
    pub fn history(&self) -> Vec<Value> {
        let output = self.run(&["history", "--json"]);
        assert!(output.status.success(), "{output:?}");
        json_lines(&String::from_utf8(output.stdout).unwrap())
    }
}

/// A command without this process's environment.
pub fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    // The second says where a program that was built for it writes its coverage.
    for name in ["PATH", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

pub fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

/// A running program whose standard error is collected. Dropping it kills it.
pub struct Daemon {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    /// A program that was started elsewhere, whatever became of its standard error.
    pub fn of(child: Child) -> Self {
        Self {
            child,
            lines: Arc::default(),
            reader: None,
        }
    }

    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let collected = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in stderr.lines() {
                let Ok(line) = line else { return };
                collected
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Self {
            child,
            lines,
            reader: Some(reader),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it closed its standard error, as its end does.
    pub fn ended(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What it wrote so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The journal lines of one event so far. Every line must be JSON.
    pub fn events(&self, event: &str) -> Vec<Value> {
        of_event(&self.lines(), event)
    }

    /// Waits for a line of this event.
    pub fn event(&self, event: &str) -> Value {
        self.until(event, |daemon| !daemon.events(event).is_empty());
        self.events(event).remove(0)
    }

    /// Looks until `done`, for so long at most; whether it came to that.
    pub fn comes_to(&self, patience: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        look_for(patience, &mut || done(self))
    }

    /// Looks until `done`.
    pub fn until(&self, what: &str, done: impl FnMut(&Self) -> bool) {
        let came = self.comes_to(PATIENCE, done);
        assert!(
            came,
            "it never came to this: {what}\n{}",
            self.lines().join("\n")
        );
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> (ExitStatus, Vec<String>) {
        let mut status = None;
        let ended = look_until(&mut || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "it does not end\n{}", self.lines().join("\n"));
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status.unwrap(), self.lines())
    }

    /// Ends it as systemd does; it must end well.
    pub fn stop(self) -> Vec<String> {
        self.signal(Signal::TERM);
        let (status, lines) = self.end();
        assert!(status.success(), "{status}\n{}", lines.join("\n"));
        lines
    }

    /// Ends it as nothing can prevent.
    pub fn kill(self) -> Vec<String> {
        self.signal(Signal::KILL);
        self.end().1
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of one event, out of lines that must all be JSON.
pub fn of_event(lines: &[String], event: &str) -> Vec<Value> {
    let mut found = json_lines(&lines.join("\n"));
    found.retain(|line| line["event"] == event);
    found
}

/// Processes that keep CPUs busy until dropped, each for two minutes at most should the test be
/// killed. Niced, so that other tests go on; the daemon counts niced work like any other.
pub struct Busy {
    children: Vec<Child>,
}

impl Busy {
    pub fn of(processes: u32) -> Self {
        let one = || {
            Command::new("timeout")
                .args(["120", "nice", "-n", "19", "sh", "-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        };
        Self {
            children: (0..processes).map(|_| one()).collect(),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.children {
            // `timeout` hands SIGTERM on to what it started; SIGKILL it cannot.
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
            let _ = child.wait();
        }
    }
}
