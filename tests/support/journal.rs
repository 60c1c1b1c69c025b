//! A journal of our own, as its native protocol sees it.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::daemon::{BINARY, Place, clean};
use rustix::process::geteuid;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Exit status of a program that could not be given this journal.
pub const CANNOT_MOUNT: i32 = 77;

/// The fields of an entry as `NAME=value`.
pub type Entry = Vec<String>;

/// A socket that takes entries, and does not let their senders wait.
pub struct Journal {
    path: PathBuf,
    entries: Receiver<Entry>,
}

impl Journal {
    pub fn at(path: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&path).unwrap();
        let (sender, entries) = channel();
        thread::spawn(move || {
            let mut datagram = vec![0; 1 << 18];
            while let Ok(length) = socket.recv(&mut datagram) {
                if sender.send(fields(&datagram[..length])).is_err() {
                    return;
                }
            }
        });
        Self { path, entries }
    }

    /// The daemon of a place, in a mount namespace where the system's journal is this one.
    pub fn instead_of_the_systems(&self, place: &Place) -> Command {
        let mut command = clean(Path::new("unshare"));
        command.args(["--mount", "--propagation", "private"]);
        if !geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let script = format!(
            "mount -t tmpfs none /run && mkdir -p /run/systemd/journal \
             && : >/run/systemd/journal/socket \
             && mount --bind \"$1\" /run/systemd/journal/socket \
             || exit {CANNOT_MOUNT}; shift; exec \"$@\""
        );
        command
            .args(["sh", "-c", &script, "sh"])
            .arg(&self.path)
            .arg(BINARY)
            .arg("--config")
            .arg(place.at("policy.toml"))
            .args(["--log-format", "journal", "run"]);
        command
    }

    /// The entries up to the first with this field.
    pub fn until(&self, field: &str) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Ok(entry) = self.entries.recv_timeout(Duration::from_secs(120)) {
            let last = entry.iter().any(|f| f == field);
            entries.push(entry);
            if last {
                return entries;
            }
        }
        panic!("no {field} in {entries:#?}");
    }
}

/// Reads both forms of a field. An empty entry is a question whether the journal is there.
fn fields(mut entry: &[u8]) -> Entry {
    let mut fields = Vec::new();
    while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        let line = String::from_utf8_lossy(line).into_owned();
        if line.contains('=') {
            fields.push(line);
            entry = rest;
            continue;
        }
        let (length, rest) = rest.split_at(8);
        let length = u64::from_le_bytes(length.try_into().unwrap());
        let (value, rest) = rest.split_at(usize::try_from(length).unwrap());
        fields.push(format!("{line}={}", String::from_utf8_lossy(value)));
        entry = &rest[1..];
    }
    fields
}
