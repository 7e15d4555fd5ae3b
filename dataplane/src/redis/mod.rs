//! The link to Redis: one multiplexed connection for commands, one for subscriptions.
//!
//! Every command passes the circuit breaker ([`Breaker`]). Both connections are kept up by tasks of their own, which
//! reconnect with a jittered backoff and read URL and password again each time. A link knows without traffic
//! whether Redis is there ([`RedisLink::healthy`]): it pings each second.
//!
//! Callers give keys of one hash slot and see no connection, so a link to a Redis Cluster can stand behind the
//! same methods.

mod backoff;
mod breaker;
mod commands;
mod connect;
mod error;
mod keeper;
mod link;
mod metrics;
mod subscriber;
mod subscription;

pub use breaker::{Breaker, BreakerSettings, BreakerState};
pub use connect::{EndpointError, RedisEndpoint};
pub use error::RedisError;
pub use link::{LinkOptions, Publication, RedisHealth, RedisLink};
pub use metrics::{ErrorKind, ErrorLabels, RedisMetrics};
pub use subscription::{Backlog, Subscription, SubscriptionEvent};

/// What commands are built from and answers are read into.
pub use ::redis::{Cmd, FromRedisValue, Pipeline, Script, ToRedisArgs, Value, cmd, pipe};
