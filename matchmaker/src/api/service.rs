//! What the public port tells of the service itself.

use axum::http::header;
use axum::response::IntoResponse;

use super::openapi::DOCUMENT;

/// Alive
#[utoipa::path(
    get,
    path = "/",
    tag = "service",
    responses((status = 200, description = "`ok`", body = String, content_type = "text/plain"))
)]
pub(super) async fn root() -> &'static str {
    "ok"
}

/// Alive
#[utoipa::path(
    get,
    path = "/health",
    tag = "service",
    responses((status = 200, description = "`OK`", body = String, content_type = "text/plain"))
)]
pub(super) async fn health() -> &'static str {
    "OK"
}

/// Alive
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "service",
    responses((status = 200, description = "`OK`", body = String, content_type = "text/plain"))
)]
pub(super) async fn healthz() -> &'static str {
    "OK"
}

/// Alive
///
/// Readiness is said on the internal port.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "service",
    responses((status = 200, description = "`OK`", body = String, content_type = "text/plain"))
)]
pub(super) async fn readyz() -> &'static str {
    "OK"
}

/// This document
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    tag = "service",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"))
)]
pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}
