//! Stand-ins for pods that are asked by HTTP, as those of the services are. No address of a slice leads anywhere here, so a
//! reader leads each one to a listener of its own on this machine.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use berth_operator::counts::{CountsError, CountsReader, HttpCounts, PoolCounts};
use berth_operator::pods::{PodReader, PodReport};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;

/// What a stand-in serves; asked with the address of the pod that it stands in for.
pub(super) trait Pages: Send + Sync + 'static {
    /// `GET /statusz`.
    fn statusz(&self, pod: SocketAddr) -> BoxFuture<'_, Value>;

    /// `GET /counts`.
    fn counts(&self, pod: SocketAddr) -> Value;
}

/// Reads stand-ins by HTTP.
pub(super) struct Served<P> {
    inner: Arc<Inner<P>>,
}

struct Inner<P> {
    pages: Arc<P>,
    http: HttpCounts,
    listeners: Mutex<HashMap<IpAddr, SocketAddr>>,
}

impl<P> Clone for Served<P> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<P: Pages> Served<P> {
    pub(super) fn new(pages: Arc<P>) -> Self {
        Self {
            inner: Arc::new(Inner {
                pages,
                http: HttpCounts::default(),
                listeners: Mutex::default(),
            }),
        }
    }

    /// The listener of a pod, which begins to serve with the first question.
    async fn listener(&self, pod: SocketAddr) -> SocketAddr {
        if let Some(address) = self.inner.listeners.lock().get(&pod.ip()) {
            return *address;
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (statusz, counts) = (Arc::clone(&self.inner.pages), Arc::clone(&self.inner.pages));
        let app = Router::new()
            .route("/statusz", get(async move || Json(statusz.statusz(pod).await)))
            .route("/counts", get(async move || Json(counts.counts(pod))));
        tokio::spawn(async move { axum::serve(listener, app).await });
        *self.inner.listeners.lock().entry(pod.ip()).or_insert(address)
    }
}

impl<P: Pages> PodReader for Served<P> {
    fn read(&self, pod: SocketAddr) -> BoxFuture<'static, Result<PodReport, CountsError>> {
        let this = self.clone();
        Box::pin(async move {
            let listener = this.listener(pod).await;
            PodReader::read(&this.inner.http, listener).await
        })
    }
}

impl<P: Pages> CountsReader for Served<P> {
    fn read(&self, pod: SocketAddr) -> BoxFuture<'static, Result<PoolCounts, CountsError>> {
        let this = self.clone();
        Box::pin(async move {
            let listener = this.listener(pod).await;
            CountsReader::read(&this.inner.http, listener).await
        })
    }
}
