//! An emulator that is served in a thread of its own, so that a test may call it from a process,
//! from blocking code, or from any runtime.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use glesys_autoscaler::sandbox::{Emulator, Handle};
use rustls::ServerConfig;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Deref;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use tokio::sync::oneshot;

/// A served emulator. Dropping it ends that. Stands for its [`Handle`].
pub struct Served {
    /// For `api.url`.
    pub url: String,
    pub port: u16,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Over plain HTTP, on a free port of 127.0.0.1.
    pub fn over_http(emulator: Emulator) -> Self {
        Self::start(emulator, 0, None)
    }

    /// Over TLS, on a free port of 127.0.0.1.
    pub fn over_tls(emulator: Emulator, config: Arc<ServerConfig>) -> Self {
        Self::over_tls_on(0, emulator, config)
    }

    /// Likewise, on this port.
    pub fn over_tls_on(port: u16, emulator: Emulator, config: Arc<ServerConfig>) -> Self {
        Self::start(emulator, port, Some(config))
    }

    fn start(emulator: Emulator, port: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let handle = emulator.handle();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve(&emulator, listener, tls) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            port: address.port(),
            url: format!("{scheme}://{address}"),
            handle,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

async fn serve(
    emulator: &Emulator,
    listener: tokio::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
) {
    match tls {
        None => emulator.serve(listener).await,
        Some(config) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(config);
            emulator
                .serve_with(listener, |stream| acceptor.accept(stream))
                .await;
        }
    }
}

impl Deref for Served {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has failed the test already.
            let _ = thread.join();
        }
    }
}
