//! `GET /api/docs/`: the document of the API as a page. Everything that it loads is in this program.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;

/// The page may load what comes with it and talk to this server alone. Swagger UI has pictures in its style sheet.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// What every file of the page is sent with.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    // Another version of the matchmaker has another document and may have another page.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// What the page loads, as paths and types.
const FILES: [(&str, &str, &str); 3] = [
    ("/api/docs/page.js", SCRIPT, include_str!("page/page.js")),
    (
        "/api/docs/swagger-ui-bundle.js",
        SCRIPT,
        include_str!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js")),
    ),
    (
        "/api/docs/swagger-ui.css",
        STYLE,
        include_str!(concat!(env!("OUT_DIR"), "/swagger-ui.css")),
    ),
];

/// Routes of what the page loads.
pub(super) fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let router = Router::new().route("/api/docs", get(async || Redirect::permanent("docs/")));
    FILES.into_iter().fold(router, |router, (path, kind, text)| {
        router.route(
            path,
            get(async move || (HEADERS, [(header::CONTENT_TYPE, kind)], text)),
        )
    })
}

/// The API as a page
///
/// It loads nothing from another server.
#[utoipa::path(
    get,
    path = "/api/docs/",
    tag = "service",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(super) async fn page() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (HEADERS, kind, include_str!("page/index.html"))
}
