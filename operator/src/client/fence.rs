//! Writes only while the lease is held.
//!
//! A process that was paused does not know that another one leads now. So each write is checked at the last
//! moment against the time until which the lease is surely ours, and is given up when that time passes
//! before its answer. The server keeps the lease for a while longer, which covers what is already on the wire.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use tower::{BoxError, Layer, Service};

use super::CALL_LIMIT;

/// Until when writes are allowed.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Closed,
    Until(Instant),
    /// There is no election.
    Open,
}

/// A write that was not sent, or not waited for, because the lease is not surely ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the leader")]
pub(crate) struct NotLeader;

impl Fence {
    /// Allows writes for good: nobody else writes.
    pub(crate) fn open(&self) {
        *self.state.lock() = State::Open;
    }

    /// Allows writes until `until`.
    pub(crate) fn open_until(&self, until: Instant) {
        *self.state.lock() = State::Until(until);
    }

    /// Allows no more writes.
    pub(crate) fn close(&self) {
        *self.state.lock() = State::Closed;
    }

    /// How long writes are allowed from `now` on.
    pub(crate) fn remaining(&self, now: Instant) -> Result<Duration, NotLeader> {
        match *self.state.lock() {
            State::Closed => Err(NotLeader),
            State::Open => Ok(CALL_LIMIT),
            State::Until(until) => match until.saturating_duration_since(now) {
                Duration::ZERO => Err(NotLeader),
                remaining => Ok(remaining),
            },
        }
    }
}

/// Puts a [`Fence`] in front of a client.
#[derive(Clone)]
pub(crate) struct FenceLayer {
    fence: Arc<Fence>,
}

impl FenceLayer {
    /// Asks `fence` before each write.
    pub(crate) fn new(fence: Arc<Fence>) -> Self {
        Self { fence }
    }
}

impl<S> Layer<S> for FenceLayer {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced {
            inner,
            fence: Arc::clone(&self.fence),
        }
    }
}

/// See [`FenceLayer`].
#[derive(Clone)]
pub(crate) struct Fenced<S> {
    inner: S,
    fence: Arc<Fence>,
}

impl<S, B> Service<Request<Body>> for Fenced<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return Box::pin(self.inner.call(request));
        }
        match self.fence.remaining(Instant::now()) {
            Ok(remaining) => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    tokio::time::timeout(remaining, answer)
                        .await
                        .unwrap_or_else(|_| Err(NotLeader.into()))
                })
            }
            Err(refused) => Box::pin(std::future::ready(Err(refused.into()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_allowed_only_while_the_lease_is_surely_ours() {
        let fence = Fence::default();
        let now = Instant::now();
        assert_eq!(fence.remaining(now), Err(NotLeader));
        fence.open_until(now + Duration::from_secs(3));
        assert_eq!(fence.remaining(now), Ok(Duration::from_secs(3)));
        assert_eq!(fence.remaining(now + Duration::from_secs(3)), Err(NotLeader));
        fence.close();
        assert_eq!(fence.remaining(now), Err(NotLeader));
    }

    #[tokio::test]
    async fn a_fenced_client_reads_but_does_not_write() {
        let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(Response::new(())) });
        let fence = Arc::new(Fence::default());
        let mut client = FenceLayer::new(Arc::clone(&fence)).layer(inner);
        let mut send = |method: Method| {
            let request = Request::builder().method(method).body(Body::empty()).unwrap();
            client.call(request)
        };
        assert!(send(Method::GET).await.is_ok());
        let refused = send(Method::PATCH).await.unwrap_err();
        assert!(refused.downcast_ref::<NotLeader>().is_some());
        fence.open_until(Instant::now() + Duration::from_mins(1));
        assert!(send(Method::PATCH).await.is_ok());
    }
}
