//! Everything that the emulator knows: projects with their keys and servers, switches, faults,
//! and the log of calls. It reads no clock: every instant is handed in.

use super::access::Key;
use super::fault::{Fault, Faults};
use super::function::Function;
use super::server::Server;
use super::switches::{Platform, Switches};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Calls that the log keeps; older ones are dropped, so that a sandbox may run for weeks.
const LOG_LENGTH: usize = 10_000;

/// A project: its keys and its servers. Neither reaches those of another project.
#[derive(Debug)]
pub struct Project {
    pub(super) name: String,
    pub(super) keys: Vec<Key>,
    pub(super) servers: Vec<Server>,
}

impl Project {
    /// A project without keys and servers. `name` is the user name of its API calls, such as
    /// `cl12345`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            keys: Vec::new(),
            servers: Vec::new(),
        }
    }

    /// With this key too.
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }

    /// With this server too.
    #[must_use]
    pub fn server(mut self, server: Server) -> Self {
        self.servers.push(server);
        self
    }
}

/// One call as the emulator saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Since the emulator was built.
    pub at: Duration,
    /// The client's address.
    pub peer: IpAddr,
    /// Module and function as called, such as `server/edit`.
    pub path: String,
    /// The arguments, whichever way they came. Never the key.
    pub arguments: Map<String, Value>,
    /// The fault that it met.
    pub fault: Option<Fault>,
    /// HTTP status of the answer. `None` while there is none, and for good where the connection
    /// was dropped.
    pub http: Option<u16>,
    /// `status.code` of the answer; of a cut or replaced answer the code that it should have had.
    pub code: Option<u16>,
}

impl Call {
    /// The function called, if the emulator serves it.
    #[must_use]
    pub fn function(&self) -> Option<Function> {
        Function::at(&self.path)
    }
}

pub(super) struct World {
    pub switches: Switches,
    pub platforms: BTreeMap<String, Platform>,
    pub projects: Vec<Project>,
    pub faults: Faults,
    pub log: CallLog,
    pub born: Instant,
}

impl World {
    /// Carries out what has come due on every server.
    pub fn settle(&mut self, now: Instant) {
        for project in &mut self.projects {
            for server in &mut project.servers {
                server.settle(now);
            }
        }
    }

    /// When [`settle`](Self::settle) has something to do next.
    pub fn next_due(&self) -> Option<Instant> {
        let servers = self.projects.iter().flat_map(|p| &p.servers);
        servers.filter_map(Server::next_due).min()
    }

    pub fn server(&mut self, id: &str) -> Option<&mut Server> {
        let mut servers = self.projects.iter_mut().flat_map(|p| &mut p.servers);
        servers.find(|s| s.id == id)
    }

    pub fn key(&mut self, secret: &str) -> Option<&mut Key> {
        let mut keys = self.projects.iter_mut().flat_map(|p| &mut p.keys);
        keys.find(|k| k.is(secret))
    }
}

/// The calls, oldest first. Each has a number by which its answer finds it again.
#[derive(Default)]
pub(super) struct CallLog {
    calls: VecDeque<Call>,
    /// Number of the first one kept.
    first: u64,
}

impl CallLog {
    pub fn open(&mut self, call: Call) -> u64 {
        if self.calls.len() == LOG_LENGTH {
            self.calls.pop_front();
            self.first += 1;
        }
        self.calls.push_back(call);
        self.first + self.calls.len() as u64 - 1
    }

    pub fn answered(&mut self, number: u64, http: u16, code: u16) {
        let index = number.checked_sub(self.first);
        let index = index.and_then(|i| usize::try_from(i).ok());
        if let Some(call) = index.and_then(|i| self.calls.get_mut(i)) {
            call.http = Some(http);
            call.code = Some(code);
        }
    }

    pub fn all(&self) -> Vec<Call> {
        self.calls.iter().cloned().collect()
    }

    /// The numbers go on, so that a call under way does not answer for a later one.
    pub fn clear(&mut self) {
        self.first += self.calls.len() as u64;
        self.calls.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(path: &str) -> Call {
        Call {
            at: Duration::ZERO,
            peer: [127, 0, 0, 1].into(),
            path: path.to_owned(),
            arguments: Map::new(),
            fault: None,
            http: None,
            code: None,
        }
    }

    #[test]
    fn the_log_is_bounded_and_answers_find_their_call() {
        let mut log = CallLog::default();
        let first = log.open(call("first"));
        for _ in 1..LOG_LENGTH {
            log.open(call("other"));
        }
        let last = log.open(call("last"));
        log.answered(first, 200, 200);
        log.answered(last, 500, 606);
        let calls = log.all();
        assert_eq!(calls.len(), LOG_LENGTH);
        assert!(
            calls
                .iter()
                .all(|c| c.path != "first" && c.http != Some(200))
        );
        assert_eq!(calls[LOG_LENGTH - 1].code, Some(606));

        log.clear();
        let next = log.open(call("next"));
        log.answered(last, 200, 200);
        assert_eq!(log.all()[0].http, None);
        log.answered(next, 401, 401);
        assert_eq!(log.all()[0].http, Some(401));
    }
}
