//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::board::Board;
use crate::cluster::{Cluster, MainKind, Registry};
use crate::metrics::{Kind, Known, Metrics};
use crate::probe::Reach;
use crate::status::HasConditions;

/// What the endpoints speak of.
#[derive(Clone)]
pub(crate) struct Endpoints {
    /// Whether everything that exists is known.
    pub(crate) ready: watch::Receiver<bool>,
    pub(crate) metrics: Metrics,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) reach: Arc<Board<Reach>>,
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, endpoints: Endpoints) {
    let app = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(endpoints);
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "the listener ended");
    }
}

/// A process that does not lead is ready too: ready to take over.
async fn readyz(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    if *endpoints.ready.borrow() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not-ready")
    }
}

async fn metrics(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    fn known<K: MainKind>(metrics: &Metrics, kind: Kind, registry: &Registry<K>) {
        let mut known = Known {
            resources: registry.len(),
            waiting: registry.queue.len(),
            oldest: registry.queue.oldest(),
            undecodable: registry.undecodable(),
            ..Known::default()
        };
        for resource in registry.all() {
            for condition in resource
                .status()
                .map(HasConditions::conditions)
                .into_iter()
                .flatten()
            {
                let key = (condition.type_.clone(), condition.status.clone());
                *known.conditions.entry(key).or_default() += 1;
            }
        }
        metrics.known(kind, &known);
    }
    let (metrics, cluster) = (&endpoints.metrics, &endpoints.cluster);
    known(metrics, Kind::SignalingCluster, &cluster.signaling_clusters);
    known(metrics, Kind::HostPool, &cluster.host_pools);
    known(metrics, Kind::TurnConfig, &cluster.turn_configs);
    metrics.stored(cluster.children.len(), cluster.secrets.len());
    let reaches = endpoints.reach.all();
    let sum = |number: fn(&Reach) -> usize| reaches.iter().map(number).sum();
    metrics.ice_servers(
        sum(|reach| reach.answering.len()),
        sum(|reach| reach.silent.len()),
    );
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.encode())
}
