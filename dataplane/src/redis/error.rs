//! Why a Redis call failed, in the terms that callers decide by.

use ::redis::ErrorKind as Kind;
use ::redis::ServerErrorKind;

use super::metrics::ErrorKind;

/// What every version of Redis says after `READONLY`.
const READ_ONLY: &str = "You can't write against a read only";
/// What a script hears of a key that has left the node already, while its slot is being moved key by key.
const NOT_HERE: &str = "Script attempted to access a non local key";

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
        self.is_failure_of_server() || self.is_moved()
    }

    /// The same of one server: one that names another one for a slot is well.
    pub(super) fn is_failure_of_server(&self) -> bool {
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
                                | ServerErrorKind::Ask
                                | ServerErrorKind::TryAgain
                        )
                    )
                    || error.to_string().contains(NOT_HERE)
            }
        }
    }

    /// Whether one command was not done because another node owns the slot. Of a pipeline, some may have been done.
    pub(super) fn is_redirect(&self) -> bool {
        self.is_moved() && matches!(self, Self::Server(error) if error.redirect_node().is_some())
    }

    /// Whether another node of the cluster owns the slot.
    pub(super) fn is_moved(&self) -> bool {
        matches!(self, Self::Server(error) if error.kind() == Kind::Server(ServerErrorKind::Moved))
    }

    /// Whether the server takes no writes because it is a replica: after a failover the name stands for another one.
    pub(super) fn is_demotion(&self) -> bool {
        let Self::Server(error) = self else { return false };
        // Redis 6 wraps what a script met into `ERR Error running script`, and a transaction into EXECABORT.
        error.kind() == Kind::Server(ServerErrorKind::ReadOnly) || error.to_string().contains(READ_ONLY)
    }

    /// Whether the command certainly had no effect, so that it may be repeated.
    pub fn had_no_effect(&self) -> bool {
        match self {
            Self::Unavailable | Self::Disconnected => true,
            _ => self.is_redirect(),
        }
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
    fn a_slot_that_is_elsewhere_or_on_its_way_is_an_outage() {
        let moved = answered(ServerErrorKind::Moved, "3999 10.0.0.1:6381");
        assert!(moved.is_outage() && moved.had_no_effect() && !moved.is_failure_of_server());
        let script =
            "Script attempted to access a non local key in a cluster node script: f_1, on @user_script:1.";
        for (kind, text) in [
            (ServerErrorKind::Ask, "3999 10.0.0.1:6381"),
            (
                ServerErrorKind::TryAgain,
                "Multiple keys request during rehashing of slot",
            ),
            (ServerErrorKind::ResponseError, script),
        ] {
            let error = answered(kind, text);
            assert!(error.is_outage() && error.is_failure_of_server(), "{text}");
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
