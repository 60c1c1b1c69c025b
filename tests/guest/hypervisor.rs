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
    power: Mutex<Power>,
    told: Mutex<Told>,
}

struct Power {
    /// `None` within a power cycle, and after the end.
    qemu: Option<Qemu>,
    /// The scenario is over: nothing may be started any more.
    ended: bool,
}

/// What the scenario told it.
struct Told {
    reboot: Reboot,
    /// The wire stays as it is over a power cycle.
    wire: bool,
}

impl Hypervisor {
    /// Starts the guest whose disk is in `directory`.
    pub fn start(image: &Image, directory: PathBuf, begin: Begin) -> Self {
        let (qemu, ssh_port) = Place::start_at_free_port(image, &directory, begin);
        Self(Arc::new(Shared {
            image: image.clone(),
            directory,
            ssh_port,
            power: Mutex::new(Power {
                qemu: Some(qemu),
                ended: false,
            }),
            told: Mutex::new(Told {
                reboot: Reboot::Hard,
                wire: true,
            }),
        }))
    }

    /// The port of 127.0.0.1 that leads to the guest's ssh.
    pub fn ssh_port(&self) -> u16 {
        self.0.ssh_port
    }

    /// Does something with the running QEMU, for the scenario, which lasts as long as it does.
    pub fn qemu<R>(&self, work: impl FnOnce(&mut Qemu) -> R) -> R {
        self.try_qemu(work)
            .expect("QEMU runs until the scenario ends")
    }

    /// Likewise, for who may outlive it; `None` once it has ended.
    fn try_qemu<R>(&self, work: impl FnOnce(&mut Qemu) -> R) -> Option<R> {
        lock(&self.0.power).qemu.as_mut().map(work)
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

    /// Gives or takes vCPUs until there are `cores`; `None` where the end comes before that.
    fn resize(&self, cores: u32) -> Option<()> {
        let count = cores.max(1);
        let now = || self.try_qemu(Qemu::cores);
        for _ in 0..3 {
            while now()? < count {
                self.try_qemu(Qemu::plug)?.unwrap();
            }
            loop {
                let before = now()?;
                if before <= count {
                    break;
                }
                self.try_qemu(Qemu::ask_back)?.unwrap();
                let went = wait(PATIENCE, || now().is_none_or(|now| now < before));
                if !went {
                    // Asked while the guest boots, it is lost: ask again.
                    break;
                }
            }
            if now()? == count {
                return Some(());
            }
        }
        println!("  the guest does not come to {count} cores");
        Some(())
    }

    /// Reboots the guest, which then has `cores`. After the end it does nothing.
    pub fn power_cycle(&self, cores: u32) {
        let how = lock(&self.0.told).reboot;
        if how == Reboot::Clean {
            self.try_qemu(Qemu::press_power);
            // The guest needs the others meanwhile: the lock is free between two looks.
            let off = || {
                self.try_qemu(|qemu| qemu.ends_within(Duration::from_millis(100)))
                    .unwrap_or(true)
            };
            wait(Duration::from_secs(120), off);
        }
        let mut power = lock(&self.0.power);
        if power.ended {
            return;
        }
        if let Some(running) = power.qemu.take() {
            running.end();
        }
        let mut started = self.0.place().start(Begin::Boot(cores));
        if !lock(&self.0.told).wire {
            started.wire(false);
        }
        power.qemu = Some(started);
    }

    /// The machine behind a server of the emulator: what it is told it does in a thread of its
    /// own, one thing after the other.
    pub fn machine(&self) -> impl Machine + 'static {
        let (work, orders) = mpsc::channel();
        let platform = self.clone();
        thread::spawn(move || {
            for order in orders {
                match order {
                    Order::Resize(cores) => drop(platform.resize(cores)),
                    Order::Reboot(cores) => platform.power_cycle(cores),
                }
            }
        });
        Guest(work)
    }

    /// Pulls the plug for good: its disk is not needed any more.
    pub fn end(&self) {
        let mut power = lock(&self.0.power);
        power.ended = true;
        power.qemu = None;
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
