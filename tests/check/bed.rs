//! A set-up in which everything is right, and a run of the program on it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use crate::served::Served;
use glesys_autoscaler::adapters::machine::Facts;
use glesys_autoscaler::adapters::proc_reader::CpuSet;
use glesys_autoscaler::sandbox::{Emulator, Key, Platform, Project, Server};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

pub const PROJECT: &str = "cl12345";
pub const SERVER: &str = "kvm1234567";
/// In no output, whatever goes wrong.
pub const KEY: &str = "canary-7c1e90aa";

/// A set-up in which everything is right, until a test spoils it.
pub struct Bed {
    pub files: TempDir,
    pub api: Served,
    pub policy: String,
}

impl Bed {
    pub fn new() -> Bed {
        Bed::on(Served::over_http(emulator(online())))
    }

    pub fn on(api: Served) -> Bed {
        let files = tempfile::tempdir().unwrap();
        let at = |name: &str| files.path().join(name);
        write_private(&at("api-key"), KEY);
        fs::create_dir(at("state")).unwrap();
        let policy = format!(
            "state_dir = {:?}\nruntime_dir = {:?}\n\n[api]\nproject = \"{PROJECT}\"\nserver_id = \"{SERVER}\"\nurl = \"{}\"\nkey_file = {:?}\ntimeout = \"5s\"\n\n[limits]\nmin_cores = 1\nmax_cores = 8\n",
            at("state"),
            at("run"),
            api.url,
            at("api-key"),
        );
        Bed { files, api, policy }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    pub fn replace(&mut self, from: &str, to: &str) {
        assert!(self.policy.contains(from), "{from} is in the policy");
        self.policy = self.policy.replace(from, to);
    }

    /// Adds lines to the table `[api]`.
    pub fn api_key(&mut self, line: &str) {
        self.replace("[api]\n", &format!("[api]\n{line}\n"));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        fs::write(self.at("policy.toml"), &self.policy).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_glesys-autoscaler"));
        command
            .arg("--config")
            .arg(self.at("policy.toml"))
            .arg("check")
            .args(arguments)
            .env("RUST_LOG", "trace")
            .stdin(Stdio::null());
        for name in [
            "GLESYS_API_KEY",
            "CREDENTIALS_DIRECTORY",
            "STATE_DIRECTORY",
            "RUNTIME_DIRECTORY",
        ] {
            command.env_remove(name);
        }
        command
    }

    pub fn check(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// Every file below the set-up, to see what a check leaves behind.
    pub fn listing(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut dirs = vec![self.files.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path.clone());
                }
                found.push(path);
            }
        }
        found.sort();
        found
    }
}

pub struct Run {
    pub exit: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    pub fn of(output: Output) -> Run {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let run = Run {
            exit: output.status.code().expect("it ended by itself"),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        for said in [&run.out, &run.err] {
            assert!(!said.contains(KEY), "the key was shown: {said}");
        }
        run
    }

    /// The line that begins with this mark and step.
    #[track_caller]
    pub fn line(&self, start: &str) -> &str {
        let found = self.out.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no line `{start}` in:\n{}{}", self.out, self.err))
    }

    pub fn lines(&self, start: &str) -> usize {
        self.out.lines().filter(|l| l.starts_with(start)).count()
    }

    /// Whether this machine itself, as in some containers, cannot take CPUs off and on line.
    pub fn guest_is_wrong(&self) -> bool {
        self.out.contains("✗ guest: ")
    }

    #[track_caller]
    pub fn all_right(&self) {
        let guest = usize::from(self.guest_is_wrong());
        assert_eq!(self.lines("✗"), guest, "{}{}", self.out, self.err);
        assert_eq!(self.exit, if guest == 0 { 0 } else { 1 }, "{}", self.out);
    }
}

pub fn online() -> u32 {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    CpuSet::parse(&online).unwrap().count()
}

pub fn memory_mb() -> u64 {
    Facts::read(Path::new("/")).unwrap().memory_mb
}

pub fn server(cores: u32) -> Server {
    Server::new(SERVER, cores)
        .memory_mb(memory_mb() * 21 / 20)
        .address([127, 0, 0, 1].into())
}

pub fn emulator(cores: u32) -> Emulator {
    with(Key::for_loopback(KEY), server(cores))
}

pub fn with(key: Key, server: Server) -> Emulator {
    Emulator::builder()
        .platform("KVM", Platform::up_to(8))
        .project(Project::new(PROJECT).key(key).server(server))
        .build()
}

pub fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// An address that no machine has: of a network for documentation.
pub fn elsewhere(memory_mb: u64) -> Bed {
    let server = Server::new(SERVER, online())
        .memory_mb(memory_mb)
        .address([203, 0, 113, 9].into());
    Bed::on(Served::over_http(with(Key::for_loopback(KEY), server)))
}

/// Rules that say nothing within a test, whatever else keeps this machine busy.
pub const QUIET: &str = "[sampling]\ninterval = \"1s\"\n[policy.up]\nwindow = \"1h\"\nqueue = \"0s\"\n[policy.down]\nwindow = \"2h\"\n[apply]\ntimeout = \"5s\"\n";

/// With these rules.
pub fn quiet(mut bed: Bed) -> Bed {
    bed.policy += QUIET;
    bed
}
