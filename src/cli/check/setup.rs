//! The steps that need nothing but this machine's files: policy, key, TLS.

use super::super::Exit;
use super::super::run::{api_key, client as build};
use super::report::Report;
use crate::adapters::api_key::{ApiKey, KeyError};
use crate::adapters::glesys::Glesys;
use crate::config::{self, Config};
use crate::engine::policy::Policy;
use std::path::Path;

pub fn policy(file: &Path, report: &mut Report) -> Option<Config> {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => {
            report.bad(Exit::Configuration, "policy file", error);
            return None;
        }
    };
    report.good("policy file", file.display());
    limits(&config.policy, report);
    Some(config)
}

fn limits(policy: &Policy, report: &mut Report) {
    let limits = &policy.limits;
    let (min, max) = (limits.min_cores, limits.max_cores);
    let only = match limits.allowed_cores.as_slice() {
        [] => String::new(),
        list => format!(", of these only {}", listed(list)),
    };
    let range = format!(
        "{min} to {max} cores{only}, at most {} changes a day",
        limits.max_changes_per_day
    );
    if min == max {
        report.warn(
            "limits",
            format_args!("{range}: with one count there is nothing to scale"),
        );
    } else {
        report.good("limits", range);
    }
    // Refused with the policy file otherwise, naming the counts, the demand and the two keys. What
    // holds for all counts holds for any of them: a property test of the engine says so.
    report.good(
        "no flapping",
        format_args!("proved for every steady load at every count from {min} to {max}, whichever of them the platform has"),
    );
}

/// Reads the key, and builds the client with it.
pub fn client(config: &Config, report: &mut Report) -> Option<Glesys> {
    let key = match api_key(config) {
        Ok(key) => {
            report.good("key", format_args!("read from {}, private", key.origin()));
            Some(key)
        }
        Err(error) => {
            report.bad(Exit::Configuration, "key", key_error(&error));
            None
        }
    };
    // The certificates are as good without a key.
    let stand_in = || ApiKey::given("none".to_owned()).ok();
    let api = match build(config, key.clone().or_else(stand_in)?) {
        Ok(api) => api,
        Err(error) => {
            report.bad(Exit::Configuration, "TLS", error);
            return None;
        }
    };
    if config.api.url.starts_with("http://") {
        report.skip("TLS", "not used: api.url is plain http to this machine");
    } else {
        let extra = config.api.ca_file.as_ref().map_or(String::new(), |file| {
            format!(" and those of api.ca_file, {}", file.display())
        });
        report.good(
            "TLS",
            format_args!("root certificates of the system{extra}"),
        );
    }
    key.map(|_| api)
}

fn key_error(error: &KeyError) -> String {
    match error {
        // The file is rightly root's: systemd hands it to the daemon.
        KeyError::NotOurs { owner: 0, .. } => {
            format!(
                "{error}; the service manager reads it as root, and so does this check with sudo"
            )
        }
        _ => error.to_string(),
    }
}

/// Counts as people write them.
pub fn listed(counts: &[u32]) -> String {
    let words: Vec<String> = counts.iter().map(u32::to_string).collect();
    words.join(", ")
}
