//! Whether this guest can take and give CPUs while it runs, and what stands in the way.

use super::proc_reader::{CpuSet, ProcReader, ReadError};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Where udev looks for rules, the first that has a file of a name counts.
const RULES: [&str; 4] = [
    "etc/udev/rules.d",
    "run/udev/rules.d",
    "usr/lib/udev/rules.d",
    "lib/udev/rules.d",
];

/// The CPUs of this guest as far as they may come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestSupport {
    /// CPUs that run tasks.
    pub online: CpuSet,
    /// CPUs that are plugged in and do not run tasks.
    pub offline: Vec<u32>,
    /// Most CPUs that the kernel can have without a reboot, where it says so.
    pub most: Option<u32>,
    /// The kernel can take a CPU off and on line.
    pub hotplug: bool,
    /// The udev rule that brings new CPUs online.
    pub rule: Option<PathBuf>,
    /// Why this is not the place to judge: a container, `/sys` read-only.
    pub confined: Option<&'static str>,
}

impl GuestSupport {
    /// Reads below `root`; `/` is the machine itself.
    ///
    /// # Errors
    /// The kernel's lists of CPUs cannot be read.
    pub fn read(root: &Path) -> Result<GuestSupport, ReadError> {
        let mut reader = ProcReader::new(root);
        let (online, present) = (reader.online()?, reader.present()?);
        let up: Vec<u32> = online.numbers().collect();
        let offline: Vec<u32> = present.numbers().filter(|n| !up.contains(n)).collect();
        let cpus = root.join("sys/devices/system/cpu");
        let most = fs::read_to_string(cpus.join("possible"))
            .ok()
            .and_then(|text| CpuSet::parse(&text).ok())
            .map(|set| set.count());
        // CPU 0 has no switch on most machines; with that one alone only the kernel can tell.
        let others: Vec<u32> = present.numbers().filter(|n| *n != 0).collect();
        let hotplug = if others.is_empty() {
            cpus.join("hotplug").exists()
        } else {
            let switch = |n: &u32| cpus.join(format!("cpu{n}/online")).exists();
            others.iter().all(switch)
        };
        Ok(GuestSupport {
            online,
            offline,
            most,
            hotplug,
            rule: rule(root),
            confined: confined(root),
        })
    }
}

fn rule(root: &Path) -> Option<PathBuf> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for directory in RULES {
        for entry in fs::read_dir(root.join(directory)).into_iter().flatten() {
            let Ok(entry) = entry else { continue };
            if entry.path().extension().is_some_and(|e| e == "rules") {
                files.entry(entry.file_name()).or_insert(entry.path());
            }
        }
    }
    files
        .into_values()
        // A file that masks another is empty or a link to /dev/null.
        .find(|path| fs::read_to_string(path).is_ok_and(|text| text.lines().any(brings_online)))
}

/// As in `SUBSYSTEM=="cpu", ACTION=="add", ATTR{online}=="0", ATTR{online}="1"`.
fn brings_online(line: &str) -> bool {
    let words: Vec<&str> = line.split(',').map(str::trim).collect();
    let has = |wanted: &str| words.iter().any(|word| word.replace(' ', "") == wanted);
    !line.trim_start().starts_with('#')
        && has("SUBSYSTEM==\"cpu\"")
        && has("ATTR{online}=\"1\"")
        && !has("ACTION==\"remove\"")
}

fn confined(root: &Path) -> Option<&'static str> {
    let container = ["run/systemd/container", ".dockerenv", "run/.containerenv"];
    if container.iter().any(|file| root.join(file).exists()) {
        return Some("this is a container");
    }
    let sys = rustix::fs::statvfs(root.join("sys")).ok()?;
    sys.f_flag
        .contains(rustix::fs::StatVfsMountFlags::RDONLY)
        .then_some("/sys is read-only here")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new(online: &str, present: &str, possible: &str) -> Fixture {
            let fixture = Fixture(tempfile::tempdir().unwrap());
            for (name, text) in [
                ("online", online),
                ("present", present),
                ("possible", possible),
            ] {
                fixture.write(&format!("sys/devices/system/cpu/{name}"), text);
            }
            fixture
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn read(&self) -> GuestSupport {
            GuestSupport::read(self.0.path()).unwrap()
        }
    }

    #[test]
    fn cpus_that_are_there_and_not_used_are_named() {
        let fixture = Fixture::new("0,2\n", "0-3\n", "0-15\n");
        let guest = fixture.read();
        assert_eq!(guest.offline, [1, 3]);
        assert_eq!(guest.most, Some(16));
        assert!(!guest.hotplug);
        for cpu in 1..4 {
            fixture.write(&format!("sys/devices/system/cpu/cpu{cpu}/online"), "1\n");
        }
        assert!(fixture.read().hotplug);
    }

    #[test]
    fn with_one_cpu_the_kernel_itself_tells() {
        let fixture = Fixture::new("0\n", "0\n", "0-7\n");
        assert!(!fixture.read().hotplug);
        fixture.write("sys/devices/system/cpu/hotplug/states", "");
        assert!(fixture.read().hotplug);
    }

    #[test]
    fn the_rule_of_the_package_is_found_unless_it_is_masked() {
        let shipped = include_str!("../../packaging/udev/60-glesys-autoscaler-cpu-online.rules");
        let name = "60-glesys-autoscaler-cpu-online.rules";
        let fixture = Fixture::new("0\n", "0\n", "0\n");
        assert_eq!(fixture.read().rule, None);
        fixture.write(&format!("usr/lib/udev/rules.d/{name}"), shipped);
        let found = fixture.read().rule.unwrap();
        assert!(found.ends_with(format!("usr/lib/udev/rules.d/{name}")));
        fixture.write(&format!("etc/udev/rules.d/{name}"), "");
        assert_eq!(fixture.read().rule, None);
    }

    #[test]
    fn only_a_rule_that_brings_cpus_online_counts() {
        for (line, counts) in [
            (r#"SUBSYSTEM=="cpu", ACTION=="add", ATTR{online}="1""#, true),
            (
                r#"ACTION=="add", SUBSYSTEM=="cpu", ATTR{online} = "1""#,
                true,
            ),
            (r#"# SUBSYSTEM=="cpu", ATTR{online}="1""#, false),
            (r#"SUBSYSTEM=="memory", ATTR{online}="1""#, false),
            (r#"SUBSYSTEM=="cpu", ATTR{online}=="1", RUN+="x""#, false),
            (r#"SUBSYSTEM=="cpu", ATTR{online}="0""#, false),
        ] {
            assert_eq!(brings_online(line), counts, "{line}");
        }
    }

    #[test]
    fn a_container_is_told() {
        let fixture = Fixture::new("0\n", "0\n", "0\n");
        assert_eq!(fixture.read().confined, None);
        fixture.write("run/systemd/container", "docker");
        assert_eq!(fixture.read().confined, Some("this is a container"));
    }
}
