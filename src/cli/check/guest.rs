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
