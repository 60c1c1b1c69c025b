//! Signals as requests: SIGTERM and SIGINT end the daemon, SIGHUP reloads the policy. A second
//! SIGTERM or SIGINT ends a process that hangs.

use crate::runtime::Request;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Exit status of a process that is ended by a second signal while it hangs.
const HUNG: i32 = 130;

/// Sends each signal's request to the loop.
///
/// # Errors
/// When a handler cannot be installed.
pub fn forward(daemon: &mpsc::Sender<Request>) -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register_conditional_shutdown(signal, HUNG, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
        watch(signal, daemon.clone(), || Request::Stop)?;
    }
    watch(SIGHUP, daemon.clone(), || Request::Reload)
}

fn watch(signal: i32, daemon: mpsc::Sender<Request>, request: fn() -> Request) -> io::Result<()> {
    let (read, write) = StdStream::pair()?;
    pipe::register(signal, write)?;
    read.set_nonblocking(true)?;
    let mut read = UnixStream::from_std(read)?;
    tokio::spawn(async move {
        // Several signals may arrive as one wake-up: one request is enough.
        let mut bytes = [0; 64];
        while read.read(&mut bytes).await.is_ok_and(|n| n > 0) {
            if daemon.send(request()).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
