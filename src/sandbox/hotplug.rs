//! The machine's real CPUs as the guest: an edit takes them off and on line through
//! `/sys/devices/system/cpu/cpuN/online`.
//!
//! CPU 0 is never touched, nor is a CPU that was offline at the start. The highest number goes
//! first. All come back when [`Hotplug`] is dropped; where nothing is dropped, as in a program
//! that aborts on panic, its [`Restorer`] does the same from a panic hook. Nothing helps against
//! `kill -9`: the next start then says which CPUs to bring back.
//!
//! The kernel's `present` list does not change by any of this: the witness for such a change is
//! the `online` list.

use super::machine::Machine;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the kernel shows the CPUs.
pub const SYSFS_CPUS: &str = "/sys/devices/system/cpu";

/// Why CPUs cannot be taken off and on line.
#[derive(Debug, thiserror::Error)]
pub enum HotplugError {
    /// The kernel's list of CPUs is missing or unreadable.
    #[error("cannot read the list of CPUs in {path}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Writing needs root.
    #[error(
        "taking CPUs off line needs root ({path}: permission denied): run it with sudo, or leave --hotplug out"
    )]
    NotRoot {
        /// The file that may not be written.
        path: PathBuf,
    },
    /// There is none that could go.
    #[error("no CPU of this machine can be taken off line{}: leave --hotplug out", offline_hint(.offline))]
    OneCpu {
        /// CPUs that are there but offline.
        offline: Vec<u32>,
    },
    /// Fewer cores than those that cannot go, or none.
    #[error("cannot run on {cores} of {least} to {most} CPUs")]
    OutOfRange {
        /// What was asked for.
        cores: u32,
        /// CPUs that cannot go.
        least: u32,
        /// CPUs that were online at the start.
        most: u32,
    },
    /// The kernel refused to take or bring a CPU.
    #[error("cannot write {value} to {path}: {source}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// `0` off line, `1` on line.
        value: char,
        /// What the kernel said.
        source: io::Error,
    },
}

fn offline_hint(offline: &[u32]) -> String {
    if offline.is_empty() {
        return String::new();
    }
    let list: Vec<String> = offline.iter().map(u32::to_string).collect();
    format!(
        " (present but offline: {}; to bring CPU n back, write 1 to {SYSFS_CPUS}/cpun/online as root)",
        list.join(", ")
    )
}

/// Real CPUs, taken off and on line. Restores them when dropped.
#[derive(Debug)]
pub struct Hotplug {
    /// CPUs that stay: CPU 0, and those that the kernel does not let go.
    fixed: u32,
    restorer: Restorer,
}

/// Brings back online what [`Hotplug`] may have taken. Free of locks and of state, so that it can
/// be called from a panic hook and beside a change that is under way.
#[derive(Debug, Clone)]
pub struct Restorer {
    root: PathBuf,
    /// CPUs that may go, all online at the start, ascending.
    movable: Vec<u32>,
}

impl Hotplug {
    /// Looks at the CPUs under `root` ([`SYSFS_CPUS`], or a tree made for a test); changes nothing.
    ///
    /// # Errors
    /// [`HotplugError::Unreadable`], [`HotplugError::NotRoot`], [`HotplugError::OneCpu`].
    pub fn new(root: &Path) -> Result<Self, HotplugError> {
        let online = cpu_list(&root.join("online"))?;
        let movable: Vec<u32> = online
            .iter()
            .copied()
            .filter(|&cpu| cpu != 0 && switch_of(root, cpu).exists())
            .collect();
        // With none that the kernel keeps, the lowest stays: a machine cannot run on no CPU.
        let keep_one = usize::from(movable.len() == online.len()).min(movable.len());
        let movable = movable[keep_one..].to_vec();
        if movable.is_empty() {
            let present = cpu_list(&root.join("present")).unwrap_or_default();
            let offline = present
                .into_iter()
                .filter(|c| !online.contains(c))
                .collect();
            return Err(HotplugError::OneCpu { offline });
        }
        for &cpu in &movable {
            let path = switch_of(root, cpu);
            if let Err(source) = OpenOptions::new().write(true).open(&path) {
                return Err(match source.kind() {
                    io::ErrorKind::PermissionDenied => HotplugError::NotRoot { path },
                    _ => HotplugError::Unreadable {
                        path,
                        why: source.to_string(),
                    },
                });
            }
        }
        Ok(Self {
            fixed: u32::try_from(online.len() - movable.len()).unwrap_or(u32::MAX),
            restorer: Restorer {
                root: root.to_owned(),
                movable,
            },
        })
    }

    /// CPUs that were online at the start: the most that can be asked for.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.fixed + u32::try_from(self.restorer.movable.len()).unwrap_or(u32::MAX)
    }

    /// CPUs that cannot go: the fewest that can be asked for.
    #[must_use]
    pub fn least(&self) -> u32 {
        self.fixed
    }

    /// What brings all CPUs back without this value, for a panic hook.
    #[must_use]
    pub fn restorer(&self) -> Restorer {
        self.restorer.clone()
    }

    /// Leaves exactly `cores` CPUs online out of those that were online at the start.
    ///
    /// # Errors
    /// [`HotplugError::OutOfRange`], and then nothing has changed; [`HotplugError::Refused`], and
    /// then CPUs with a higher number may have changed already.
    pub fn set_online(&self, cores: u32) -> Result<(), HotplugError> {
        if !(self.least()..=self.most()).contains(&cores) {
            return Err(HotplugError::OutOfRange {
                cores,
                least: self.least(),
                most: self.most(),
            });
        }
        let stay = usize::try_from(cores - self.fixed).unwrap_or(usize::MAX);
        let (stay, go) = self.restorer.movable.split_at(stay);
        for &cpu in go.iter().rev() {
            self.restorer.switch(cpu, '0')?;
        }
        for &cpu in stay {
            self.restorer.switch(cpu, '1')?;
        }
        Ok(())
    }
}

impl Restorer {
    /// Brings all CPUs online that were online at the start; tries all of them even if one fails.
    ///
    /// # Errors
    /// The first [`HotplugError::Refused`].
    pub fn restore(&self) -> Result<(), HotplugError> {
        let mut outcome = Ok(());
        for &cpu in &self.movable {
            outcome = outcome.and(self.switch(cpu, '1'));
        }
        outcome
    }

    /// Writes only where it changes something: a write to a CPU that is in the wished state
    /// already fails on some kernels.
    fn switch(&self, cpu: u32, value: char) -> Result<(), HotplugError> {
        let path = switch_of(&self.root, cpu);
        let now = fs::read_to_string(&path).unwrap_or_default();
        if now.trim().starts_with(value) {
            return Ok(());
        }
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(value.to_string().as_bytes()))
            .map_err(|source| HotplugError::Refused {
                path,
                value,
                source,
            })
    }
}

impl Drop for Hotplug {
    fn drop(&mut self) {
        if let Err(e) = self.restorer.restore() {
            tracing::error!("a CPU of this machine stays off line: {e}");
        }
    }
}

impl Machine for Hotplug {
    fn resize(&mut self, cores: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.set_online(cores)?)
    }

    /// The machine under the sandbox is not rebooted; its CPUs are set as a boot would find them.
    fn reboot(&mut self, cores: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.set_online(cores)?)
    }
}

fn switch_of(root: &Path, cpu: u32) -> PathBuf {
    root.join(format!("cpu{cpu}")).join("online")
}

/// A kernel list such as `0,2-3`, ascending.
fn cpu_list(path: &Path) -> Result<Vec<u32>, HotplugError> {
    let unreadable = |why: String| HotplugError::Unreadable {
        path: path.to_owned(),
        why,
    };
    let text = fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
    let mut cpus = Vec::new();
    for range in text.trim().split(',').filter(|r| !r.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<u32>(), last.parse::<u32>()) {
            // The kernel has no more than 8192; the bound keeps a broken file from filling memory.
            (Ok(first), Ok(last)) if first <= last && last < 65_536 => cpus.extend(first..=last),
            _ => return Err(unreadable(format!("'{range}' is no range of CPUs"))),
        }
    }
    Ok(cpus)
}
