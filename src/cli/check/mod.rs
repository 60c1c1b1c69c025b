//! `check`: proves the set-up step by step, ✓ or ✗ and the mend for each.
//!
//! ```text
//!  policy ─▶ key ─▶ TLS ─▶ │ API ─▶ identity ─▶ server ─▶ counts │ ─▶ guest ─▶ pinned ─▶ state ─▶ daemon
//!     setup               network: cloud, identity                  guest            service
//! ```
//!
//! A step that fails does not keep those from being made that can be. Looking leaves nothing
//! behind: no lock is taken and no file is made.

mod cloud;
mod guest;
mod identity;
mod prove;
mod report;
mod service;
mod setup;

use super::run::{keep_out_of_core_dumps, within_runtime};
use super::{CheckArgs, Exit, complain, place};
use crate::adapters::glesys::Glesys;
use crate::config::{self, Config};
use crate::engine::cloud::Server;
use crate::engine::decision::AllowedCounts;
use report::{Report, say};
use std::path::Path;

pub fn run(config_file: Option<&Path>, args: &CheckArgs) -> Exit {
    let file = place::policy_file(config_file);
    if args.print {
        return print(file);
    }
    keep_out_of_core_dumps();
    within_runtime(async {
        if args.prove_lowering {
            prove::run(config_file, args).await
        } else {
            let mut report = Report::default();
            all_steps(file, args, &mut report).await;
            conclude(&report)
        }
    })
}

fn print(file: &Path) -> Exit {
    match config::load(file) {
        Ok(config) => {
            say(config::print(&config).trim_start());
            Exit::Done
        }
        Err(error) => {
            complain(error);
            Exit::Configuration
        }
    }
}

fn conclude(report: &Report) -> Exit {
    say("");
    say(match report.exit() {
        Exit::Done if report.warned() => "nothing is wrong; see what is marked with !",
        Exit::Done => "all is right",
        Exit::Failed => "something is wrong, see ✗",
        Exit::Configuration => "the configuration is wrong, see ✗",
    });
    report.exit()
}

/// What the steps found out, for a trial of lowering.
struct Found {
    config: Config,
    api: Glesys,
    server: Server,
    counts: AllowedCounts,
}

async fn all_steps(file: &Path, args: &CheckArgs, report: &mut Report) -> Option<Found> {
    let config = setup::policy(file, report);
    let client = config
        .as_ref()
        .and_then(|config| setup::client(config, report));
    if args.offline {
        report.skip(
            "network",
            "not used (--offline): the key, the server and this VM are not checked",
        );
        return None;
    }
    let seen = match (&config, &client) {
        (Some(config), Some(api)) => cloud::steps(config, api, args, report).await,
        _ => {
            report.skip("API", "not called: see above");
            None
        }
    };
    let cores = seen.as_ref().map(|(server, _)| server.cores);
    guest::steps(Path::new("/"), config.as_ref(), cores, report);
    if let Some(config) = &config {
        service::steps(config, report);
    }
    let (server, counts) = seen?;
    Some(Found {
        config: config?,
        api: client?,
        server,
        counts,
    })
}
