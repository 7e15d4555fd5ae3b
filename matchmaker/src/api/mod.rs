//! The public API, on the wire of the Node matchmaker.
//!
//! Order of checks: OPTIONS, path, host secret (everything under `/api/host`) or the limit of finds, body, fields, store.

mod answer;
mod around;
mod body;
mod calls;
mod issue;
pub mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use berth_dataplane::http::metrics_router;
use berth_dataplane::telemetry::Metrics;

pub use answer::Refusal;
pub(crate) use calls::{NamedHost, Parameters};
pub use issue::Issue;

use crate::matchmaker::Matchmaker;

/// Largest body, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// The public routes; `/metrics` is among them if `metrics` is given.
pub fn router(matchmaker: Arc<Matchmaker>, metrics: Option<&Metrics>) -> Router {
    let ok = || async { "OK" };
    let of_hosts = Router::new()
        .route("/heartbeat", post(calls::heartbeat))
        .route("/status", post(calls::status))
        .route("/{id}", delete(calls::leave))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(Arc::clone(&matchmaker), host_secret));
    let router = Router::new()
        .nest("/api/host", of_hosts)
        .route("/api/match/find", post(calls::find))
        .route("/api/match/{id}", delete(calls::give_up))
        .route("/api/match/{id}/resume", post(calls::resume))
        .route("/api/hosts", get(calls::hosts))
        .route("/api/hosts/ttl", get(calls::host_ttls))
        .route("/", get(|| async { "ok" }))
        .route("/health", get(ok))
        .route("/healthz", get(ok))
        .route("/readyz", get(ok))
        .with_state(matchmaker);
    let metrics = metrics.map(metrics_router).unwrap_or_default();
    router
        .merge(metrics)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(around::around))
}

/// Lets only hosts of the pool through.
async fn host_secret(State(matchmaker): State<Arc<Matchmaker>>, request: Request, next: Next) -> Response {
    let allowed = bearer(request.headers()).ok_or(Refusal::Unauthorized);
    match allowed.and_then(|secret| matchmaker.admit_host(secret)) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            matchmaker.metrics().heartbeat(Some(&refusal));
            refusal.into_response()
        }
    }
}

/// The secret of an `Authorization: Bearer` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, secret) = headers
        .get(header::AUTHORIZATION)?
        .as_bytes()
        .split_at_checked(7)?;
    let secret = secret.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !secret.is_empty()).then_some(secret)
}

async fn unknown_path() -> Refusal {
    Refusal::UnknownPath
}

async fn unknown_method() -> Refusal {
    Refusal::UnknownMethod
}
