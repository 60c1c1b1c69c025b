//! A small reader of `/proc` and `/sys`: the online set, CPU time by CPU, the run queue, pressure.
//!
//! It stands beside `sysinfo`, which cannot be asked for stolen or niced time and which is wrong
//! across every change of the online set. All paths lie below a root that tests can set.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

mod cpu_set;
mod stat;
#[cfg(test)]
mod tests;

pub use cpu_set::CpuSet;
pub use stat::{CpuTimes, Stat, TICKS_PER_SECOND, Usage};

/// More than any real file of these has: some 20 KB of `/proc/stat` with 100 CPUs.
const MAX_FILE: u64 = 4 << 20;

/// Reads the files. Keeps its buffer, since it is called every few seconds for months.
#[derive(Debug)]
pub struct ProcReader {
    online: PathBuf,
    present: PathBuf,
    stat: PathBuf,
    loadavg: PathBuf,
    pressure: PathBuf,
    buffer: Vec<u8>,
}

impl ProcReader {
    /// Reads below `root`; `/` is the machine itself.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            online: root.join("sys/devices/system/cpu/online"),
            present: root.join("sys/devices/system/cpu/present"),
            stat: root.join("proc/stat"),
            loadavg: root.join("proc/loadavg"),
            pressure: root.join("proc/pressure/cpu"),
            buffer: Vec::with_capacity(16 << 10),
        }
    }

    /// The CPUs that run tasks.
    ///
    /// # Errors
    /// The file cannot be read, or is not a list of CPUs.
    pub fn online(&mut self) -> Result<CpuSet, ReadError> {
        parse_file(&self.online, &mut self.buffer, CpuSet::parse)
    }

    /// The CPUs that are plugged in, online or not.
    ///
    /// # Errors
    /// The file cannot be read, or is not a list of CPUs.
    pub fn present(&mut self) -> Result<CpuSet, ReadError> {
        parse_file(&self.present, &mut self.buffer, CpuSet::parse)
    }

    /// The times of every online CPU since it came up, and the run queue.
    ///
    /// # Errors
    /// The file cannot be read, or a CPU line of it is not what the kernel writes.
    pub fn stat(&mut self) -> Result<Stat, ReadError> {
        parse_file(&self.stat, &mut self.buffer, Stat::parse)
    }

    /// Tasks that run or wait for a CPU at this moment, ourselves included. From `/proc/loadavg`,
    /// which is a tenth of the work of `/proc/stat`.
    #[must_use]
    pub fn runnable(&mut self) -> Option<u32> {
        parse_file(&self.loadavg, &mut self.buffer, |text| {
            parse_runnable(text).ok_or_else(|| "no run queue in it".to_owned())
        })
        .ok()
    }

    /// Microseconds since boot in which some task waited for a CPU. `None` where the kernel does
    /// not count it: no such file, or a file that fails to be read (pressure off at boot).
    #[must_use]
    pub fn pressure_us(&mut self) -> Option<u64> {
        parse_file(&self.pressure, &mut self.buffer, |text| {
            parse_pressure(text).ok_or_else(|| "no total in it".to_owned())
        })
        .ok()
    }
}

/// Why a file of `/proc` or `/sys` could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not hold what the kernel writes there.
    #[error("{}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

fn parse_file<T>(
    path: &Path,
    buffer: &mut Vec<u8>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ReadError> {
    buffer.clear();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(buffer))
        .map_err(|source| ReadError::Io {
            path: path.to_owned(),
            source,
        })?;
    std::str::from_utf8(buffer)
        .map_err(|e| e.to_string())
        .and_then(parse)
        .map_err(|what| ReadError::Malformed {
            path: path.to_owned(),
            what,
        })
}

/// The tasks before the slash of the fourth field: `0.50 0.40 0.30 3/89 5928`.
#[must_use]
pub fn parse_runnable(loadavg: &str) -> Option<u32> {
    let (running, _) = loadavg.split_ascii_whitespace().nth(3)?.split_once('/')?;
    saturated_number(running)
}

/// The total of the line `some`; the line `full` came with Linux 5.13 and is of no use here.
#[must_use]
pub fn parse_pressure(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_ascii_whitespace()
        .find_map(|field| field.strip_prefix("total="))?
        .parse()
        .ok()
}

/// A CPU number: digits only, where `parse` would also take a sign.
pub(super) fn number(text: &str) -> Result<u32, ()> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().map_err(|_| ())
    } else {
        Err(())
    }
}

pub(super) fn saturated_number(text: &str) -> Option<u32> {
    let value: u64 = text.trim().parse().ok()?;
    Some(u32::try_from(value).unwrap_or(u32::MAX))
}
