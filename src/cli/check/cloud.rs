//! The steps that call the API. Nothing is changed by them.

use super::super::{CheckArgs, Exit};
use super::identity;
use super::report::Report;
use super::setup::listed;
use crate::config::Config;
use crate::engine::cloud::{ApiFailure, FailureKind, Server};
use crate::engine::decision::AllowedCounts;
use crate::ports::CloudApi;

pub async fn steps(
    config: &Config,
    api: &impl CloudApi,
    args: &CheckArgs,
    report: &mut Report,
) -> Option<(Server, AllowedCounts)> {
    let server = match api.details().await {
        Ok(server) => {
            reached(config, report);
            report.good("key accepted", "for this project, from this address");
            report.good("server/details", "permitted");
            server
        }
        Err(failure) => {
            refused(config, api, &failure, report).await;
            return None;
        }
    };
    report.skip(
        "server/edit",
        "cannot be tried without a change: the key needs this permission too",
    );
    identity::step(config, &server, args, report);
    state(&server, report);
    let counts = counts(config, api, &server, report).await;
    current(config, &server, &counts, report);
    Some((server, counts))
}

fn reached(config: &Config, report: &mut Report) {
    let how = if config.api.url.starts_with("https://") {
        ", its certificate is trusted"
    } else {
        ""
    };
    report.good("API", format_args!("{} answers{how}", config.api.url));
}

/// What a failed `server/details` says of the steps that hang on it.
async fn refused(config: &Config, api: &impl CloudApi, failure: &ApiFailure, report: &mut Report) {
    let message = &failure.message;
    match failure.kind {
        FailureKind::Credentials | FailureKind::Forbidden => {
            reached(config, report);
            // The answer does not tell a refused key from a refused function; another function does.
            if api.allowed_cores("").await.is_ok() {
                report.good("key accepted", "for this project, from this address");
                report.bad(
                    Exit::Configuration,
                    "server/details",
                    format_args!(
                        "this key may not use it: permit server/details and server/edit for the key in the Glesys control panel ({message})"
                    ),
                );
            } else {
                report.bad(Exit::Configuration, "key accepted", message);
            }
        }
        FailureKind::Configuration => {
            reached(config, report);
            report.bad(Exit::Configuration, "server id", message);
        }
        FailureKind::Locked => {
            reached(config, report);
            report.bad(Exit::Failed, "running", message);
        }
        _ => report.bad(Exit::Failed, "API", message),
    }
    report.skip("server", "not checked: its details could not be read");
}

fn state(server: &Server, report: &mut Report) {
    match (server.running, server.locked) {
        (Some(false), _) => report.bad(
            Exit::Failed,
            "running",
            "the API says that this server is powered off, though this program runs: is api.server_id another server's? Else start it in the control panel",
        ),
        (_, true) => report.bad(
            Exit::Failed,
            "running",
            "the server is locked while the platform changes it: wait some minutes and check again; if it stays locked, ask Glesys",
        ),
        (Some(true), false) => report.good("running", "it runs and is not locked"),
        (None, false) => report.good("running", "it is not locked; whether it runs is not told"),
    }
}

async fn counts(
    config: &Config,
    api: &impl CloudApi,
    server: &Server,
    report: &mut Report,
) -> AllowedCounts {
    let limits = &config.policy.limits;
    let (min, max) = (limits.min_cores, limits.max_cores);
    let of = |platform: Option<&[u32]>| {
        AllowedCounts::new((min, max), &limits.allowed_cores, platform, &[])
    };
    let name = match server.platform.as_str() {
        "" => "unknown",
        name => name,
    };
    let all = of(None);
    let every = format!(
        "{}: every count of the policy is tried ({}), and one that the API refuses is left out for a day",
        name,
        listed(all.as_slice())
    );
    match api.allowed_cores(&server.platform).await {
        Ok(platform) if platform.is_empty() => report.warn(
            "platform",
            format_args!("{every}; server/allowedarguments names no counts for this platform"),
        ),
        Ok(platform) => {
            let usable = of(Some(&platform));
            usable_counts(config, name, &platform, &usable, report);
            return usable;
        }
        Err(failure)
            if matches!(
                failure.kind,
                FailureKind::Credentials | FailureKind::Forbidden
            ) =>
        {
            report.skip(
                "platform",
                format_args!(
                    "{every}; the key may not use server/allowedarguments, which is not needed but tells the counts"
                ),
            );
        }
        Err(failure) => report.warn("platform", format_args!("{every}; {}", failure.message)),
    }
    all
}

fn usable_counts(
    config: &Config,
    name: &str,
    platform: &[u32],
    usable: &AllowedCounts,
    report: &mut Report,
) {
    let limits = &config.policy.limits;
    let has = format!("{name} has {}", listed(platform));
    match usable.as_slice() {
        [] => report.bad(
            Exit::Configuration,
            "platform",
            format_args!(
                "{has}: none of these is within limits.min_cores = {} and limits.max_cores = {}{}; change the limits",
                limits.min_cores,
                limits.max_cores,
                if limits.allowed_cores.is_empty() { "" } else { " and in limits.allowed_cores" }
            ),
        ),
        [only] => report.warn(
            "platform",
            format_args!("{has}: within the limits that is {only} alone, so there is nothing to scale"),
        ),
        counts => report.good(
            "platform",
            format_args!("{has}; within the limits: {}", listed(counts)),
        ),
    }
}

fn current(config: &Config, server: &Server, counts: &AllowedCounts, report: &mut Report) {
    let limits = &config.policy.limits;
    let cores = server.cores;
    if cores < limits.min_cores {
        report.warn(
            "cores now",
            format_args!(
                "{cores}, below limits.min_cores = {}: the daemon raises that at its start",
                limits.min_cores
            ),
        );
    } else if cores > limits.max_cores {
        report.warn(
            "cores now",
            format_args!(
                "{cores}, above limits.max_cores = {}: the daemon lowers that once the load fits",
                limits.max_cores
            ),
        );
    } else if !counts.as_slice().is_empty() && !counts.as_slice().contains(&cores) {
        report.warn(
            "cores now",
            format_args!("{cores}, which is none of the counts that the daemon uses"),
        );
    } else {
        report.good("cores now", format_args!("{cores}, within the limits"));
    }
}
