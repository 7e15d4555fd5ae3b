//! The link against real Redis: one server, servers behind Sentinels, a Redis Cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

mod acl;
mod cluster;
mod cluster_changes;
mod link;
mod outages;
mod sentinel;
mod subscriptions;
mod support;
mod tls;
