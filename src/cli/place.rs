//! Where things are: the policy file, and the directories that the service manager may name.

use super::POLICY_FILE;
use crate::config::Config;
use std::path::{Path, PathBuf};

/// The policy file of `--config`, or the installed one.
pub fn policy_file(config: Option<&Path>) -> &Path {
    config.unwrap_or(Path::new(POLICY_FILE))
}

/// `$STATE_DIRECTORY`, else `state_dir`.
pub fn state_dir(config: &Config) -> PathBuf {
    named_by("STATE_DIRECTORY").unwrap_or_else(|| config.state_dir.clone())
}

/// `$RUNTIME_DIRECTORY`, else `runtime_dir`.
pub fn runtime_dir(config: &Config) -> PathBuf {
    named_by("RUNTIME_DIRECTORY").unwrap_or_else(|| config.runtime_dir.clone())
}

/// The first directory of a variable of systemd, which may list several.
pub fn named_by(variable: &str) -> Option<PathBuf> {
    let list = std::env::var(variable).ok()?;
    let first = list.split(':').next().filter(|dir| !dir.is_empty())?;
    Some(PathBuf::from(first))
}
