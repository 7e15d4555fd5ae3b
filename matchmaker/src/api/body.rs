//! Bodies of requests.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::Value;

use super::answer::Refusal;
use super::issue::Issue;

/// A JSON body, whatever its content type says; `None` when it is empty.
pub(super) struct Body(pub(super) Option<Value>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
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
