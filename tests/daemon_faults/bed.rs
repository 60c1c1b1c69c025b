//! The daemon of one row and the world around it, on one thread.

use crate::expectation::Seen;
use crate::journal::Journal;
use crate::row::{Network, Row, Step};
use crate::tls::PrivateCa;
use glesys_autoscaler::adapters::api_key::ApiKey;
use glesys_autoscaler::adapters::clock::SystemClock;
use glesys_autoscaler::adapters::glesys::{AddressFamily, CallBudget, Glesys, Options};
use glesys_autoscaler::adapters::ledger;
use glesys_autoscaler::adapters::state_dir::{Owner, StateDir};
use glesys_autoscaler::config;
use glesys_autoscaler::engine::event::{Machine, Notice, Start};
use glesys_autoscaler::engine::policy::{Mode, Policy, Sampling};
use glesys_autoscaler::engine::sample::{NoSample, Reading, Sample};
use glesys_autoscaler::engine::time::Timestamp;
use glesys_autoscaler::engine::{Engine, Status};
use glesys_autoscaler::ports::{Clock, Notifier, Sampler};
use glesys_autoscaler::runtime::{Daemon, Hooks, Request};
use glesys_autoscaler::sandbox::machine::PretendedCpus;
use glesys_autoscaler::sandbox::{Emulator, Function, Handle, Key, Platform, Project, Server};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub const SERVER: &str = "kvm123456";
pub const KEY: &str = "a-key-for-the-table";
const PROJECT: &str = "cl12345";
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
/// Far above what any row needs, also on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(150);

/// What a row's functions reach into.
pub struct Bed {
    pub api: Handle,
    pub guest: PretendedCpus,
    addresses: Rc<RefCell<Vec<IpAddr>>>,
    demand: Rc<Cell<f64>>,
    emulator: Emulator,
    /// Bound from the begin, so that the port is ours; connections are refused until it listens.
    socket: Cell<Option<TcpSocket>>,
    serving: RefCell<Option<JoinHandle<()>>>,
}

impl Bed {
    /// From now on the load would use so many cores.
    pub fn load(&self, demand: f64) {
        self.demand.set(demand);
    }

    /// This machine has its address, or none.
    pub fn address(&self, there: bool) {
        let addresses = if there { vec![ADDRESS] } else { Vec::new() };
        self.addresses.replace(addresses);
    }

    pub fn kvm(&self, change: impl FnOnce(&mut Platform)) {
        self.api.platform("KVM", change);
    }

    /// The API begins to listen.
    pub fn open(&self) {
        self.serve(&Network::Http);
    }

    fn machine(&self) -> Machine {
        Machine {
            machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
            macs: vec!["00:50:56:00:00:01".to_owned()],
            addresses: self.addresses.borrow().clone(),
            memory_mb: 1950,
        }
    }

    fn serve(&self, network: &Network) {
        let emulator = self.emulator.clone();
        let listener = || self.socket.take().unwrap().listen(64).unwrap();
        let task = match network {
            Network::Closed => return,
            Network::Http => {
                let listener = listener();
                tokio::spawn(async move { emulator.serve(listener).await })
            }
            Network::UntrustedTls => {
                let config = PrivateCa::new().server(&["127.0.0.1"]);
                let listener = listener();
                let acceptor = tokio_rustls::TlsAcceptor::from(config);
                tokio::spawn(async move {
                    let wrap = |stream| acceptor.accept(stream);
                    emulator.serve_with(listener, wrap).await;
                })
            }
        };
        self.serving.replace(Some(task));
    }
}

/// Runs a row to its end.
pub fn run(row: &'static Row) -> Seen {
    let journal = Journal::default();
    let listening = journal.listen();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let seen = runtime
        .enable_all()
        .build()
        .unwrap()
        .block_on(run_within(row, journal));
    drop(listening);
    seen
}

async fn run_within(row: &'static Row, journal: Journal) -> Seen {
    let directory = TempDir::new().unwrap();
    let guest = PretendedCpus::new(row.cores);
    let server = Server::new(SERVER, row.cores)
        .address(ADDRESS)
        .machine(guest.clone());
    let project = Project::new(PROJECT)
        .key(Key::for_loopback(KEY))
        .server(server);
    let mut kvm = Platform::up_to(8);
    kvm.lock_time = Duration::from_millis(300);
    let emulator = Emulator::builder()
        .platform("KVM", kvm)
        .project(project)
        .build();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    let bed = Bed {
        api: emulator.handle(),
        guest: guest.clone(),
        addresses: Rc::new(RefCell::new(vec![ADDRESS])),
        demand: Rc::new(Cell::new(row.demand)),
        emulator,
        socket: Cell::new(Some(socket)),
        serving: RefCell::new(None),
    };
    (row.given)(&bed);
    bed.serve(&row.network);

    let mut policy = quick();
    (row.policy)(&mut policy);
    let api = client(row, address);
    let (requests, inbox) = mpsc::channel(4);
    let (engine, notices, store) = start(row, &policy, bed.machine(), directory.path());
    let daemon = Daemon {
        engine,
        sampler: Scripted {
            cpus: guest,
            demand: Rc::clone(&bed.demand),
            before: None,
        },
        clock: SystemClock::new(),
        notifier: Nobody,
        store,
        server_id: row.server_id.to_owned(),
        hooks: Hooks {
            reload: Box::new(|| Ok((policy.clone(), config::policy_hash(&policy)))),
            machine: Box::new(|| Some(bed.machine())),
            done: Box::new(|_| false),
        },
        requests: inbox,
    };
    let (missed, status) = tokio::join!(
        follow(row, &bed, &journal, requests),
        daemon.run(&api, notices)
    )
    .0;

    let called = |function| bed.api.calls_of(function);
    let edits = called(Function::Edit)
        .iter()
        .map(|call| call.arguments["cpucores"].as_u64().unwrap() as u32)
        .collect();
    let history = ledger::read(directory.path()).unwrap();
    assert_eq!(history.unreadable, 0);
    Seen {
        missed,
        edits,
        details: called(Function::Details).len(),
        allowed_arguments: called(Function::AllowedArguments).len(),
        cores: bed.api.cores(SERVER).unwrap(),
        journal: journal.lines(),
        results: history
            .lines
            .iter()
            .map(|line| line.record.result.as_str())
            .collect(),
        status,
    }
}

/// Goes through the steps of a row, asks for the status, and ends the daemon.
async fn follow(
    row: &'static Row,
    bed: &Bed,
    journal: &Journal,
    requests: mpsc::Sender<Request>,
) -> (Option<&'static Step>, Status) {
    let mut missed = None;
    for step in row.run {
        let come = match step {
            Step::Until(words) => until(|| journal.has_further(words)).await,
            Step::UntilCalled(function, times) => {
                until(|| bed.api.calls_of(*function).len() >= *times).await
            }
            Step::Seconds(seconds) => {
                tokio::time::sleep(Duration::from_secs_f64(*seconds)).await;
                true
            }
            Step::Do(what) => {
                what(bed);
                true
            }
            Step::Reload => {
                requests.send(Request::Reload).await.unwrap();
                true
            }
        };
        if !come {
            missed = Some(step);
            break;
        }
    }
    let (reply, status) = oneshot::channel();
    requests.send(Request::Status(reply)).await.unwrap();
    let status = *status.await.unwrap();
    requests.send(Request::Stop).await.unwrap();
    (missed, status)
}

async fn until(mut happened: impl FnMut() -> bool) -> bool {
    let happens = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, happens).await.is_ok()
}

/// Short windows, and every rule but `utilization` out of the way.
fn quick() -> Policy {
    let config = config::with_defaults(PROJECT, SERVER, "http://127.0.0.1").unwrap();
    let mut policy = config.policy;
    let ms = Duration::from_millis;
    policy.sampling.interval = ms(250);
    policy.boot_grace = Duration::ZERO;
    policy.up.window = ms(1000);
    policy.up.queue = Duration::ZERO;
    policy.up.cooldown = ms(1000);
    policy.down.window = ms(1000);
    policy.down.cooldown = ms(2000);
    policy.apply.lowering = Mode::Learn;
    policy.apply.timeout = ms(3000);
    policy
}

fn client(row: &Row, address: SocketAddr) -> Glesys {
    let scheme = match row.network {
        Network::UntrustedTls => "https",
        Network::Http | Network::Closed => "http",
    };
    Glesys::new(Options {
        url: format!("{scheme}://{address}"),
        project: PROJECT.to_owned(),
        server_id: row.server_id.to_owned(),
        key: ApiKey::given(KEY.to_owned()).unwrap(),
        ca_file: None,
        address_family: AddressFamily::Any,
        timeout: Duration::from_secs(2),
        calls: CallBudget::new(1, Duration::ZERO),
    })
    .unwrap()
}

fn start(
    row: &Row,
    policy: &Policy,
    machine: Machine,
    directory: &Path,
) -> (Engine, Vec<Notice>, StateDir) {
    let clock = SystemClock::new();
    let now = clock.now();
    let owner = Owner {
        server_id: row.server_id.to_owned(),
        machine_id: machine.machine_id.clone(),
    };
    let runtime_dir = directory.join("run");
    let (store, found) = StateDir::open(directory, &runtime_dir, owner, now.wall_ms).unwrap();
    let start = Start {
        policy: policy.clone(),
        policy_hash: config::policy_hash(policy),
        engine_version: "test".to_owned(),
        dry_run: false,
        boot_id: "this boot".to_owned(),
        machine,
        day: clock.day(now),
        state: found.state,
        careful: found.careful,
        jitter_seed: row.name.len() as u64,
    };
    let (engine, notices) = Engine::start(now, start);
    (engine, notices, store)
}

/// A load of so many cores on CPUs that are only pretended.
struct Scripted {
    cpus: PretendedCpus,
    demand: Rc<Cell<f64>>,
    /// The last look: when, and [`PretendedCpus::changes`].
    before: Option<(Timestamp, u64)>,
}

impl Sampler for Scripted {
    fn read(&mut self, now: Timestamp) -> Reading {
        let guest = self.cpus.guest();
        let changes = self.cpus.changes();
        let sample = match self.before.replace((now, changes)) {
            None => Err(NoSample::First),
            Some((_, before)) if before != changes => Err(NoSample::OnlineChanged),
            Some((before, _)) => Ok(self.sample(now.since(before), guest.online)),
        };
        Reading {
            guest: Some(guest),
            sample,
        }
    }

    fn read_queue(&mut self) {}

    fn configure(&mut self, _: &Sampling) {}
}

impl Scripted {
    fn sample(&self, span: Duration, online: u32) -> Sample {
        let demand = self.demand.get();
        Sample {
            span_ms: span.as_millis() as u32,
            online,
            busy_mc: (demand.min(f64::from(online)) * 1000.0) as u32,
            steal_mc: 0,
            // One more for ourselves, who are runnable while we read.
            runnable_c: Some((demand * 100.0) as u32 + 100),
            pressure_bp: None,
        }
    }
}

struct Nobody;

impl Notifier for Nobody {
    fn ready(&self) {}
    fn watchdog(&self) {}
    fn watchdog_interval(&self) -> Option<Duration> {
        None
    }
    fn status(&self, _: &str) {}
    fn stopping(&self) {}
}
