//! Asks a pod of a service what it says of itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use serde::Deserialize;

use crate::counts::{CountsError, HttpCounts};

/// Asks pods what they say of themselves.
pub trait PodReader: Send + Sync {
    /// Asks the internal port of a pod.
    fn read(&self, pod: SocketAddr) -> BoxFuture<'static, Result<PodReport, CountsError>>;
}

/// What of `GET /statusz` matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PodReport {
    /// The settings.
    #[serde(default)]
    pub settings: ReportedSettings,
    /// WebSocket connections, of signaling.
    #[serde(default)]
    pub connections: Option<ReportedConnections>,
    /// Redis.
    #[serde(default)]
    pub redis: Option<ReportedRedis>,
}

/// What a pod says of its Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReportedRedis {
    /// `standalone`, `sentinel` or `cluster`.
    pub mode: String,
    /// Whether it answers.
    pub up: bool,
    /// Host and port of the server that takes the commands.
    pub master: Option<String>,
    /// Whether a Redis Cluster shards the messages between pods.
    pub sharded: Option<bool>,
    /// Why it does not answer.
    pub last_error: Option<String>,
}

/// Settings of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReportedSettings {
    /// The resource that it follows, as `HostPool named eu in namespace games`.
    pub own: String,
    /// Generation of every resource whose settings are in force, by kind.
    pub generations: Option<BTreeMap<String, i64>>,
    /// The newest version, while it is a refused one.
    pub refused: Option<ReportedRefusal>,
}

/// A version that a pod refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReportedRefusal {
    /// Its generations, by kind; absent when it could not even be read.
    pub generations: Option<BTreeMap<String, i64>>,
    /// What is wrong.
    pub reason: String,
}

/// Connections of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReportedConnections {
    /// Those that are open.
    pub open: i64,
}

impl PodReader for HttpCounts {
    fn read(&self, pod: SocketAddr) -> BoxFuture<'static, Result<PodReport, CountsError>> {
        self.fetch(pod, "/statusz")
    }
}
