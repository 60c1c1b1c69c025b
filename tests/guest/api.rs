//! The API outside the guest, over TLS: what it shows as its certificate, and whether it is there.

use crate::hypervisor::Hypervisor;
use crate::qemu::MEMORY_MB;
use crate::served::Served;
use crate::tls::PrivateCa;
use glesys_autoscaler::sandbox::{Emulator, Function, Handle, Key, Platform, Project, Server};
use rcgen::CertificateParams;
use rustls::ServerConfig;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

pub const HOST: &str = "api.glesys.com";
pub const PROJECT: &str = "cl12345";
pub const SERVER: &str = "kvm1234567";
/// A word that nothing else writes, so that it can be looked for.
pub const KEY: &str = "canary5b20f7d1e94c";
/// What the image gives the guest.
const GUEST: [u8; 4] = [10, 0, 2, 15];

/// The emulator, its certificate, and its door. Stands for the emulator's [`Handle`].
pub struct Api {
    emulator: Emulator,
    handle: Handle,
    config: Arc<ServerConfig>,
    door: Option<Served>,
    port: u16,
}

impl Api {
    /// An API with one server of one core, which is the guest of `platform`.
    pub fn of(platform: &Hypervisor, ca: &PrivateCa) -> Self {
        let server = Server::new(SERVER, 1)
            .memory_mb(MEMORY_MB)
            .address(GUEST.into())
            .machine(platform.machine());
        let project = Project::new(PROJECT)
            .key(Key::for_loopback(KEY))
            .server(server);
        let emulator = Emulator::builder()
            .platform("KVM", Platform::up_to(8))
            .project(project)
            .build();
        let config = ca.server(&[HOST]);
        let door = Served::over_tls(emulator.clone(), Arc::clone(&config));
        Self {
            handle: emulator.handle(),
            emulator,
            config,
            port: door.port,
            door: Some(door),
        }
    }

    /// For `api.url`.
    pub fn url(&self) -> String {
        format!("https://{HOST}:{}", self.port)
    }

    /// Shows a certificate made after `params` from now on; connections that are open are closed,
    /// and none is resumed.
    pub fn shows(&mut self, ca: &PrivateCa, params: CertificateParams) {
        self.config = ca.server_with(params);
        self.close();
        self.open();
    }

    /// Nobody listens any more.
    pub fn close(&mut self) {
        self.door = None;
    }

    pub fn open(&mut self) {
        let config = Arc::clone(&self.config);
        self.door = Some(Served::over_tls_on(
            self.port,
            self.emulator.clone(),
            config,
        ));
    }

    pub fn kvm(&self, change: impl FnOnce(&mut Platform)) {
        self.platform("KVM", change);
    }

    /// An edit locks the server for so many seconds.
    pub fn locks_for(&self, seconds: u64) {
        self.kvm(|kvm| kvm.lock_time = Duration::from_secs(seconds));
    }

    /// The counts of all calls of `server/edit` and how they were answered.
    pub fn edits(&self) -> Vec<(u32, Option<u16>)> {
        self.calls_of(Function::Edit)
            .iter()
            .map(|call| {
                let cores = call.arguments["cpucores"].as_u64().unwrap();
                (cores as u32, call.http)
            })
            .collect()
    }
}

impl Deref for Api {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}
