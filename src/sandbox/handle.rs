//! The hand that reaches into a running emulator: switches, faults, what others do to the server
//! meanwhile, and what was called.

use super::Shared;
use super::access::Key;
use super::fault::{Fault, Times};
use super::function::Function;
use super::server::{Server, after};
use super::switches::{Platform, Switches};
use super::world::Call;
use std::sync::Arc;
use std::time::Duration;

/// Changes and watches an emulator while it runs, from any thread. A clone is the same hand.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// No project of the emulator has a server with this id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the emulator has no server {0}")]
pub struct NoSuchServer(String);

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Changes switches of the whole service.
    pub fn switch(&self, change: impl FnOnce(&mut Switches)) {
        self.shared.with(|world, _| change(&mut world.switches));
    }

    /// Changes what a platform does from the next edit on. A name that is new becomes a platform
    /// with 1 to 8 cores first.
    pub fn platform(&self, name: &str, change: impl FnOnce(&mut Platform)) {
        self.shared.with(|world, _| {
            let platform = world.platforms.entry(name.to_owned());
            change(platform.or_insert_with(|| Platform::up_to(8)));
        });
    }

    /// Lets calls of `function` go wrong, once the faults injected before are used up.
    pub fn inject(&self, function: Function, fault: Fault, times: Times) {
        self.shared
            .with(|world, _| world.faults.inject(function, fault, times));
    }

    /// Takes all faults back that have not happened yet.
    pub fn clear_faults(&self) {
        self.shared.with(|world, _| world.faults.clear());
    }

    /// The last 10,000 calls, oldest first. Requests that had no meaning as HTTP or as arguments
    /// are not among them.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.with(|world, _| world.log.all())
    }

    /// The calls of one function, oldest first.
    #[must_use]
    pub fn calls_of(&self, function: Function) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.function() == Some(function));
        calls
    }

    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        self.shared.with(|world, _| world.log.clear());
    }

    /// Somebody else changes the core count, as in the control panel: any count is taken, even of a
    /// locked server or where edits are refused (the guest then has it after a reboot). It locks
    /// the server and reaches the guest as an edit does.
    ///
    /// # Errors
    /// There is no such server.
    pub fn set_cores(&self, server: &str, cores: u32) -> Result<(), NoSuchServer> {
        self.shared.with(|world, now| {
            let unknown = || NoSuchServer(server.to_owned());
            let name = world.server(server).ok_or_else(unknown)?.platform.clone();
            let platform = world.platforms.get(&name).cloned();
            let platform = platform.unwrap_or_else(|| Platform::up_to(cores));
            let server = world.server(server).ok_or_else(unknown)?;
            server.change(now, cores.max(1), &platform);
            Ok(())
        })
    }

    /// Locks the server for this long, as any work of the platform on it does.
    ///
    /// # Errors
    /// There is no such server.
    pub fn lock(&self, server: &str, span: Duration) -> Result<(), NoSuchServer> {
        self.shared.with(|world, now| {
            let server = find(world.server(server), server)?;
            server.lock(after(now, span));
            Ok(())
        })
    }

    /// Unlocks the server now. What an edit was to do to the guest stays due at its time.
    ///
    /// # Errors
    /// There is no such server.
    pub fn unlock(&self, server: &str) -> Result<(), NoSuchServer> {
        self.of(server, |server| server.locked_until = None)
    }

    /// Reboots the guest: it then has the cores that the API shows.
    ///
    /// # Errors
    /// There is no such server.
    pub fn reboot(&self, server: &str) -> Result<(), NoSuchServer> {
        self.of(server, Server::reboot)
    }

    /// Shows the server as running or as powered off. Nothing else happens to the guest.
    ///
    /// # Errors
    /// There is no such server.
    pub fn set_running(&self, server: &str, running: bool) -> Result<(), NoSuchServer> {
        self.of(server, |server| server.running = running)
    }

    /// `cpucores` as the API shows it.
    ///
    /// # Errors
    /// There is no such server.
    pub fn cores(&self, server: &str) -> Result<u32, NoSuchServer> {
        self.of(server, |server| server.cores)
    }

    /// Whether the server is locked.
    ///
    /// # Errors
    /// There is no such server.
    pub fn locked(&self, server: &str) -> Result<bool, NoSuchServer> {
        self.of(server, |server| server.locked_until.is_some())
    }

    /// How often the guest was rebooted, by the platform or by [`reboot`](Self::reboot).
    ///
    /// # Errors
    /// There is no such server.
    pub fn reboots(&self, server: &str) -> Result<u32, NoSuchServer> {
        self.of(server, |server| server.reboots)
    }

    /// Changes the address list or the function list of a key; `false` if there is no such key.
    pub fn key(&self, secret: &str, change: impl FnOnce(&mut Key)) -> bool {
        self.shared
            .with(|world, _| world.key(secret).map(change).is_some())
    }

    /// Refuses a key from now on; `false` if there is no such key.
    pub fn withdraw_key(&self, secret: &str) -> bool {
        self.key(secret, |key| key.withdrawn = true)
    }

    /// Takes a withdrawn key again; `false` if there is no such key.
    pub fn restore_key(&self, secret: &str) -> bool {
        self.key(secret, |key| key.withdrawn = false)
    }

    fn of<R>(&self, id: &str, look: impl FnOnce(&mut Server) -> R) -> Result<R, NoSuchServer> {
        self.shared
            .with(|world, _| find(world.server(id), id).map(look))
    }
}

fn find<'w>(found: Option<&'w mut Server>, id: &str) -> Result<&'w mut Server, NoSuchServer> {
    found.ok_or_else(|| NoSuchServer(id.to_owned()))
}
