//! HTTP/1.1 in front of the world: reads a request, meets the injected faults, writes the answer.

use super::api::{self, Reply};
use super::envelope;
use super::fault::Fault;
use super::function::Function;
use super::request::{self, Malformed, Request};
use super::world::Call;
use super::{Emulator, Shared};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Map;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The longest request body: a hundred times what a sensible client sends.
const LONGEST_BODY: usize = 64 * 1024;

impl Emulator {
    /// Serves plain HTTP. Never returns; to end it, drop the future, which also closes all
    /// connections.
    pub async fn serve(&self, listener: TcpListener) {
        self.serve_with(listener, async |stream| Ok(stream)).await;
    }

    /// Serves HTTP over whatever `wrap` makes of an accepted connection, such as TLS. A
    /// connection for which it fails is closed. Never returns, as [`serve`](Self::serve).
    pub async fn serve_with<W, F, S>(&self, listener: TcpListener, wrap: W)
    where
        W: Fn(TcpStream) -> F,
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let emulator = self.clone();
                        let wrapped = wrap(stream);
                        connections.spawn(async move {
                            match wrapped.await {
                                Ok(stream) => emulator.connection(stream, peer).await,
                                Err(e) => tracing::debug!("no connection with {peer}: {e}"),
                            }
                        });
                    }
                    Err(e) => {
                        // Out of descriptors, most likely: wait for some to come free.
                        tracing::warn!("the embedded API cannot accept a connection: {e}");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                },
                () = self.time_passes() => {}
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Serves the requests of one connection until it ends.
    ///
    /// What comes due while no [`serve`](Self::serve) runs happens at the next call only.
    pub async fn connection<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| answer(Arc::clone(&self.shared), peer.ip(), request));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        if let Err(e) = connection.await {
            // Injected faults end here, and clients that hang up.
            tracing::debug!("the connection with {peer} ended early: {e}");
        }
    }

    /// Waits for what comes due next, and carries it out; or until that may have changed.
    async fn time_passes(&self) {
        let due = self.shared.with(|world, _| world.next_due());
        let changed = self.shared.changed.notified();
        match due {
            Some(due) => tokio::select! {
                () = tokio::time::sleep_until(due) => self.shared.with(|_, _| ()),
                () = changed => {}
            },
            None => changed.await,
        }
    }
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("dropped by an injected fault")]
struct Dropped;

async fn answer(
    shared: Arc<Shared>,
    peer: IpAddr,
    request: hyper::Request<Incoming>,
) -> Result<Response<ReplyBody>, Dropped> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, LONGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(e) if e.is::<LengthLimitError>() => {
            return Ok(plain(&Reply::refusal(413, 413, "The request is too long.")));
        }
        Err(_) => return Err(Dropped),
    };
    let request = match request::parse(&head, &body) {
        Ok(request) => request,
        Err(Malformed(text)) => return Ok(plain(&Reply::bad_request(text))),
    };
    let (number, fault) = shared.with(|world, now| {
        let fault = Function::at(&request.path).and_then(|f| world.faults.take(f));
        let call = Call {
            at: now.duration_since(world.born),
            peer,
            path: request.path.clone(),
            arguments: request.arguments.clone(),
            fault: fault.clone(),
            http: None,
            code: None,
        };
        (world.log.open(call), fault)
    });

    match &fault {
        Some(Fault::DropBefore) => return Err(Dropped),
        Some(Fault::DelayBefore(span)) => tokio::time::sleep(*span).await,
        _ => {}
    }
    let (reply, text) = shared.with(|world, now| reply(world, now, peer, &request, fault.as_ref()));
    match &fault {
        Some(Fault::DropAfter) => return Err(Dropped),
        Some(Fault::DelayAfter(span)) => tokio::time::sleep(*span).await,
        _ => {}
    }
    let response = respond(&reply, text, fault.as_ref());
    let http = response.status().as_u16();
    shared.with(|world, _| world.log.answered(number, http, reply.code));
    Ok(response)
}

/// The answer and its text; where a fault refuses, nothing else is done.
fn reply(
    world: &mut super::world::World,
    now: Instant,
    peer: IpAddr,
    request: &Request,
    fault: Option<&Fault>,
) -> (Reply, String) {
    let reply = match fault {
        Some(Fault::Refusal {
            http,
            code,
            text,
            retry_after,
        }) => Reply {
            retry_after: *retry_after,
            ..Reply::refusal(*http, *code, text.clone())
        },
        _ => api::answer(world, now, peer, request),
    };
    let text = envelope::json(&reply, &request.arguments, world.switches.numbers);
    (reply, text)
}

/// An answer to a request that never reached the world.
fn plain(reply: &Reply) -> Response<ReplyBody> {
    let text = envelope::json(reply, &Map::new(), super::Numbers::Plain);
    respond(reply, text, None)
}

fn respond(reply: &Reply, text: String, fault: Option<&Fault>) -> Response<ReplyBody> {
    let (http, content_type, body) = match fault {
        Some(Fault::HtmlBody(http)) => {
            let page =
                format!("<html><head><title>{http}</title></head><body>proxy</body></html>\r\n");
            (*http, "text/html", ReplyBody::whole(page))
        }
        Some(Fault::CutBody) => (reply.http, "application/json", ReplyBody::cut(text)),
        Some(Fault::EmptyBody) => (
            reply.http,
            "application/json",
            ReplyBody::whole(String::new()),
        ),
        Some(Fault::EndlessBody) => (reply.http, "application/json", ReplyBody::Endless),
        _ => (reply.http, "application/json", ReplyBody::whole(text)),
    };
    let mut response = Response::new(body);
    // A status that is none can only come from a fault that a test made up.
    *response.status_mut() =
        StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(seconds) = reply.retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// The body of an answer, as it is or as a fault makes it.
enum ReplyBody {
    Whole(Option<Bytes>),
    /// Promises `promised` bytes, sends fewer, then breaks the connection.
    Cut {
        promised: u64,
        part: Option<Bytes>,
        flushed: bool,
    },
    Endless,
}

impl ReplyBody {
    fn whole(text: String) -> Self {
        Self::Whole(Some(text.into()).filter(|bytes: &Bytes| !bytes.is_empty()))
    }

    fn cut(text: String) -> Self {
        let bytes = Bytes::from(text);
        Self::Cut {
            promised: bytes.len() as u64,
            part: Some(bytes.slice(..bytes.len() / 2)),
            flushed: false,
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Cut { part, flushed, .. } => match part.take() {
                Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
                // hyper flushes what it has only when the body makes it wait.
                None if !*flushed => {
                    *flushed = true;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                None => Poll::Ready(Some(Err(Dropped))),
            },
            Self::Endless => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 8192]))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Cut { promised, .. } => SizeHint::with_exact(*promised),
            Self::Endless => SizeHint::default(),
        }
    }
}
