//! Why a Redis call failed, in the terms that callers decide by.

use ::redis::ErrorKind as Kind;
use ::redis::ServerErrorKind;

use super::metrics::ErrorKind;

/// Why a Redis call gave no result. `Display` holds no key, no value and no password.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The circuit breaker is open: nothing was sent.
    #[error("redis is unavailable: circuit open")]
    Unavailable,
    /// There is no connection: nothing was sent.
    #[error("redis is not connected")]
    Disconnected,
    /// No answer in time. The command may have been executed.
    #[error("redis did not answer in time")]
    Timeout,
    /// The connection broke before the answer. The command may have been executed.
    #[error("the connection to redis was lost")]
    Broken(#[source] ::redis::RedisError),
    /// Redis answered with an error (script error, memory full, permission missing, still loading).
    #[error("redis answered with an error")]
    Server(#[source] ::redis::RedisError),
    /// The answer has another type than the caller asked for.
    #[error("redis answered with an unexpected type")]
    Type(#[source] ::redis::RedisError),
}

impl RedisError {
    /// Whether Redis as a whole is away, as opposed to one command being answered by an error.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable | Self::Disconnected | Self::Timeout | Self::Broken(_) => true,
            Self::Type(_) => false,
            Self::Server(error) => matches!(
                error.kind(),
                Kind::Server(
                    ServerErrorKind::BusyLoading
                        | ServerErrorKind::ClusterDown
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::ReadOnly
                )
            ),
        }
    }

    /// Whether the command certainly had no effect, so that it may be repeated.
    pub fn had_no_effect(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Disconnected)
    }

    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable => ErrorKind::Unavailable,
            Self::Disconnected => ErrorKind::Disconnected,
            Self::Timeout => ErrorKind::Timeout,
            Self::Broken(_) => ErrorKind::Broken,
            Self::Server(_) => ErrorKind::Server,
            Self::Type(_) => ErrorKind::Type,
        }
    }
}

impl From<::redis::RedisError> for RedisError {
    fn from(error: ::redis::RedisError) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        match error.kind() {
            Kind::Io => Self::Broken(error),
            Kind::Parse | Kind::UnexpectedReturnType => Self::Type(error),
            _ if error.is_connection_dropped() => Self::Broken(error),
            _ => Self::Server(error),
        }
    }
}
