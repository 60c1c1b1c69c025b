//! What an accepted edit does to the guest: the trait, and the guest that is only pretended.
//! Real CPUs are in [`hotplug`](super::hotplug).

use crate::engine::sample::GuestCpus;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The guest behind a server of the emulator.
///
/// Called while the emulator's world is locked: an implementation must be quick (real CPUs take
/// about 50 ms each) and must not call the emulator.
pub trait Machine: Send {
    /// The hypervisor gives the running guest `cores` cores.
    ///
    /// # Errors
    /// Whatever kept it from happening. It is logged, and the guest counts as unchanged.
    fn resize(&mut self, cores: u32) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// The guest boots anew, with `cores` cores.
    ///
    /// # Errors
    /// As for [`resize`](Self::resize).
    fn reboot(&mut self, cores: u32) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// How a pretended guest takes a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestMode {
    /// It has and uses what it is given.
    Follows,
    /// New cores are present and stay offline, as on Debian 12 without the udev rule.
    StaysOffline,
    /// It neither takes nor gives cores while it runs.
    Refuses,
}

/// The CPUs of a pretended guest: one counter, shared by the emulator, which changes it, and the
/// [`PretendedSampler`](super::sampler::PretendedSampler), which reports it. A clone is the same
/// guest.
#[derive(Debug, Clone)]
pub struct PretendedCpus(Arc<Mutex<Pretended>>);

#[derive(Debug, Clone, Copy)]
struct Pretended {
    guest: GuestCpus,
    mode: GuestMode,
    changes: u64,
    boots: u32,
}

impl PretendedCpus {
    /// A guest with `cores` cores (at least 1), all online, that follows.
    #[must_use]
    pub fn new(cores: u32) -> Self {
        let cores = cores.max(1);
        Self(Arc::new(Mutex::new(Pretended {
            guest: GuestCpus {
                online: cores,
                present: cores,
            },
            mode: GuestMode::Follows,
            changes: 0,
            boots: 0,
        })))
    }

    /// The CPUs as the guest's kernel would show them.
    #[must_use]
    pub fn guest(&self) -> GuestCpus {
        self.state().guest
    }

    /// How often the set of online CPUs changed: differs between two readings when it changed
    /// between them, even if it changed back.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// How often the guest was booted anew.
    #[must_use]
    pub fn boots(&self) -> u32 {
        self.state().boots
    }

    /// From now on the guest takes changes this way.
    pub fn set_mode(&self, mode: GuestMode) {
        self.state().mode = mode;
    }

    /// Brings every present CPU online, as a udev rule or a person would.
    pub fn bring_online(&self) {
        let mut state = self.state();
        let present = state.guest.present;
        state.set(present, present);
    }

    fn state(&self) -> MutexGuard<'_, Pretended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pretended {
    fn set(&mut self, present: u32, online: u32) {
        if online != self.guest.online {
            self.changes += 1;
        }
        self.guest = GuestCpus { online, present };
    }
}

impl Machine for PretendedCpus {
    fn resize(&mut self, cores: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut state = self.state();
        let cores = cores.max(1);
        match state.mode {
            GuestMode::Follows => state.set(cores, cores),
            GuestMode::StaysOffline => {
                let online = state.guest.online.min(cores);
                state.set(cores, online);
            }
            GuestMode::Refuses => {}
        }
        Ok(())
    }

    fn reboot(&mut self, cores: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut state = self.state();
        let cores = cores.max(1);
        // A boot brings every CPU up, whatever the guest does with changes while it runs.
        state.set(cores, cores);
        state.boots += 1;
        state.changes += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(mode: GuestMode, from: u32, to: u32) -> (u32, u32, bool) {
        let mut cpus = PretendedCpus::new(from);
        cpus.set_mode(mode);
        let before = cpus.changes();
        cpus.resize(to).unwrap();
        let GuestCpus { online, present } = cpus.guest();
        (online, present, cpus.changes() != before)
    }

    #[test]
    fn each_mode_takes_a_change_its_way() {
        for (mode, from, to, online, present, changed) in [
            (GuestMode::Follows, 1, 4, 4, 4, true),
            (GuestMode::Follows, 4, 2, 2, 2, true),
            (GuestMode::Follows, 4, 4, 4, 4, false),
            (GuestMode::StaysOffline, 1, 4, 1, 4, false),
            (GuestMode::StaysOffline, 4, 2, 2, 2, true),
            (GuestMode::Refuses, 1, 4, 1, 1, false),
            (GuestMode::Refuses, 4, 2, 4, 4, false),
        ] {
            assert_eq!(
                after(mode, from, to),
                (online, present, changed),
                "{mode:?} {from} to {to}"
            );
        }
    }

    #[test]
    fn offline_cores_come_up_when_brought_up_or_at_a_boot() {
        let mut cpus = PretendedCpus::new(1);
        cpus.set_mode(GuestMode::StaysOffline);
        cpus.resize(3).unwrap();
        cpus.bring_online();
        assert_eq!((cpus.guest().online, cpus.changes()), (3, 1));

        cpus.set_mode(GuestMode::Refuses);
        cpus.reboot(2).unwrap();
        assert_eq!((cpus.guest().online, cpus.guest().present), (2, 2));
        assert_eq!(cpus.boots(), 1);
    }
}
