//! Health: readiness, `/healthz`, `/readyz`, `/metrics`, `/statusz`.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::RwLock;
use serde_json::{Map, Value, json};

use crate::shutdown::{Phase, Shutdown};
use crate::telemetry::{METRICS_CONTENT_TYPE, Metrics};

/// The health of one service. Clones share it.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

struct Shared {
    service: &'static str,
    instance: String,
    shutdown: Shutdown,
    checks: RwLock<Vec<(&'static str, Check)>>,
    sections: RwLock<Vec<(&'static str, Section)>>,
}

type Check = Arc<dyn Fn() -> Option<String> + Send + Sync>;
type Section = Arc<dyn Fn() -> Value + Send + Sync>;

/// Something that must have happened before a service is ready. Closed until opened.
#[derive(Clone)]
pub struct Gate {
    /// Why it is closed; `None` while it is open.
    reason: Arc<RwLock<Option<Cow<'static, str>>>>,
}

/// Whether a service is ready, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// No reason speaks against it.
    pub ready: bool,
    /// What is missing, as `name: reason`.
    pub reasons: Vec<String>,
}

// === impl Health ===

impl Health {
    /// `service` is `signaling` or `matchmaker`. Not ready from [`Phase::NotReady`] of `shutdown` on.
    pub fn new(service: &'static str, instance: impl Into<String>, shutdown: &Shutdown) -> Self {
        let shared = Shared {
            service,
            instance: instance.into(),
            shutdown: shutdown.clone(),
            checks: RwLock::default(),
            sections: RwLock::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Adds a gate: not ready with `reason` until it is opened.
    pub fn gate(&self, name: &'static str, reason: impl Into<Cow<'static, str>>) -> Gate {
        let gate = Gate {
            reason: Arc::new(RwLock::new(Some(reason.into()))),
        };
        let asked = gate.clone();
        self.check(name, move || asked.reason.read().as_deref().map(str::to_owned));
        gate
    }

    /// Adds a check that is asked at each request for readiness: `None` is fine, else the reason. It must not block.
    pub fn check(&self, name: &'static str, check: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.shared.checks.write().push((name, Arc::new(check)));
    }

    /// Adds a key to `/statusz`. The function must not block and must not give secrets away.
    pub fn section(&self, name: &'static str, section: impl Fn() -> Value + Send + Sync + 'static) {
        self.shared.sections.write().push((name, Arc::new(section)));
    }

    /// Whether the service is ready now.
    pub fn readiness(&self) -> Readiness {
        let checks = self.shared.checks.read().clone();
        let mut reasons: Vec<String> = checks
            .iter()
            .filter_map(|(name, check)| Some(format!("{name}: {}", check()?)))
            .collect();
        if self.shared.shutdown.phase() >= Phase::NotReady {
            reasons.push("shutdown: draining".to_owned());
        }
        Readiness {
            ready: reasons.is_empty(),
            reasons,
        }
    }

    /// The document of `/statusz`: `service`, `instance`, `version`, `ready`, `notReady` and the sections.
    pub fn status(&self) -> Value {
        let Readiness { ready, reasons } = self.readiness();
        let mut document = Map::new();
        document.insert("service".to_owned(), json!(self.shared.service));
        document.insert("instance".to_owned(), json!(self.shared.instance));
        document.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
        document.insert("ready".to_owned(), json!(ready));
        document.insert("notReady".to_owned(), json!(reasons));
        for (name, section) in self.shared.sections.read().clone() {
            document.insert(name.to_owned(), section());
        }
        Value::Object(document)
    }
}

// === impl Gate ===

impl Gate {
    /// From now on nothing here speaks against readiness.
    pub fn open(&self) {
        *self.reason.write() = None;
    }

    /// Not ready, for this reason.
    pub fn close(&self, reason: impl Into<Cow<'static, str>>) {
        *self.reason.write() = Some(reason.into());
    }
}

/// `GET /healthz` (200 `ok`) and `GET /readyz` (200 `ready`, 503 `not-ready`), without a fallback.
pub fn health_router(health: &Health) -> Router {
    readiness_router(vec![health.clone()])
}

/// `GET /metrics`, without a fallback.
pub fn metrics_router(metrics: &Metrics) -> Router {
    let metrics = metrics.clone();
    let answer = move || {
        let text = metrics.encode();
        async move { ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], text) }
    };
    Router::new().route("/metrics", get(answer))
}

/// The internal port: health, readiness, `/metrics` and `/statusz`, 404 `not-found` for the rest.
///
/// Several services of one process may share it: it is ready when all are, and `/statusz` is an object with one
/// document per service; of a single service it is the document itself. A service adds its own routes by `merge`.
pub fn internal_router(services: &[Health], metrics: &Metrics) -> Router {
    let statuses = services.to_vec();
    let status = move || {
        let document = status_document(&statuses);
        async move { axum::Json(document) }
    };
    readiness_router(services.to_vec())
        .merge(metrics_router(metrics))
        .route("/statusz", get(status))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not-found") })
}

fn readiness_router(services: Vec<Health>) -> Router {
    let ready = move || {
        let ready = services.iter().all(|health| health.readiness().ready);
        async move {
            if ready {
                (StatusCode::OK, "ready").into_response()
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "not-ready").into_response()
            }
        }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
}

fn status_document(services: &[Health]) -> Value {
    match services {
        [only] => only.status(),
        many => many
            .iter()
            .map(|health| (health.shared.service.to_owned(), health.status()))
            .collect(),
    }
}
