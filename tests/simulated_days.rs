//! Whether the daemon grows: three days of its life in virtual time, at its usual interval of five
//! seconds. Live memory is counted to the byte, descriptors, threads and files one by one, at the
//! same minute of each hour.
//!
//! It is the whole daemon but for the load and the kernel: the loop, the engine, the real client
//! over HTTP to the emulator, the control socket, and the state directory on a disk. What only a
//! release over TLS shows, `packaging/tests/soak` shows.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/allocations.rs"]
mod allocations;
#[path = "support/virtual_time.rs"]
mod virtual_time;
#[path = "support/world.rs"]
mod world;

use glesys_autoscaler::adapters::api_key::ApiKey;
use glesys_autoscaler::adapters::control;
use glesys_autoscaler::adapters::glesys::{AddressFamily, CallBudget, Glesys, Options};
use glesys_autoscaler::adapters::state_dir::{Owner, StateDir};
use glesys_autoscaler::engine::Engine;
use glesys_autoscaler::engine::event::Start;
use glesys_autoscaler::engine::policy::Sampling;
use glesys_autoscaler::engine::sample::{NoSample, Reading, Sample};
use glesys_autoscaler::engine::time::Timestamp;
use glesys_autoscaler::ports::{Clock, Sampler};
use glesys_autoscaler::runtime::{Daemon, Hooks, Request};
use glesys_autoscaler::sandbox::machine::PretendedCpus;
use glesys_autoscaler::sandbox::{
    Emulator, Fault, Function, Handle, Key, Platform, Project, Server, Times,
};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use virtual_time::{Listener, Virtual};
use world::{day, policy};

const PROJECT: &str = "cl12345";
const SERVER: &str = "kvm123456";
const KEY: &str = "a-key";
const HOURS: u64 = 72;
const HOUR: Duration = Duration::from_secs(3600);
/// Until everything has happened once: each fault, a midnight, a full day's count.
const WARM_UP: usize = 25;
/// Live memory goes up and down by what is under way. A byte a sample makes 720 in an hour, and
/// 17,000 between the two days that are compared.
const BYTES: usize = 2048;
const BLOCKS: usize = 8;

/// What there is at one moment.
#[derive(Debug, Clone, Copy)]
struct Gauges {
    bytes: usize,
    blocks: usize,
    descriptors: usize,
    threads: usize,
    files: usize,
}

impl Gauges {
    fn of(place: &Path) -> Self {
        let live = allocations::live();
        Self {
            bytes: live.bytes,
            blocks: live.blocks,
            descriptors: count("/proc/self/fd".as_ref()),
            threads: count("/proc/self/task".as_ref()),
            files: count(&place.join("state")) + count(&place.join("run")),
        }
    }
}

fn count(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn three_days_leave_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    let (hours, changes) = runtime.block_on(live(place.path()));
    for (hour, gauges) in hours.iter().enumerate() {
        println!("hour {hour:>2}: {gauges:?}");
    }
    // A life without changes would show nothing.
    assert!(changes > 100, "{changes} changes");

    let (first, second) = hours[WARM_UP..].split_at((hours.len() - WARM_UP) / 2);
    let most = |hours: &[Gauges], of: fn(&Gauges) -> usize| hours.iter().map(of).max().unwrap();
    for (what, of, more) in [
        ("bytes", (|g| g.bytes) as fn(&Gauges) -> usize, BYTES),
        ("blocks", |g| g.blocks, BLOCKS),
        ("descriptors", |g| g.descriptors, 0),
        ("threads", |g| g.threads, 0),
        ("files", |g| g.files, 0),
    ] {
        let (before, after) = (most(first, of), most(second, of));
        assert!(after <= before + more, "{what}: {before}, then {after}");
    }
}

/// The gauges at the end of each hour, and how many changes were made.
async fn live(place: &Path) -> (Vec<Gauges>, usize) {
    let guest = PretendedCpus::new(2);
    let server = Server::new(SERVER, 2)
        .address([192, 0, 2, 10].into())
        .machine(guest.clone());
    let project = Project::new(PROJECT)
        .key(Key::for_loopback(KEY))
        .server(server);
    let emulator = Emulator::builder()
        .platform("KVM", Platform::up_to(8))
        .project(project)
        .build();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let api = client(&format!("http://{}", listener.local_addr().unwrap()));
    let serving = emulator.spawn(listener);

    let clock = Virtual(Instant::now());
    let (state_dir, runtime_dir) = (place.join("state"), place.join("run"));
    let now = clock.now();
    let owner = Owner {
        server_id: SERVER.to_owned(),
        machine_id: world::machine().machine_id,
    };
    let (store, found) = StateDir::open(&state_dir, &runtime_dir, owner, now.wall_ms).unwrap();
    let (engine, notices) = Engine::start(
        now,
        Start {
            policy: policy(1, 8),
            policy_hash: "days".to_owned(),
            engine_version: "test".to_owned(),
            dry_run: false,
            boot_id: "this boot".to_owned(),
            machine: world::machine(),
            day: day(now),
            state: found.state,
            careful: found.careful,
            jitter_seed: 1,
        },
    );
    let (requests, inbox) = mpsc::channel(4);
    let socket = control::listen(&runtime_dir).unwrap();
    let control = tokio::spawn(control::serve(socket, requests.clone()));
    let begun = clock.0;
    let daemon = Daemon {
        engine,
        sampler: Tide {
            begun,
            guest,
            before: None,
        },
        clock,
        notifier: Listener {
            watchdog: Some(Duration::from_secs(60)),
        },
        store,
        server_id: SERVER.to_owned(),
        hooks: Hooks {
            reload: Box::new(|| Ok((policy(1, 8), "days".to_owned()))),
            machine: Box::new(|| Some(world::machine())),
            done: Box::new(|_| false),
        },
        requests: inbox,
    };
    let ((), (hours, changes)) = tokio::join!(daemon.run(&api, notices), async {
        let watched = watch(&emulator.handle(), place, begun, &requests).await;
        requests.send(Request::Stop).await.unwrap();
        watched
    });
    control.abort();
    drop(serving);
    (hours, changes)
}

/// What people and the API do to it, hour by hour.
async fn watch(
    api: &Handle,
    place: &Path,
    begun: Instant,
    requests: &mpsc::Sender<Request>,
) -> (Vec<Gauges>, usize) {
    let faults = [
        Fault::DropBefore,
        Fault::unavailable(None),
        Fault::DropAfter,
        Fault::HtmlBody(502),
        Fault::DelayBefore(Duration::from_secs(60)),
        Fault::CutBody,
        Fault::DelayAfter(Duration::from_secs(60)),
        Fault::EmptyBody,
        Fault::too_many_requests(Some(30)),
        Fault::http(500, "Internal error."),
    ];
    // All at once, since it would count as growth.
    let mut gauges = Vec::with_capacity(HOURS as usize);
    let mut changes = 0;
    for hour in 0..HOURS {
        let function = [Function::Details, Function::Edit][hour as usize % 2];
        let fault = faults[hour as usize / 2 % faults.len()].clone();
        api.inject(function, fault, Times::Next(2));
        requests.send(Request::Reload).await.unwrap();
        for minute in 1..60 {
            sleep_until(begun + HOUR * hour as u32 + Duration::from_secs(minute * 60)).await;
            ask(&place.join("run"), minute).await;
        }
        sleep_until(begun + HOUR * (hour as u32 + 1) - Duration::from_secs(1)).await;
        let edits = api.calls_of(Function::Edit);
        changes += edits.iter().filter(|call| call.http == Some(200)).count();
        // What the emulator remembers is not the daemon's.
        api.clear_calls();
        api.clear_faults();
        gauges.push(Gauges::of(place));
    }
    (gauges, changes)
}

/// A question on the control socket; one in ten is nonsense.
async fn ask(runtime_dir: &Path, minute: u64) {
    let mut stream = UnixStream::connect(control::socket(runtime_dir))
        .await
        .unwrap();
    let (question, answer): (&[u8], &str) = match minute % 10 {
        0 => (b"{\"do\":\"fly\"}\n", "not understood"),
        _ => (b"{\"do\":\"status\"}\n", "\"cores\""),
    };
    stream.write_all(question).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.contains(answer), "{text}");
    // Its end closes the descriptor a moment later.
    sleep(Duration::from_millis(1)).await;
}

fn client(url: &str) -> Glesys {
    Glesys::new(Options {
        url: url.to_owned(),
        project: PROJECT.to_owned(),
        server_id: SERVER.to_owned(),
        key: ApiKey::given(KEY.to_owned()).unwrap(),
        ca_file: None,
        address_family: AddressFamily::Any,
        timeout: Duration::from_secs(10),
        calls: CallBudget::new(15, Duration::from_secs(10)),
    })
    .unwrap()
}

/// High for a quarter of an hour in each, with a queue, and low for the rest.
struct Tide {
    begun: Instant,
    guest: PretendedCpus,
    before: Option<(Timestamp, u32)>,
}

impl Sampler for Tide {
    fn read(&mut self, now: Timestamp) -> Reading {
        let guest = self.guest.guest();
        let online = guest.online;
        let age = self.begun.elapsed().as_secs();
        let peak = [2500, 4100, 9000, 3300][(age / 3600 % 4) as usize];
        let demand_mc = if age % 3600 < 900 { peak } else { 300 };
        let sample = match self.before.replace((now, online)) {
            None => Err(NoSample::First),
            Some((_, before)) if before != online => Err(NoSample::OnlineChanged),
            Some((before, _)) => Ok(Sample {
                span_ms: now.since(before).as_millis() as u32,
                online,
                busy_mc: demand_mc.min(online * 1000),
                steal_mc: 0,
                runnable_c: Some(demand_mc / 10 + 100),
                pressure_bp: None,
            }),
        };
        Reading {
            guest: Some(guest),
            sample,
        }
    }

    fn read_queue(&mut self) {}

    fn configure(&mut self, _: &Sampling) {}
}
