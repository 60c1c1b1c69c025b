//! What a daemon lives through, second by second: load, people, reloads, and an API with faults.

use super::daemon::{Daemon, Place, SERVER};
use super::kernel::Kernel;
use super::served::Served;
use glesys_autoscaler::adapters::control::{self, Ask};
use glesys_autoscaler::sandbox::{Fault, Function, Times};
use rustix::process::Signal;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// From one rise of the load to the next, and how much of that it stays high. The daemon may make
/// a call in ten seconds; a rise and a fall take some nine.
const CYCLE: u64 = 90;
const HIGH: u64 = 40;

/// What a reload finds.
#[derive(Debug, Clone, Copy)]
pub enum Policy {
    One,
    Other,
    Wrong,
}

pub struct Life<'a> {
    api: &'a Served,
    kernel: &'a Kernel,
    place: &'a Place,
    daemon: &'a Daemon,
    done: Done,
}

/// How much it lived through.
#[derive(Debug, Default)]
pub struct Done {
    calls: usize,
    questions: u64,
    nonsense: u64,
    reloads: u64,
    faults: u64,
    outside_changes: u64,
    pauses: u64,
}

impl<'a> Life<'a> {
    pub fn new(api: &'a Served, kernel: &'a Kernel, place: &'a Place, daemon: &'a Daemon) -> Self {
        Self {
            api,
            kernel,
            place,
            daemon,
            done: Done::default(),
        }
    }

    /// What belongs to this second of the run. Prime periods, so that everything meets everything.
    pub fn live_through(&mut self, second: u64, write_policy: impl FnOnce(Policy)) {
        let every = |period: u64| second > 0 && second.is_multiple_of(period);
        let phase = second % CYCLE;
        // Never twice the same, and up to more than there is.
        let peak = [2.2, 3.1, 1.6, 5.0, 2.7][(second / CYCLE % 5) as usize];
        self.kernel.demand(if phase < HIGH { peak } else { 0.3 });
        if every(2) {
            let run = self.place.at("run");
            let status = control::ask(&run, &Ask::Status).expect("an answer");
            assert!(status.is_some(), "the daemon is there");
            self.done.questions += 1;
        }
        if every(13) {
            self.say_nonsense(second);
        }
        if every(19) {
            write_policy(match second / 19 % 5 {
                0 => Policy::Wrong,
                1 | 3 => Policy::One,
                _ => Policy::Other,
            });
            self.daemon.signal(Signal::HUP);
            self.done.reloads += 1;
        }
        if every(43) {
            self.inject(second / 43);
        }
        if every(607) {
            self.api.set_cores(SERVER, 2).unwrap();
            self.done.outside_changes += 1;
        }
        if every(331) {
            let for_ms = Some(20_000);
            control::ask(&self.place.at("run"), &Ask::Pause { for_ms }).expect("an answer");
            self.done.pauses += 1;
        }
        self.done.calls += self.api.calls().len();
        self.api.clear_calls();
    }

    /// One fault after the other. None of them after which an hour's pause is right.
    fn inject(&mut self, number: u64) {
        let faults = [
            Fault::DropBefore,
            Fault::unavailable(None),
            Fault::DropAfter,
            Fault::HtmlBody(502),
            Fault::DelayBefore(Duration::from_secs(5)),
            Fault::CutBody,
            Fault::DelayAfter(Duration::from_secs(5)),
            Fault::EmptyBody,
            Fault::too_many_requests(Some(3)),
            Fault::EndlessBody,
            Fault::http(500, "Internal error."),
        ];
        let fault = faults[number as usize % faults.len()].clone();
        let function = [Function::Details, Function::Edit, Function::Details][number as usize % 3];
        self.api.inject(function, fault, Times::Next(1));
        self.done.faults += 1;
    }

    /// A client that asks for nothing there is, one that goes at once, and one that says nothing.
    fn say_nonsense(&mut self, second: u64) {
        let socket = control::socket(&self.place.at("run"));
        let mut client = UnixStream::connect(socket).unwrap();
        match second % 3 {
            0 => {
                client.write_all(b"{\"do\":\"fly\"}\n").unwrap();
                let mut answer = String::new();
                client.read_to_string(&mut answer).unwrap();
                assert!(answer.contains("not understood"), "{answer}");
            }
            1 => drop(client),
            _ => drop(thread::spawn(move || {
                let mut nothing = Vec::new();
                // Until the daemon has waited long enough.
                let _ = client.read_to_end(&mut nothing);
            })),
        }
        self.done.nonsense += 1;
    }

    pub fn end(self) -> Done {
        self.done
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "soak: {} calls over TLS, {} faults among them; {} questions, {} that meant nothing; {} reloads; {} changes from outside; {} pauses",
            self.calls,
            self.faults,
            self.questions,
            self.nonsense,
            self.reloads,
            self.outside_changes,
            self.pauses,
        )
    }
}

/// Where the daemon's messages to the service manager go.
pub struct ServiceManager(Arc<Mutex<Vec<(String, u64)>>>);

impl ServiceManager {
    pub fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let counts: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
        let seen = Arc::clone(&counts);
        thread::spawn(move || {
            let mut datagram = vec![0; 1 << 16];
            while let Ok(length) = socket.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
                let mut seen = seen.lock().unwrap();
                for line in text.lines().filter(|line| !line.starts_with("STATUS=")) {
                    match seen.iter_mut().find(|(known, _)| known == line) {
                        Some((_, count)) => *count += 1,
                        None => seen.push((line.to_owned(), 1)),
                    }
                }
            }
        });
        Self(counts)
    }

    /// How often the daemon said this line.
    pub fn heard(&self, line: &str) -> u64 {
        let seen = self.0.lock().unwrap();
        let found = seen.iter().find(|(known, _)| known == line);
        found.map_or(0, |(_, count)| *count)
    }
}
