//! Requests to servers of others: issuers of tokens, providers of ICE servers.

use std::io;

use axum::http::{HeaderValue, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::secrets::Secret;

/// What we call ourselves.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("berth/", env!("CARGO_PKG_VERSION")));

/// Who may vouch for a server.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The authorities that the system trusts.
    System,
    /// These alone (PEM).
    Only(&'a Secret),
    /// Nobody: for plain `http`, where nothing is checked and nothing has to be read.
    Nobody,
}

/// A client for a few requests. Every request has a connection of its own: the next one is minutes away. How long one may take
/// is the caller's to say. Redirects are not followed.
#[derive(Clone, Debug)]
pub struct Outbound(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// Why a server gave no answer that can be used. Holds no address, which may have a secret in its query.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The authorities that were given are no certificates.
    #[error("no certificates (PEM)")]
    Authorities,
    /// The system has no authorities to check a server with.
    #[error("no root certificates for https")]
    RootCertificates(#[source] io::Error),
    /// No connection, or a broken one.
    #[error("cannot be reached")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    /// Another answer than 2xx.
    #[error("answered {0}")]
    Status(StatusCode),
    /// The answer was cut off or is too long.
    #[error("the answer cannot be read: it was cut off or has more than {longest} bytes")]
    Answer {
        /// Most bytes that it may have.
        longest: usize,
    },
    /// The process had other things to do.
    #[error("interrupted")]
    Interrupted,
}

impl Outbound {
    /// A client that talks to servers for which `trust` vouches, and by plain `http` where an address says so.
    pub async fn new(trust: Trust<'_>) -> Result<Self, OutboundError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(trust).await?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self(client))
    }

    /// Sends a request and gives the body of its answer, of at most `longest` bytes.
    pub async fn ask(&self, mut request: Request<Bytes>, longest: usize) -> Result<Bytes, OutboundError> {
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        let answer = self
            .0
            .request(request.map(Full::from))
            .await
            .map_err(OutboundError::Unreachable)?;
        if !answer.status().is_success() {
            return Err(OutboundError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), longest).collect().await;
        let body = body.map_err(|_| OutboundError::Answer { longest })?;
        Ok(body.to_bytes())
    }
}

async fn tls(trust: Trust<'_>) -> Result<ClientConfig, OutboundError> {
    let config = ClientConfig::builder();
    let roots = match trust {
        Trust::System => {
            // Root certificates are files.
            let read = tokio::task::spawn_blocking(|| Ok(config.with_native_roots()?.with_no_client_auth()));
            return read
                .await
                .map_err(|_| OutboundError::Interrupted)?
                .map_err(OutboundError::RootCertificates);
        }
        Trust::Only(authorities) => roots(authorities)?,
        Trust::Nobody => RootCertStore::empty(),
    };
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn roots(pem: &Secret) -> Result<RootCertStore, OutboundError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.expose()) {
        let certificate = certificate.map_err(|_| OutboundError::Authorities)?;
        roots.add(certificate).map_err(|_| OutboundError::Authorities)?;
    }
    if roots.is_empty() {
        return Err(OutboundError::Authorities);
    }
    Ok(roots)
}
