//! The platform below the guest: gives and takes vCPUs, cuts the wire, cycles the power. As the
//! emulator's machine it does what an edit asks for.

use crate::qemu::{Begin, Image, Place, Qemu};
use glesys_autoscaler::sandbox::machine::Machine;
use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a guest may take for one vCPU: a tenth of a second where it is idle.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the platform reboots a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reboot {
    /// Power off and on.
    Hard,
    /// By the power button: the guest shuts down by itself.
    Clean,
}

/// A clone is the same one.
#[derive(Clone)]
pub struct Hypervisor(Arc<Shared>);

struct Shared {
    image: Image,
    directory: PathBuf,
    ssh_port: u16,
    qemu: Mutex<Option<Qemu>>,
    told: Mutex<Told>,
}

/// What the scenario told it.
struct Told {
    reboot: Reboot,
    /// The wire stays as it is over a power cycle.
    wire: bool,
}

impl Hypervisor {
    /// Starts the guest whose disk is in `directory`.
    pub fn start(image: &Image, directory: PathBuf, ssh_port: u16, begin: Begin) -> Self {
        let shared = Shared {
            image: image.clone(),
            directory,
            ssh_port,
            qemu: Mutex::new(None),
            told: Mutex::new(Told {
                reboot: Reboot::Hard,
                wire: true,
            }),
        };
        *lock(&shared.qemu) = Some(shared.place().start(begin));
        Self(Arc::new(shared))
    }

    /// Does something with the running QEMU.
    pub fn qemu<R>(&self, work: impl FnOnce(&mut Qemu) -> R) -> R {
        let mut qemu = lock(&self.0.qemu);
        work(
            qemu.as_mut()
                .expect("it is taken only while a power cycle holds the lock"),
        )
    }

    pub fn cores(&self) -> u32 {
        self.qemu(Qemu::cores)
    }

    /// How the platform reboots the guest from now on.
    pub fn reboots(&self, how: Reboot) {
        lock(&self.0.told).reboot = how;
    }

    /// Pulls or plugs the wire between the guest and the API.
    pub fn wire(&self, up: bool) {
        lock(&self.0.told).wire = up;
        self.qemu(|qemu| qemu.wire(up));
    }

    /// Gives or takes vCPUs until there are `cores`.
    fn resize(&self, cores: u32) {
        let count = cores.max(1);
        for _ in 0..3 {
            while self.cores() < count {
                self.qemu(Qemu::plug).unwrap();
            }
            while self.cores() > count {
                let before = self.cores();
                self.qemu(Qemu::ask_back).unwrap();
                let went = wait(PATIENCE, || self.cores() < before);
                if !went {
                    // Asked while the guest boots, it is lost: ask again.
                    break;
                }
            }
            if self.cores() == count {
                return;
            }
        }
        println!("  the guest does not come to {count} cores");
    }

    /// Reboots the guest, which then has `cores`.
    pub fn power_cycle(&self, cores: u32) {
        let how = lock(&self.0.told).reboot;
        if how == Reboot::Clean {
            self.qemu(Qemu::press_power);
            // The guest needs the others meanwhile: the lock is free between two looks.
            let off = || self.qemu(|qemu| qemu.ends_within(Duration::from_millis(100)));
            wait(Duration::from_secs(120), off);
        }
        let mut qemu = lock(&self.0.qemu);
        if let Some(running) = qemu.take() {
            running.end();
        }
        let mut started = self.0.place().start(Begin::Boot(cores));
        if !lock(&self.0.told).wire {
            started.wire(false);
        }
        *qemu = Some(started);
    }

    /// The machine behind a server of the emulator: what it is told it does in a thread of its
    /// own, one thing after the other.
    pub fn machine(&self) -> impl Machine + 'static {
        let (work, orders) = mpsc::channel();
        let platform = self.clone();
        thread::spawn(move || {
            for order in orders {
                match order {
                    Order::Resize(cores) => platform.resize(cores),
                    Order::Reboot(cores) => platform.power_cycle(cores),
                }
            }
        });
        Guest(work)
    }

    pub fn end(&self) {
        if let Some(qemu) = lock(&self.0.qemu).take() {
            qemu.end();
        }
    }
}

impl Shared {
    fn place(&self) -> Place<'_> {
        Place {
            image: &self.image,
            directory: &self.directory,
            ssh_port: self.ssh_port,
        }
    }
}

enum Order {
    Resize(u32),
    Reboot(u32),
}

struct Guest(Sender<Order>);

impl Machine for Guest {
    fn resize(&mut self, cores: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.0.send(Order::Resize(cores))?)
    }

    fn reboot(&mut self, cores: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.0.send(Order::Reboot(cores))?)
    }
}

fn wait(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    for _ in 0..patience.as_millis() / 100 {
        if done() {
            return true;
        }
        thread::sleep(Duration::from_millis(100));
    }
    false
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
