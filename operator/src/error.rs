//! Why the API server did not do what was asked, in classes that decide what happens next.

use std::time::Duration;

use kube::core::Status;

/// What is done about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It may work the next time: retry with backoff. The resource is not at fault.
    Transient,
    /// Someone else was faster: look again at once.
    Conflict,
    /// We may not: retry slowly, and say which permission is missing.
    Forbidden,
    /// What was sent is refused: a retry helps only after a change.
    Invalid,
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server answered that it will not.
    #[error("{action}: {message}")]
    Refused {
        /// What was tried, for example `apply Deployment main-signaling`.
        action: String,
        /// HTTP status code.
        code: u16,
        /// What the server said.
        message: String,
        /// What is done about it.
        class: Class,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// No answer.
    #[error("{action}: no answer from the API server")]
    Unreachable {
        /// What was tried.
        action: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("{action}: no answer from the API server within {} s", .limit.as_secs())]
    TimedOut {
        /// What was tried.
        action: String,
        /// How long an answer may take.
        limit: Duration,
    },
    /// What was to be sent or was answered is not the object it should be.
    #[error("{action}: not the expected JSON")]
    Json {
        /// What was tried.
        action: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// An object with the name of a child belongs to someone else. It is left alone.
    #[error("{object} exists and is not ours; remove it, or choose another name")]
    NotOurs {
        /// The object.
        object: String,
    },
    /// There is no randomness for a secret.
    #[error("{action}: the system gave no random bytes")]
    NoRandomness {
        /// What was tried.
        action: String,
    },
}

impl CallError {
    /// Sorts the answer `error` to `action`.
    pub(crate) fn of(action: String, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused {
                class: class_of(&status),
                retry_after: retry_after(&status),
                code: status.code,
                action,
                message: status.message,
            },
            other => Self::Unreachable {
                action,
                source: Box::new(other),
            },
        }
    }

    /// What is done about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused { class, .. } => *class,
            Self::NotOurs { .. } => Class::Forbidden,
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Json { .. }
            | Self::NoRandomness { .. } => Class::Transient,
        }
    }

    /// How long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the object is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }
}

/// The error and its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// `details.retryAfterSeconds`, which a server that is too busy sends.
fn retry_after(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

fn class_of(status: &Status) -> Class {
    // A namespace that is being deleted refuses new objects with 403; that passes with the namespace.
    let terminating = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .any(|cause| cause.reason == "NamespaceTerminating");
    match status.code {
        403 if !terminating => Class::Forbidden,
        409 => Class::Conflict,
        400 | 405 | 413 | 415 | 422 => Class::Invalid,
        _ => Class::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: u16) -> Class {
        let status = Status::failure("no", "Because").with_code(code);
        CallError::of("apply".into(), kube::Error::Api(status.boxed())).class()
    }

    #[test]
    fn a_busy_server_says_for_how_long_it_wants_to_be_left_alone() {
        let busy = |seconds: u32| {
            let status: Status = serde_json::from_value(serde_json::json!({
                "status": "Failure", "code": 429, "details": {"retryAfterSeconds": seconds}}))
            .unwrap();
            CallError::of("apply".into(), kube::Error::Api(status.boxed())).retry_after()
        };
        assert_eq!(busy(7), Some(Duration::from_secs(7)));
        assert_eq!(busy(0), None);
    }

    #[test]
    fn answers_are_sorted_by_what_is_done_about_them() {
        assert_eq!(class(403), Class::Forbidden);
        assert_eq!(class(409), Class::Conflict);
        assert_eq!(class(422), Class::Invalid);
        for passing in [404, 410, 429, 500, 503, 504] {
            assert_eq!(class(passing), Class::Transient, "{passing}");
        }
    }
}
