//! The policy file: read, checked, shown again.
//!
//! One table, [`KEYS`], holds every key with its default, its range and its place in [`Config`].
//! Reading, refusing, suggesting and printing all go by it. A file passes through `syntax` (is it
//! TOML?), `file` (is each key right by itself?) and `validate` (do they agree?), and every fault
//! that is found on the way becomes one [`Diagnostic`].

mod diagnostic;
mod duration;
mod file;
mod keys;
mod kinds;
mod print;
mod secrets;
mod slot;
mod suggest;
mod syntax;
mod validate;

pub use diagnostic::{Diagnostic, Place};
pub use duration::{Dur, DurError};
pub use keys::{KEYS, Key};
pub use print::print;

use crate::engine::policy::{Apply, Down, Limits, Mode, Policy, Sampling, Steal, Unapplied, Up};
use serde::Serialize;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest policy file that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// The policy file as meant. Holds no key: that one lives in a file of its own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// How the provider's API is reached.
    pub api: Api,
    /// What steers the engine.
    pub policy: Policy,
    /// Where to keep what must survive a reboot, unless the service manager names a place.
    pub state_dir: PathBuf,
    /// Where to put the control socket, unless the service manager names a place.
    pub runtime_dir: PathBuf,
}

/// How the provider's API is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Api {
    /// The project that the key belongs to: the user name of the API.
    pub project: String,
    /// The server to scale.
    pub server_id: String,
    /// The file that holds the key, where systemd gave no credential.
    pub key_file: PathBuf,
    /// Base of every address, without a slash at its end. `https`, or `http` to loopback.
    pub url: String,
    /// A root certificate to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Which addresses to connect from and to.
    pub address_family: AddressFamily,
    /// For one call, 1 s to 1 min.
    pub timeout: Duration,
}

/// Which addresses to connect from and to. The key's own address list decides which one works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressFamily {
    /// Whichever connects.
    Any,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

/// Why there is no policy. All of these are for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing or cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The policy file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path names a directory.
    #[error("{}: is a directory, not a policy file", path.display())]
    Directory {
        /// The path.
        path: PathBuf,
    },
    /// The file is larger than any policy.
    #[error("{}: larger than 1 MiB: surely not a policy file", path.display())]
    TooLarge {
        /// The policy file.
        path: PathBuf,
    },
    /// The file is not text.
    #[error("{}:{line}: not UTF-8: save the file as UTF-8 text", path.display())]
    NotText {
        /// The policy file.
        path: PathBuf,
        /// The first line that is not UTF-8, counted from 1.
        line: usize,
    },
    /// The file was read and is wrong: every fault that was found, by place.
    #[error("{}", Listed(.0))]
    Invalid(Vec<Diagnostic>),
}

struct Listed<'a>(&'a [Diagnostic]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

/// Reads and checks the policy file at `path`.
///
/// # Errors
/// [`ConfigError`] if it cannot be read, is no text, or is wrong.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::IsADirectory => ConfigError::Directory { path: path.into() },
        _ => ConfigError::Unreadable {
            path: path.into(),
            source,
        },
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(ConfigError::TooLarge { path: path.into() });
    }
    let text = str::from_utf8(&bytes).map_err(|e| ConfigError::NotText {
        path: path.into(),
        line: 1 + bytes[..e.valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count(),
    })?;
    parse(text, &path.display().to_string()).map_err(ConfigError::Invalid)
}

/// Checks the text of a policy file. `file_name` is what the diagnostics call it.
///
/// # Errors
/// Every fault that was found, by place. After a fault of TOML that leaves the rest of the file
/// in doubt, only what stands before it.
pub fn parse(text: &str, file_name: &str) -> Result<Config, Vec<Diagnostic>> {
    let mut findings = diagnostic::Findings::default();
    let mended = syntax::mend(text, &mut findings);
    let draft = file::read(&mended, &mut findings);
    // Only values that are right by themselves can be held against each other.
    if findings.is_empty() {
        validate::cross_check(&draft, &mut findings);
    }
    if findings.is_empty() {
        return Ok(draft.config);
    }
    Err(findings.into_diagnostics(file_name, text, draft.secrets))
}

/// The defaults, for the server of the sandbox: it has no policy file. The limits, which have no
/// defaults, are 1 to 8 until the caller knows the machine.
///
/// # Errors
/// Every fault of the values given.
pub fn with_defaults(project: &str, server_id: &str, url: &str) -> Result<Config, Vec<Diagnostic>> {
    let text = format!(
        "[api]\nproject = '{project}'\nserver_id = '{server_id}'\nurl = '{url}'\n[limits]\nmin_cores = 1\nmax_cores = 8\n"
    );
    parse(&text, "defaults")
}

/// A short name for a policy, 16 hexadecimal digits, for the record of each change: equal
/// policies have equal hashes, on every machine.
#[must_use]
pub fn policy_hash(policy: &Policy) -> String {
    // FNV-1a, since the hasher of the standard library may change from one release to the next.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    // A policy is plain numbers and words: it always serialises.
    for byte in serde_json::to_vec(policy).unwrap_or_default() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

impl Config {
    /// The paper that the table writes on. No value of it is ever seen: every field has a key,
    /// and every key is either given, has a default, or is a fault.
    fn blank() -> Config {
        let (none, share) = (Duration::ZERO, 0.0);
        Config {
            api: Api {
                project: String::new(),
                server_id: String::new(),
                key_file: PathBuf::new(),
                url: String::new(),
                ca_file: None,
                address_family: AddressFamily::Any,
                timeout: none,
            },
            policy: Policy {
                limits: Limits {
                    min_cores: 0,
                    max_cores: 0,
                    allowed_cores: Vec::new(),
                    max_changes_per_day: 0,
                },
                sampling: Sampling {
                    interval: none,
                    steal: Steal::Report,
                    ignore_nice: false,
                },
                boot_grace: none,
                up: Up {
                    utilization: share,
                    window: none,
                    queue: none,
                    pressure: share,
                    target: share,
                    cooldown: none,
                    max_step: 0,
                },
                down: Down {
                    utilization: share,
                    headroom: share,
                    window: none,
                    cooldown: none,
                    max_step: 0,
                },
                apply: Apply {
                    raising: Mode::Never,
                    lowering: Mode::Never,
                    unapplied: Unapplied::Hold,
                    timeout: none,
                },
            },
            state_dir: PathBuf::new(),
            runtime_dir: PathBuf::new(),
        }
    }
}
