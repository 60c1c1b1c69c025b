//! The policy file: the shipped one, the defaults and the table of keys agree; every key changes
//! its own field; every kind of mistake has its message; nothing panics, nothing leaks.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod agreement;
mod messages;
mod robustness;

use glesys_autoscaler::config::{self, Config, ConfigError};
use std::fs;
use std::path::{Path, PathBuf};

/// The keys without a default, as a policy file.
const REQUIRED: &str =
    "api.project = 'p'\napi.server_id = 's'\nlimits.min_cores = 1\nlimits.max_cores = 8\n";

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(at(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn rendered(result: Result<Config, Vec<config::Diagnostic>>) -> String {
    match result {
        Ok(_) => "accepted\n".to_owned(),
        Err(faults) => ConfigError::Invalid(faults).to_string() + "\n",
    }
}

fn accepted(text: &str) -> Config {
    config::parse(text, "policy.toml")
        .unwrap_or_else(|faults| panic!("{text}\n{}", ConfigError::Invalid(faults)))
}

fn files_of(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(at(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .collect();
    files.sort();
    files
}
