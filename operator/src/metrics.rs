//! Metrics of the operator. Every label is out of a closed set.

mod labels;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::status::{ConditionType, Truth};
use labels::{
    Answered, AskedLabels, ConditionLabels, KindLabel, ObjectLabel, ReconcileLabels, RequestLabels,
    StateLabel,
};
pub(crate) use labels::{Kind, Outcome};

/// What is known of one kind.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Resources that exist.
    pub(crate) resources: usize,
    /// Those that wait to be looked at.
    pub(crate) waiting: usize,
    /// How long the first of them has waited.
    pub(crate) oldest: Duration,
    /// Those that cannot be read.
    pub(crate) undecodable: usize,
    /// How many have a condition with this status, by the words in the status of the resource. Other words than those of
    /// the operator are left out.
    pub(crate) conditions: HashMap<(String, String), usize>,
}

/// The operator's metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: RwLock<Registry>,
    reconciles: Family<ReconcileLabels, Counter>,
    durations: Family<ReconcileLabels, Histogram, fn() -> Histogram>,
    requests: Family<RequestLabels, Counter>,
    skipped: Family<ObjectLabel, Counter>,
    watch_restarts: Family<ObjectLabel, Counter>,
    leader: Gauge,
    resources: Family<KindLabel, Gauge>,
    waiting: Family<KindLabel, Gauge>,
    oldest: Family<KindLabel, Gauge<f64, AtomicU64>>,
    conditions: Family<ConditionLabels, Gauge>,
    watched: Family<ObjectLabel, Gauge<f64, AtomicU64>>,
    /// When each watch told something last: an age grows by itself, so it is computed when somebody asks.
    watch_told: Mutex<HashMap<&'static str, Instant>>,
    undecodable: Family<KindLabel, Gauge>,
    pods_asked: Family<AskedLabels, Counter>,
    pods_ready: Family<KindLabel, Gauge>,
    pods_following: Family<KindLabel, Gauge>,
    children: Gauge,
    secrets: Gauge,
    ice_servers: Family<StateLabel, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("berth_operator");
        let durations: Family<ReconcileLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| {
                Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0])
            });
        let inner = Inner {
            reconciles: Family::default(),
            durations,
            requests: Family::default(),
            skipped: Family::default(),
            watch_restarts: Family::default(),
            leader: Gauge::default(),
            resources: Family::default(),
            waiting: Family::default(),
            oldest: Family::default(),
            conditions: Family::default(),
            watched: Family::default(),
            watch_told: Mutex::default(),
            undecodable: Family::default(),
            pods_asked: Family::default(),
            pods_ready: Family::default(),
            pods_following: Family::default(),
            children: Gauge::default(),
            secrets: Gauge::default(),
            ice_servers: Family::default(),
            registry: RwLock::default(),
        };
        inner.register_work(&mut registry);
        inner.register_state(&mut registry);
        *inner.registry.write() = registry;
        // Series of closed sets are there from the start, so that their first event is seen as a change.
        for kind in [Kind::SignalingCluster, Kind::HostPool] {
            for answered in [Answered::Yes, Answered::No] {
                drop(inner.pods_asked.get_or_create(&AskedLabels { kind, answered }));
            }
        }
        for kind in Kind::ALL {
            for result in Outcome::ALL {
                let labels = ReconcileLabels { kind, result };
                drop(inner.reconciles.get_or_create(&labels));
                drop(inner.durations.get_or_create(&labels));
            }
        }
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl Inner {
    /// What the operator does.
    fn register_work(&self, registry: &mut Registry) {
        registry.register("reconcile", "Reconciles", self.reconciles.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "How long reconciles took",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "api_requests",
            "Requests to the Kubernetes API; code 0 is no answer",
            self.requests.clone(),
        );
        registry.register(
            "writes_skipped",
            "Children that were found to be as they should be",
            self.skipped.clone(),
        );
        registry.register(
            "watch_restarts",
            "Watches that were interrupted by an error",
            self.watch_restarts.clone(),
        );
    }

    /// What it knows.
    fn register_state(&self, registry: &mut Registry) {
        registry.register("leader", "1 while this process leads", self.leader.clone());
        registry.register("resources", "Resources that are known", self.resources.clone());
        registry.register(
            "queue_depth",
            "Resources that wait to be looked at",
            self.waiting.clone(),
        );
        registry.register_with_unit(
            "queue_oldest_age",
            "How long the resource that waits longest has waited",
            Unit::Seconds,
            self.oldest.clone(),
        );
        registry.register(
            "conditions",
            "Resources by the status of their conditions",
            self.conditions.clone(),
        );
        registry.register_with_unit(
            "watch_last_event_age",
            "Time since a watch told something",
            Unit::Seconds,
            self.watched.clone(),
        );
        registry.register(
            "undecodable_resources",
            "Resources that cannot be read",
            self.undecodable.clone(),
        );
        registry.register(
            "pods_asked",
            "Pods that were asked which settings they follow, by whether they answered",
            self.pods_asked.clone(),
        );
        registry.register(
            "pods_ready",
            "Ready pods of the services",
            self.pods_ready.clone(),
        );
        registry.register(
            "pods_following",
            "Ready pods that follow the newest settings of their resource",
            self.pods_following.clone(),
        );
        registry.register("children", "Children that are known", self.children.clone());
        registry.register(
            "secrets",
            "Secrets whose existence is known",
            self.secrets.clone(),
        );
        registry.register(
            "ice_servers",
            "STUN and TURN servers of all TurnConfigs that were asked whether they are there",
            self.ice_servers.clone(),
        );
    }
}

impl Metrics {
    /// A reconcile ended.
    pub(crate) fn reconciled(&self, kind: Kind, result: Outcome, took: Duration) {
        let labels = ReconcileLabels { kind, result };
        self.inner.reconciles.get_or_create(&labels).inc();
        self.inner
            .durations
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// A request was answered with `code`, or not at all (0).
    pub(crate) fn requested(&self, verb: &'static str, kind: &'static str, code: u16) {
        self.inner
            .requests
            .get_or_create(&RequestLabels { verb, kind, code })
            .inc();
    }

    /// A child was as it should be.
    pub(crate) fn skipped(&self, kind: &'static str) {
        self.inner.skipped.get_or_create(&ObjectLabel { kind }).inc();
    }

    /// A watch told something.
    pub(crate) fn watch_told(&self, kind: &'static str) {
        self.inner.watch_told.lock().insert(kind, Instant::now());
    }

    /// A watch ended, because its kind is no more.
    pub(crate) fn watch_ended(&self, kind: &'static str) {
        self.inner.watch_told.lock().remove(kind);
        self.inner.watched.remove(&ObjectLabel { kind });
    }

    /// A watch was interrupted.
    pub(crate) fn watch_restarted(&self, kind: &'static str) {
        self.inner
            .watch_restarts
            .get_or_create(&ObjectLabel { kind })
            .inc();
    }

    /// Whether this process leads.
    pub(crate) fn leads(&self, leads: bool) {
        self.inner.leader.set(leads.into());
    }

    /// What is known of one kind.
    pub(crate) fn known(&self, kind: Kind, known: &Known) {
        let (inner, labels) = (&self.inner, KindLabel { kind });
        let set = |family: &Family<KindLabel, Gauge>, number| {
            family.get_or_create(&labels).set(count(number));
        };
        set(&inner.resources, known.resources);
        set(&inner.waiting, known.waiting);
        set(&inner.undecodable, known.undecodable);
        inner
            .oldest
            .get_or_create(&labels)
            .set(known.oldest.as_secs_f64());
        for condition in ConditionType::value_variants() {
            for status in [Truth::True, Truth::False, Truth::Unknown] {
                let (condition, status) = (condition.as_str(), status.as_str());
                let key = (condition.to_owned(), status.to_owned());
                let labels = ConditionLabels {
                    kind,
                    condition,
                    status,
                };
                match known.conditions.get(&key) {
                    Some(number) => drop(inner.conditions.get_or_create(&labels).set(count(*number))),
                    // What no resource of the kind has is no series.
                    None => drop(inner.conditions.remove(&labels)),
                }
            }
        }
    }

    /// A pod of a resource of this kind was asked for its settings, and answered or not.
    pub(crate) fn asked_pod(&self, kind: Kind, answered: bool) {
        let answered = if answered { Answered::Yes } else { Answered::No };
        self.inner
            .pods_asked
            .get_or_create(&AskedLabels { kind, answered })
            .inc();
    }

    /// Ready pods of the resources of this kind, and those that follow the newest settings.
    pub(crate) fn follow(&self, kind: Kind, ready: usize, following: usize) {
        let labels = KindLabel { kind };
        self.inner.pods_ready.get_or_create(&labels).set(count(ready));
        self.inner
            .pods_following
            .get_or_create(&labels)
            .set(count(following));
    }

    /// Sizes of the stores.
    pub(crate) fn stored(&self, children: usize, secrets: usize) {
        self.inner.children.set(count(children));
        self.inner.secrets.set(count(secrets));
    }

    /// ICE servers that were asked: how many answered and how many did not.
    pub(crate) fn ice_servers(&self, answering: usize, silent: usize) {
        for (state, number) in [("answering", answering), ("silent", silent)] {
            self.inner
                .ice_servers
                .get_or_create(&StateLabel { state })
                .set(count(number));
        }
    }

    /// The metrics as Prometheus reads them.
    pub fn encode(&self) -> String {
        for (kind, told) in &*self.inner.watch_told.lock() {
            self.inner
                .watched
                .get_or_create(&ObjectLabel { kind })
                .set(told.elapsed().as_secs_f64());
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.inner.registry.read());
        text
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_counted_by_the_words_of_the_operator_alone() {
        let metrics = Metrics::default();
        let told = |words: [(&str, &str, usize); 2]| Known {
            conditions: words
                .map(|(kind, status, number)| ((kind.to_owned(), status.to_owned()), number))
                .into(),
            ..Known::default()
        };
        let ready = "berth_operator_conditions{kind=\"HostPool\",condition=\"Ready\",status=\"True\"} 3";
        metrics.known(
            Kind::HostPool,
            &told([("Ready", "True", 3), ("Invented", "True", 1)]),
        );
        let text = metrics.encode();
        assert!(text.contains(ready), "{text}");
        assert!(!text.contains("Invented"), "{text}");
        // And no longer when there are none.
        metrics.known(
            Kind::HostPool,
            &told([("Ready", "False", 1), ("Stalled", "Maybe", 1)]),
        );
        let text = metrics.encode();
        assert!(!text.contains(ready) && !text.contains("Maybe"), "{text}");
    }

    #[test]
    fn a_watch_that_tells_something_is_young() {
        let metrics = Metrics::default();
        assert!(!metrics.encode().contains("watch_last_event_age_seconds{"));
        metrics.watch_told("Secret");
        let text = metrics.encode();
        let line = text
            .lines()
            .find(|line| line.contains("age_seconds{kind=\"Secret\"}"));
        let age: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!((0.0..60.0).contains(&age), "{age}");
    }
}
