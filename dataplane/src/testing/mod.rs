//! What tests start, make, pretend or compare: a Redis of their own (one server, servers behind Sentinels, or a Redis Cluster), a coturn, keys
//! of a token issuer, a Secret as it is mounted in a pod, a provider of ICE servers, an API server that is away, a page about
//! metrics. Only with the feature `testing`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot have its server must fail loudly"
)]

mod acl;
mod cluster;
mod coturn;
mod http;
mod issuer;
mod key_set_server;
mod kubeconfig;
mod metered;
mod metrics_page;
mod mounted;
mod ports;
mod sentinel;
mod server;

use std::thread::sleep;
use std::time::{Duration, Instant};

pub use acl::{narrow_sentinel_user, narrow_user};
pub use cluster::RedisCluster;
pub use coturn::CoturnServer;
pub use issuer::IssuerKey;
pub use key_set_server::KeySetServer;
pub use kubeconfig::kubeconfig_of_nobody;
pub use metered::{MeteredCall, MeteredServer};
pub use metrics_page::page_names_every_metric;
pub use mounted::MountedSecret;
pub use ports::{free_port, port_is_free};
pub use sentinel::{RedisSentinels, SentinelOptions};
pub use server::RedisServer;

/// Longest wait for something that must happen; only a hang reaches it.
const DEADLINE: Duration = Duration::from_mins(1);

/// A Redis that a link can be pointed at.
pub trait TestRedis {
    /// Address for `REDIS_URL`.
    fn url(&self) -> String;
}

impl TestRedis for RedisServer {
    fn url(&self) -> String {
        Self::url(self)
    }
}

/// Waits until `check` gives something.
fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < end, "never: {what}");
        sleep(Duration::from_millis(20));
    }
}
