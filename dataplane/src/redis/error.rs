//! Why a Redis call failed, in the terms that callers decide by.

use ::redis::ErrorKind as Kind;
use ::redis::ServerErrorKind;

use super::metrics::ErrorKind;

/// What every version of Redis says after `READONLY`.
const READ_ONLY: &str = "You can't write against a read only";

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
            Self::Server(error) => {
                self.is_demotion()
                    || matches!(
                        error.kind(),
                        Kind::Server(
                            ServerErrorKind::BusyLoading
                                | ServerErrorKind::ClusterDown
                                | ServerErrorKind::MasterDown
                        )
                    )
            }
        }
    }

    /// Whether the server takes no writes because it is a replica: after a failover the name stands for another one.
    pub(super) fn is_demotion(&self) -> bool {
        let Self::Server(error) = self else { return false };
        // Redis 6 wraps what a script met into `ERR Error running script`, and a transaction into EXECABORT.
        error.kind() == Kind::Server(ServerErrorKind::ReadOnly) || error.to_string().contains(READ_ONLY)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(kind: ServerErrorKind, text: &str) -> RedisError {
        ::redis::RedisError::from((Kind::Server(kind), "server", text.to_owned())).into()
    }

    #[test]
    fn demotion_is_an_outage_also_inside_the_error_of_a_script() {
        let script = "Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write \
                      against a read only replica.";
        for (kind, text) in [
            (
                ServerErrorKind::ReadOnly,
                "You can't write against a read only replica.",
            ),
            (ServerErrorKind::ReadOnly, "in other words"),
            (ServerErrorKind::ResponseError, script),
        ] {
            let error = answered(kind, text);
            assert!(error.is_demotion() && error.is_outage(), "{kind:?} {text}");
        }
    }

    #[test]
    fn other_answers_are_no_demotion() {
        let loading = answered(
            ServerErrorKind::BusyLoading,
            "Redis is loading the dataset in memory",
        );
        assert!(loading.is_outage() && !loading.is_demotion());
        let script = answered(
            ServerErrorKind::ResponseError,
            "Error running script: no such room READONLY",
        );
        assert!(!script.is_outage() && !script.is_demotion());
    }
}
