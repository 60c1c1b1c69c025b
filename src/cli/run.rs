//! `run`: the daemon on the real machine, against the real API.

use super::{Exit, complain, place};
use crate::adapters::api_key::{ApiKey, CREDENTIAL_DIRECTORY, KeyError, KeySources, VARIABLE};
use crate::adapters::clock::SystemClock;
use crate::adapters::control;
use crate::adapters::glesys::{AddressFamily, BuildError, CallBudget, Glesys, Options};
use crate::adapters::machine::Facts;
use crate::adapters::sampler::{self, RealSampler};
use crate::adapters::service_manager::ServiceManager;
use crate::adapters::signals;
use crate::adapters::state_dir::{Owner, StateDir};
use crate::config::{self, Config};
use crate::engine::event::{Machine, Notice, Start};
use crate::engine::policy::Sampling;
use crate::engine::{Engine, Status};
use crate::ports::{Clock, CloudApi, Notifier, Sampler};
use crate::runtime::{Daemon, Hooks, Request};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// A change with its polls, and one more right after it, as the trial of lowering makes them.
const CALLS_AT_ONCE: u32 = 15;
/// In the long run.
const CALL_EVERY: Duration = Duration::from_secs(10);
/// Requests that may wait for the loop.
pub const REQUESTS: usize = 16;

pub fn run(config_file: Option<&Path>, dry_run: bool) -> Exit {
    keep_out_of_core_dumps();
    let file = place::policy_file(config_file);
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => {
            complain(error);
            return Exit::Configuration;
        }
    };
    let key = api_key(&config).map_err(|error| error.to_string());
    let api = match key.and_then(|key| client(&config, key).map_err(|error| error.to_string())) {
        Ok(api) => api,
        Err(why) => {
            complain(why);
            return Exit::Configuration;
        }
    };
    let sampler = real_sampler(&config.policy.sampling);
    let shell = Shell {
        state_dir: place::state_dir(&config),
        runtime_dir: place::runtime_dir(&config),
        dry_run,
        loopback_api: api_is_loopback(&config.api.url),
        config: config.clone(),
        reload: Box::new(move || reloaded(file, &config)),
        done: Box::new(|_| false),
    };
    within_runtime(async { serve(shell, sampler, ServiceManager::new(), &api).await })
}

/// What differs between the daemon and the sandbox, besides the ports.
pub struct Shell<'a> {
    pub config: Config,
    pub state_dir: PathBuf,
    pub runtime_dir: PathBuf,
    pub dry_run: bool,
    /// A loopback API is a test bed: there the loopback addresses tell a machine too.
    pub loopback_api: bool,
    pub reload: Box<dyn FnMut() -> Result<(crate::engine::policy::Policy, String), String> + 'a>,
    pub done: Box<dyn FnMut(&Status) -> bool + 'a>,
}

/// Runs `main` on a single-threaded runtime.
pub fn within_runtime(main: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let exit = runtime.block_on(main);
            // A name lookup may still sit on its thread; there is nothing to wait for.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            complain(format_args!("cannot start: {error}"));
            Exit::Failed
        }
    }
}

/// Opens the state, starts the engine, and runs the loop until it is told to stop.
pub async fn serve<A: CloudApi>(
    shell: Shell<'_>,
    sampler: impl Sampler,
    notifier: impl Notifier,
    api: &A,
) -> Exit {
    serve_requests(shell, sampler, notifier, api, mpsc::channel(REQUESTS)).await
}

/// As [`serve`], where the caller too has something to ask of the loop.
pub async fn serve_requests<A: CloudApi>(
    shell: Shell<'_>,
    sampler: impl Sampler,
    notifier: impl Notifier,
    api: &A,
    (requests, inbox): (mpsc::Sender<Request>, mpsc::Receiver<Request>),
) -> Exit {
    let Prepared {
        engine,
        notices,
        store,
    } = match prepare(&shell) {
        Ok(prepared) => prepared,
        Err(why) => {
            complain(why);
            return Exit::Failed;
        }
    };
    if let Err(error) = signals::forward(&requests) {
        complain(format_args!("cannot handle signals: {error}"));
        return Exit::Failed;
    }
    serve_control(&shell.runtime_dir, requests.clone());
    let loopback_api = shell.loopback_api;
    let daemon = Daemon {
        engine,
        sampler,
        clock: SystemClock::new(),
        notifier,
        store,
        server_id: shell.config.api.server_id.clone(),
        hooks: Hooks {
            reload: shell.reload,
            machine: Box::new(move || {
                let facts = Facts::read(Path::new("/")).ok()?;
                Some(machine(facts, loopback_api))
            }),
            done: shell.done,
        },
        requests: inbox,
    };
    // Held to the end: the loop takes a closed channel for the order to stop.
    let _requests = requests;
    daemon.run(api, notices).await;
    Exit::Done
}

fn serve_control(runtime_dir: &Path, requests: mpsc::Sender<Request>) {
    match control::listen(runtime_dir) {
        Ok(listener) => {
            tokio::spawn(control::serve(listener, requests));
        }
        // The cores are scaled all the same; only `status` and its like are without an answer.
        Err(error) => tracing::warn!(
            target: "glesys_autoscaler",
            "no control socket at {}: {error}; status, pause and resume will not reach this daemon",
            control::socket(runtime_dir).display()
        ),
    }
}

struct Prepared {
    engine: Engine,
    notices: Vec<Notice>,
    store: StateDir,
}

fn prepare(shell: &Shell<'_>) -> Result<Prepared, String> {
    let clock = SystemClock::new();
    let now = clock.now();
    let facts = Facts::read(Path::new("/")).map_err(|error| error.to_string())?;
    let boot_id = facts.boot_id.clone();
    let machine = machine(facts, shell.loopback_api);
    let owner = Owner {
        server_id: shell.config.api.server_id.clone(),
        machine_id: machine.machine_id.clone(),
    };
    let (store, found) = StateDir::open(&shell.state_dir, &shell.runtime_dir, owner, now.wall_ms)
        .map_err(|error| error.to_string())?;
    for remark in &found.remarks {
        tracing::warn!(target: "glesys_autoscaler", "{remark}");
    }
    let policy = shell.config.policy.clone();
    let (engine, notices) = Engine::start(
        now,
        Start {
            policy_hash: config::policy_hash(&policy),
            policy,
            engine_version: env!("CARGO_PKG_VERSION").to_owned(),
            dry_run: shell.dry_run,
            jitter_seed: seed(&boot_id),
            boot_id,
            machine,
            day: clock.day(now),
            state: found.state,
            careful: found.careful,
        },
    );
    Ok(Prepared {
        engine,
        notices,
        store,
    })
}

/// Another one on each machine and at each boot, so that many VMs do not retry in step.
fn seed(boot_id: &str) -> u64 {
    boot_id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The facts that the engine compares.
pub fn machine(facts: Facts, loopback_api: bool) -> Machine {
    let addresses: Vec<IpAddr> = if loopback_api {
        facts.addresses
    } else {
        facts.known_addresses().collect()
    };
    Machine {
        machine_id: facts.machine_id,
        macs: facts.macs,
        addresses,
        memory_mb: facts.memory_mb,
    }
}

/// Whether the API is on this machine, which only a test bed is.
pub fn api_is_loopback(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else {
        return false;
    };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The API key, from the first of its three places that exists.
pub fn api_key(config: &Config) -> Result<ApiKey, KeyError> {
    ApiKey::load(KeySources {
        credentials_directory: std::env::var_os(CREDENTIAL_DIRECTORY).map(PathBuf::from),
        key_file: Some(config.api.key_file.clone()),
        environment: std::env::var_os(VARIABLE),
    })
}

/// The client of the policy file, with this key.
pub fn client(config: &Config, key: ApiKey) -> Result<Glesys, BuildError> {
    Glesys::new(Options {
        url: config.api.url.clone(),
        project: config.api.project.clone(),
        server_id: config.api.server_id.clone(),
        key,
        ca_file: config.api.ca_file.clone(),
        address_family: match config.api.address_family {
            config::AddressFamily::Any => AddressFamily::Any,
            config::AddressFamily::Ipv4 => AddressFamily::Ipv4,
            config::AddressFamily::Ipv6 => AddressFamily::Ipv6,
        },
        timeout: config.api.timeout,
        // The engine spaces its calls; this is the guard behind it.
        calls: CallBudget::new(CALLS_AT_ONCE, CALL_EVERY),
    })
}

/// The sampler of this machine.
pub fn real_sampler(sampling: &Sampling) -> RealSampler {
    RealSampler::new(sampler::Options {
        interval: sampling.interval,
        steal: sampling.steal,
        ignore_nice: sampling.ignore_nice,
        root: "/".into(),
    })
}

fn reloaded(
    file: &Path,
    running: &Config,
) -> Result<(crate::engine::policy::Policy, String), String> {
    let fresh = config::load(file).map_err(|error| error.to_string())?;
    if fresh.api != running.api
        || fresh.state_dir != running.state_dir
        || fresh.runtime_dir != running.runtime_dir
    {
        tracing::warn!(
            target: "glesys_autoscaler",
            "[api], state_dir or runtime_dir changed: that needs `systemctl restart glesys-autoscaler`; the rest is in force"
        );
    }
    let hash = config::policy_hash(&fresh.policy);
    Ok((fresh.policy, hash))
}

/// The key is in this process's memory: the kernel writes no core dump of it, whatever the limits,
/// and no other process of the same user reads it. A core that root forces with a debugger holds
/// no memory.
pub fn keep_out_of_core_dumps() {
    // The filter first: once the process must not be dumped, this file is root's. Where the kernel
    // refuses one of the two there is still the other, and the unit's LimitCORE=0.
    let _refused = std::fs::write("/proc/self/coredump_filter", "0");
    let _refused =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every machine has those: they tell none from another.
    #[test]
    fn loopback_and_link_local_addresses_prove_nothing_to_the_real_api() {
        let own: IpAddr = [192, 0, 2, 10].into();
        let facts = Facts {
            addresses: vec![
                [127, 0, 0, 1].into(),
                [169, 254, 7, 7].into(),
                own,
                std::net::Ipv6Addr::LOCALHOST.into(),
                "fe80::1".parse().unwrap(),
            ],
            macs: Vec::new(),
            machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
            boot_id: "boot".to_owned(),
            memory_mb: 4096,
        };
        assert_eq!(machine(facts.clone(), false).addresses, [own]);
        assert_eq!(machine(facts.clone(), true).addresses, facts.addresses);
    }

    #[test]
    fn only_an_api_on_this_machine_lets_loopback_addresses_count() {
        for url in [
            "http://127.0.0.1:8080",
            "https://127.0.0.1",
            "https://localhost:4443/api",
            "https://[::1]",
        ] {
            assert!(api_is_loopback(url), "{url}");
        }
        for url in [
            "https://api.glesys.com",
            "https://localhost.example.com",
            "https://192.0.2.1",
            "https://[2001:db8::1]",
            "",
        ] {
            assert!(!api_is_loopback(url), "{url}");
        }
    }
}
