//! What surrounds every request: its id, and leave for pages of any origin.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The same on every answer, refusals included: a page must be able to read why there is no host.
const CROSS_ORIGIN: [(HeaderName, HeaderValue); 5] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, OPTIONS, DELETE"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Content-Type, Authorization, X-Request-Id, Idempotency-Key"),
    ),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Retry-After, X-Request-Id, Link"),
    ),
    (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
];

/// Answers OPTIONS before anything else, and completes every answer.
pub(super) async fn around(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.extend(CROSS_ORIGIN);
    response
}

/// The client's own id, trimmed, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let own = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .map(str::trim);
    let own = own
        .filter(|id| !id.is_empty())
        .and_then(|id| HeaderValue::from_str(id).ok());
    own.unwrap_or_else(|| {
        let mut buffer = Uuid::encode_buffer();
        let new = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
        HeaderValue::from_str(new).unwrap_or(HeaderValue::from_static("-"))
    })
}
