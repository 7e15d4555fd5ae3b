//! How far a Deployment, StatefulSet or DaemonSet has come.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;

use crate::names;

/// How far a Deployment, StatefulSet or DaemonSet has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Hash of what was last applied ([`names::DESIRED_HASH`]).
    pub hash: String,
    /// Whether its controller has seen the newest spec.
    pub observed: bool,
    /// Pods that there should be.
    pub desired: i32,
    /// Pods that there are.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that have been ready for a while.
    pub available: i32,
    /// Image of the first container.
    pub image: Option<String>,
    /// Why its controller has given up, when it has.
    pub stuck: Option<String>,
    /// Why the API server refuses its pods, when it does and the controller says so: that of a DaemonSet does not.
    pub refused: Option<String>,
}

impl Rollout {
    /// That of a Deployment.
    pub fn of_deployment(object: &Deployment) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let spec = object.spec.as_ref();
        let says = |type_: &str, status: &str, reason: &str| {
            let mut conditions = object
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten());
            let found = conditions.find(|condition| {
                condition.type_ == type_
                    && condition.status == status
                    && condition.reason.as_deref() == Some(reason)
            });
            found.map(|condition| condition.message.clone().unwrap_or_default())
        };
        Self {
            hash: hash(object),
            observed: status.observed_generation >= object.metadata.generation,
            desired: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            replicas: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            image: spec.and_then(|spec| image(&spec.template)),
            stuck: says("Progressing", "False", "ProgressDeadlineExceeded"),
            refused: says("ReplicaFailure", "True", "FailedCreate"),
        }
    }

    /// That of a StatefulSet.
    pub fn of_stateful_set(object: &StatefulSet) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let spec = object.spec.as_ref();
        Self {
            hash: hash(object),
            observed: status.observed_generation >= object.metadata.generation,
            desired: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            replicas: status.replicas,
            updated: status.updated_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            image: spec.and_then(|spec| image(&spec.template)),
            stuck: None,
            refused: None,
        }
    }

    /// That of a DaemonSet.
    pub fn of_daemon_set(object: &DaemonSet) -> Self {
        let status = object.status.clone().unwrap_or_default();
        Self {
            hash: hash(object),
            observed: status.observed_generation >= object.metadata.generation,
            desired: status.desired_number_scheduled,
            replicas: status.current_number_scheduled,
            updated: status.updated_number_scheduled.unwrap_or_default(),
            ready: status.number_ready,
            available: status.number_available.unwrap_or_default(),
            image: object.spec.as_ref().and_then(|spec| image(&spec.template)),
            stuck: None,
            refused: None,
        }
    }

    /// Whether its controller has seen that there should be more pods than there are.
    pub fn lacks_pods(&self) -> bool {
        self.observed && self.replicas < self.desired
    }

    /// Whether every pod is of the newest template and ready, and no old one is left.
    pub fn is_complete(&self) -> bool {
        self.observed
            && [self.replicas, self.updated, self.ready, self.available]
                .iter()
                .all(|pods| *pods == self.desired)
    }
}

fn hash(object: &impl ResourceExt) -> String {
    object
        .annotations()
        .get(names::DESIRED_HASH)
        .cloned()
        .unwrap_or_default()
}

fn image(template: &PodTemplateSpec) -> Option<String> {
    template.spec.as_ref()?.containers.first()?.image.clone()
}
