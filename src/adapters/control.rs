//! The control socket: one JSON request a connection, one JSON answer. Root and the group of the
//! run-time directory may use it.

use crate::adapters::text::one_line;
use crate::engine::Status;
use crate::engine::record::Direction;
use crate::runtime::{Operator, Request};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

const NAME: &str = "control.sock";
/// A request is a hundred bytes.
const LONGEST: u64 = 4096;
/// A client that says nothing does not hold a place for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients at once; more wait.
const CLIENTS: usize = 4;

/// A request on the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// What the daemon sees.
    Status,
    /// Stop changing cores.
    Pause {
        /// For this long; else until `resume`.
        for_ms: Option<u64>,
    },
    /// Go on.
    Resume,
    /// Forget what was learned.
    Forget {
        /// Of this direction.
        direction: Direction,
    },
    /// This machine is the server.
    Confirm,
    /// Try lowering now.
    Prove,
}

impl Ask {
    /// What may reboot the VM, or takes the operator's word for what was not proven, is not for
    /// everybody in the group.
    #[must_use]
    pub fn is_for_root(&self) -> bool {
        match self {
            Ask::Forget { .. } | Ask::Confirm | Ask::Prove => true,
            Ask::Status | Ask::Pause { .. } | Ask::Resume => false,
        }
    }

    /// Reads a request as it came.
    ///
    /// # Errors
    /// What was not understood, on one line: the words of the request are quoted in it.
    pub fn read(text: &[u8]) -> Result<Ask, String> {
        serde_json::from_slice(text)
            .map_err(|error| format!("not understood: {}", one_line(&error.to_string())))
    }

    /// What it tells the engine; `None` where it only asks.
    #[must_use]
    pub fn operator(&self) -> Option<Operator> {
        match self {
            Ask::Status => None,
            Ask::Pause { for_ms } => Some(Operator::Pause(for_ms.map(Duration::from_millis))),
            Ask::Resume => Some(Operator::Resume),
            Ask::Forget { direction } => Some(Operator::Forget(*direction)),
            Ask::Confirm => Some(Operator::Confirm),
            Ask::Prove => Some(Operator::Prove),
        }
    }
}

/// The answer on the socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The daemon as it is after the request.
    Status(Box<Status>),
    /// What was wrong with the request.
    Error(String),
}

/// Where the socket of a run-time directory is.
#[must_use]
pub fn socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(NAME)
}

/// Opens the socket. The caller holds the run-time directory's lock, so a socket that is there is a
/// dead one.
///
/// # Errors
/// When it cannot be made.
pub fn listen(runtime_dir: &Path) -> io::Result<UnixListener> {
    let path = socket(runtime_dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // By the mask and not by the path afterwards: between the two, the path could be a link.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(&path);
    rustix::process::umask(before);
    listener
}

/// Serves the socket until the daemon is gone.
pub async fn serve(listener: UnixListener, daemon: mpsc::Sender<Request>) {
    let places = std::sync::Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let daemon = daemon.clone();
                tokio::spawn(async move {
                    let _client_gone = tokio::time::timeout(PATIENCE, client(stream, daemon)).await;
                    drop(place);
                });
            }
            // Out of descriptors, most likely: do not spin.
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

async fn client(mut stream: UnixStream, daemon: mpsc::Sender<Request>) -> io::Result<()> {
    let mut text = Vec::new();
    let mut byte = [0; 256];
    while !text.contains(&b'\n') && (text.len() as u64) < LONGEST {
        match stream.read(&mut byte).await? {
            0 => break,
            read => text.extend_from_slice(&byte[..read]),
        }
    }
    let answer = match Ask::read(&text) {
        Ok(ask) if ask.is_for_root() && !from_root(&stream) => {
            Answer::Error("only root may ask that; run it with sudo".to_owned())
        }
        Ok(ask) => relay(ask, &daemon).await,
        Err(why) => Answer::Error(why),
    };
    let mut reply = serde_json::to_vec(&answer)?;
    reply.push(b'\n');
    stream.write_all(&reply).await
}

/// Whether root is at the other end, or the daemon's own user.
fn from_root(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

async fn relay(ask: Ask, daemon: &mpsc::Sender<Request>) -> Answer {
    let (reply, status) = oneshot::channel();
    let request = match ask.operator() {
        None => Request::Status(reply),
        Some(operator) => Request::Operator(operator, reply),
    };
    let gone = || Answer::Error("the daemon is ending".to_owned());
    if daemon.send(request).await.is_err() {
        return gone();
    }
    status.await.map_or_else(|_| gone(), Answer::Status)
}

/// Asks the running daemon. `Ok(None)`: there is none.
///
/// # Errors
/// When it does not answer, or what it answers.
pub fn ask(runtime_dir: &Path, ask: &Ask) -> Result<Option<Status>, String> {
    let path = socket(runtime_dir);
    let stream = match std::os::unix::net::UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(format!(
                "{}: permission denied; run this as root or as a member of the socket's group",
                path.display()
            ));
        }
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    match exchange(stream, ask) {
        Ok(Answer::Status(status)) => Ok(Some(*status)),
        Ok(Answer::Error(why)) => Err(why),
        Err(error) => Err(format!(
            "the daemon does not answer ({error}); see its journal"
        )),
    }
}

fn exchange(mut stream: std::os::unix::net::UnixStream, ask: &Ask) -> io::Result<Answer> {
    stream.set_read_timeout(Some(PATIENCE * 2))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_vec(ask)?;
    text.push(b'\n');
    stream.write_all(&text)?;
    let mut reply = Vec::new();
    stream.take(1 << 20).read_to_end(&mut reply)?;
    Ok(serde_json::from_slice(&reply)?)
}
