//! One daemon at a time: the locks of the state and the run-time directory.

use super::guarded_files::{NO_LINK, replace};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const PID: &str = "pid";
const LONGEST_PID: u64 = 32;

/// Why the two directories cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// One of the two directories cannot be made, opened or written.
    #[error("{what} {path}: {source}; it must exist and be writable by this user ({mend})")]
    Directory {
        /// What it is for.
        what: &'static str,
        /// Where it is named.
        mend: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the one keeps for good is removed from the other.
    #[error(
        "state_dir and runtime_dir are both {path}; name two directories, of which the second may be empty after a reboot"
    )]
    Same {
        /// Which.
        path: PathBuf,
    },
    /// Another process holds it.
    #[error("another glesys-autoscaler is running{holder}: it holds {path}")]
    Held {
        /// Which.
        path: PathBuf,
        /// Its process id, where known.
        holder: String,
    },
}

/// Takes the locks of the directories themselves: no file has to be made, so a full disk is no
/// obstacle. The run-time directory's too, since its socket and pid belong to one daemon: another
/// one with a state directory of its own would take them over. Makes what is not there.
///
/// # Errors
/// See [`DirectoryError`].
pub fn take(dir: &Path, runtime_dir: &Path) -> Result<[File; 2], DirectoryError> {
    let wrong = |path: &Path| {
        let (what, mend) = if path == dir {
            (
                "state directory",
                "state_dir in the policy file, or $STATE_DIRECTORY",
            )
        } else {
            (
                "run-time directory",
                "runtime_dir in the policy file, or $RUNTIME_DIRECTORY",
            )
        };
        let path = path.to_owned();
        move |source| DirectoryError::Directory {
            what,
            mend,
            path,
            source,
        }
    };
    for each in [dir, runtime_dir] {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(each)
            .map_err(wrong(each))?;
    }
    // A full disk is worked around, see `save`; a directory that is never going to be writable is
    // a mistake that must not hide behind that.
    let may_write = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    let effective = rustix::fs::AtFlags::EACCESS;
    rustix::fs::accessat(rustix::fs::CWD, dir, may_write, effective)
        .map_err(|errno| wrong(dir)(errno.into()))?;

    let hold = |path: &Path, holder: &dyn Fn() -> String| {
        let file = File::open(path).map_err(wrong(path))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DirectoryError::Held {
                path: path.to_owned(),
                holder: holder(),
            }),
            Err(errno) => Err(wrong(path)(errno.into())),
        }
    };
    if same_directory(dir, runtime_dir).map_err(wrong(dir))? {
        return Err(DirectoryError::Same {
            path: dir.to_owned(),
        });
    }
    // This one first: who holds it wrote the pid that is in it, and nobody else did.
    let runtime = hold(runtime_dir, &|| named_in(runtime_dir))?;
    let state = hold(dir, &String::new)?;
    // Only to be named by a second daemon; without it the locks hold all the same.
    let pid = format!("{}\n", std::process::id());
    let _unnamed = replace(runtime_dir, PID, pid.as_bytes());
    Ok([runtime, state])
}

/// The process that holds this run-time directory, in words; nothing where that is not to be read.
fn named_in(runtime_dir: &Path) -> String {
    let mut open = OpenOptions::new();
    let file = open.read(true).custom_flags(NO_LINK);
    let mut text = String::new();
    let read = file
        .open(runtime_dir.join(PID))
        .and_then(|file| file.take(LONGEST_PID).read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!(" (process {pid})"),
        _ => String::new(),
    }
}

/// Whether two names are of one directory.
fn same_directory(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (fs::metadata(one)?, fs::metadata(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}
