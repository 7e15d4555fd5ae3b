//! HTTP servers of tests.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Serves a router on a loopback port of its own, until the handle is dropped. Gives the address too.
pub(super) async fn serve(router: Router) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let task = tokio::spawn(async move {
        axum::serve(listener, router)
            .await
            .expect("the server runs until it is dropped");
    });
    (address, AbortOnDropHandle::new(task))
}
