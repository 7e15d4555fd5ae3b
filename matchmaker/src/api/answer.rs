//! What a request is answered with when it is not granted.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::issue::Issue;

/// Seconds after which a client may try again while the store is away: its link tries to reconnect several times by then.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// The same while a provider of ICE servers fails: it is left alone for at least as long before it is asked again.
const RETRY_AFTER_ICE: HeaderValue = HeaderValue::from_static("5");

/// Why a request is not granted. Statuses and texts are those of the Node matchmaker where it has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401: no bearer secret.
    Unauthorized,
    /// 403: a wrong one.
    Forbidden,
    /// 400: wrong fields.
    Invalid(Vec<Issue>),
    /// 409: the request is right but collides with another host.
    Conflict(Vec<Issue>),
    /// 404: no host has a free slot.
    NoHosts,
    /// 404: hosts have free slots, but none that fits.
    NoneMatching,
    /// 409: the `Idempotency-Key` was used for another request.
    OtherRequest,
    /// 404: no such match, or it ended long ago.
    UnknownMatch,
    /// 403: not the token of this match.
    WrongResumeToken,
    /// 410: the match is over, for this reason.
    Over(&'static str),
    /// 404: the pool is drained.
    Draining,
    /// 404: no host of this id is alive.
    UnknownHost,
    /// 403: the list of hosts is not for the public.
    ListInternal,
    /// 403: a wrong admin token.
    WrongAdminToken,
    /// 403: there is no admin token.
    NoAdminToken {
        /// How to set one.
        cure: String,
    },
    /// 429: too many finds of one client address.
    TooManyFinds {
        /// How long until there may be one more.
        wait: Duration,
    },
    /// 408: the body took too long.
    TooSlow,
    /// 413: a body over the limit.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// 400: the body did not arrive.
    Unreadable,
    /// 404: no such path.
    UnknownPath,
    /// 405: no such method on this path.
    UnknownMethod,
    /// 500: the heartbeat was not stored.
    HeartbeatFailed,
    /// 503: the store is away.
    Unavailable,
    /// 503: nobody is handed out until it is known who is free.
    NotNow,
    /// 503: a provider of ICE servers fails, and `failurePolicy` is `Fail`.
    NoIceServers,
    /// 500: anything else.
    Internal,
}

impl Refusal {
    /// When to come again, for those that pass.
    pub(super) fn retry_after(&self) -> Option<HeaderValue> {
        match self {
            Self::Unavailable | Self::NotNow => Some(RETRY_AFTER),
            Self::NoIceServers => Some(RETRY_AFTER_ICE),
            // Rounded up: who waits so long does not come too early.
            Self::TooManyFinds { wait } => {
                let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
                Some(HeaderValue::from(seconds.max(1)))
            }
            _ => None,
        }
    }

    /// Status and body.
    pub(super) fn into_parts(self) -> (StatusCode, Value) {
        let nobody = |message: &str| json!({"found": false, "message": message});
        let host = |error: &str| json!({"success": false, "error": error});
        let issues =
            |error: &str, issues: Vec<Issue>| json!({"success": false, "error": error, "issues": issues});
        match self {
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                host("Unauthorized: Missing or invalid Authorization header"),
            ),
            Self::Forbidden => (StatusCode::FORBIDDEN, host("Forbidden: Invalid host secret")),
            Self::Invalid(list) => (StatusCode::BAD_REQUEST, issues("Validation failed", list)),
            Self::Conflict(list) => (StatusCode::CONFLICT, issues("Conflict", list)),
            Self::NoHosts => (StatusCode::NOT_FOUND, nobody("No hosts available")),
            Self::NoneMatching => (
                StatusCode::NOT_FOUND,
                nobody("No available hosts found matching criteria"),
            ),
            Self::OtherRequest => (
                StatusCode::CONFLICT,
                json!({"error": "Idempotency-Key was used for another request"}),
            ),
            Self::UnknownMatch => (StatusCode::NOT_FOUND, json!({"error": "No such match"})),
            Self::WrongResumeToken => (
                StatusCode::FORBIDDEN,
                json!({"error": "Forbidden: Invalid resume token"}),
            ),
            Self::Over(reason) => (
                StatusCode::GONE,
                json!({"error": "Match is over", "reason": reason}),
            ),
            Self::Draining => (StatusCode::NOT_FOUND, nobody("Pool is draining")),
            Self::UnknownHost => (
                StatusCode::NOT_FOUND,
                issues("Not found", vec![Issue::unknown_host()]),
            ),
            Self::ListInternal => (
                StatusCode::FORBIDDEN,
                json!({"error": "Forbidden: the list of hosts is internal (spec.hostListAccess)"}),
            ),
            Self::WrongAdminToken => (
                StatusCode::FORBIDDEN,
                json!({"error": "Forbidden: Invalid admin token"}),
            ),
            Self::NoAdminToken { cure } => (
                StatusCode::FORBIDDEN,
                json!({"error": format!("Forbidden: no admin token is set; {cure}")}),
            ),
            Self::TooManyFinds { .. } => (StatusCode::TOO_MANY_REQUESTS, nobody("Too many requests")),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                json!({"error": "Body took too long"}),
            ),
            Self::TooLarge { limit } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                json!({"error": format!("Body is larger than {limit} bytes")}),
            ),
            Self::Unreadable => (StatusCode::BAD_REQUEST, json!({"error": "Body cannot be read"})),
            Self::UnknownPath => (StatusCode::NOT_FOUND, json!({"error": "Not found"})),
            Self::UnknownMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                json!({"error": "Method not allowed"}),
            ),
            Self::HeartbeatFailed => (StatusCode::INTERNAL_SERVER_ERROR, host("Failed to set heartbeat")),
            Self::Unavailable | Self::NotNow => (
                StatusCode::SERVICE_UNAVAILABLE,
                json!({"error": "Service temporarily unavailable"}),
            ),
            Self::NoIceServers => (
                StatusCode::SERVICE_UNAVAILABLE,
                json!({"error": "ICE servers temporarily unavailable"}),
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                json!({"error": "Internal server error"}),
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after();
        let (too_slow, unauthorized) = (self == Self::TooSlow, self == Self::Unauthorized);
        let (status, body) = self.into_parts();
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(retry_after) = retry_after {
            headers.insert(header::RETRY_AFTER, retry_after);
        }
        if unauthorized {
            // RFC 9110, section 11.6.1.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if too_slow {
            // What is left of the body would be taken for the next request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
