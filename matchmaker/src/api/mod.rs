//! The public API, on the wire of the Node matchmaker.
//!
//! Order of checks: OPTIONS, path, host secret (everything under `/api/host`) or the limit of finds, body, fields, store.

mod answer;
mod around;
mod body;
mod calls;
mod issue;
mod openapi;
mod page;
mod service;
pub mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use berth_dataplane::http::metrics_router;
use berth_dataplane::telemetry::Metrics;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use answer::Refusal;
pub(crate) use calls::{Named, Parameters};
pub use issue::Issue;
pub use openapi::DOCUMENT;

use crate::matchmaker::Matchmaker;

/// Largest body, in bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// Path of everything that needs the host secret.
const OF_HOSTS: &str = "/api/host";

/// The public routes; `/metrics` is among them if `metrics` is given.
pub fn router(matchmaker: Arc<Matchmaker>, metrics: Option<&Metrics>) -> Router {
    let of_hosts = Router::from(host_routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(Arc::clone(&matchmaker), host_secret));
    let router = Router::from(open_routes())
        .nest(OF_HOSTS, of_hosts)
        .merge(page::files())
        .with_state(matchmaker);
    let metrics = metrics.map(metrics_router).unwrap_or_default();
    router
        .merge(metrics)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(around::around))
}

/// What the document of the API is made of.
fn routes() -> OpenApiRouter<Arc<Matchmaker>> {
    OpenApiRouter::new()
        .nest(OF_HOSTS, host_routes())
        .merge(open_routes())
}

/// What needs the host secret.
fn host_routes() -> OpenApiRouter<Arc<Matchmaker>> {
    OpenApiRouter::new()
        .routes(routes!(calls::heartbeat))
        .routes(routes!(calls::status))
        .routes(routes!(calls::leave))
}

/// What needs none.
fn open_routes() -> OpenApiRouter<Arc<Matchmaker>> {
    OpenApiRouter::new()
        .routes(routes!(calls::find))
        .routes(routes!(calls::give_up))
        .routes(routes!(calls::resume))
        .routes(routes!(calls::hosts))
        .routes(routes!(calls::host_ttls))
        .routes(routes!(service::root))
        .routes(routes!(service::health))
        .routes(routes!(service::healthz))
        .routes(routes!(service::readyz))
        .routes(routes!(service::document))
        .routes(routes!(page::page))
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
