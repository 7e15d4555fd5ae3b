//! One request for a key set.

use std::io;

use axum::http::{Request, StatusCode, Uri, header};
use berth_dataplane::secrets::Secret;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::auth::key_set::{KeySet, KeySetError};

/// Longest answer, bytes: a set of three keys with their certificates has about ten thousand.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Why there is no new key set.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The address cannot be asked.
    #[error("the address cannot be asked")]
    Url,
    /// The Secret with the certificates of the server's authorities is not there.
    #[error("the Secret of caSecretRef is not there")]
    NoAuthorities,
    /// It holds no certificates.
    #[error("the Secret of caSecretRef holds no certificates (PEM)")]
    Authorities,
    /// The system has no public authorities to check the server with.
    #[error("no root certificates for https")]
    RootCertificates(#[source] io::Error),
    /// No connection, or a broken one.
    #[error("cannot be reached")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    /// Another answer than 200; redirects are not followed.
    #[error("answered {0}")]
    Status(StatusCode),
    /// The answer was cut off or is too long.
    #[error("the answer cannot be read: it was cut off or has more than {LONGEST_ANSWER} bytes")]
    Answer,
    /// The answer is no key set.
    #[error("cannot be used")]
    KeySet(#[from] KeySetError),
    /// No answer in time.
    #[error("did not answer in time")]
    TimedOut,
    /// The process had other things to do.
    #[error("interrupted")]
    Interrupted,
}

/// Fetches the set at `url`, from a server for which `authorities` (PEM) or the public ones vouch. Every fetch has a connection
/// of its own: the next one is minutes away. How long that may take is the caller's to say.
pub(super) async fn fetch(url: &Url, authorities: Option<Secret>) -> Result<KeySet, FetchError> {
    let uri: Uri = url.as_str().parse().map_err(|_| FetchError::Url)?;
    let request = Request::get(uri)
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::USER_AGENT, concat!("berth/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Url)?;
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(url, authorities).await?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector);
    let answer = client.request(request).await.map_err(FetchError::Unreachable)?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    let body = body.map_err(|_| FetchError::Answer)?;
    Ok(KeySet::parse(&body.to_bytes())?)
}

async fn tls(url: &Url, authorities: Option<Secret>) -> Result<ClientConfig, FetchError> {
    let config = ClientConfig::builder();
    if let Some(pem) = authorities {
        return Ok(config.with_root_certificates(roots(&pem)?).with_no_client_auth());
    }
    if url.scheme() == "http" {
        // Nothing is checked, so nothing has to be read.
        return Ok(config
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth());
    }
    // Root certificates are files.
    let read = tokio::task::spawn_blocking(|| Ok(config.with_native_roots()?.with_no_client_auth()));
    read.await
        .map_err(|_| FetchError::Interrupted)?
        .map_err(FetchError::RootCertificates)
}

fn roots(pem: &Secret) -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.expose()) {
        let certificate = certificate.map_err(|_| FetchError::Authorities)?;
        roots.add(certificate).map_err(|_| FetchError::Authorities)?;
    }
    if roots.is_empty() {
        return Err(FetchError::Authorities);
    }
    Ok(roots)
}
