//! `run --sandbox`: the daemon against an embedded API, with quick windows. Everything else is
//! the real thing: the load, the engine, the client, HTTP, the state on disk.

use super::run::{Shell, real_sampler, serve, within_runtime};
use super::{Exit, complain, place};
use crate::adapters::api_key::ApiKey;
use crate::adapters::glesys::{AddressFamily, CallBudget, Glesys, Options};
use crate::adapters::machine::Facts;
use crate::adapters::proc_reader::ProcReader;
use crate::config::{self, Config};
use crate::engine::Status;
use crate::engine::policy::{Mode, Policy};
use crate::engine::span;
use crate::ports::{Notifier, Sampler};
use crate::sandbox::hotplug::{Hotplug, SYSFS_CPUS};
use crate::sandbox::load::{self, Load};
use crate::sandbox::machine::PretendedCpus;
use crate::sandbox::sampler::PretendedSampler;
use crate::sandbox::{Emulator, SandboxAccess};
use secrecy::ExposeSecret;
use std::cell::Cell;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// How long each step of the load lasts; the last one ends with the lowering.
const STEPS: [Duration; 3] = [
    Duration::from_secs(12),
    Duration::from_secs(22),
    Duration::from_secs(70),
];
/// Between two lines that say what the daemon sees.
const NARRATE_EVERY: Duration = Duration::from_secs(3);

macro_rules! say {
    ($($text:tt)*) => {
        tracing::info!(target: "glesys_autoscaler::sandbox", $($text)*)
    };
}

pub fn run(config_file: Option<&Path>, dry_run: bool, with_load: bool, hotplug: bool) -> Exit {
    match prepare(config_file, dry_run, with_load, hotplug) {
        Ok(exit) => exit,
        Err(Refused { exit, why }) => {
            complain(why);
            exit
        }
    }
}

/// As a shell finds it: a program that was built from a checkout is in no `PATH`.
fn this_program() -> String {
    std::env::current_exe().map_or("glesys-autoscaler".to_owned(), |path| {
        path.display().to_string()
    })
}

struct Refused {
    exit: Exit,
    why: String,
}

fn failed(why: impl std::fmt::Display) -> Refused {
    Refused {
        exit: Exit::Failed,
        why: why.to_string(),
    }
}

fn prepare(
    config_file: Option<&Path>,
    dry_run: bool,
    with_load: bool,
    hotplug: bool,
) -> Result<Exit, Refused> {
    let cpus = ProcReader::new(Path::new("/"))
        .online()
        .map_err(failed)?
        .count();
    let (policy, file) = policy(config_file, cpus)?;
    let memory_mb = Facts::read(Path::new("/")).map_err(failed)?.memory_mb;
    let scratch = tempfile::Builder::new()
        .prefix("glesys-autoscaler-sandbox-")
        .tempdir()
        .map_err(failed)?;
    let directory = |variable, chosen: Option<PathBuf>, name: &str| {
        place::named_by(variable)
            .or(chosen)
            .unwrap_or_else(|| scratch.path().join(name))
    };
    let state_dir = directory(
        "STATE_DIRECTORY",
        file.as_ref().map(|c| c.state_dir.clone()),
        "state",
    );
    let runtime_dir = directory(
        "RUNTIME_DIRECTORY",
        file.as_ref().map(|c| c.runtime_dir.clone()),
        "run",
    );
    let bed = Bed {
        policy,
        cpus,
        memory_mb,
        dry_run,
        with_load,
        state_dir,
        runtime_dir,
    };

    Ok(within_runtime(async move {
        let outcome = if hotplug {
            bed.with_real_cpus().await
        } else {
            bed.with_pretended_cpus().await
        };
        outcome.unwrap_or_else(|Refused { exit, why }| {
            complain(why);
            exit
        })
    }))
}

/// The policy of `--config`, or the sandbox's own; no more cores than the machine has CPUs.
fn policy(config_file: Option<&Path>, cpus: u32) -> Result<(Policy, Option<Config>), Refused> {
    let Some(path) = config_file else {
        return Ok((quick(defaults("http://127.0.0.1")?.policy, cpus), None));
    };
    let config = config::load(path).map_err(|error| Refused {
        exit: Exit::Configuration,
        why: error.to_string(),
    })?;
    let mut policy = config.policy.clone();
    policy.limits.max_cores = policy.limits.max_cores.min(cpus);
    policy.limits.min_cores = policy.limits.min_cores.min(cpus);
    Ok((policy, Some(config)))
}

fn defaults(url: &str) -> Result<Config, Refused> {
    config::with_defaults("sandbox", "sandbox", url).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        failed(faults.join("; "))
    })
}

/// The defaults, with windows short enough to watch.
fn quick(mut policy: Policy, cpus: u32) -> Policy {
    let seconds = Duration::from_secs;
    policy.limits.min_cores = 1;
    policy.limits.max_cores = cpus;
    policy.sampling.interval = seconds(1);
    policy.boot_grace = Duration::ZERO;
    policy.up.window = seconds(6);
    policy.up.queue = seconds(3);
    policy.up.cooldown = seconds(6);
    policy.down.window = seconds(12);
    policy.down.cooldown = seconds(12);
    // Room for what else the machine does: the load steps down to 0.3 cores.
    policy.down.headroom = 0.25;
    policy.apply.lowering = Mode::Learn;
    policy.apply.timeout = seconds(30);
    policy
}

struct Bed {
    policy: Policy,
    cpus: u32,
    memory_mb: u64,
    dry_run: bool,
    with_load: bool,
    state_dir: PathBuf,
    runtime_dir: PathBuf,
}

impl Bed {
    async fn with_pretended_cpus(self) -> Result<Exit, Refused> {
        let start = self.policy.limits.min_cores;
        let guest = PretendedCpus::new(start);
        let (emulator, access) =
            Emulator::sandbox(guest.clone(), start, self.cpus, self.memory_mb).map_err(failed)?;
        say!(
            "sandbox: the cores are pretended, nothing real is touched; the load is this machine's own, as a VM with {start} of its {} CPUs would feel it",
            self.cpus
        );
        let sampler = PretendedSampler::new(real_sampler(&self.policy.sampling), guest);
        self.go(emulator, access, sampler, start).await
    }

    async fn with_real_cpus(mut self) -> Result<Exit, Refused> {
        let hotplug = Hotplug::new(Path::new(SYSFS_CPUS)).map_err(failed)?;
        // The binary aborts on a panic: no destructor brings the CPUs back then.
        let restorer = hotplug.restorer();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let _told_by_the_kernel = restorer.restore();
            before(info);
        }));
        let limits = &mut self.policy.limits;
        limits.min_cores = limits.min_cores.max(hotplug.least());
        let start = limits.min_cores;
        say!(
            "sandbox: real CPUs of this machine are taken off and on line, {start} to {}; all come back at the end",
            self.cpus
        );
        hotplug.set_online(start).map_err(failed)?;
        let (emulator, access) =
            Emulator::sandbox(hotplug, start, self.cpus, self.memory_mb).map_err(failed)?;
        let sampler = real_sampler(&self.policy.sampling);
        self.go(emulator, access, sampler, start).await
    }

    async fn go(
        self,
        emulator: Emulator,
        access: SandboxAccess,
        sampler: impl Sampler,
        start: u32,
    ) -> Result<Exit, Refused> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let serving = emulator.spawn(listener);
        let api = Glesys::new(Options {
            url: url.clone(),
            project: access.project.to_owned(),
            server_id: access.server_id.to_owned(),
            key: ApiKey::given(access.key.expose_secret().to_owned()).map_err(failed)?,
            ca_file: None,
            address_family: AddressFamily::Any,
            timeout: Duration::from_secs(10),
            // The quick windows ask more often than a minute's budget of the real API allows.
            calls: CallBudget::new(1, Duration::ZERO),
        })
        .map_err(failed)?;
        say!(
            "sandbox: server {} on an embedded Glesys API at {url}, without account or key",
            access.server_id
        );
        say!(
            "sandbox: look at it from another terminal with RUNTIME_DIRECTORY={} STATE_DIRECTORY={} {} status (or history, pause, resume)",
            self.runtime_dir.display(),
            self.state_dir.display(),
            this_program()
        );
        let demo = Rc::new(Demo::new(start, self.cpus, &self.policy, self.dry_run));
        let load = if self.with_load {
            Some(self.start_load(&demo)?)
        } else {
            None
        };
        let ends = Rc::clone(&demo);
        let with_load = load.is_some();
        let mut config = defaults(&url)?;
        config.api.project = access.project.to_owned();
        config.api.server_id = access.server_id.to_owned();
        config.policy = self.policy.clone();
        let shell = Shell {
            config,
            state_dir: self.state_dir,
            runtime_dir: self.runtime_dir,
            dry_run: self.dry_run,
            loopback_api: true,
            reload: Box::new(|| Err("the sandbox has nothing to reload".to_owned())),
            done: Box::new(move |status| with_load && ends.over(status)),
        };
        let exit = serve(shell, sampler, Narrator::default(), &api).await;
        drop(load);
        drop(serving);
        Ok(if exit == Exit::Done && with_load {
            demo.summary()
        } else {
            exit
        })
    }

    fn start_load(&self, demo: &Demo) -> Result<Load, Refused> {
        if let Some(caveat) = load::caveat(self.cpus) {
            say!("sandbox: {caveat}");
        }
        let steps = load::demo(self.cpus, STEPS);
        demo.ends
            .set(Some(Instant::now() + STEPS.iter().sum::<Duration>()));
        Load::start(steps, |step| {
            say!(
                "load: now {:.1} cores, made by threads of this process",
                step.cores
            );
        })
        .map_err(failed)
    }
}

/// Watches the run with the load: it is over when the cores went up and came back.
struct Demo {
    start: u32,
    /// Whether the machine can show a raise at all.
    can_raise: bool,
    /// Nothing is changed on purpose.
    dry_run: bool,
    began: Instant,
    raised: Cell<bool>,
    came_back: Cell<bool>,
    ends: Cell<Option<Instant>>,
}

impl Demo {
    fn new(start: u32, cpus: u32, policy: &Policy, dry_run: bool) -> Demo {
        Demo {
            start,
            can_raise: cpus.min(policy.limits.max_cores) > start,
            dry_run,
            began: Instant::now(),
            raised: Cell::new(false),
            came_back: Cell::new(false),
            ends: Cell::new(None),
        }
    }

    fn over(&self, status: &Status) -> bool {
        if status.in_flight.is_none() && status.cores_known {
            self.raised
                .set(self.raised.get() || status.cores > self.start);
            self.came_back
                .set(self.raised.get() && status.cores == self.start);
        }
        self.came_back.get() || self.ends.get().is_some_and(|end| Instant::now() >= end)
    }

    fn summary(&self) -> Exit {
        let took = span(Duration::from_secs(self.began.elapsed().as_secs()));
        match (self.came_back.get(), self.can_raise) {
            _ if self.dry_run => {
                say!("sandbox: over; with --dry-run nothing was changed");
                Exit::Done
            }
            (true, _) => {
                say!(
                    "sandbox: up under load and down after it, each seen by the API and by the guest, in {took}"
                );
                Exit::Done
            }
            (false, false) => {
                say!("sandbox: over; with one CPU there was nothing to raise to");
                Exit::Done
            }
            (false, true) => {
                tracing::warn!(
                    target: "glesys_autoscaler::sandbox",
                    "sandbox: the cores did not go up and come back within {took}: was something else busy on this machine, or the run ended early?"
                );
                Exit::Failed
            }
        }
    }
}

/// Says what the daemon sees, where `systemctl status` would show it.
#[derive(Default)]
struct Narrator {
    last: Cell<Option<Instant>>,
}

impl Notifier for Narrator {
    fn ready(&self) {}
    fn watchdog(&self) {}
    fn watchdog_interval(&self) -> Option<Duration> {
        None
    }
    fn status(&self, line: &str) {
        if self
            .last
            .get()
            .is_none_or(|at| at.elapsed() >= NARRATE_EVERY)
        {
            self.last.set(Some(Instant::now()));
            say!("sees: {line}");
        }
    }
    fn stopping(&self) {}
}
