//! A tiny HTTP/1.1 server with scripted replies, which can misbehave in every way that a test
//! needs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What one connection gets.
#[derive(Clone)]
pub enum Reply {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, then nothing more, the connection stays open.
    Stall(Vec<u8>),
    /// These bytes, then the second ones again and again, with a pause between.
    Forever(Vec<u8>, Vec<u8>, Duration),
    /// Closed as soon as it is open, without reading the request.
    Slam,
    /// Never even a TLS handshake.
    Mute,
}

impl Reply {
    /// A whole answer with a right `Content-Length`.
    pub fn new(http: u16, headers: &str, body: &str) -> Reply {
        Reply::Bytes(format!("{}{body}", head(http, headers, body.len())).into_bytes())
    }

    /// HTTP 200 with this body.
    pub fn ok(body: &str) -> Reply {
        Reply::new(200, "", body)
    }
}

/// The head of an answer that promises `length` bytes.
pub fn head(http: u16, headers: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 {http} Scripted\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n"
    )
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST /server/details HTTP/1.1`
    pub line: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    /// The values of a header, in any letter case of its name.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(n, _)| n == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// The server: it gives the first connection the first reply, and so on; the last one is repeated.
pub struct Server {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    pub async fn start(replies: Vec<Reply>) -> Server {
        Server::listen("127.0.0.1:0", None, replies).await.unwrap()
    }

    pub async fn start_tls(acceptor: TlsAcceptor, reply: Reply) -> Server {
        let listening = Server::listen("127.0.0.1:0", Some(acceptor), vec![reply]);
        listening.await.unwrap()
    }

    pub async fn listen(
        address: &str,
        tls: Option<TlsAcceptor>,
        replies: Vec<Reply>,
    ) -> std::io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let server = Server {
            address: listener.local_addr()?,
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (requests, connections) = (server.requests.clone(), server.connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let nth = {
                    let mut connections = connections.lock().unwrap();
                    *connections += 1;
                    *connections - 1
                };
                let reply = replies[nth.min(replies.len() - 1)].clone();
                let (tls, requests) = (tls.clone(), requests.clone());
                tokio::spawn(async move {
                    if matches!(reply, Reply::Mute) {
                        std::future::pending::<()>().await;
                    }
                    match tls {
                        None => serve(stream, reply, &requests).await,
                        Some(tls) => {
                            // A client that does not trust us ends the handshake.
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, reply, &requests).await;
                            }
                        }
                    }
                });
            }
        });
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The only request that came.
    pub fn request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    reply: Reply,
    requests: &Mutex<Vec<Request>>,
) {
    if matches!(reply, Reply::Slam) {
        return;
    }
    let Some(request) = read(&mut stream).await else {
        return;
    };
    requests.lock().unwrap().push(request);
    // The client may hang up at any time: that is its right.
    match reply {
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Reply::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            std::future::pending::<()>().await;
        }
        Reply::Forever(bytes, again, pause) => {
            let mut sent = stream.write_all(&bytes).await;
            while sent.is_ok() {
                sent = stream.write_all(&again).await;
                tokio::time::sleep(pause).await;
            }
        }
        Reply::Slam | Reply::Mute => {}
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Request> {
    let mut bytes = Vec::new();
    let (head, start) = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&bytes[..end]).into_owned(), end + 4);
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut lines = head.lines().map(str::to_owned);
    let line = lines.next()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    while bytes.len() < start + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request {
        line,
        headers,
        body: String::from_utf8(bytes[start..].to_vec()).unwrap(),
    })
}
