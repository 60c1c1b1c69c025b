//! Tasks and cpusets that name CPUs: what is bound to a CPU that goes loses it.
//!
//! The kernel moves a task whose last CPU goes to any other, and never back. A cpuset of the old
//! hierarchy (cgroup v1) loses the CPU for good. CPU 0 never goes, so what names it alone is left
//! out.

use super::proc_reader::CpuSet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// `PF_KTHREAD` of the kernel's `sched.h`: a thread of the kernel, which looks after itself.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// Control groups lie no deeper than this; a loop of mounts would.
const DEEPEST: usize = 32;
/// Processes that are named by their number.
const NAMED: usize = 3;

/// Something that names CPUs of which one may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pinned {
    /// Threads whose affinity leaves out some CPU that is online.
    Processes {
        /// As `ps` shows it.
        name: String,
        /// Ascending.
        pids: Vec<u32>,
        /// The CPUs that they may use.
        cpus: String,
    },
    /// A control group with CPUs of its own.
    Cpuset {
        /// Its path below the hierarchy.
        group: String,
        /// The CPUs that its tasks may use.
        cpus: String,
        /// Of cgroup v1: it loses a CPU that goes, and does not get it back.
        for_good: bool,
    },
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pinned::Processes { name, pids, cpus } => {
                let shown: Vec<String> = pids.iter().take(NAMED).map(u32::to_string).collect();
                let more = if pids.len() > NAMED { ", …" } else { "" };
                let noun = if pids.len() == 1 {
                    "process".to_owned()
                } else {
                    format!("{} processes", pids.len())
                };
                write!(f, "{name} ({noun} {}{more}): CPUs {cpus}", shown.join(", "))
            }
            Pinned::Cpuset {
                group,
                cpus,
                for_good,
            } => {
                write!(f, "cpuset {group}: CPUs {cpus}")?;
                if *for_good {
                    f.write_str(" (cgroup v1: a CPU that went is not given back to it)")?;
                }
                Ok(())
            }
        }
    }
}

/// Everything below `root` (`/` is the machine itself) that names a CPU which may go while
/// `online` are there. What cannot be read is passed over: processes end while we look.
#[must_use]
pub fn find(root: &Path, online: &CpuSet) -> Vec<Pinned> {
    let mut usable: BTreeSet<u32> = online.numbers().collect();
    // Nobody is bound by what the kernel keeps everybody off.
    if let Some(isolated) = cpus_in(&root.join("sys/devices/system/cpu/isolated")) {
        usable.retain(|cpu| !isolated.contains(cpu));
    }
    let mut found = processes(&root.join("proc"), &usable);
    found.extend(cpusets(&root.join("sys/fs/cgroup"), &usable));
    found
}

fn processes(proc: &Path, usable: &BTreeSet<u32>) -> Vec<Pinned> {
    let mut groups: BTreeMap<(String, String), BTreeSet<u32>> = BTreeMap::new();
    // Thousands of tasks have the same few sets.
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (pid, process) in numbered(proc) {
        if is_of_the_kernel(&process) {
            continue;
        }
        for (_, task) in numbered(&process.join("task")) {
            let Ok(status) = fs::read_to_string(task.join("status")) else {
                continue;
            };
            let Some(list) = field(&status, "Cpus_allowed_list:") else {
                continue;
            };
            let cpus = known
                .entry(list.to_owned())
                .or_insert_with(|| bound(&set(list)?, usable));
            if let Some(cpus) = cpus {
                let name = field(&status, "Name:").unwrap_or("?").to_owned();
                groups.entry((name, cpus.clone())).or_default().insert(pid);
            }
        }
    }
    groups
        .into_iter()
        .map(|((name, cpus), pids)| Pinned::Processes {
            name,
            pids: pids.into_iter().collect(),
            cpus,
        })
        .collect()
}

/// Ninth field of `stat`: the flags. The name before them may hold spaces and brackets.
fn is_of_the_kernel(process: &Path) -> bool {
    let Ok(stat) = fs::read_to_string(process.join("stat")) else {
        return true;
    };
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(6))
        .and_then(|flags| flags.parse::<u64>().ok())
        .is_none_or(|flags| flags & KERNEL_THREAD != 0)
}

fn cpusets(cgroup: &Path, usable: &BTreeSet<u32>) -> Vec<Pinned> {
    let mut found = Vec::new();
    // The one hierarchy of v2, or v2 beside v1.
    for top in [cgroup.to_owned(), cgroup.join("unified")] {
        if top.join("cgroup.controllers").exists() {
            walk(&top, &top, 0, &mut |group, dir| {
                // Empty where nothing is set: then the parent's count.
                let cpus = cpus_in(&dir.join("cpuset.cpus"))?;
                found.push(Pinned::Cpuset {
                    group,
                    cpus: bound(&cpus, usable)?,
                    for_good: false,
                });
                Some(())
            });
        }
    }
    let v1 = cgroup.join("cpuset");
    walk(&v1, &v1, 0, &mut |group, dir| {
        let cpus = cpus_in(&dir.join("cpuset.cpus"))?;
        let used = fs::read_to_string(dir.join("tasks")).is_ok_and(|t| !t.trim().is_empty());
        // Even the full set shrinks there for good.
        let cpus = used.then_some(cpus).filter(may_lose)?;
        found.push(Pinned::Cpuset {
            group,
            cpus: written(&cpus),
            for_good: true,
        });
        Some(())
    });
    found
}

/// Visits every group below `top`, without that itself: its set is the machine's.
fn walk(top: &Path, dir: &Path, depth: usize, visit: &mut dyn FnMut(String, &Path) -> Option<()>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mut groups: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    groups.sort();
    for group in groups {
        if let Ok(name) = group.strip_prefix(top) {
            visit(format!("/{}", name.display()), &group);
        }
        if depth < DEEPEST {
            walk(top, &group, depth + 1, visit);
        }
    }
}

/// The CPUs as the kernel writes them, where they leave out one that is usable and name one that
/// may go.
fn bound(cpus: &BTreeSet<u32>, usable: &BTreeSet<u32>) -> Option<String> {
    let here: BTreeSet<u32> = cpus.intersection(usable).copied().collect();
    let narrower = here.len() < usable.len();
    (narrower && may_lose(&here)).then(|| written(&here))
}

fn may_lose(cpus: &BTreeSet<u32>) -> bool {
    cpus.iter().any(|cpu| *cpu != 0)
}

fn written(cpus: &BTreeSet<u32>) -> String {
    let list: Vec<String> = cpus.iter().map(u32::to_string).collect();
    CpuSet::parse(&list.join(",")).map_or_else(|_| list.join(","), |set| set.to_string())
}

fn cpus_in(file: &Path) -> Option<BTreeSet<u32>> {
    set(&fs::read_to_string(file).ok()?)
}

fn set(text: &str) -> Option<BTreeSet<u32>> {
    Some(CpuSet::parse(text).ok()?.numbers().collect())
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// The entries of `dir` that are named by a number, ascending.
fn numbered(dir: &Path) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new() -> Fixture {
            Fixture(tempfile::tempdir().unwrap())
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn task(&self, pid: u32, tid: u32, name: &str, flags: u64, cpus: &str) {
            self.write(
                &format!("proc/{pid}/stat"),
                &format!("{pid} ({name}) S 1 1 1 0 -1 {flags} 0 0\n"),
            );
            self.write(
                &format!("proc/{pid}/task/{tid}/status"),
                &format!(
                    "Name:\t{name}\nPid:\t{tid}\nCpus_allowed:\tff\nCpus_allowed_list:\t{cpus}\n"
                ),
            );
        }

        fn found(&self, online: &str) -> Vec<String> {
            let online = CpuSet::parse(online).unwrap();
            let found = find(self.0.path(), &online);
            found.iter().map(ToString::to_string).collect()
        }
    }

    #[test]
    fn tasks_that_are_bound_to_a_cpu_that_may_go_are_grouped_by_name() {
        let fixture = Fixture::new();
        fixture.task(1, 1, "systemd", 0x40_0100, "0-3");
        for pid in 10..15 {
            fixture.task(pid, pid, "worker", 0x40_0000, "2-3");
        }
        fixture.task(20, 20, "db (old) 1", 0, "0-3");
        fixture.task(20, 21, "db (old) 1", 0, "1");
        assert_eq!(
            fixture.found("0-3"),
            [
                "db (old) 1 (process 20): CPUs 1",
                "worker (5 processes 10, 11, 12, …): CPUs 2-3",
            ]
        );
    }

    #[test]
    fn what_is_not_bound_or_cannot_lose_is_left_out() {
        let fixture = Fixture::new();
        fixture.task(2, 2, "kthreadd", 0x20_8040, "1");
        fixture.task(3, 3, "all", 0, "0-127");
        fixture.task(4, 4, "first", 0, "0");
        fixture.task(5, 5, "gone", 0, "7");
        fixture.write(
            "proc/6/task/6/status",
            "Name:\tno stat\nCpus_allowed_list:\t1\n",
        );
        fixture.write("proc/self/status", "Cpus_allowed_list:\t1\n");
        assert_eq!(fixture.found("0-3"), [""; 0]);
        // One CPU: nothing can be narrower.
        fixture.task(7, 7, "only", 0, "0");
        assert_eq!(fixture.found("0"), [""; 0]);
    }

    #[test]
    fn cpus_that_the_kernel_keeps_free_bind_nobody() {
        let fixture = Fixture::new();
        fixture.write("sys/devices/system/cpu/isolated", "2-3\n");
        fixture.task(1, 1, "systemd", 0, "0-1");
        fixture.task(9, 9, "bound", 0, "1");
        assert_eq!(fixture.found("0-3"), ["bound (process 9): CPUs 1"]);
    }

    #[test]
    fn cpusets_of_both_hierarchies() {
        let fixture = Fixture::new();
        let set = |group: &str, cpus: &str| {
            fixture.write(&format!("sys/fs/cgroup/{group}/cpuset.cpus"), cpus);
        };
        fixture.write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu\n");
        set("", "0-1\n");
        set("system.slice", "\n");
        set("system.slice/db.service", "2-3\n");
        set("machine.slice", "0-3\n");
        set("first.slice", "0\n");
        assert_eq!(
            fixture.found("0-3"),
            ["cpuset /system.slice/db.service: CPUs 2-3"]
        );

        let fixture = Fixture::new();
        let set = |group: &str, cpus: &str, tasks: &str| {
            fixture.write(&format!("sys/fs/cgroup/cpuset/{group}/cpuset.cpus"), cpus);
            fixture.write(&format!("sys/fs/cgroup/cpuset/{group}/tasks"), tasks);
        };
        set("", "0-3\n", "1\n");
        set("docker/abc", "0-3\n", "12\n");
        set("docker/empty", "1\n", "");
        set("docker/first", "0\n", "13\n");
        assert_eq!(
            fixture.found("0-3"),
            ["cpuset /docker/abc: CPUs 0-3 (cgroup v1: a CPU that went is not given back to it)"]
        );
    }

    #[test]
    fn a_thread_of_this_very_machine_is_seen() {
        use rustix::thread::{CpuSet as Mask, sched_setaffinity};
        let online = super::super::proc_reader::ProcReader::new(Path::new("/"))
            .online()
            .unwrap();
        let Some(cpu) = online.numbers().find(|n| *n != 0) else {
            return;
        };
        let look = std::thread::spawn(move || {
            let mut mask = Mask::new();
            mask.set(cpu as usize);
            sched_setaffinity(None, &mask).unwrap();
            find(Path::new("/"), &online)
        });
        let found = look.join().unwrap();
        let me = std::process::id();
        assert!(
            found.iter().any(|pinned| matches!(
                pinned,
                Pinned::Processes { pids, cpus, .. } if pids.contains(&me) && *cpus == cpu.to_string()
            )),
            "{found:?}"
        );
    }
}
