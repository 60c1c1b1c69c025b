//! The daemon as systemd sees it: ready, alive, its one line, the end.

use crate::bed;
use crate::daemon::{BINARY, Daemon, Place, clean};
use crate::machine_lock::say_skipped;
use rustix::process::geteuid;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The socket of `$NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    fn of(place: &Place, command: &mut Command) -> Self {
        let path = place.at("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        command.env("NOTIFY_SOCKET", path);
        Self(socket)
    }

    /// The assignments up to the first that fits.
    fn until(&self, fits: impl Fn(&str) -> bool) -> Vec<String> {
        let mut heard = Vec::new();
        let mut datagram = [0; 4096];
        loop {
            let length = self
                .0
                .recv(&mut datagram)
                .unwrap_or_else(|e| panic!("{e}: {heard:#?}"));
            let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
            heard.extend(text.lines().map(str::to_owned));
            if heard.iter().any(|line| fits(line)) {
                return heard;
            }
        }
    }

    /// What has come so far.
    fn so_far(&self) -> Vec<String> {
        self.0.set_nonblocking(true).unwrap();
        let mut heard = Vec::new();
        let mut datagram = [0; 4096];
        while let Ok(length) = self.0.recv(&mut datagram) {
            heard.push(String::from_utf8_lossy(&datagram[..length]).into_owned());
        }
        self.0.set_nonblocking(false).unwrap();
        heard
    }
}

fn is(expected: &'static str) -> impl Fn(&str) -> bool {
    move |line| line == expected
}

#[test]
fn it_is_ready_after_the_first_good_sample_whatever_the_api_does() {
    let place = Place::new();
    // Nothing listens there: an outage at boot must not keep the unit from starting.
    let keys = "limits.min_cores = 1\nlimits.max_cores = 2\nsampling.interval = '1s'";
    place.policy("http://127.0.0.1:9", keys);
    let mut command = place.command(&["--log-format", "json", "run"]);
    let manager = Manager::of(&place, &mut command);
    let daemon = Daemon::start(command);
    let heard = manager.until(is("READY=1"));
    let first = heard.first().unwrap();
    assert!(
        first.starts_with("STATUS=") && first.contains("no CPUs seen yet"),
        "{heard:#?}"
    );
    let blind = |line: &String| line.contains("no sample of the load yet");
    assert!(heard[..heard.len() - 1].iter().all(blind), "{heard:#?}");
    assert_eq!(heard.last().unwrap(), "READY=1");
    // The API's state goes into the line.
    let heard = manager.until(|line| line.starts_with("STATUS=") && line.contains("; API: "));
    let line = heard.last().unwrap();
    assert!(
        line.contains("% busy") && line.contains("cores wanted"),
        "{line}"
    );
    daemon.signal(rustix::process::Signal::TERM);
    let heard = manager.until(is("STOPPING=1"));
    assert!(
        !heard.contains(&"READY=1".to_owned()),
        "ready once: {heard:#?}"
    );
    assert!(daemon.end().0.success());
    let heard = manager.so_far();
    assert!(heard.is_empty(), "after the end: {heard:?}");
}

#[test]
fn the_watchdog_is_fed_where_it_listens() {
    let (place, _api) = bed(2);
    let mut command = place.command(&["--log-format", "json", "run"]);
    command.env("WATCHDOG_USEC", "900000");
    let manager = Manager::of(&place, &mut command);
    let daemon = Daemon::start(command);
    manager.until(is("READY=1"));
    for _ in 0..5 {
        manager.until(is("WATCHDOG=1"));
    }
    daemon.stop();

    let (place, _api) = bed(2);
    let mut command = place.command(&["--log-format", "json", "run"]);
    let manager = Manager::of(&place, &mut command);
    let daemon = Daemon::start(command);
    let mut heard = manager.until(is("READY=1"));
    heard.extend(manager.until(|line| line.starts_with("STATUS=2 cores")));
    daemon.stop();
    heard.extend(manager.so_far());
    assert!(
        !heard.iter().any(|line| line.contains("WATCHDOG")),
        "{heard:#?}"
    );
}

/// A `/proc/stat` that says nothing gives no sample, and so no READY: the start fails by its time
/// limit instead of pretending.
#[test]
fn it_is_not_ready_without_a_sample() {
    let (place, _api) = bed(2);
    fs::write(place.at("stat"), "nothing\n").unwrap();
    let mut command = clean(Path::new("unshare"));
    command.args(["--mount", "--propagation", "private"]);
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = "mount --bind \"$1\" /proc/stat || exit 77; shift; exec \"$@\"";
    command
        .args(["sh", "-c", script, "sh"])
        .arg(place.at("stat"))
        .arg(BINARY)
        .arg("--config")
        .arg(place.at("policy.toml"))
        .args(["--log-format", "json", "run"]);
    let manager = Manager::of(&place, &mut command);
    let daemon = Daemon::start(command);
    daemon.until("running", |daemon| {
        place.status().is_some() || daemon.ended()
    });
    if daemon.ended() {
        let (status, lines) = daemon.end();
        assert_eq!(status.code(), Some(77), "{lines:#?}");
        say_skipped("a load that cannot be read: no file can be mounted here");
        return;
    }
    // Said after six readings without a sample.
    let held = daemon.event("held");
    assert_eq!(
        (&held["reason"], &held["level"]),
        (&"stale".into(), &"warn".into())
    );
    let heard = manager.so_far();
    assert!(!heard.is_empty());
    assert!(
        !heard.iter().any(|line| line.contains("READY=1")),
        "{heard:#?}"
    );
    daemon.stop();
}
