//! One server of the emulator: what the API shows of it, and how a change runs its course.
//!
//! ```text
//!  edit ──▶ locked ──(lock_time)──▶ unlocked ──(lag)──▶ the guest changes
//! ```

use super::machine::{Machine, PretendedCpus};
use super::switches::{Behaviour, Platform};
use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// A server of a project.
pub struct Server {
    pub(super) id: String,
    pub(super) hostname: String,
    pub(super) description: String,
    pub(super) platform: String,
    /// `cpucores` as the API shows it.
    pub(super) cores: u32,
    pub(super) memory_mb: u64,
    pub(super) disk_gb: u64,
    pub(super) bandwidth_mbit: u64,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) running: bool,
    pub(super) reboots: u32,
    pub(super) locked_until: Option<Instant>,
    machine: Box<dyn Machine>,
    /// In the order in which they come due.
    effects: VecDeque<(Instant, Effect)>,
}

#[derive(Debug, Clone, Copy)]
enum Effect {
    Resize(u32),
    Reboot(u32),
    /// The API falls back to this count.
    Forget(u32),
}

impl Server {
    /// A running KVM server with `cores` cores (at least 1), 2 GB of memory, no address, and a
    /// pretended guest of its own.
    #[must_use]
    pub fn new(id: impl Into<String>, cores: u32) -> Self {
        let id = id.into();
        let cores = cores.max(1);
        Self {
            hostname: format!("host-{id}"),
            id,
            description: String::new(),
            platform: "KVM".to_owned(),
            cores,
            memory_mb: 2048,
            disk_gb: 40,
            bandwidth_mbit: 100,
            addresses: Vec::new(),
            running: true,
            reboots: 0,
            locked_until: None,
            machine: Box::new(PretendedCpus::new(cores)),
            effects: VecDeque::new(),
        }
    }

    /// On this platform: `KVM`, `VMware`, or one that the emulator was told of.
    #[must_use]
    pub fn platform(mut self, name: impl Into<String>) -> Self {
        self.platform = name.into();
        self
    }

    /// With this much memory, in MB.
    #[must_use]
    pub fn memory_mb(mut self, memory_mb: u64) -> Self {
        self.memory_mb = memory_mb;
        self
    }

    /// With this host name.
    #[must_use]
    pub fn hostname(mut self, hostname: impl Into<String>) -> Self {
        self.hostname = hostname.into();
        self
    }

    /// With this address too, in `iplist`.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// With this guest behind it, which has as many cores as the server.
    #[must_use]
    pub fn machine(mut self, machine: impl Machine + 'static) -> Self {
        self.machine = Box::new(machine);
        self
    }

    /// Carries out what has come due.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.locked_until.is_some_and(|until| until <= now) {
            self.locked_until = None;
        }
        while self.effects.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, effect)) = self.effects.pop_front() {
                self.apply(effect);
            }
        }
    }

    /// When [`settle`](Self::settle) has something to do next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let effect = self.effects.front().map(|(due, _)| *due);
        self.locked_until.into_iter().chain(effect).min()
    }

    fn apply(&mut self, effect: Effect) {
        let (what, outcome) = match effect {
            Effect::Resize(cores) => ("take the change", self.machine.resize(cores)),
            Effect::Reboot(cores) => {
                self.reboots += 1;
                ("reboot", self.machine.reboot(cores))
            }
            Effect::Forget(cores) => {
                self.cores = cores;
                return;
            }
        };
        if let Err(e) = outcome {
            tracing::warn!("the guest of {} did not {what}: {e}", self.id);
        }
    }

    /// Starts the change to `cores`, which was accepted.
    pub(super) fn change(&mut self, now: Instant, cores: u32, platform: &Platform) {
        let before = std::mem::replace(&mut self.cores, cores);
        if before == cores {
            return;
        }
        let unlocked = after(now, platform.lock_time);
        let effective = after(unlocked, platform.lag);
        self.lock(unlocked);
        match platform.towards(before, cores) {
            Behaviour::Live => self.later(effective, Effect::Resize(cores)),
            Behaviour::Rebooting => self.later(effective, Effect::Reboot(cores)),
            Behaviour::Ignored => self.later(unlocked, Effect::Forget(before)),
            // `Refusing` comes here only from the control panel, which nothing refuses.
            Behaviour::PendingUntilReboot | Behaviour::Refusing => {}
        }
        self.settle(now);
    }

    fn later(&mut self, due: Instant, effect: Effect) {
        let at = self.effects.partition_point(|(other, _)| *other <= due);
        self.effects.insert(at, (due, effect));
    }

    /// Locks until `until`, or longer where it is locked longer already.
    pub(super) fn lock(&mut self, until: Instant) {
        self.locked_until = self.locked_until.max(Some(until));
    }

    /// Reboots now, with the count that the API shows.
    pub(super) fn reboot(&mut self) {
        // What was to happen to the running guest is overtaken by the boot.
        self.effects
            .retain(|(_, effect)| matches!(effect, Effect::Forget(_)));
        self.apply(Effect::Reboot(self.cores));
    }
}

impl Platform {
    pub(super) fn towards(&self, from: u32, to: u32) -> Behaviour {
        if to > from { self.up } else { self.down }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("id", &self.id)
            .field("platform", &self.platform)
            .field("cores", &self.cores)
            .field("locked_until", &self.locked_until)
            .field("effects", &self.effects)
            .finish_non_exhaustive()
    }
}

/// `span` after `now`; thirty years for a span that no clock can hold, as tokio does.
pub(super) fn after(now: Instant, span: Duration) -> Instant {
    const THIRTY_YEARS: Duration = Duration::from_secs(30 * 365 * 86_400);
    now.checked_add(span).unwrap_or_else(|| now + THIRTY_YEARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: Duration = Duration::from_secs(60);
    const LAG: Duration = Duration::from_secs(30);

    /// A server with 2 cores after a change to `to`, looked at while locked, unlocked, after the
    /// lag, and after a reboot: `(cpucores, cores of the guest, locked, reboots)`.
    fn course(behaviour: Behaviour, to: u32) -> [(u32, u32, bool, u32); 4] {
        let mut platform = Platform::up_to(8);
        platform.lock_time = LOCK;
        platform.lag = LAG;
        // The other direction must not matter.
        (platform.up, platform.down) = match to > 2 {
            true => (behaviour, Behaviour::Ignored),
            false => (Behaviour::Ignored, behaviour),
        };
        let guest = PretendedCpus::new(2);
        let mut server = Server::new("kvm1", 2).machine(guest.clone());
        let start = Instant::now();
        server.change(start, to, &platform);
        let second = Duration::from_secs(1);
        let seen = [LOCK - second, LOCK, LOCK + LAG].map(|at| {
            server.settle(start + at);
            look(&server, &guest)
        });
        assert_eq!(server.next_due(), None);
        server.reboot();
        let [locked, unlocked, late] = seen;
        [locked, unlocked, late, look(&server, &guest)]
    }

    fn look(server: &Server, guest: &PretendedCpus) -> (u32, u32, bool, u32) {
        let cores = guest.guest().online;
        (
            server.cores,
            cores,
            server.locked_until.is_some(),
            server.reboots,
        )
    }

    #[test]
    fn a_change_runs_its_course() {
        use Behaviour::{Ignored, Live, PendingUntilReboot, Rebooting};
        for to in [1, 4] {
            for (behaviour, unlocked, late, rebooted) in [
                (
                    Live,
                    (to, 2, false, 0),
                    (to, to, false, 0),
                    (to, to, false, 1),
                ),
                (
                    Rebooting,
                    (to, 2, false, 0),
                    (to, to, false, 1),
                    (to, to, false, 2),
                ),
                (
                    PendingUntilReboot,
                    (to, 2, false, 0),
                    (to, 2, false, 0),
                    (to, to, false, 1),
                ),
                (
                    Ignored,
                    (2, 2, false, 0),
                    (2, 2, false, 0),
                    (2, 2, false, 1),
                ),
            ] {
                let locked = (to, 2, true, 0);
                assert_eq!(
                    course(behaviour, to),
                    [locked, unlocked, late, rebooted],
                    "{behaviour:?} 2 to {to}"
                );
            }
        }
    }

    #[test]
    fn a_boot_overtakes_what_was_to_happen_to_the_running_guest() {
        let mut platform = Platform::up_to(8);
        platform.lock_time = LOCK;
        platform.up = Behaviour::Rebooting;
        let mut server = Server::new("kvm1", 2);
        let start = Instant::now();
        server.change(start, 4, &platform);
        server.reboot();
        server.settle(start + LOCK);
        assert_eq!(server.reboots, 1);
    }

    #[test]
    fn a_longer_lock_outlasts_a_change() {
        let mut server = Server::new("kvm1", 2);
        let start = Instant::now();
        server.lock(after(start, Duration::MAX));
        server.change(start, 4, &Platform::up_to(8));
        server.settle(start + LOCK);
        assert!(server.locked_until.is_some());
    }

    #[test]
    fn the_same_count_is_no_change() {
        let mut server = Server::new("kvm1", 2);
        server.change(Instant::now(), 2, &Platform::up_to(8));
        assert_eq!(server.next_due(), None);
    }
}
