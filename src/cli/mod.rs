//! The commands: arguments in, exit status out. Builds the adapters and hands them to the rooms
//! that do the work.

mod check;
mod history;
mod logging;
mod operate;
mod place;
mod run;
mod sandbox;
mod status;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Where the policy file is unless `--config` names another.
pub const POLICY_FILE: &str = "/etc/glesys-autoscaler/policy.toml";

/// How a command ended, as its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// It failed.
    Failed,
    /// The configuration is wrong: the unit does not restart on this.
    Configuration,
}

impl Exit {
    /// The exit status.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            // EX_CONFIG of sysexits.h, which the unit's RestartPreventExitStatus= names.
            Exit::Configuration => 78,
        }
    }
}

/// Scales the CPU cores of a Glesys VM from inside it.
#[derive(Debug, Parser)]
#[command(name = "glesys-autoscaler", version, arg_required_else_help = true)]
struct Cli {
    /// The policy file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// The journal where systemd started us, else text
    Auto,
    /// The journal, with fields
    Journal,
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon, in the foreground
    Run(RunArgs),
    /// Proves the set-up step by step
    Check(CheckArgs),
    /// What the running daemon sees, wants, may, and waits for
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
        /// Again every two seconds, until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Past changes: when, why, how they ended
    History {
        /// Only the last while, as in `7d`
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        since: Option<Duration>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Stops changing cores; sampling goes on
    Pause {
        /// Ends by itself after this long, as in `2h`
        #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
        span: Option<Duration>,
    },
    /// Lets changes go on
    Resume {
        /// Forget what was learned of raising
        #[arg(long)]
        raising: bool,
        /// Forget what was learned of lowering
        #[arg(long)]
        lowering: bool,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Everything but the edit
    #[arg(long)]
    dry_run: bool,
    /// Against an embedded API on loopback: no account, no key, nothing real is touched
    #[arg(long)]
    sandbox: bool,
    /// In the sandbox: a real load, up and down, then the end
    #[arg(long, requires = "sandbox")]
    load: bool,
    /// In the sandbox: take real CPUs of this machine off and on line (root)
    #[arg(long, requires = "sandbox")]
    hotplug: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Stop before the network: only the policy file, the key and the certificates
    #[arg(long)]
    offline: bool,
    /// Show the policy in force, as a policy file, and do nothing else
    #[arg(long, conflicts_with_all = ["offline", "prove_lowering", "confirm_identity"])]
    print: bool,
    /// Try one step down and back, after asking
    #[arg(long, conflicts_with = "offline")]
    prove_lowering: bool,
    /// Take this machine for the server though no address shows it (behind NAT), after asking
    #[arg(long, conflicts_with = "offline")]
    confirm_identity: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// The grammar of the command line: what the documents are compared with.
#[must_use]
pub fn grammar() -> clap::Command {
    Cli::command()
}

/// Runs the command of this process's arguments.
#[must_use]
pub fn main() -> Exit {
    let cli = Cli::parse();
    let config = cli.config.as_deref();
    match cli.command {
        Command::Run(args) if args.sandbox => {
            logging::start(cli.log_format);
            sandbox::run(config, args.dry_run, args.load, args.hotplug)
        }
        Command::Run(args) => {
            logging::start(cli.log_format);
            run::run(config, args.dry_run)
        }
        Command::Check(args) => {
            logging::start_quiet();
            check::run(config, &args)
        }
        Command::Status { json, watch } => status::run(config, json, watch),
        Command::History { since, json } => history::run(config, since, json),
        Command::Pause { span } => operate::pause(config, span),
        Command::Resume { raising, lowering } => operate::resume(config, raising, lowering),
    }
}

/// Says on standard error why a command failed.
fn complain(text: impl std::fmt::Display) {
    if logging::in_json() {
        tracing::error!(target: "glesys_autoscaler", "{text}");
        return;
    }
    // Not `eprintln!`, which panics where the other end of a pipe is closed.
    let _unheard = writeln!(std::io::stderr(), "glesys-autoscaler: {text}");
}

/// Says on standard output what was done. A reader who has gone does not undo it.
fn say(text: impl std::fmt::Display) {
    let _unheard = writeln!(std::io::stdout(), "{text}");
}
