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
    /// Writing needs root, and a `/sys` that is not mounted read-only as in most containers.
    #[error(
        "cannot write to {path}: {source}: taking CPUs off line needs root and a writable /sys; run it with sudo, or leave --hotplug out"
    )]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
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
    /// [`HotplugError::Unreadable`], [`HotplugError::NotWritable`], [`HotplugError::OneCpu`].
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
                return Err(HotplugError::NotWritable { path, source });
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;
    use tempfile::TempDir;

    /// A tree as the kernel shows it: the lists, and a switch for each `(cpu, state)`.
    fn tree(online: &str, present: &str, switches: &[(u32, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("online"), format!("{online}\n")).unwrap();
        fs::write(root.path().join("present"), format!("{present}\n")).unwrap();
        for (cpu, state) in switches {
            fs::create_dir(root.path().join(format!("cpu{cpu}"))).unwrap();
            fs::write(switch_of(root.path(), *cpu), format!("{state}\n")).unwrap();
        }
        root
    }

    fn state(root: &TempDir, cpus: &[u32]) -> String {
        cpus.iter()
            .map(|&cpu| fs::read_to_string(switch_of(root.path(), cpu)).unwrap())
            .map(|text| text.chars().next().unwrap())
            .collect()
    }

    /// CPUs 0, 2, 3 and 5 online, 7 offline; CPU 0 has a switch too, as on some machines.
    fn with_holes() -> TempDir {
        let switches = [(0, "1"), (2, "1"), (3, "1"), (5, "1"), (7, "0")];
        tree("0,2-3,5", "0,2-3,5,7", &switches)
    }

    #[test]
    fn the_highest_number_goes_first_and_holes_stay_holes() {
        let root = with_holes();
        let hotplug = Hotplug::new(root.path()).unwrap();
        assert_eq!((hotplug.least(), hotplug.most()), (1, 4));
        for (cores, expected) in [
            (3, "11100"),
            (1, "10000"),
            (2, "11000"),
            (4, "11110"),
            (4, "11110"),
        ] {
            hotplug.set_online(cores).unwrap();
            assert_eq!(state(&root, &[0, 2, 3, 5, 7]), expected, "{cores} cores");
        }
        for cores in [0, 5] {
            let refused = hotplug.set_online(cores);
            assert!(matches!(refused, Err(HotplugError::OutOfRange { .. })));
            assert_eq!(state(&root, &[0, 2, 3, 5, 7]), "11110");
        }
    }

    #[test]
    fn what_was_online_comes_back_at_the_end() {
        let root = with_holes();
        let mut hotplug = Hotplug::new(root.path()).unwrap();
        hotplug.resize(1).unwrap();
        assert_eq!(state(&root, &[0, 2, 3, 5, 7]), "10000");
        drop(hotplug);
        assert_eq!(state(&root, &[0, 2, 3, 5, 7]), "11110");
    }

    #[test]
    fn what_was_online_comes_back_on_a_panic() {
        let root = with_holes();
        let hotplug = Hotplug::new(root.path()).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let hotplug = hotplug;
            hotplug.set_online(1).unwrap();
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(state(&root, &[0, 2, 3, 5, 7]), "11110");
    }

    /// As a panic hook does in a program that aborts: from anywhere, without the owner's help.
    #[test]
    fn the_restorer_works_beside_its_owner() {
        let root = with_holes();
        let hotplug = Hotplug::new(root.path()).unwrap();
        hotplug.set_online(2).unwrap();
        let restorer = hotplug.restorer();
        thread::spawn(move || restorer.restore().unwrap())
            .join()
            .unwrap();
        assert_eq!(state(&root, &[0, 2, 3, 5, 7]), "11110");
    }

    #[test]
    fn the_restorer_tries_all_and_tells_the_first_that_failed() {
        let root = with_holes();
        let hotplug = Hotplug::new(root.path()).unwrap();
        hotplug.set_online(1).unwrap();
        fs::remove_file(switch_of(root.path(), 2)).unwrap();
        let told = hotplug.restorer().restore().unwrap_err().to_string();
        assert!(told.contains("cpu2"), "{told}");
        assert_eq!(state(&root, &[0, 3, 5, 7]), "1110");
    }

    #[test]
    fn cpus_that_the_kernel_keeps_count_but_do_not_go() {
        let root = tree("0-3", "0-3", &[(2, "1"), (3, "1")]);
        let hotplug = Hotplug::new(root.path()).unwrap();
        assert_eq!((hotplug.least(), hotplug.most()), (2, 4));
        hotplug.set_online(2).unwrap();
        assert_eq!(state(&root, &[2, 3]), "00");
        assert!(hotplug.set_online(1).is_err());
    }

    #[test]
    fn without_cpu_0_the_lowest_stays() {
        let root = tree("1-2", "0-2", &[(1, "1"), (2, "1")]);
        let hotplug = Hotplug::new(root.path()).unwrap();
        assert_eq!((hotplug.least(), hotplug.most()), (1, 2));
        hotplug.set_online(1).unwrap();
        assert_eq!(state(&root, &[1, 2]), "10");
    }

    #[test]
    fn where_it_cannot_work_it_says_why_and_what_mends_it() {
        let one = tree("0", "0", &[]);
        let left_offline = tree("0", "0-1", &[(1, "0")]);
        let broken = tree("0-x", "0-1", &[]);
        let nothing = tempfile::tempdir().unwrap();
        let endless = tree("0-4294967295", "0-1", &[]);
        for (root, expected) in [
            (&one, &["no CPU", "--hotplug"][..]),
            (&left_offline, &["no CPU", "offline: 1;", "write 1"]),
            (&broken, &["0-x", "online"]),
            (&nothing, &["online", "No such file"]),
            (&endless, &["4294967295"]),
        ] {
            let told = Hotplug::new(root.path()).unwrap_err().to_string();
            for part in expected {
                assert!(told.contains(part), "{told}");
            }
        }
    }

    #[test]
    fn a_refusal_of_the_kernel_names_the_file() {
        let root = with_holes();
        let hotplug = Hotplug::new(root.path()).unwrap();
        fs::remove_file(switch_of(root.path(), 5)).unwrap();
        fs::create_dir(switch_of(root.path(), 5)).unwrap();
        let told = hotplug.set_online(3).unwrap_err().to_string();
        assert!(
            told.contains("cannot write 0") && told.contains("cpu5"),
            "{told}"
        );
    }

    /// Even root cannot write to a directory, so this holds for whoever runs the tests.
    #[test]
    fn without_the_right_to_write_root_is_asked_for() {
        let root = tree("0-1", "0-1", &[]);
        fs::create_dir_all(switch_of(root.path(), 1)).unwrap();
        let told = Hotplug::new(root.path()).unwrap_err().to_string();
        assert!(told.contains("cpu1") && told.contains("sudo"), "{told}");
    }
}
