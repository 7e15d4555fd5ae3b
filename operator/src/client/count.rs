//! Counts requests by verb, kind and code.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

use crate::metrics::Metrics;

/// Counts every request of a client.
#[derive(Clone)]
pub(crate) struct CountLayer {
    metrics: Metrics,
}

impl CountLayer {
    /// Counts in `metrics`.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for CountLayer {
    type Service = Count<S>;

    fn layer(&self, inner: S) -> Count<S> {
        Count {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

/// See [`CountLayer`].
#[derive(Clone)]
pub(crate) struct Count<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<Request<Body>> for Count<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (verb, kind) = describe(request.method(), request.uri().path(), request.uri().query());
        let metrics = self.metrics.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into);
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            metrics.requested(verb, kind, code);
            answer
        })
    }
}

/// Verb and kind of a request, both out of closed sets.
fn describe(method: &Method, path: &str, query: Option<&str>) -> (&'static str, &'static str) {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    // api/v1/... and apis/GROUP/VERSION/...
    let rest = parts
        .get(if parts.first() == Some(&"api") { 2 } else { 3 }..)
        .unwrap_or_default();
    let rest = match rest {
        ["namespaces", _, inside @ ..] if !inside.is_empty() => inside,
        other => other,
    };
    let kind = rest.first().map_or("other", |plural| known(plural));
    let named = rest.len() > 1;
    let watches = query.is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    let verb = match *method {
        Method::GET if watches => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH if rest.get(2) == Some(&"status") => "patch-status",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    };
    (verb, kind)
}

fn known(plural: &str) -> &'static str {
    const KINDS: [&str; 22] = [
        "signalingclusters",
        "hostpools",
        "turnconfigs",
        "serviceaccounts",
        "roles",
        "rolebindings",
        "secrets",
        "services",
        "networkpolicies",
        "ingresses",
        "httproutes",
        "poddisruptionbudgets",
        "statefulsets",
        "daemonsets",
        "deployments",
        "horizontalpodautoscalers",
        "endpointslices",
        "leases",
        "namespaces",
        "events",
        "customresourcedefinitions",
        "apiservices",
    ];
    KINDS.into_iter().find(|kind| *kind == plural).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_described_by_closed_sets() {
        let get = |path, query| describe(&Method::GET, path, query);
        assert_eq!(
            get("/api/v1/secrets", Some("watch=true&x=1")),
            ("watch", "secrets")
        );
        assert_eq!(get("/api/v1/namespaces/ns/secrets", None), ("list", "secrets"));
        assert_eq!(get("/api/v1/namespaces/ns/secrets/a", None), ("get", "secrets"));
        assert_eq!(get("/api/v1/namespaces/ns", None), ("get", "namespaces"));
        assert_eq!(get("/version", None), ("list", "other"));
        assert_eq!(
            describe(
                &Method::PATCH,
                "/apis/berth.dev/v1alpha1/namespaces/ns/hostpools/eu/status",
                None
            ),
            ("patch-status", "hostpools")
        );
        assert_eq!(
            describe(&Method::DELETE, "/apis/apps/v1/namespaces/ns/deployments/a", None),
            ("delete", "deployments")
        );
        assert_eq!(get("/apis/x/v1/namespaces/ns/strangers", None), ("list", "other"));
    }
}
