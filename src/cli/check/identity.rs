//! Is the server of the policy file this very machine? An address tells; behind NAT the operator.

use super::super::run::{api_is_loopback, machine};
use super::super::{CheckArgs, Exit, operate, place};
use super::report::{Answer, Report, ask};
use crate::adapters::control::{self, Ask};
use crate::adapters::machine::Facts;
use crate::adapters::proc_reader::ProcReader;
use crate::adapters::state_dir::{Owner, StateDir};
use crate::config::Config;
use crate::engine::cloud::Server;
use crate::engine::event::Machine;
use crate::engine::gate::memory_fits;
use crate::engine::state::Confirmed;
use std::net::IpAddr;
use std::path::Path;

const STEP: &str = "this machine";

pub fn step(config: &Config, server: &Server, args: &CheckArgs, report: &mut Report) {
    let machine = match Facts::read(Path::new("/")) {
        Ok(facts) => machine(facts, api_is_loopback(&config.api.url)),
        Err(error) => {
            return report.bad(
                Exit::Failed,
                STEP,
                format_args!("what tells this machine from others cannot be read: {error}"),
            );
        }
    };
    let id = &config.api.server_id;
    let common = server
        .addresses
        .iter()
        .find(|address| machine.addresses.contains(address));
    if let Some(address) = common {
        return report.good(
            STEP,
            format_args!("{id} is this one: both have the address {address}"),
        );
    }
    let compared = Comparison::new(server, &machine);
    if !compared.memory_fits {
        return report.bad(
            Exit::Configuration,
            STEP,
            format_args!("{id} is another server: {compared}; mend api.server_id"),
        );
    }
    if confirmed(config, &machine) {
        return report.good(
            STEP,
            format_args!("{id} is this one by the operator's word, and memory agrees: {compared}"),
        );
    }
    if args.confirm_identity {
        return confirm(config, &compared, args.yes, report);
    }
    report.bad(
        Exit::Configuration,
        STEP,
        format_args!(
            "it is not proven that {id} is this one: {compared}; if this VM is behind NAT and {id} is its server, run `glesys-autoscaler check --confirm-identity`, else mend api.server_id"
        ),
    );
}

fn confirm(config: &Config, compared: &Comparison, yes: bool, report: &mut Report) {
    let id = &config.api.server_id;
    let question = format!("No address tells: {compared}. Is {id} this very machine?");
    match ask(&question, yes) {
        Answer::Yes => match tell(config) {
            Ok(who) => report.good(
                STEP,
                format_args!("{id} is this one by the operator's word, {who}"),
            ),
            Err(why) => report.bad(
                Exit::Failed,
                STEP,
                format_args!("the operator's word cannot be kept: {why}"),
            ),
        },
        Answer::No => report.bad(
            Exit::Configuration,
            STEP,
            format_args!("{id} is another server, says the operator: mend api.server_id"),
        ),
        Answer::NoTerminal => report.bad(
            Exit::Failed,
            STEP,
            "there is no terminal to ask on: run this on one, or add --yes",
        ),
    }
}

/// Where the operator's word went.
fn tell(config: &Config) -> Result<&'static str, String> {
    if control::ask(&place::runtime_dir(config), &Ask::Confirm)?.is_some() {
        return Ok("which the running daemon keeps");
    }
    operate::offline(config, &[Ask::Confirm])?;
    Ok("kept for the daemon's next start")
}

/// Whether the operator said so before, of this machine as it is.
fn confirmed(config: &Config, machine: &Machine) -> bool {
    let owner = Owner {
        server_id: config.api.server_id.clone(),
        machine_id: machine.machine_id.clone(),
    };
    let (state, runtime) = (place::state_dir(config), place::runtime_dir(config));
    let word = Confirmed {
        machine_id: machine.machine_id.clone(),
        macs: machine.macs.clone(),
    };
    StateDir::look(&state, &runtime, &owner).and_then(|state| state.confirmed) == Some(word)
}

/// The server of the API beside this machine, for a person to judge.
struct Comparison {
    addresses: String,
    memory_fits: bool,
    memory: String,
    cores: String,
}

impl Comparison {
    fn new(server: &Server, machine: &Machine) -> Comparison {
        let online = ProcReader::new(Path::new("/")).online();
        Comparison {
            addresses: format!(
                "the server has {}, this machine {}",
                addresses(&server.addresses),
                addresses(&machine.addresses)
            ),
            memory_fits: server
                .memory_mb
                .is_some_and(|nominal| memory_fits(machine.memory_mb, nominal)),
            memory: match server.memory_mb {
                Some(nominal) => format!("{nominal} MB of memory, here {}", machine.memory_mb),
                None => format!("unknown memory, here {} MB", machine.memory_mb),
            },
            cores: match online {
                Ok(online) => format!("{} cores, here {}", server.cores, online.count()),
                Err(_) => format!("{} cores", server.cores),
            },
        }
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}; {}", self.addresses, self.memory, self.cores)
    }
}

fn addresses(list: &[IpAddr]) -> String {
    if list.is_empty() {
        return "no address".to_owned();
    }
    let words: Vec<String> = list.iter().map(IpAddr::to_string).collect();
    words.join(" and ")
}
