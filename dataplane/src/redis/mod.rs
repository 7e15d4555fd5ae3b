//! The link to Redis: one server, the servers behind Sentinels, or a Redis Cluster.
//!
//! Callers give keys of one hash slot and see no connection. Connections are kept up by tasks of their own, which
//! reconnect with a jittered backoff and read URL, passwords and certificates again each time. Every command passes a
//! circuit breaker ([`Breaker`](crate::breaker::Breaker)). A link knows without traffic whether Redis is there ([`RedisLink::healthy`]): it
//! pings each second.
//!
//! **One server** has one multiplexed connection for commands ([`mod@line`]) and one for subscriptions ([`subscriber`]).
//! **Sentinel** ([`sentinel`]) is the same, at the master that the Sentinels name.
//!
//! **A Redis Cluster** ([`cluster`]) has a line to each node that owns slots in use, and a connection for subscriptions to the
//! owner of each slot that has subscribed channels (signaling has one channel, so one). Messages are published by
//! `SPUBLISH` at the owner of the channel's slot, where the subscriber is too, so that one command reaches him, its
//! answer counts him, and messages of one channel keep their order. Before Redis 7 the same is done with `PUBLISH`.
//!
//! The crate's `ClusterConnection` is not used, for what it does by itself would break what callers rely on:
//!
//! - It follows `ASK`. While a slot is moved key by key, a script would run at the new owner and take the keys that
//!   have not arrived for keys that do not exist: rooms without members, instances without leases. Here that is an
//!   outage until the slot has moved.
//! - When it is not connected to the owner of a slot, it sends to a replica or to any node. A replica takes `SPUBLISH` and
//!   answers how many of *its* clients received it: 0, which here means that an instance is gone.
//! - It repeats publications and scripts after a lost connection, and repeated ones come after later ones.
//! - It takes a `sunsubscribe` that a server sends because a slot has left it for the answer to the oldest command on
//!   that connection, so that all later answers reach wrong callers. Here subscriptions have connections of their own,
//!   which are left at once when that happens.
//! - While it looks at the topology, commands to all nodes wait, a node that does not answer included; and credentials
//!   are those of the start.
//!
//! What is used of the crate: connections, their multiplexing, pipelines, scripts, TLS, hash slots.

mod backoff;
mod cluster;
mod commands;
mod endpoint;
mod error;
mod gate;
mod keeper;
mod line;
mod link;
mod metrics;
mod news;
mod probe;
mod request;
mod sentinel;
mod start;
mod subscriber;
mod subscription;
mod subscriptions;
mod target;

pub use crate::breaker::{BreakerSettings, BreakerState};
pub use berth_crds::settings::RedisMode;
pub use cluster::NodeHealth;
pub use endpoint::{EndpointError, RedisEndpoint};
pub use error::RedisError;
pub use link::{LinkOptions, Publication, RedisHealth, RedisLink};
pub use metrics::{ErrorKind, ErrorLabels, ModeLabels, RedisMetrics};
pub use subscription::{Backlog, Subscription, SubscriptionEvent};

/// What commands are built from and answers are read into.
pub use ::redis::{Cmd, FromRedisValue, Pipeline, Script, ToRedisArgs, Value, cmd, pipe};
