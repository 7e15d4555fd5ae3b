//! The internal port, which is open before there are settings, so that probes are answered while they are awaited.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::boot::Port;
use crate::http::{BindError, Listener, ListenerOptions};
use crate::shutdown::{Phase, Shutdown};

/// The internal port of a process. It is closed when this is dropped.
pub(super) struct InternalPort {
    bind: IpAddr,
    routes: Router,
    open: Option<Open>,
}

/// A port that is served.
struct Open {
    port: u16,
    /// Ends this listener alone.
    end: Shutdown,
    serving: AbortOnDropHandle<()>,
}

impl InternalPort {
    /// Nothing is open yet.
    pub(super) fn new(bind: IpAddr, routes: Router) -> Self {
        Self {
            bind,
            routes,
            open: None,
        }
    }

    /// Opens a port that nobody has named yet. If it cannot be had, nothing is lost: another may be named.
    pub(super) async fn guess(&mut self, port: Port) {
        match self.listen(port).await {
            Ok(open) => self.open = Some(open),
            Err(error) => {
                warn!(%error, "the usual internal port cannot be had: probes wait for the settings");
            }
        }
    }

    /// Opens the port that was named. A guess that turns out to be another port is closed: a port that nobody asked
    /// for may be the public one, and must not answer for the process.
    pub(super) async fn open(&mut self, port: Port) -> Result<(), BindError> {
        if self.open.as_ref().is_some_and(|open| open.port == port.number) {
            return Ok(());
        }
        let open = self.listen(port).await?;
        // Opened first and closed then, so that the process is answering all the time.
        if let Some(guessed) = self.open.replace(open) {
            info!(
                guessed = guessed.port,
                "closing the internal port that was guessed"
            );
            guessed.close().await;
        }
        Ok(())
    }

    async fn listen(&self, port: Port) -> Result<Open, BindError> {
        let address = SocketAddr::new(self.bind, port.number);
        let listener = Listener::bind(ListenerOptions::new("internal", address, port.from)).await?;
        info!(address = %listener.local_addr(), port_from = port.from, "internal port open");
        let end = Shutdown::new();
        let serving = listener.serve(self.routes.clone(), end.clone(), Phase::Expired);
        Ok(Open {
            port: port.number,
            end,
            serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        })
    }
}

impl Open {
    /// Closes the port and waits until it is free.
    async fn close(self) {
        self.end.expire();
        // It can only have been cancelled, and then it is closed all the same.
        let _ = self.serving.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use crate::testing::free_port;

    /// Longest wait for anything here; only a hang reaches it.
    const LONG: Duration = Duration::from_mins(1);
    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn internal() -> InternalPort {
        let routes = Router::new().route("/", get(|| async { "internal" }));
        InternalPort::new(LOOPBACK, routes)
    }

    fn port(number: u16) -> Port {
        Port {
            number,
            from: "spec.internalPort",
            explicit: false,
        }
    }

    async fn answers(port: u16) -> bool {
        let Ok(mut stream) = TcpStream::connect((LOOPBACK, port)).await else {
            return false;
        };
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        timeout(LONG, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer.ends_with("internal")
    }

    #[tokio::test]
    async fn a_wrong_guess_gives_way_and_is_free_for_others() {
        let mut internal = internal();
        let (guessed, named) = (free_port(), free_port());
        internal.guess(port(guessed)).await;
        assert!(answers(guessed).await, "no answer while settings are awaited");
        // A prober that keeps its connection does not keep the port.
        let _kept = TcpStream::connect((LOOPBACK, guessed)).await.unwrap();
        internal.open(port(named)).await.unwrap();
        assert!(answers(named).await);
        TcpListener::bind((LOOPBACK, guessed))
            .await
            .expect("the public port may have this number");
    }

    #[tokio::test]
    async fn a_right_guess_stays() {
        let mut internal = internal();
        let guessed = free_port();
        internal.guess(port(guessed)).await;
        internal.open(port(guessed)).await.unwrap();
        assert!(answers(guessed).await);
    }

    #[tokio::test]
    async fn a_guess_that_somebody_else_has_is_no_obstacle() {
        let taken = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let number = taken.local_addr().unwrap().port();
        let mut internal = internal();
        internal.guess(port(number)).await;
        let error = internal.open(port(number)).await.unwrap_err();
        assert!(error.is_taken() && error.to_string().ends_with("(spec.internalPort)"));
        let named = free_port();
        internal.open(port(named)).await.unwrap();
        assert!(answers(named).await);
    }
}
