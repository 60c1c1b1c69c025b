//! The API behind a gate that can keep one connection waiting at each await of the daemon's client.
//! TLS ends here; the emulator is behind it.

use crate::tls::PrivateCa;
use glesys_autoscaler::sandbox::{Emulator, Handle};
use rustls::ServerConfig;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the client waits for, in the order in which a call comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Await {
    /// The connection: nobody answers its SYN.
    Connection,
    /// The TLS handshake.
    Handshake,
    /// The request is sent, and nobody reads it.
    Reading,
    /// The request is read, and not carried out.
    CarryingOut,
    /// It is carried out, and nothing of the answer is sent.
    Answer,
    /// Half of the answer is sent.
    RestOfAnswer,
}

impl Await {
    pub const ALL: [Await; 6] = [
        Await::Connection,
        Await::Handshake,
        Await::Reading,
        Await::CarryingOut,
        Await::Answer,
        Await::RestOfAnswer,
    ];
}

/// One wait that is made long.
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    /// Of the connections so far and to come, from 0.
    pub connection: usize,
    pub at: Await,
    /// The request of a client that is gone by its end is carried out all the same.
    pub late: bool,
}

/// How long a connection is held.
pub const HOLD: Duration = Duration::from_millis(500);

/// An emulator behind a gate, in a thread of its own. Stands for its [`Handle`].
pub struct Gate {
    pub port: u16,
    handle: Handle,
    door: Arc<Door>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Door {
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    hold: Option<Hold>,
    held: bool,
    /// No connection is accepted.
    shut: bool,
    /// Of the last connection; `None` once its answer is sent, or it is closed.
    at: Option<Await>,
}

impl Gate {
    /// Over TLS, on a free port of 127.0.0.1.
    pub fn before(emulator: Emulator, ca: &PrivateCa) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let bound = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = bound.unwrap();
        let port = listener.local_addr().unwrap().port();
        let handle = emulator.handle();
        let door = Arc::new(Door::default());
        let keeper = Keeper {
            emulator,
            door: Arc::clone(&door),
            tls: ca.server(&["127.0.0.1"]),
        };
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = keeper.serve(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            port,
            handle,
            door,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// So many there were.
    pub fn connections(&self) -> usize {
        self.door.seen().connections
    }

    /// What the last connection's client waits for, as far as can be seen from here.
    pub fn at(&self) -> Option<Await> {
        self.door.seen().at
    }

    pub fn hold(&self, hold: Hold) {
        while self.door.seen().shut {
            thread::sleep(Duration::from_millis(5));
        }
        let mut seen = self.door.seen();
        seen.held = false;
        seen.hold = Some(hold);
        self.door.changed.notify_one();
    }

    /// Whether the hold has begun.
    pub fn held(&self) -> bool {
        self.door.seen().held
    }
}

impl Deref for Gate {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            let _ = thread.join();
        }
    }
}

impl Door {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hold of this connection at this await, if there is one.
    fn hold_of(&self, connection: usize, at: Await) -> Option<Hold> {
        let mut seen = self.seen();
        let hold = seen
            .hold
            .filter(|hold| (hold.connection, hold.at) == (connection, at))?;
        seen.held = true;
        Some(hold)
    }

    fn pass(&self, connection: usize, at: Option<Await>) {
        let mut seen = self.seen();
        if seen.connections == connection + 1 {
            seen.at = at;
        }
    }
}

#[derive(Clone)]
struct Keeper {
    emulator: Emulator,
    door: Arc<Door>,
    tls: Arc<ServerConfig>,
}

impl Keeper {
    async fn serve(&self, listener: TcpListener) {
        loop {
            let next = self.door.seen().connections;
            let due = self.door.seen().hold;
            if due.is_some_and(|hold| (hold.connection, hold.at) == (next, Await::Connection)) {
                self.keep_unconnected(&listener, next).await;
            }
            tokio::select! {
                accepted = listener.accept() => {
                    self.door.seen().connections += 1;
                    let (keeper, (stream, peer)) = (self.clone(), accepted.unwrap());
                    tokio::spawn(async move {
                        // A client that was killed ends it early.
                        let _ended = keeper.connection(next, stream, peer).await;
                        keeper.door.pass(next, None);
                    });
                }
                () = self.door.changed.notified() => {}
            }
        }
    }

    /// Holds a client before it is connected: the kernel answers no SYN while a listener's queue
    /// is full. The client's own sends another after a second.
    async fn keep_unconnected(&self, listener: &TcpListener, connection: usize) {
        let address = listener.local_addr().unwrap();
        self.door.seen().shut = true;
        rustix::net::listen(listener, 0).unwrap();
        let filler = StdStream::connect(address).unwrap();
        while !is_connecting(address.port()) {
            sleep(Duration::from_millis(5)).await;
        }
        self.door.hold_of(connection, Await::Connection);
        sleep(HOLD).await;
        rustix::net::listen(listener, 128).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(
            accepted.peer_addr().unwrap(),
            filler.local_addr().unwrap(),
            "the queue was not full"
        );
        let mut seen = self.door.seen();
        (seen.hold, seen.shut) = (None, false);
    }

    async fn connection(
        &self,
        number: usize,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> std::io::Result<()> {
        self.reaches(number, Await::Handshake).await;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        let mut client = acceptor.accept(stream).await?;
        let unread = self.reaches(number, Await::Reading).await;
        let request = message(&mut client).await?;

        self.door.pass(number, Some(Await::CarryingOut));
        let unhandled = self.door.hold_of(number, Await::CarryingOut);
        let span = unhandled.map_or(Duration::ZERO, |_| HOLD);
        let gone = left_within(&mut client, span).await;
        if gone && !unread.or(unhandled).is_some_and(|hold| hold.late) {
            return Ok(());
        }
        let answer = self.carried_out(&request, peer).await?;
        self.reaches(number, Await::Answer).await;
        let (half, rest) = answer.split_at(answer.len() - answer.len() / 4);
        client.write_all(half).await?;
        client.flush().await?;
        self.reaches(number, Await::RestOfAnswer).await;
        client.write_all(rest).await?;
        client.flush().await?;
        self.door.pass(number, None);
        left_within(&mut client, Duration::from_secs(60)).await;
        Ok(())
    }

    /// The client waits for this now, and is kept waiting if it is the one.
    async fn reaches(&self, connection: usize, at: Await) -> Option<Hold> {
        self.door.pass(connection, Some(at));
        let hold = self.door.hold_of(connection, at);
        if hold.is_some() {
            sleep(HOLD).await;
        }
        hold
    }

    async fn carried_out(&self, request: &[u8], peer: SocketAddr) -> std::io::Result<Vec<u8>> {
        let (mut near, far): (DuplexStream, _) = duplex(64 * 1024);
        let emulator = self.emulator.clone();
        tokio::spawn(async move { emulator.connection(far, peer).await });
        near.write_all(request).await?;
        message(&mut near).await
    }
}

/// Whether the client hangs up within this time. It has sent all that it has to say.
async fn left_within(client: &mut TlsStream<TcpStream>, span: Duration) -> bool {
    let mut nothing = [0; 1];
    tokio::select! {
        biased;
        _ = client.read(&mut nothing) => true,
        () = sleep(span) => false,
    }
}

/// One HTTP message with its body.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        if from.read_buf(&mut text).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if length_of(&text).is_some_and(|length| text.len() >= length) {
            return Ok(text);
        }
    }
}

/// How long the message is going to be, once its head is there.
fn length_of(text: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(text);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-length");
        named.then(|| value.trim().parse().ok())?
    });
    Some(head.len() + 4 + length.unwrap_or(0))
}

/// Whether somebody on this machine waits for a connection with that port, as the kernel shows it.
pub fn is_connecting(port: u16) -> bool {
    const SYN_SENT: &str = "02";
    let there = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next() == Some(&there) && fields.next() == Some(SYN_SENT)
    })
}
