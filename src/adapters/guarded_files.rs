//! Files in a directory that belongs to another user, or may: root runs commands there too. What
//! lies in wait in it, a link or a pipe, leads nobody to a third file and lets nobody wait.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Neither through a link, nor waiting for the other end of a pipe.
pub(super) const NO_LINK: i32 =
    (rustix::fs::OFlags::NOFOLLOW.bits() | rustix::fs::OFlags::NONBLOCK.bits()) as i32;

/// Replaces `name` in `dir` by `text`: whole or not at all, and on disk when it returns.
pub(super) fn replace(dir: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    // One fixed name: only the holder of the lock writes here, and a kill leaves no litter.
    let fresh = dir.join(format!("{name}.new"));
    let result = (|| {
        let mut file = create_anew(&fresh)?;
        file.write_all(text)?;
        adopt_owner(dir, &file)?;
        file.sync_all()?;
        fs::rename(&fresh, dir.join(name))?;
        File::open(dir)?.sync_all()
    })();
    if result.is_err() {
        let _absent = fs::remove_file(&fresh);
    }
    result
}

/// A new file in the place of whatever is there. Root runs commands in this directory, which
/// belongs to another user: a link that lies in wait here must not lead it to a third file.
fn create_anew(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path)
}

/// A command that root runs must not leave files that the daemon's user cannot write.
pub(super) fn adopt_owner(dir: &Path, file: &File) -> io::Result<()> {
    let (wanted, is) = (fs::metadata(dir)?, file.metadata()?);
    if rustix::process::geteuid().is_root() && (wanted.uid(), wanted.gid()) != (is.uid(), is.gid())
    {
        std::os::unix::fs::fchown(file, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    Ok(())
}
