//! Asks a matchmaker pod for the counts of its pool.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use berth_crds::api::{HostCounts, RegionCounts, RegionDemand, SlotCounts};
use futures::future::BoxFuture;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Longest answer, in bytes; 64 regions and the demand of as many take a fifth of it.
const LONGEST_ANSWER: usize = 64 * 1024;
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Most regions in a status.
const MOST_REGIONS: usize = 65;

/// Reads the counts of a pool from one of its pods.
pub trait CountsReader: Send + Sync {
    /// Asks the internal port of a pod.
    fn read(&self, pod: SocketAddr) -> BoxFuture<'static, Result<PoolCounts, CountsError>>;
}

/// Counts of a pool, as `GET /counts` of a matchmaker gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PoolCounts {
    /// `NAMESPACE/NAME` of the pool.
    pub pool: String,
    /// Hosts by state.
    pub hosts: HostCounts,
    /// Slots of all hosts.
    pub slots: SlotCounts,
    /// By region; at most 64, the rest under `other`.
    #[serde(default)]
    pub regions: BTreeMap<String, Region>,
    /// Finds that were refused in the last 5 minutes, by the region that was asked for; at most 64, the rest under `other`.
    #[serde(default)]
    pub demand: Vec<RegionDemand>,
}

/// Counts of one region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Region {
    /// Hosts whose heartbeat is alive.
    pub hosts: i64,
    /// Sessions that could begin now.
    pub available_slots: i64,
}

impl PoolCounts {
    /// The regions as the status lists them.
    pub(super) fn regions(&self) -> Vec<RegionCounts> {
        self.regions
            .iter()
            .take(MOST_REGIONS)
            .map(|(name, region)| RegionCounts {
                name: name.clone(),
                hosts: region.hosts,
                available_slots: region.available_slots,
            })
            .collect()
    }

    /// The demand as the status lists it: by region, each region once.
    pub(super) fn demand(&self) -> Vec<RegionDemand> {
        let by_region: BTreeMap<&str, i64> = self
            .demand
            .iter()
            .map(|one| (one.region.as_str(), one.refused))
            .collect();
        by_region
            .into_iter()
            .take(MOST_REGIONS)
            .map(|(region, refused)| RegionDemand {
                region: region.to_owned(),
                refused,
            })
            .collect()
    }
}

/// Why the counts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CountsError {
    /// No connection, or none in time.
    #[error("no answer")]
    Unreachable,
    /// The pod answered, but not with counts.
    #[error("answered {0}")]
    Refused(StatusCode),
    /// The answer is not what was asked for, or too long.
    #[error("the answer is not what was asked for")]
    Malformed,
}

/// Reads by HTTP.
#[derive(Clone, Debug)]
pub struct HttpCounts {
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Default for HttpCounts {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(ANSWER_WITHIN));
        let client = Client::builder(TokioExecutor::new())
            // The next look is at least a second away, and may be at another pod.
            .pool_max_idle_per_host(0)
            .build(connector);
        Self { client }
    }
}

impl HttpCounts {
    /// Reads the document `path` of a pod.
    pub(crate) fn fetch<T: DeserializeOwned + 'static>(
        &self,
        pod: SocketAddr,
        path: &'static str,
    ) -> BoxFuture<'static, Result<T, CountsError>> {
        let client = self.client.clone();
        Box::pin(async move {
            tokio::time::timeout(ANSWER_WITHIN, fetch(client, pod, path))
                .await
                .unwrap_or(Err(CountsError::Unreachable))
        })
    }
}

impl CountsReader for HttpCounts {
    fn read(&self, pod: SocketAddr) -> BoxFuture<'static, Result<PoolCounts, CountsError>> {
        self.fetch(pod, "/counts")
    }
}

async fn fetch<T: DeserializeOwned>(
    client: Client<HttpConnector, Empty<Bytes>>,
    pod: SocketAddr,
    path: &'static str,
) -> Result<T, CountsError> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(pod.to_string())
        .path_and_query(path)
        .build()
        .map_err(|_| CountsError::Unreachable)?;
    let request = Request::get(uri)
        .body(Empty::new())
        .map_err(|_| CountsError::Unreachable)?;
    let answer = client
        .request(request)
        .await
        .map_err(|_| CountsError::Unreachable)?;
    if answer.status() != StatusCode::OK {
        return Err(CountsError::Refused(answer.status()));
    }
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER)
        .collect()
        .await
        .map_err(|_| CountsError::Malformed)?;
    serde_json::from_slice(&body.to_bytes()).map_err(|_| CountsError::Malformed)
}
