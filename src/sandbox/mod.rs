//! The embedded Glesys API and the machine behind it: what `run --sandbox` and the tests talk to
//! instead of the provider.
//!
//! ```text
//!  client ──HTTP──▶ http ─▶ request ─▶ api ──▶ world ─▶ server ──▶ Machine: machine (pretended)
//!                    ▲ fault          access  switches                       hotplug (real CPUs)
//!  test  ──────▶ Handle: switches, faults, external changes, the log of calls
//!
//!  beside it:  sampler  the real load as the pretended guest sees it
//!              load     a real load, up and down
//! ```
//!
//! Nothing about the real service is claimed beyond `glesys-api.md`: where the truth is unknown
//! there is a switch.

mod access;
mod api;
mod envelope;
mod fault;
mod function;
mod handle;
pub mod hotplug;
mod http;
pub mod load;
pub mod machine;
mod request;
pub mod sampler;
mod server;
mod switches;
mod world;

pub use access::{Key, Network, NotANetwork};
pub use fault::{Fault, Times};
pub use function::Function;
pub use handle::{Handle, NoSuchServer};
pub use server::Server;
pub use switches::{
    Behaviour, LockAnswer, Numbers, PermissionAnswer, Platform, Shape, Switches, UnknownServer,
};
pub use world::{Call, Project};

use machine::Machine;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use world::World;

/// The embedded API. A clone is the same one; it lives as long as a clone or a [`Handle`] does.
#[derive(Clone)]
pub struct Emulator {
    shared: Arc<Shared>,
}

struct Shared {
    world: Mutex<World>,
    /// Something may come due earlier than was known.
    changed: Notify,
}

impl Shared {
    /// Looks at or changes the world, as it is now.
    fn with<R>(&self, look: impl FnOnce(&mut World, Instant) -> R) -> R {
        let now = Instant::now();
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let due = world.next_due();
        world.settle(now);
        let result = look(&mut world, now);
        world.settle(now);
        if world.next_due() != due {
            self.changed.notify_one();
        }
        result
    }
}

impl Emulator {
    /// An emulator with the platforms `KVM` and `VMware`, 1 to 8 cores each, and no project.
    #[must_use]
    pub fn builder() -> Builder {
        let platforms = ["KVM", "VMware"];
        Builder {
            switches: Switches::default(),
            platforms: platforms
                .map(|name| (name.to_owned(), Platform::up_to(8)))
                .into(),
            projects: Vec::new(),
        }
    }

    /// The emulator of `run --sandbox`: one project with one KVM server that has the addresses
    /// 127.0.0.1 and ::1 (so that its identity can be proven), `cores` cores out of 1 to `most`,
    /// and `machine` behind it. The key is new each time and opens everything from loopback: with
    /// real CPUs behind it, it must not be known to the other users of the machine.
    ///
    /// # Errors
    /// Random bytes for the key cannot be had.
    pub fn sandbox(
        machine: impl Machine + 'static,
        cores: u32,
        most: u32,
        memory_mb: u64,
    ) -> io::Result<(Self, SandboxAccess)> {
        let secret = random_key()?;
        let access = SandboxAccess {
            project: "cl00000",
            server_id: "kvm0000001",
            key: SecretString::from(secret.clone()),
        };
        let server = Server::new(access.server_id, cores)
            .hostname("sandbox")
            .memory_mb(memory_mb)
            .address(Ipv4Addr::LOCALHOST.into())
            .address(Ipv6Addr::LOCALHOST.into())
            .machine(machine);
        let project = Project::new(access.project)
            .key(Key::for_loopback(secret))
            .server(server);
        let emulator = Self::builder()
            .platform("KVM", Platform::up_to(most))
            .project(project)
            .build();
        Ok((emulator, access))
    }

    /// What changes and watches the emulator while it runs, from any thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared))
    }

    /// Serves plain HTTP in a task of the current tokio runtime, until the result is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn spawn(&self, listener: TcpListener) -> Serving {
        let emulator = self.clone();
        Serving(tokio::spawn(async move { emulator.serve(listener).await }))
    }
}

/// An emulator that is being served; dropping it ends that and closes all connections.
#[derive(Debug)]
pub struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How to call the emulator of `run --sandbox`.
#[derive(Debug, Clone)]
pub struct SandboxAccess {
    /// `api.project`
    pub project: &'static str,
    /// `api.server_id`
    pub server_id: &'static str,
    /// The API key.
    pub key: SecretString,
}

fn random_key() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let digits: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    Ok(format!("sandbox-{}", digits.concat()))
}

/// Puts an [`Emulator`] together.
#[derive(Debug)]
pub struct Builder {
    switches: Switches,
    platforms: BTreeMap<String, Platform>,
    projects: Vec<Project>,
}

impl Builder {
    /// With these switches.
    #[must_use]
    pub fn switches(mut self, switches: Switches) -> Self {
        self.switches = switches;
        self
    }

    /// With this platform too, or in place of the one of that name.
    #[must_use]
    pub fn platform(mut self, name: impl Into<String>, platform: Platform) -> Self {
        self.platforms.insert(name.into(), platform);
        self
    }

    /// With this project too. Server ids and keys must be unique over all projects: where one is
    /// there twice, a [`Handle`] finds the first.
    #[must_use]
    pub fn project(mut self, project: Project) -> Self {
        self.projects.push(project);
        self
    }

    /// The emulator. It does nothing before it is served.
    #[must_use]
    pub fn build(self) -> Emulator {
        let world = World {
            switches: self.switches,
            platforms: self.platforms,
            projects: self.projects,
            faults: fault::Faults::default(),
            log: world::CallLog::default(),
            born: Instant::now(),
        };
        Emulator {
            shared: Arc::new(Shared {
                world: Mutex::new(world),
                changed: Notify::new(),
            }),
        }
    }
}
