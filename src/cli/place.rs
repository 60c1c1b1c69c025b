//! Where things are: the policy file, and the directories that the service manager may name.

use super::POLICY_FILE;
use crate::config::{self, Config, ConfigError};
use std::path::{Path, PathBuf};

/// The run-time directory of the installed unit.
const RUNTIME_DIR: &str = "/run/glesys-autoscaler";

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

/// The run-time directory, asking no more of the policy file than it has to say: `status`,
/// `pause` and `resume` must work beside a daemon whose file was spoilt since.
pub fn runtime_dir_of(config: Option<&Path>) -> Result<PathBuf, ConfigError> {
    if let Some(dir) = named_by("RUNTIME_DIRECTORY") {
        return Ok(dir);
    }
    match config::load(policy_file(config)) {
        Ok(config) => Ok(config.runtime_dir),
        Err(error) if config.is_some() => Err(error),
        Err(_) => Ok(RUNTIME_DIR.into()),
    }
}

/// The first directory of a variable of systemd, which may list several.
pub fn named_by(variable: &str) -> Option<PathBuf> {
    let list = std::env::var(variable).ok()?;
    let first = list.split(':').next().filter(|dir| !dir.is_empty())?;
    Some(PathBuf::from(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_units_directory_is_the_default_of_the_policy_file() {
        let text = "[api]\nproject = \"cl1\"\nserver_id = \"kvm1\"\n[limits]\nmin_cores = 1\nmax_cores = 8\n";
        let config = config::parse(text, "test").unwrap();
        assert_eq!(config.runtime_dir, Path::new(RUNTIME_DIR));
    }
}
