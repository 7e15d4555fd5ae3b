//! Bodies of requests.

use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::Value;

use super::answer::Refusal;
use super::issue::Issue;

/// Longest time for a body.
const PATIENCE: Duration = Duration::from_secs(10);

/// A JSON body, whatever its content type says; `None` when it is empty.
pub(super) struct Body(pub(super) Option<Value>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let read = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state));
        let bytes = read.await.map_err(|_| Refusal::TooSlow)?.map_err(unreadable)?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(None));
        }
        let value =
            serde_json::from_slice(&bytes).map_err(|error| Refusal::Invalid(vec![Issue::json(&error)]))?;
        Ok(Self(Some(value)))
    }
}

fn unreadable(rejection: BytesRejection) -> Refusal {
    if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
        Refusal::TooLarge {
            limit: super::BODY_LIMIT,
        }
    } else {
        Refusal::Unreadable
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body as HttpBody;
    use futures::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_not_waited_for() {
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        let request = Request::new(HttpBody::from_stream(drops));
        assert_eq!(
            Body::from_request(request, &()).await.err(),
            Some(Refusal::TooSlow)
        );
    }
}
