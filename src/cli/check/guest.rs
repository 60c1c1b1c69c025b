//! The steps on the guest's own CPUs: can they come and go, and what would that hit.

use super::super::Exit;
use super::report::Report;
use crate::adapters::cpu_hotplug::GuestSupport;
use crate::adapters::pinning;
use crate::config::Config;
use std::path::Path;

/// Most lines on what is pinned.
const MOST_LINES: usize = 10;

/// `cores` is the API's count, where it is known. Files are read below `root`.
pub fn steps(root: &Path, config: Option<&Config>, cores: Option<u32>, report: &mut Report) {
    let guest = match GuestSupport::read(root) {
        Ok(guest) => guest,
        Err(error) => return report.bad(Exit::Failed, "guest", error),
    };
    can_change(&guest, config, cores, report);
    new_cpus(&guest, report);
    pinned(root, &guest, report);
}

fn can_change(
    guest: &GuestSupport,
    config: Option<&Config>,
    cores: Option<u32>,
    report: &mut Report,
) {
    let online = guest.online.count();
    let has = format!("CPUs {} are online", guest.online);
    if let Some(why) = guest.confined {
        report.warn(
            "guest",
            format_args!("{has}; {why}: whether CPUs can come and go is for the VM itself to tell, run the daemon and this check there"),
        );
    } else if !guest.hotplug {
        report.bad(
            Exit::Failed,
            "guest",
            format_args!(
                "{has}, and this kernel cannot take CPUs off and on line (no /sys/devices/system/cpu/cpuN/online): boot a kernel with CONFIG_HOTPLUG_CPU, as those of the distributions"
            ),
        );
    } else {
        report.good("guest", format_args!("{has}; they can come and go"));
    }
    if let [first, ..] = guest.offline.as_slice() {
        report.warn(
            "offline CPUs",
            format_args!(
                "{} there and not used: `echo 1 > /sys/devices/system/cpu/cpu{first}/online` as root brings it online",
                super::setup::listed(&guest.offline)
            ),
        );
    } else if let Some(cores) = cores
        && cores != online
    {
        report.warn(
            "cores here",
            format_args!(
                "the API shows {cores} and the kernel has {online}: a change that waits for a reboot, or another server"
            ),
        );
    }
    if let (Some(most), Some(config)) = (guest.most, config)
        && most < config.policy.limits.max_cores
    {
        report.warn(
            "most CPUs",
            format_args!(
                "this kernel was booted for at most {most}, and limits.max_cores is {}: counts above {most} need a reboot, and are billed without it",
                config.policy.limits.max_cores
            ),
        );
    }
}

fn new_cpus(guest: &GuestSupport, report: &mut Report) {
    match &guest.rule {
        Some(rule) => report.good(
            "new CPUs",
            format_args!("brought online by the udev rule {}", rule.display()),
        ),
        None if guest.confined.is_some() => {
            report.skip("new CPUs", "the udev rule is looked for in the VM itself");
        }
        None => report.warn(
            "new CPUs",
            "no udev rule brings them online: install the package's 60-glesys-autoscaler-cpu-online.rules into /etc/udev/rules.d, and run `udevadm control --reload`",
        ),
    }
}

fn pinned(root: &Path, guest: &GuestSupport, report: &mut Report) {
    let found = pinning::find(root, &guest.online);
    if found.is_empty() {
        return report.good("pinned", "no task or cpuset is bound to a CPU that may go");
    }
    let mut text = "bound to CPUs that may go; the kernel moves them when the CPU goes, and does not move them back:".to_owned();
    for pinned in found.iter().take(MOST_LINES) {
        text += &format!("\n{pinned}");
    }
    if let Some(more) = found.len().checked_sub(MOST_LINES).filter(|n| *n > 0) {
        text += &format!("\nand {more} more");
    }
    report.warn("pinned", text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        /// A VM with four CPUs that can come and go, and the package's rule.
        fn new() -> Fixture {
            let fixture = Fixture(tempfile::tempdir().unwrap());
            for name in ["online", "present", "possible"] {
                fixture.write(&format!("sys/devices/system/cpu/{name}"), "0-3\n");
            }
            for cpu in 1..4 {
                fixture.write(&format!("sys/devices/system/cpu/cpu{cpu}/online"), "1\n");
            }
            fixture.write(
                "usr/lib/udev/rules.d/60-glesys-autoscaler-cpu-online.rules",
                include_str!("../../../packaging/udev/60-glesys-autoscaler-cpu-online.rules"),
            );
            fixture
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn pin(&self, pid: u32, name: &str, cpus: &str) {
            self.write(
                &format!("proc/{pid}/stat"),
                &format!("{pid} ({name}) S 1 1 1 0 -1 0 0\n"),
            );
            self.write(
                &format!("proc/{pid}/task/{pid}/status"),
                &format!("Name:\t{name}\nCpus_allowed_list:\t{cpus}\n"),
            );
        }

        fn lines(&self, max_cores: u32, cores: Option<u32>) -> (Vec<String>, Exit) {
            let mut config =
                crate::config::with_defaults("cl1", "kvm1", "http://127.0.0.1").unwrap();
            config.policy.limits.max_cores = max_cores;
            let mut report = Report::default();
            steps(self.0.path(), Some(&config), cores, &mut report);
            let exit = report.exit();
            (report.lines, exit)
        }
    }

    fn starts(lines: &[String]) -> Vec<&str> {
        lines
            .iter()
            .filter_map(|l| l.split_once(':'))
            .map(|(start, _)| start)
            .collect()
    }

    #[test]
    fn a_vm_that_can_take_and_give_cores() {
        let (lines, exit) = Fixture::new().lines(4, Some(4));
        assert_eq!(
            starts(&lines),
            ["✓ guest", "✓ new CPUs", "✓ pinned"],
            "{lines:?}"
        );
        assert_eq!(exit, Exit::Done);
    }

    #[test]
    fn a_cpu_that_is_there_and_not_used_is_named_with_the_command() {
        let fixture = Fixture::new();
        fixture.write("sys/devices/system/cpu/online", "0-1,3\n");
        let (lines, exit) = fixture.lines(4, Some(4));
        assert_eq!(
            lines[1],
            "! offline CPUs: 2 there and not used: `echo 1 > /sys/devices/system/cpu/cpu2/online` as root brings it online"
        );
        assert_eq!(exit, Exit::Done);
    }

    #[test]
    fn a_kernel_that_cannot_is_a_fault() {
        let fixture = Fixture::new();
        fs::remove_file(fixture.0.path().join("sys/devices/system/cpu/cpu2/online")).unwrap();
        let (lines, exit) = fixture.lines(4, Some(4));
        assert!(lines[0].starts_with("✗ guest: ") && lines[0].contains("CONFIG_HOTPLUG_CPU"));
        assert_eq!(exit, Exit::Failed);
        // In a container it is not this kernel's set-up that is looked at.
        fixture.write("run/systemd/container", "lxc");
        let (lines, exit) = fixture.lines(4, Some(4));
        assert!(lines[0].starts_with("! guest: "), "{lines:?}");
        assert_eq!(exit, Exit::Done);
    }

    #[test]
    fn other_counts_than_the_apis_and_the_limits_are_said() {
        let (lines, _) = Fixture::new().lines(8, Some(2));
        assert_eq!(
            starts(&lines),
            [
                "✓ guest",
                "! cores here",
                "! most CPUs",
                "✓ new CPUs",
                "✓ pinned"
            ]
        );
    }

    #[test]
    fn a_missing_udev_rule_is_said_with_the_mend() {
        let fixture = Fixture::new();
        fs::remove_dir_all(fixture.0.path().join("usr")).unwrap();
        let (lines, _) = fixture.lines(4, None);
        assert!(
            lines[1].starts_with("! new CPUs: no udev rule"),
            "{lines:?}"
        );
        assert!(lines[1].contains("60-glesys-autoscaler-cpu-online.rules"));
    }

    #[test]
    fn what_is_pinned_takes_ten_lines_at_most() {
        let fixture = Fixture::new();
        for n in 0..13 {
            fixture.pin(100 + n, &format!("worker-{n:02}"), "2");
        }
        let (lines, exit) = fixture.lines(4, Some(4));
        let text = lines.last().unwrap();
        assert!(
            text.contains("\n    worker-00 (process 100): CPUs 2\n"),
            "{text}"
        );
        assert!(text.ends_with("\n    and 3 more"), "{text}");
        assert_eq!(text.lines().count(), 12);
        assert_eq!(exit, Exit::Done, "a warning");
    }
}
