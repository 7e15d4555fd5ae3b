//! The public port: WebSocket upgrades on any path, health, and 426 for everything else.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use berth_dataplane::http::{ConnectionPermit, Health, client_address, health_router, metrics_router};
use berth_dataplane::telemetry::Metrics;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::admission::{Hello, subprotocols};
use crate::core::Core;
use crate::protocol::v2;
use crate::session;

/// Names the instance that answered, so that clients and tests can tell instances apart.
const INSTANCE: HeaderName = HeaderName::from_static("x-berth-instance");

/// The public port. `metrics`: serve `/metrics` there too.
pub(crate) fn router(core: &Arc<Core>, health: &Health, metrics: Option<&Metrics>) -> Router {
    let mut router = health_router(health);
    if let Some(metrics) = metrics {
        router = router.merge(metrics_router(metrics));
    }
    // A router of its own in front, so that the layer comes before any choice by path or method.
    Router::new()
        .fallback_service(router.fallback(upgrade_required))
        .layer(middleware::from_fn_with_state(Arc::clone(core), upgrade_first))
}

async fn upgrade_required() -> Response {
    (
        StatusCode::UPGRADE_REQUIRED,
        [(UPGRADE, "websocket")],
        "Upgrade Required",
    )
        .into_response()
}

/// Takes upgrades out before anything looks at the path.
async fn upgrade_first(State(core): State<Arc<Core>>, mut request: Request, next: Next) -> Response {
    if !wants_websocket(request.headers()) {
        return plain(request, next).await;
    }
    let Some(accept) = accept(&request) else {
        return (
            StatusCode::BAD_REQUEST,
            [(SEC_WEBSOCKET_VERSION, "13")],
            "Bad Request",
        )
            .into_response();
    };
    let extensions = request.extensions_mut();
    // Our listener puts all three into each request.
    let (Some(ConnectInfo(peer)), Some(permit), Some(upgrade)) = (
        extensions.remove::<ConnectInfo<SocketAddr>>(),
        extensions.remove::<ConnectionPermit>(),
        extensions.remove::<OnUpgrade>(),
    ) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = request.headers();
    let client = client_address(
        peer.ip(),
        headers,
        &core.settings.load().cluster.security.trusted_proxies,
    );
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    // Clients that offer a subprotocol fail without an answer to it. v1 answers to the first one, whatever it is.
    let is_v2 = subprotocols(headers).any(|name| name == v2::SUBPROTOCOL);
    let chosen = if is_v2 {
        Some(v2::SUBPROTOCOL)
    } else {
        subprotocols(headers).next()
    };
    if let Some(chosen) = chosen.and_then(|name| HeaderValue::from_str(name).ok()) {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    if let Ok(instance) = HeaderValue::from_str(core.own.id()) {
        answer.insert(INSTANCE, instance);
    }
    let hello = Hello::new(request.uri(), headers, client);
    core.sessions
        .spawn(session::run(Arc::clone(&core), upgrade, hello, permit));
    response
}

/// Requests without an upgrade: as the Node services have it, the whole URL counts, so that a query is another URL, and
/// the method does not.
async fn plain(mut request: Request, next: Next) -> Response {
    if request.uri().query().is_some() {
        return upgrade_required().await;
    }
    if request.method() != Method::HEAD {
        *request.method_mut() = Method::GET;
    }
    next.run(request).await
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket") && has_token(headers, &CONNECTION, "upgrade")
}

/// Whether a header that is a list has this entry.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .any(|entry| entry.trim().eq_ignore_ascii_case(token))
}

/// The answer to the client's key, if the request is a handshake of RFC 6455, section 4.1.
fn accept(request: &Request) -> Option<HeaderValue> {
    let headers = request.headers();
    let version = headers.get(SEC_WEBSOCKET_VERSION)?.as_bytes();
    let key = headers.get(SEC_WEBSOCKET_KEY)?.as_bytes();
    // 16 bytes in base64.
    let is_key = key.len() == 24 && key.ends_with(b"==");
    (request.method() == Method::GET && version == b"13" && is_key)
        .then(|| HeaderValue::from_str(&derive_accept_key(key)).ok())
        .flatten()
}
