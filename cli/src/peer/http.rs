//! A small HTTP client with time limits, for the matchmaker's API.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use tokio::time::timeout;
use url::Url;

use super::secret::Secret;

/// Time for TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a whole request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A client for one server. Clones share its connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: Url,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The base URL is not `http:` or `https:`.
    #[error("{0} is not an http or https URL")]
    Scheme(Url),
    /// The system has no readable root certificates, which HTTPS needs.
    #[error("no root certificates for https")]
    RootCertificates(#[source] std::io::Error),
    /// The request could not be written.
    #[error("request cannot be built")]
    Request(#[source] http::Error),
    /// The body could not be written as JSON.
    #[error("request body cannot be written")]
    Body(#[source] serde_json::Error),
    /// The server could not be reached.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// What was asked.
        url: Url,
        /// The cause in words, down to the operating system's error.
        reason: String,
    },
    /// The answer was cut off or too large.
    #[error("answer of {0} cannot be read")]
    Answer(Url),
    /// No answer in time.
    #[error("{url} did not answer within {} s", .limit.as_secs())]
    TimedOut {
        /// What was asked.
        url: Url,
        /// How long it had.
        limit: Duration,
    },
}

/// An answer, read completely.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Body.
    pub body: Bytes,
}

impl HttpClient {
    /// A client for `base`, to whose path request paths are added.
    ///
    /// # Errors
    /// When the URL is not HTTP, or HTTPS has no root certificates to check with.
    pub fn new(base: Url) -> Result<Self, HttpError> {
        let tls = match base.scheme() {
            // Root certificates are read only where they are needed: minimal images have none.
            "http" => ClientConfig::builder()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth(),
            "https" => ClientConfig::builder()
                .with_native_roots()
                .map_err(HttpError::RootCertificates)?
                .with_no_client_auth(),
            _ => return Err(HttpError::Scheme(base)),
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            .build(connector);
        Ok(Self { client, base })
    }

    /// Posts `body` as JSON, with a bearer token if there is one.
    ///
    /// # Errors
    /// When no answer comes; a refusal is an answer.
    pub async fn post(
        &self,
        path: &str,
        bearer: Option<&Secret>,
        body: &impl Serialize,
    ) -> Result<Answer, HttpError> {
        let body = serde_json::to_vec(body).map_err(HttpError::Body)?;
        let request = request(Method::POST, bearer).header(header::CONTENT_TYPE, "application/json");
        self.send(path, request, body).await
    }

    /// Posts `body` as JSON in a way that may be repeated: `key` is the same each time.
    ///
    /// # Errors
    /// When no answer comes; a refusal is an answer.
    pub async fn post_once(&self, path: &str, key: &str, body: &impl Serialize) -> Result<Answer, HttpError> {
        let body = serde_json::to_vec(body).map_err(HttpError::Body)?;
        let request = request(Method::POST, None)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key);
        self.send(path, request, body).await
    }

    /// Deletes what is at a path, with a bearer token if there is one.
    ///
    /// # Errors
    /// When no answer comes; a refusal is an answer.
    pub async fn delete(&self, path: &str, bearer: Option<&Secret>) -> Result<Answer, HttpError> {
        self.send(path, request(Method::DELETE, bearer), Vec::new()).await
    }

    async fn send(
        &self,
        path: &str,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Answer, HttpError> {
        let url = self.url(path);
        let request = request
            .uri(url.as_str())
            .body(Full::new(Bytes::from(body)))
            .map_err(HttpError::Request)?;
        timeout(REQUEST_TIMEOUT, self.exchange(&url, request))
            .await
            .map_err(|_| HttpError::TimedOut {
                url: url.clone(),
                limit: REQUEST_TIMEOUT,
            })?
    }

    async fn exchange(&self, url: &Url, request: Request<Full<Bytes>>) -> Result<Answer, HttpError> {
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| HttpError::Unreachable {
                url: url.clone(),
                reason: chain(&error),
            })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES)
            .collect()
            .await
            .map_err(|_| HttpError::Answer(url.clone()))?
            .to_bytes();
        Ok(Answer { status, body })
    }

    /// `path` below the base URL, whether or not that ends in a slash.
    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let joined = format!(
            "{}/{}",
            url.path().trim_end_matches('/'),
            path.trim_start_matches('/')
        );
        url.set_path(&joined);
        url
    }
}

fn request(method: Method, bearer: Option<&Secret>) -> http::request::Builder {
    let request = Request::builder().method(method);
    match bearer {
        Some(bearer) => request.header(header::AUTHORIZATION, format!("Bearer {}", bearer.expose())),
        None => request,
    }
}

/// The last cause of an error says what happened; the first only says that something did.
fn chain(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_added_to_the_base() {
        for base in ["http://h:3000", "http://h:3000/", "http://h:3000/mm/"] {
            let client = HttpClient::new(base.parse().unwrap()).unwrap();
            assert!(
                client
                    .url("/api/match/find")
                    .as_str()
                    .ends_with("/api/match/find")
            );
            assert!(!client.url("/api/match/find").as_str().contains("//api"));
        }
    }

    #[test]
    fn other_schemes_are_refused() {
        assert!(matches!(
            HttpClient::new("ftp://h".parse().unwrap()),
            Err(HttpError::Scheme(_))
        ));
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let client = HttpClient::new(format!("http://127.0.0.1:{port}").parse().unwrap()).unwrap();
        let error = client.post("/x", None, &()).await.unwrap_err();
        assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
    }
}
