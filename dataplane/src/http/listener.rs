//! A listener: accept loop, limits and graceful end around an axum router.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::shutdown::{Phase, Shutdown};
use crate::telemetry::Throttle;

/// Pause after a failure to accept (out of descriptors): the cause does not go away by asking at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection that has not asked for anything yet may take to do so when the listener ends.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);

/// Limits of a listener, and how to speak of it.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// Name in logs and errors: `public`, `internal`.
    pub name: &'static str,
    /// Address; port 0 takes a free one.
    pub address: SocketAddr,
    /// What decides the port (`PORT`, `spec.wsPort`, `--port-base`), for the error when it is taken.
    pub port_from: &'static str,
    /// Connections at the same time, upgraded ones included as long as their [`ConnectionPermit`] is kept. Further
    /// ones wait in the backlog of the kernel.
    pub max_connections: usize,
    /// Longest wait for the head of a request; idle connections are closed after it as well.
    pub header_read_timeout: Duration,
    /// Largest head of a request, bytes (hyper's minimum is 8 KiB).
    pub max_head_bytes: usize,
    /// Most header lines.
    pub max_headers: usize,
}

/// A port could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({port_from})")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The variable, flag or field that names the port.
    pub port_from: &'static str,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The stream under an upgraded connection: `hyper::upgrade::Upgraded::downcast::<ConnectionIo>()` gives it back,
/// with the bytes that were read too far.
pub type ConnectionIo = TokioIo<TcpStream>;

/// A place among the listener's `max_connections`. Every request carries one in its extensions; whoever upgrades
/// the connection keeps a clone as long as the socket lives.
#[derive(Debug, Clone)]
pub struct ConnectionPermit(#[expect(dead_code, reason = "held for its Drop")] Arc<OwnedSemaphorePermit>);

/// A port that was taken.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    options: ListenerOptions,
}

impl ListenerOptions {
    /// The usual limits.
    pub fn new(name: &'static str, address: SocketAddr, port_from: &'static str) -> Self {
        Self {
            name,
            address,
            port_from,
            max_connections: 18_000,
            header_read_timeout: Duration::from_secs(30),
            max_head_bytes: 16 * 1024,
            max_headers: 64,
        }
    }
}

impl BindError {
    /// Whether somebody else has the port.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

impl Listener {
    /// Takes the port.
    pub async fn bind(options: ListenerOptions) -> Result<Self, BindError> {
        let (address, port_from) = (options.address, options.port_from);
        let error = |source| BindError {
            address,
            port_from,
            source,
        };
        let socket = TcpListener::bind(address).await.map_err(error)?;
        let address = socket.local_addr().map_err(error)?;
        Ok(Self {
            socket,
            address,
            options,
        })
    }

    /// The address in use, with the port that was found if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` reaches `until`, then accepts nothing more and lets requests under way finish, but
    /// not beyond [`Phase::Expired`].
    ///
    /// `until` is [`Phase::Draining`] for a public port; an internal one uses [`Phase::Expired`] and ends with the
    /// process, so that probes and metrics work through the drain. Requests carry `ConnectInfo<SocketAddr>` and
    /// [`ConnectionPermit`]. Upgraded connections are their owner's.
    pub async fn serve(self, router: Router, shutdown: Shutdown, until: Phase) {
        let places = Arc::new(Semaphore::new(
            self.options.max_connections.clamp(1, Semaphore::MAX_PERMITS),
        ));
        let connections = TaskTracker::new();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.header_read_timeout)
            .max_buf_size(self.options.max_head_bytes.max(8 * 1024))
            .max_headers(self.options.max_headers);
        let accepting = async {
            loop {
                // The semaphore is never closed.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let Some((stream, peer)) = self.accept().await else {
                    continue;
                };
                let permit = ConnectionPermit(Arc::new(place));
                let (builder, router) = (builder.clone(), router.clone());
                let connection =
                    serve_connection(builder, router, stream, peer, permit, shutdown.clone(), until);
                connections.spawn(connection);
            }
        };
        tokio::select! {
            () = accepting => {}
            () = shutdown.reached(until) => {}
        }
        drop(self.socket);
        connections.close();
        tokio::select! {
            () = connections.wait() => {}
            () = shutdown.reached(Phase::Expired) => {}
        }
    }

    async fn accept(&self) -> Option<(TcpStream, SocketAddr)> {
        static FAILURES: Throttle = Throttle::new(Duration::from_secs(10));
        match self.socket.accept().await {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                if let Some(suppressed) = FAILURES.pass() {
                    warn!(listener = self.options.name, %error, suppressed, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}

/// One connection, from its first byte to its close or upgrade.
async fn serve_connection(
    builder: http1::Builder,
    router: Router,
    stream: TcpStream,
    peer: SocketAddr,
    permit: ConnectionPermit,
    shutdown: Shutdown,
    until: Phase,
) {
    // Only a socket that is already closed refuses this.
    let _ = stream.set_nodelay(true);
    let asked = Arc::new(AtomicBool::new(false));
    let was_asked = Arc::clone(&asked);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(permit.clone());
        asked.store(true, Ordering::Relaxed);
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.reached(until) => {
            connection.as_mut().graceful_shutdown();
            let unasked = async {
                tokio::time::sleep(HEAD_PATIENCE).await;
                if was_asked.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                result = connection => result,
                // Who has never asked for anything is waited for no longer.
                () = unasked => return,
                () = shutdown.reached(Phase::Expired) => return,
            }
        }
    };
    if let Err(error) = result {
        debug!(%peer, %error, "connection ended");
    }
}
