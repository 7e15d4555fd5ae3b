//! One request for a key set.

use axum::http::{Request, header};
use berth_dataplane::http::{Outbound, OutboundError, Trust};
use berth_dataplane::secrets::Secret;
use bytes::Bytes;
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
    /// No answer, or none that can be read.
    #[error(transparent)]
    Outbound(OutboundError),
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

impl From<OutboundError> for FetchError {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::Authorities => Self::Authorities,
            OutboundError::Interrupted => Self::Interrupted,
            other => Self::Outbound(other),
        }
    }
}

/// Fetches the set at `url`, from a server for which `authorities` (PEM) or the public ones vouch. How long that may take is the
/// caller's to say.
pub(super) async fn fetch(url: &Url, authorities: Option<Secret>) -> Result<KeySet, FetchError> {
    let request = Request::get(url.as_str())
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .body(Bytes::new())
        .map_err(|_| FetchError::Url)?;
    let trust = match &authorities {
        Some(pem) => Trust::Only(pem),
        None if url.scheme() == "http" => Trust::Nobody,
        None => Trust::System,
    };
    let answer = Outbound::new(trust).await?.ask(request, LONGEST_ANSWER).await?;
    Ok(KeySet::parse(&answer)?)
}
