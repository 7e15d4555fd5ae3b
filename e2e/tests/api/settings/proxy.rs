//! A way to the API server that can be closed, for outages that other tests on the same server do not feel.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Passes bytes on to a server. Closed with this value.
pub(super) struct Proxy {
    address: SocketAddr,
    server: SocketAddr,
    passing: JoinHandle<()>,
}

impl Proxy {
    /// An open way to `server`, on a free port.
    pub(super) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            server,
            passing: tokio::spawn(pass(listener, server)),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections and takes no more.
    pub(super) async fn close(&mut self) {
        self.passing.abort();
        let _ = (&mut self.passing).await;
    }

    /// Takes connections again.
    pub(super) async fn open(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.passing = tokio::spawn(pass(listener, self.server));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

async fn pass(listener: TcpListener, server: SocketAddr) {
    // Connections end with the set.
    let mut connections = JoinSet::new();
    loop {
        let (mut from, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            if let Ok(mut to) = TcpStream::connect(server).await {
                let _ = copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}
