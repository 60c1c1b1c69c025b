//! Core dumps of the running daemon, by the kernel itself, and the key looked for in them. With
//! `GLESYS_AUTOSCALER_BINARY` of another build than that of the tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/key_search.rs"]
mod key_search;
#[path = "support/machine_lock.rs"]
mod machine_lock;
#[path = "support/emulator.rs"]
mod served;
#[path = "support/tls.rs"]
mod tls;

use daemon::{BINARY, Daemon, NOBODY, Place, emulator, until};
use glesys_autoscaler::sandbox::{Fault, Function, Times};
use key_search::forms;
use machine_lock::say_skipped;
use rustix::process::{Signal, geteuid};
use served::Served;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;
use tls::PrivateCa;

/// Longer than anything waits for it.
const NEVER: Duration = Duration::from_secs(3600);

/// When the core is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Between calls, after some.
    Idle,
    /// The request is sent and not answered.
    InACall,
    /// The policy file was read anew.
    Reloaded,
}

const MOMENTS: [Moment; 3] = [Moment::Idle, Moment::InACall, Moment::Reloaded];

struct Bed {
    place: Place,
    api: Served,
}

impl Bed {
    /// Over TLS, as in earnest.
    fn new() -> Self {
        let ca = PrivateCa::new();
        let api = Served::over_tls(emulator(2, 8), ca.server(&["127.0.0.1"]));
        let place = Place::new();
        fs::write(place.at("ca.pem"), ca.pem()).unwrap();
        fs::create_dir(place.at("cores")).unwrap();
        let keys = format!(
            "api.ca_file = {:?}
             limits.min_cores = 1
             limits.max_cores = 8
             sampling.interval = '500ms'",
            place.at("ca.pem")
        );
        place.policy(&api.url, &keys);
        Self { place, api }
    }

    /// This command where cores are written, without a limit to them.
    fn dumping(&self, command: &Command) -> Command {
        let mut dumping = daemon::clean("sh".as_ref());
        dumping
            .args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(self.place.at("cores"));
        dumping
    }

    fn daemon_at(&self, moment: Moment) -> Daemon {
        if moment == Moment::InACall {
            let never = Fault::DelayAfter(NEVER);
            self.api.inject(Function::Details, never, Times::Always);
        }
        let mut run =
            Command::new(std::env::var_os("GLESYS_AUTOSCALER_BINARY").unwrap_or(BINARY.into()));
        run.args(
            self.place
                .command(&["--log-format", "json", "run"])
                .get_args(),
        );
        let daemon = Daemon::start(self.dumping(&run));
        match moment {
            Moment::InACall => until("a call", || !self.api.calls().is_empty()),
            Moment::Idle | Moment::Reloaded => {
                self.place
                    .status_where("known", |status| status["cores_known"] == true);
            }
        }
        if moment == Moment::Reloaded {
            daemon.signal(Signal::HUP);
            daemon.event("reloaded");
        }
        daemon
    }

    /// The core that lies there, if one does.
    fn core(&self) -> Option<PathBuf> {
        let mut entries = fs::read_dir(self.place.at("cores")).unwrap();
        entries.next().map(|entry| entry.unwrap().path())
    }
}

/// Whether this machine writes a core of a process that may be dumped into its directory; and so
/// would of the daemon.
fn machine_dumps() -> bool {
    let bed = Bed::new();
    let mut sleep = Command::new("sleep");
    sleep.arg("60");
    let sleep = Daemon::start(bed.dumping(&sleep));
    let name = format!("/proc/{}/comm", sleep.pid());
    until("sleep", || {
        fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n")
    });
    let (status, _) = ended_by(sleep, Signal::ABORT);
    status.core_dumped() && bed.core().is_some()
}

fn ended_by(daemon: Daemon, signal: Signal) -> (ExitStatus, Vec<String>) {
    daemon.signal(signal);
    let (status, lines) = daemon.end();
    assert_eq!(status.signal(), Some(signal.as_raw()), "{lines:#?}");
    (status, lines)
}

fn holds_key(core: &Path) -> bool {
    let bytes = fs::read(core).unwrap();
    assert!(bytes.starts_with(b"\x7fELF"), "{}", core.display());
    forms()
        .iter()
        .any(|form| bytes.windows(form.len()).any(|w| w == form.as_bytes()))
}

/// Whenever it is ended, and however large a core may be.
#[test]
fn no_signal_makes_the_kernel_write_a_core() {
    let dumps = machine_dumps();
    if !dumps {
        say_skipped("that this machine would write cores: it does not, or elsewhere");
    }
    for moment in MOMENTS {
        // The watchdog's, and that of compiled code that must not go on.
        for signal in [Signal::ABORT, Signal::ILL] {
            let bed = Bed::new();
            let daemon = bed.daemon_at(moment);
            let (status, _) = ended_by(daemon, signal);
            assert!(!status.core_dumped(), "{moment:?} {signal:?}");
            assert_eq!(bed.core(), None, "{moment:?} {signal:?}");
        }
    }
}

/// Root, who could read the key as well, writes a core with a debugger, or lets the kernel write
/// one all the same.
#[test]
fn a_core_that_root_forces_holds_no_memory() {
    let gdb = Command::new("gdb").arg("--version").output().is_ok();
    if !gdb || !geteuid().is_root() || !machine_dumps() {
        say_skipped("a forced core: it needs gdb, root, and cores written where a process is");
        return;
    }
    for moment in MOMENTS {
        let bed = Bed::new();
        let daemon = bed.daemon_at(moment);
        assert!(!holds_key(&debuggers_core(&bed, &daemon)), "{moment:?}");
        allow_dumps(&daemon);
        let (status, _) = ended_by(daemon, Signal::ABORT);
        assert!(status.core_dumped());
        assert!(!holds_key(&bed.core().unwrap()), "{moment:?}");
    }
    // With all of the memory in it there would be something to find.
    let bed = Bed::new();
    let daemon = bed.daemon_at(Moment::InACall);
    allow_dumps(&daemon);
    fs::write(proc_of(&daemon).join("coredump_filter"), "0x7f").unwrap();
    ended_by(daemon, Signal::ABORT);
    assert!(holds_key(&bed.core().unwrap()));
}

fn debuggers_core(bed: &Bed, daemon: &Daemon) -> PathBuf {
    let (prefix, pid) = (bed.place.at("gcore"), daemon.pid().to_string());
    let mut gcore = Command::new("gcore");
    let output = gcore.arg("-o").arg(&prefix).arg(&pid).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    prefix.with_extension(pid)
}

fn allow_dumps(daemon: &Daemon) {
    const PR_SET_DUMPABLE: u32 = 4;
    let call = format!(
        "print ((int (*)(int, long, long, long, long)) prctl)({PR_SET_DUMPABLE}, 1, 0, 0, 0)"
    );
    let output = Command::new("gdb")
        .args(["-nx", "-nh", "-batch", "-ex", &call, "-p"])
        .arg(daemon.pid().to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("$1 = 0"), "{output:?}");
}

fn proc_of(daemon: &Daemon) -> PathBuf {
    PathBuf::from(format!("/proc/{}", daemon.pid()))
}

/// As a user like any other: the kernel gives the files of a process that must not be dumped to
/// root, whoever runs it, and its memory to nobody but root.
#[test]
fn it_is_closed_to_its_own_user_too() {
    let bed = Bed::new();
    for name in ["state", "run"] {
        fs::create_dir(bed.place.at(name)).unwrap();
        fs::set_permissions(bed.place.at(name), Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = bed.place.command_as_other_user(&["run"]);
    command.env("RUST_LOG", "info");
    let daemon = Daemon::start(command);
    until("the first call", || !bed.api.calls().is_empty());
    let proc = proc_of(&daemon);
    let status = fs::read_to_string(proc.join("status")).unwrap();
    let user = if geteuid().is_root() {
        NOBODY
    } else {
        geteuid().as_raw()
    };
    assert!(
        status.contains(&format!("Uid:\t{user}\t{user}\t")),
        "{status}"
    );
    assert_eq!(fs::metadata(proc.join("environ")).unwrap().uid(), 0);
    for name in ["environ", "mem"] {
        let mut look = Command::new("head");
        look.args(["-c", "1"]).arg(proc.join(name)).uid(user);
        let output = look.output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains("Permission denied"), "{output:?}");
    }
    let filter = fs::read_to_string(proc.join("coredump_filter"));
    assert_eq!(filter.unwrap().trim_end(), "00000000");
    daemon.stop();
}
