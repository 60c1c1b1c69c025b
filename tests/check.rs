//! `check`: the real program against the emulator, one row for each way that a set-up can be wrong.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "support/emulator.rs"]
mod served;
#[path = "support/tls.rs"]
mod tls;

use glesys_autoscaler::adapters::machine::Facts;
use glesys_autoscaler::sandbox::{
    Emulator, Fault, Function, Key, PermissionAnswer, Platform, Project, Server, Shape, Times,
    UnknownServer,
};
use rcgen::{CertificateParams, date_time_ymd};
use served::Served;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tls::PrivateCa;

const PROJECT: &str = "cl12345";
const SERVER: &str = "kvm1234567";
/// In no output, whatever goes wrong.
const KEY: &str = "canary-7c1e90aa";

/// A set-up in which everything is right, until a test spoils it.
struct Bed {
    files: TempDir,
    api: Served,
    policy: String,
}

impl Bed {
    fn new() -> Bed {
        Bed::on(Served::over_http(emulator(online())))
    }

    fn on(api: Served) -> Bed {
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

    fn at(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn replace(&mut self, from: &str, to: &str) {
        assert!(self.policy.contains(from), "{from} is in the policy");
        self.policy = self.policy.replace(from, to);
    }

    /// Adds lines to the table `[api]`.
    fn api_key(&mut self, line: &str) {
        self.replace("[api]\n", &format!("[api]\n{line}\n"));
    }

    fn command(&self, arguments: &[&str]) -> Command {
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

    fn check(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// Every file below the set-up, to see what a check leaves behind.
    fn listing(&self) -> Vec<PathBuf> {
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

struct Run {
    exit: i32,
    out: String,
    err: String,
}

impl Run {
    fn of(output: Output) -> Run {
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
    fn line(&self, start: &str) -> &str {
        let found = self.out.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no line `{start}` in:\n{}{}", self.out, self.err))
    }

    fn lines(&self, start: &str) -> usize {
        self.out.lines().filter(|l| l.starts_with(start)).count()
    }

    /// Whether this machine itself, as in some containers, cannot take CPUs off and on line.
    fn guest_is_wrong(&self) -> bool {
        self.out.contains("✗ guest: ")
    }

    #[track_caller]
    fn all_right(&self) {
        let guest = usize::from(self.guest_is_wrong());
        assert_eq!(self.lines("✗"), guest, "{}{}", self.out, self.err);
        assert_eq!(self.exit, if guest == 0 { 0 } else { 1 }, "{}", self.out);
    }
}

fn online() -> u32 {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    glesys_autoscaler::adapters::proc_reader::CpuSet::parse(&online)
        .unwrap()
        .count()
}

fn memory_mb() -> u64 {
    Facts::read(Path::new("/")).unwrap().memory_mb
}

fn server(cores: u32) -> Server {
    Server::new(SERVER, cores)
        .memory_mb(memory_mb() * 21 / 20)
        .address([127, 0, 0, 1].into())
}

fn emulator(cores: u32) -> Emulator {
    with(Key::for_loopback(KEY), server(cores))
}

fn with(key: Key, server: Server) -> Emulator {
    Emulator::builder()
        .platform("KVM", Platform::up_to(8))
        .project(Project::new(PROJECT).key(key).server(server))
        .build()
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

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

/// An address that no machine has: of a network for documentation.
fn elsewhere(memory_mb: u64) -> Bed {
    let server = Server::new(SERVER, online())
        .memory_mb(memory_mb)
        .address([203, 0, 113, 9].into());
    Bed::on(Served::over_http(with(Key::for_loopback(KEY), server)))
}

#[test]
fn another_machines_server_is_refused_with_the_facts_to_compare() {
    let memory = memory_mb();
    let bed = elsewhere(memory * 3);
    // Where memory differs no word of the operator helps.
    for arguments in [&[][..], &["--confirm-identity", "--yes"]] {
        let run = bed.check(arguments);
        assert_eq!(run.exit, 78, "{}", run.out);
        let line = run.line("✗ this machine: kvm1234567 is another server: ");
        assert!(line.contains("203.0.113.9"), "{line}");
        assert!(
            line.contains(&format!("{} MB of memory, here {memory}", memory * 3)),
            "{line}"
        );
        assert!(line.ends_with("mend api.server_id"), "{line}");
    }
}

#[test]
fn behind_nat_the_operators_word_is_asked_for_and_kept() {
    let bed = elsewhere(memory_mb() * 21 / 20);
    let run = bed.check(&[]);
    assert_eq!(run.exit, 78, "{}", run.out);
    let line = run.line("✗ this machine: it is not proven");
    assert!(
        line.contains("`glesys-autoscaler check --confirm-identity`"),
        "{line}"
    );

    // Nobody to ask: nothing is taken for granted.
    let run = bed.check(&["--confirm-identity"]);
    assert_eq!(run.exit, 1, "{}", run.out);
    run.line("✗ this machine: there is no terminal to ask on");
    assert!(!bed.at("state/state.json").exists());

    let run = bed.check(&["--confirm-identity", "--yes"]);
    run.all_right();
    run.line("✓ this machine: kvm1234567 is this one by the operator's word, kept for");

    let run = bed.check(&[]);
    run.all_right();
    run.line("✓ this machine: kvm1234567 is this one by the operator's word");
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
