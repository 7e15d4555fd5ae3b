//! Clients of the Kubernetes API.
//!
//! ```text
//! Api ─▶ Fence (writes only while we lead) ─▶ Count (requests by verb, kind, code)
//!     ─▶ Timeout (until an answer begins) ─▶ consistent (no list of the past) ─▶ [Wire] ─▶ HTTP
//! ```
//!
//! The wire is what [`Options::wire`](crate::Options::wire) puts there; usually nothing.
//!
//! kube's own retries are off: a failed call goes back to the reconcile, which knows how urgent it is. Every call has
//! a deadline; a watch has one until it begins.

mod consistent;
mod count;
mod fence;

pub(crate) use count::CountLayer;
pub(crate) use fence::{Fence, FenceLayer};

use std::sync::Arc;
use std::time::Duration;

use berth_crds::TurnConfig;
use http::{Request, Response};
use kube::api::WatchParams;
use kube::client::{Body, ClientBuilder, DynBody};
use kube::{Api, Client, Config};
use tower::BoxError;
use tower::layer::layer_fn;
use tower::timeout::TimeoutLayer;
use tower::util::{BoxService, MapRequestLayer};

use crate::error::{CallError, Class};
use crate::metrics::Metrics;

/// How long one call may take, connection included.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What carries the requests of a client to the API server.
pub type Wire = BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>;

/// Wraps a [`Wire`] into another one, which sees each request as it is sent and each answer as it comes.
pub type WireLayer = Arc<dyn Fn(Wire) -> Wire + Send + Sync>;

/// A client whose requests are counted and, with a `fence`, whose writes stop when the lease is lost.
pub(crate) fn build(
    mut config: Config,
    wire: Option<&WireLayer>,
    metrics: &Metrics,
    fence: Option<Arc<Fence>>,
) -> Result<Client, kube::Error> {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.write_timeout = Some(CALL_LIMIT);
    let mut builder = ClientBuilder::try_from(config)?;
    if let Some(wire) = wire {
        builder = builder.with_layer(&layer_fn(|inner| wire(inner)));
    }
    let builder = builder
        .with_layer(&MapRequestLayer::new(consistent::consistent))
        // A server that takes a watch and never answers would be waited for for ever.
        .with_layer(&TimeoutLayer::new(CALL_LIMIT))
        .with_layer(&CountLayer::new(metrics.clone()));
    Ok(match fence {
        Some(fence) => builder.with_layer(&FenceLayer::new(fence)).build(),
        None => builder.build(),
    })
}

/// Waits for one call, but not for ever. `action` says in an error what was tried.
pub(crate) async fn call<T>(
    action: String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(CALL_LIMIT, request).await {
        Ok(answer) => answer.map_err(|error| CallError::of(action, error)),
        Err(_) => Err(CallError::TimedOut {
            action,
            limit: CALL_LIMIT,
        }),
    }
}

/// Whether the server can begin a watch with a list, one object at a time (Kubernetes 1.34 does by default). It is asked
/// to, because neither its version nor its feature gates say so for sure.
pub(crate) async fn has_streaming_lists(client: &Client, namespaces: &[String]) -> Result<bool, CallError> {
    let api: Api<TurnConfig> = match namespaces.first() {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut params = WatchParams::default().timeout(1);
    params.send_initial_events = true;
    match call("watch TurnConfigs".into(), api.watch(&params, "0")).await {
        Ok(_) => Ok(true),
        Err(CallError::Refused {
            class: Class::Invalid,
            ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}
