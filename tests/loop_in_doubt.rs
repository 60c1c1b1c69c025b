//! What the loop does not send: an edit whose intent does not last as long as it must, and one from
//! a machine that is another by now. The real loop and engine in virtual time, between ports that the test holds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/virtual_time.rs"]
mod virtual_time;
#[path = "support/world.rs"]
mod world;

use glesys_autoscaler::engine::cloud::{ApiFailure, Server};
use glesys_autoscaler::engine::event::{Machine, Start};
use glesys_autoscaler::engine::policy::Sampling;
use glesys_autoscaler::engine::record::{Reason, Record};
use glesys_autoscaler::engine::sample::{GuestCpus, Reading, Sample};
use glesys_autoscaler::engine::state::{Intent, Stage, State};
use glesys_autoscaler::engine::time::Timestamp;
use glesys_autoscaler::engine::{Engine, Status};
use glesys_autoscaler::ports::{Clock, CloudApi, Kept, Sampler, StateStore};
use glesys_autoscaler::runtime::{Daemon, Hooks, Request};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use virtual_time::{Listener, Virtual};
use world::{day, policy};

const MINUTES: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);

/// What the test does to the ports, and sees of them.
struct Bed {
    store: Cell<Store>,
    machine: RefCell<Machine>,
    /// What was on disk when an edit came in.
    edits: RefCell<Vec<Option<State>>>,
    disk: RefCell<Option<State>>,
    cores: Cell<u32>,
    /// In thousandths of a core.
    work: Cell<u32>,
}

/// What the directories have room for.
#[derive(Clone, Copy, PartialEq)]
enum Store {
    Whatever,
    /// Neither can be written.
    Nothing,
    /// The state directory has no room for the state once an edit is in it.
    NoEdit,
}

/// A server of two cores with the work of five, on a machine that looks like this at the start.
/// `story` is told while the loop runs.
fn run<F: Future<Output = ()>>(
    machine: Machine,
    story: impl FnOnce(Rc<Bed>, mpsc::Sender<Request>) -> F,
) {
    let bed = Rc::new(Bed {
        store: Cell::new(Store::Whatever),
        machine: RefCell::new(machine.clone()),
        edits: RefCell::default(),
        disk: RefCell::default(),
        cores: Cell::new(2),
        work: Cell::new(5000),
    });
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = Virtual(Instant::now());
        let now = clock.now();
        let start = Start {
            policy: policy(1, 8),
            policy_hash: "doubt".to_owned(),
            engine_version: "test".to_owned(),
            dry_run: false,
            boot_id: "this boot".to_owned(),
            machine,
            day: day(now),
            state: State::default(),
            careful: false,
            jitter_seed: 1,
        };
        let (engine, notices) = Engine::start(now, start);
        let (requests, inbox) = mpsc::channel(1);
        let daemon = Daemon {
            engine,
            sampler: Busy(Rc::clone(&bed)),
            clock,
            notifier: Listener { watchdog: None },
            store: Disk(Rc::clone(&bed)),
            server_id: "kvm123456".to_owned(),
            hooks: Hooks {
                reload: Box::new(|| Err("never asked for".to_owned())),
                machine: Box::new(|| Some(bed.machine.borrow().clone())),
                done: Box::new(|_| false),
            },
            requests: inbox,
        };
        let api = Api(Rc::clone(&bed));
        tokio::join!(daemon.run(&api, notices), async {
            story(Rc::clone(&bed), requests.clone()).await;
            requests.send(Request::Stop).await.unwrap();
        });
    });
}

async fn status(requests: &mpsc::Sender<Request>) -> Box<Status> {
    let (reply, status) = oneshot::channel();
    requests.send(Request::Status(reply)).await.unwrap();
    status.await.unwrap()
}

/// A kill after such an edit would leave a change that nobody knows of. What is not sent is not
/// announced either, and not counted.
#[test]
fn no_edit_leaves_while_its_intent_can_be_written_nowhere() {
    run(world::machine(), |bed, requests| async move {
        bed.store.set(Store::Nothing);
        sleep(MINUTES).await;
        held_by_the_disk(&bed, &requests, 0).await;

        bed.store.set(Store::Whatever);
        sleep(MINUTES).await;
        let edits = bed.edits.borrow();
        assert_eq!(edits.len(), 1);
        let stage = |state: &State| state.intent.as_ref().map(|intent| intent.stage);
        assert_eq!(edits[0].as_ref().and_then(stage), Some(Stage::Sent));
    });
}

/// The disk fills up between the plan and the edit: a raise goes out all the same, a lowering
/// waits, at the pace of the samples.
#[test]
fn no_lowering_leaves_whose_intent_would_not_survive_a_reboot() {
    run(world::machine(), |bed, requests| async move {
        bed.store.set(Store::NoEdit);
        sleep(MINUTES).await;
        assert_eq!(bed.edits.borrow().len(), 1);

        bed.work.set(100);
        sleep(HOUR).await;
        held_by_the_disk(&bed, &requests, 1).await;

        bed.store.set(Store::Whatever);
        sleep(MINUTES).await;
        assert_eq!(bed.edits.borrow().len(), 2);
        assert_eq!(bed.cores.get(), 1);
    });
}

async fn held_by_the_disk(bed: &Bed, requests: &mpsc::Sender<Request>, sent: u32) {
    assert_eq!(bed.edits.borrow().len(), sent as usize);
    let status = status(requests).await;
    assert!(status.disk_full);
    assert_eq!(status.waits_for, Some(Reason::DiskFull));
    let announced = status.in_flight.and_then(|intent| intent.asked);
    assert_eq!(announced, None);
    assert_eq!(status.api_trouble, None);
    assert_eq!(status.changes_today, sent);
}

/// A VM that was cloned or moved while the daemon ran: looked at again before each change. And
/// one whose network is down for a moment must not stay another for ever.
#[test]
fn no_edit_leaves_from_a_machine_that_is_another_by_now() {
    run(world::machine(), |bed, requests| async move {
        *bed.machine.borrow_mut() = another();
        sleep(MINUTES).await;
        held(&bed, &requests).await;
        *bed.machine.borrow_mut() = world::machine();
        sleep(MINUTES).await;
        assert_eq!(bed.edits.borrow().len(), 1);
    });
}

/// A daemon that starts before the network is there.
#[test]
fn an_address_that_comes_after_the_start_is_proof_enough() {
    run(another(), |bed, requests| async move {
        sleep(MINUTES).await;
        held(&bed, &requests).await;
        *bed.machine.borrow_mut() = world::machine();
        sleep(MINUTES).await;
        assert_eq!(bed.edits.borrow().len(), 1);
    });
}

fn another() -> Machine {
    Machine {
        addresses: vec![[198, 51, 100, 7].into()],
        ..world::machine()
    }
}

async fn held(bed: &Bed, requests: &mpsc::Sender<Request>) {
    assert_eq!(bed.edits.borrow().len(), 0);
    let waits = status(requests).await.waits_for;
    assert_eq!(waits, Some(Reason::IdentityUnproven));
}

struct Api(Rc<Bed>);

impl CloudApi for Api {
    async fn details(&self) -> Result<Server, ApiFailure> {
        Ok(Server {
            cores: self.0.cores.get(),
            memory_mb: Some(4096),
            platform: "KVM".to_owned(),
            addresses: world::machine().addresses,
            locked: false,
            running: Some(true),
        })
    }

    async fn edit(&self, cores: u32) -> Result<(), ApiFailure> {
        let on_disk = self.0.disk.borrow().clone();
        self.0.edits.borrow_mut().push(on_disk);
        self.0.cores.set(cores);
        Ok(())
    }

    async fn allowed_cores(&self, _: &str) -> Result<Vec<u32>, ApiFailure> {
        Ok((1..=8).collect())
    }
}

struct Disk(Rc<Bed>);

impl StateStore for Disk {
    fn save(&mut self, state: &State) -> Result<Kept, String> {
        let store = self.0.store.get();
        if store == Store::Nothing {
            return Err("neither directory can be written".to_owned());
        }
        *self.0.disk.borrow_mut() = Some(state.clone());
        let edit = |intent: &Intent| intent.stage == Stage::Sent;
        if store == Store::NoEdit && state.intent.as_ref().is_some_and(edit) {
            return Ok(Kept::UntilReboot("no room".to_owned()));
        }
        Ok(Kept::Durably)
    }

    fn append(&mut self, _: &Record) -> Result<(), String> {
        Ok(())
    }
}

struct Busy(Rc<Bed>);

impl Sampler for Busy {
    fn read(&mut self, _: Timestamp) -> Reading {
        let online = self.0.cores.get();
        let work = self.0.work.get();
        Reading {
            guest: Some(GuestCpus {
                online,
                present: online,
            }),
            sample: Ok(Sample {
                span_ms: 5000,
                online,
                busy_mc: work.min(online * 1000),
                steal_mc: 0,
                runnable_c: Some(work / 10 + 100),
                pressure_bp: None,
            }),
        }
    }

    fn read_queue(&mut self) {}

    fn configure(&mut self, _: &Sampling) {}
}
