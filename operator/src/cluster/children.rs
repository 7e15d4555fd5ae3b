//! The children that exist, what was found out about them, and what was written but not seen yet.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::settings::ObjectName;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::{ObjectMeta, PartialObjectMeta};
use parking_lot::RwLock;
use serde::Serialize;
use serde_json::Value;

use crate::gateway::HttpRoute;
use crate::names;
use crate::render::{ChildId, ChildKind, Running};
use crate::status::{Autoscaler, Rollout, Route};

/// How long a write may take to come back by the watch before the object is looked at as it is known.
const WRITE_VISIBLE_WITHIN: Duration = Duration::from_secs(30);

/// What others tell of a child.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    Autoscaler(Autoscaler),
    Route(Route),
}

/// A child as the watch saw it: what is asked for often, and all of it as JSON. The typed object would take ten times the
/// memory, and there are many.
#[derive(Debug, Default)]
pub(crate) struct LiveChild {
    /// `metadata.uid`
    pub(crate) uid: Option<String>,
    /// `metadata.resourceVersion`
    pub(crate) resource_version: Option<String>,
    /// Whether it is being deleted.
    pub(crate) is_leaving: bool,
    /// Reference of the controller that owns it.
    pub(crate) controller: Option<OwnerReference>,
    /// Annotation [`names::DESIRED_HASH`].
    pub(crate) hash: Option<String>,
    /// Annotation [`names::REPLICAS`].
    pub(crate) replicas_by: Option<String>,
    /// Annotation [`names::DEFAULT_IMAGE`].
    pub(crate) default_image: Option<String>,
    /// How far it has come, when it has pods.
    pub(crate) rollout: Option<Rollout>,
    /// What others tell of it.
    pub(crate) report: Option<Report>,
    json: Box<[u8]>,
}

impl LiveChild {
    /// What is kept of an object.
    pub(crate) fn new<K: ChildObject>(mut object: K) -> Self {
        let rollout = object.rollout();
        let report = object.report();
        object.strip();
        let metadata = object.meta();
        let annotation = |key| metadata.annotations.as_ref()?.get(key).cloned();
        Self {
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            is_leaving: metadata.deletion_timestamp.is_some(),
            controller: controller_of(metadata).cloned(),
            hash: annotation(names::DESIRED_HASH),
            replicas_by: annotation(names::REPLICAS),
            default_image: annotation(names::DEFAULT_IMAGE),
            rollout,
            report,
            // Should it ever fail, the object reads as one that differs, and is applied.
            json: serde_json::to_vec(&object).unwrap_or_default().into(),
        }
    }

    /// What its pods run; without a live object `last` is the image that they ran as far as is known.
    pub(crate) fn running<'a>(live: Option<&'a Self>, last: Option<&'a String>) -> Running<'a> {
        let image = match live {
            Some(live) => live.rollout.as_ref().and_then(|rollout| rollout.image.as_deref()),
            None => last.map(String::as_str),
        };
        Running {
            default: live.and_then(|live| live.default_image.as_deref()),
            image,
        }
    }

    /// The object, without `managedFields` and status.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }
}

/// Whether version `one` of an object came before `other`. They are numbers that grow (Kubernetes API concepts, "Resource versions"); with
/// others nothing is known.
fn is_older(one: Option<&String>, other: Option<&String>) -> bool {
    let number = |version: Option<&String>| version?.parse::<u64>().ok();
    number(one)
        .zip(number(other))
        .is_some_and(|(one, other)| one < other)
}

/// Reference of the controller that owns an object.
pub(crate) fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata
        .owner_references
        .iter()
        .flatten()
        .find(|reference| reference.controller == Some(true))
}

/// A kind of child.
pub(crate) trait ChildObject: Resource<DynamicType = ()> + Serialize + Send + 'static {
    /// The kind.
    const KIND: ChildKind;

    /// How far it has come, when it has pods.
    fn rollout(&self) -> Option<Rollout> {
        None
    }

    /// What others tell of it.
    fn report(&self) -> Option<Report> {
        None
    }

    /// Drops what is not needed here.
    fn strip(&mut self) {
        strip_metadata(self.meta_mut());
    }
}

/// What was found to agree: the live object at this version is what `hash` stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Agreement {
    /// Hash of the rendered object.
    pub(crate) hash: String,
    /// Version of the live object.
    pub(crate) resource_version: Option<String>,
    /// Digest of the rendered fields as the server has them.
    pub(crate) projection: [u8; 32],
}

/// What a reconcile needs to know of a child.
#[derive(Clone)]
pub(crate) struct ChildView {
    /// The object, when there is one.
    pub(crate) live: Option<Arc<LiveChild>>,
    /// What was found about it.
    pub(crate) agreement: Option<Arc<Agreement>>,
    /// Hash of a write that the watch has not shown yet.
    pub(crate) in_flight: Option<String>,
}

#[derive(Default)]
pub(crate) struct Children {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<(ChildKind, ObjectName), Entry>,
    /// By uid of the owner.
    owned: HashMap<String, BTreeSet<ChildId>>,
    /// Writes that the watch has not shown yet; each ends with an event of its object that is as new, or is forgotten in time.
    writes: HashMap<(ChildKind, ObjectName), Write>,
}

struct Entry {
    live: Arc<LiveChild>,
    agreement: Option<Arc<Agreement>>,
}

struct Write {
    agreement: Arc<Agreement>,
    at: Instant,
}

impl Children {
    /// Takes in what the watch saw; gives what was there before, and whether it is another version.
    pub(crate) fn put<K: ChildObject>(&self, name: &ObjectName, object: K) -> (Option<Arc<LiveChild>>, bool) {
        let key = (K::KIND, name.clone());
        let mut inner = self.inner.write();
        let before = inner.entries.get(&key).map(|entry| Arc::clone(&entry.live));
        if let Some(before) = &before
            && before.resource_version == object.meta().resource_version
        {
            return (Some(Arc::clone(before)), false);
        }
        let live = Arc::new(LiveChild::new(object));
        // An event of what was there before the write says nothing about it.
        let shown = inner.writes.get(&key).is_none_or(|write| {
            !is_older(
                live.resource_version.as_ref(),
                write.agreement.resource_version.as_ref(),
            )
        });
        let written = if shown { inner.writes.remove(&key) } else { None };
        let written = written.map(|write| write.agreement);
        let id = ChildId::new(K::KIND, &name.name);
        let entry = inner.entries.remove(&key);
        if let Some(entry) = &entry {
            inner.disown(&entry.live, &id);
        }
        inner.own(&live, id);
        let same_object = entry.as_ref().is_some_and(|entry| entry.live.uid == live.uid);
        let agreement = written.or_else(|| entry.and_then(|entry| entry.agreement).filter(|_| same_object));
        inner.entries.insert(key, Entry { live, agreement });
        (before, true)
    }

    /// The watch saw the object disappear.
    pub(crate) fn remove(&self, kind: ChildKind, name: &ObjectName) -> Option<Arc<LiveChild>> {
        let key = (kind, name.clone());
        let mut inner = self.inner.write();
        inner.writes.remove(&key);
        let entry = inner.entries.remove(&key)?;
        inner.disown(&entry.live, &ChildId::new(kind, &name.name));
        Some(entry.live)
    }

    /// What is known of a child.
    pub(crate) fn view(&self, namespace: &str, id: &ChildId, now: Instant) -> ChildView {
        let key = (id.kind, ObjectName::new(namespace, &id.name));
        let inner = self.inner.read();
        let entry = inner.entries.get(&key);
        let in_flight = inner
            .writes
            .get(&key)
            .filter(|write| now.saturating_duration_since(write.at) < WRITE_VISIBLE_WITHIN)
            .map(|write| write.agreement.hash.clone());
        ChildView {
            live: entry.map(|entry| Arc::clone(&entry.live)),
            agreement: entry.and_then(|entry| entry.agreement.clone()),
            in_flight,
        }
    }

    /// The child as the watch saw it.
    pub(crate) fn live(&self, namespace: &str, id: &ChildId) -> Option<Arc<LiveChild>> {
        let key = (id.kind, ObjectName::new(namespace, &id.name));
        self.inner
            .read()
            .entries
            .get(&key)
            .map(|entry| Arc::clone(&entry.live))
    }

    /// All children of the owner with this uid.
    pub(crate) fn owned_by(&self, uid: &str) -> BTreeSet<ChildId> {
        self.inner.read().owned.get(uid).cloned().unwrap_or_default()
    }

    /// Notes that the live object agrees.
    pub(crate) fn agree(&self, namespace: &str, id: &ChildId, agreement: Agreement) {
        let key = (id.kind, ObjectName::new(namespace, &id.name));
        if let Some(entry) = self.inner.write().entries.get_mut(&key) {
            entry.agreement = Some(Arc::new(agreement));
        }
    }

    /// Notes a write and what the server answered.
    pub(crate) fn wrote(&self, namespace: &str, id: &ChildId, agreement: Agreement, at: Instant) {
        let key = (id.kind, ObjectName::new(namespace, &id.name));
        let agreement = Arc::new(agreement);
        let mut inner = self.inner.write();
        // The watch may have been faster than the answer.
        if let Some(entry) = inner.entries.get_mut(&key)
            && entry.live.resource_version == agreement.resource_version
        {
            entry.agreement = Some(agreement);
            return;
        }
        inner.writes.insert(key, Write { agreement, at });
    }

    /// Forgets every child of a kind that no longer exists.
    pub(crate) fn forget(&self, kind: ChildKind) {
        let mut inner = self.inner.write();
        inner.writes.retain(|(of, _), _| *of != kind);
        let gone: Vec<_> = inner
            .entries
            .extract_if(|(of, _), _| *of == kind)
            .map(|((_, name), entry)| (name, entry.live))
            .collect();
        for (name, live) in gone {
            inner.disown(&live, &ChildId::new(kind, &name.name));
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.inner.read().entries.len()
    }
}

impl Inner {
    fn own(&mut self, live: &LiveChild, id: ChildId) {
        if let Some(owner) = &live.controller {
            self.owned.entry(owner.uid.clone()).or_default().insert(id);
        }
    }

    fn disown(&mut self, live: &LiveChild, id: &ChildId) {
        let Some(owner) = &live.controller else {
            return;
        };
        if let Some(children) = self.owned.get_mut(&owner.uid) {
            children.remove(id);
            if children.is_empty() {
                self.owned.remove(&owner.uid);
            }
        }
    }
}

/// Clears what only others need of metadata. It is most of the size of a small object.
pub(crate) fn strip_metadata(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

macro_rules! child_objects {
    ($($kind:ident { $($extra:tt)* })*) => {$(
        impl ChildObject for $kind {
            const KIND: ChildKind = ChildKind::$kind;
            $($extra)*
        }
    )*};
}

child_objects! {
    ServiceAccount {}
    Role {}
    RoleBinding {}
    NetworkPolicy {}
    Service { fn strip(&mut self) { strip_metadata(&mut self.metadata); self.status = None; } }
    Ingress { fn strip(&mut self) { strip_metadata(&mut self.metadata); self.status = None; } }
    PodDisruptionBudget { fn strip(&mut self) { strip_metadata(&mut self.metadata); self.status = None; } }
    HorizontalPodAutoscaler {
        fn report(&self) -> Option<Report> { Some(Report::Autoscaler(Autoscaler::of(self))) }
        fn strip(&mut self) { strip_metadata(&mut self.metadata); self.status = None; }
    }
    StatefulSet {
        fn rollout(&self) -> Option<Rollout> { Some(Rollout::of_stateful_set(self)) }
        fn strip(&mut self) { strip_metadata(&mut self.metadata); self.status = None; }
    }
    DaemonSet {
        fn rollout(&self) -> Option<Rollout> { Some(Rollout::of_daemon_set(self)) }
        fn strip(&mut self) { strip_metadata(&mut self.metadata); self.status = None; }
    }
    Deployment {
        fn rollout(&self) -> Option<Rollout> { Some(Rollout::of_deployment(self)) }
        fn strip(&mut self) { strip_metadata(&mut self.metadata); self.status = None; }
    }
}

impl ChildObject for HttpRoute {
    const KIND: ChildKind = ChildKind::HTTPRoute;

    fn report(&self) -> Option<Report> {
        Some(Report::Route(Route::of(self)))
    }

    fn strip(&mut self) {
        strip_metadata(&mut self.metadata);
        self.status = Value::Null;
    }
}

impl ChildObject for PartialObjectMeta<Secret> {
    const KIND: ChildKind = ChildKind::Secret;
}
