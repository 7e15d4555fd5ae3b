//! One object that a resource becomes.

use std::fmt;

use aws_lc_rs::digest;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{ApiResource, ObjectMeta};
use serde_json::Value;

use crate::gateway::HttpRoute;
use crate::names;

/// Kinds of children, in the order in which they are applied: a pod finds its account, secrets, name and policies when it
/// starts; an autoscaler finds its Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// `v1`
    ServiceAccount,
    /// `rbac.authorization.k8s.io/v1`
    Role,
    /// `rbac.authorization.k8s.io/v1`
    RoleBinding,
    /// `v1`; only generated ones.
    Secret,
    /// `v1`
    Service,
    /// `networking.k8s.io/v1`
    NetworkPolicy,
    /// `networking.k8s.io/v1`
    Ingress,
    /// `gateway.networking.k8s.io/v1`; not every Kubernetes cluster has it.
    HTTPRoute,
    /// `policy/v1`
    PodDisruptionBudget,
    /// `apps/v1`
    StatefulSet,
    /// `apps/v1`
    DaemonSet,
    /// `apps/v1`
    Deployment,
    /// `autoscaling/v2`
    HorizontalPodAutoscaler,
}

impl ChildKind {
    /// All kinds in order.
    pub const ALL: [Self; 13] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::Secret,
        Self::Service,
        Self::NetworkPolicy,
        Self::Ingress,
        Self::HTTPRoute,
        Self::PodDisruptionBudget,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::Deployment,
        Self::HorizontalPodAutoscaler,
    ];

    /// Group, version, kind and plural of the kind.
    pub fn api_resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Role => ApiResource::erase::<Role>(&()),
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Self::Secret => ApiResource::erase::<k8s_openapi::api::core::v1::Secret>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::Ingress => ApiResource::erase::<Ingress>(&()),
            Self::HTTPRoute => ApiResource::erase::<HttpRoute>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::HorizontalPodAutoscaler => ApiResource::erase::<HorizontalPodAutoscaler>(&()),
        }
    }

    /// The kind as manifests name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Ingress => "Ingress",
            Self::HTTPRoute => "HTTPRoute",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::DaemonSet => "DaemonSet",
            Self::StatefulSet => "StatefulSet",
            Self::Deployment => "Deployment",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
        }
    }

    /// Whether running pods may still need the object: such a one is pruned only after the rollout which replaces them. What makes pods goes
    /// first: pods of a Deployment in the network of their nodes keep the ports that those of a DaemonSet need, and the other way round.
    pub(crate) fn is_used_by_pods(self) -> bool {
        !matches!(
            self,
            Self::HorizontalPodAutoscaler
                | Self::PodDisruptionBudget
                | Self::NetworkPolicy
                | Self::Ingress
                | Self::HTTPRoute
                | Self::Deployment
                | Self::DaemonSet
        )
    }
}

/// A child within the namespace of its owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId {
    /// Kind.
    pub kind: ChildKind,
    /// Name.
    pub name: String,
}

impl ChildId {
    /// The `kind` called `name`.
    pub fn new(kind: ChildKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// A Secret that is made once with a random value and never touched again.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedSecret {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Key of the random value.
    pub key: &'static str,
}

/// An object that a resource becomes.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "short-lived, a dozen at a time")]
pub enum Child {
    /// Identity of the pods.
    ServiceAccount(ServiceAccount),
    /// What the pods may read.
    Role(Role),
    /// Gives the Role to the identity.
    RoleBinding(RoleBinding),
    /// A random secret.
    Secret(GeneratedSecret),
    /// The way to the pods.
    Service(Service),
    /// Who may reach the pods.
    NetworkPolicy(NetworkPolicy),
    /// The way in from outside the cluster.
    Ingress(Ingress),
    /// The same through the Gateway API.
    HTTPRoute(HttpRoute),
    /// How many pods a drain may take.
    PodDisruptionBudget(PodDisruptionBudget),
    /// Redis.
    StatefulSet(StatefulSet),
    /// TURN servers, one on each node.
    DaemonSet(DaemonSet),
    /// A service, or TURN servers.
    Deployment(Deployment),
    /// Scales a Deployment.
    HorizontalPodAutoscaler(HorizontalPodAutoscaler),
}

/// A child as it is sent: its JSON, and the hash of that in an annotation.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedChild {
    /// Which one it is.
    pub id: ChildId,
    /// Hash of everything else in `value`.
    pub hash: String,
    /// The object.
    pub value: Value,
}

impl Child {
    /// Which one it is.
    pub fn id(&self) -> ChildId {
        let (kind, metadata) = match self {
            Self::ServiceAccount(object) => (ChildKind::ServiceAccount, &object.metadata),
            Self::Role(object) => (ChildKind::Role, &object.metadata),
            Self::RoleBinding(object) => (ChildKind::RoleBinding, &object.metadata),
            Self::Secret(object) => (ChildKind::Secret, &object.metadata),
            Self::Service(object) => (ChildKind::Service, &object.metadata),
            Self::NetworkPolicy(object) => (ChildKind::NetworkPolicy, &object.metadata),
            Self::Ingress(object) => (ChildKind::Ingress, &object.metadata),
            Self::HTTPRoute(object) => (ChildKind::HTTPRoute, &object.metadata),
            Self::PodDisruptionBudget(object) => (ChildKind::PodDisruptionBudget, &object.metadata),
            Self::StatefulSet(object) => (ChildKind::StatefulSet, &object.metadata),
            Self::DaemonSet(object) => (ChildKind::DaemonSet, &object.metadata),
            Self::Deployment(object) => (ChildKind::Deployment, &object.metadata),
            Self::HorizontalPodAutoscaler(object) => (ChildKind::HorizontalPodAutoscaler, &object.metadata),
        };
        ChildId::new(kind, metadata.name.clone().unwrap_or_default())
    }

    /// The child as it is applied; `None` for a generated Secret, which is not applied but made.
    ///
    /// The hash is taken over the typed object, whose fields have a fixed order, so that it does not depend on how
    /// a JSON library orders maps.
    pub fn seal(&self) -> Result<Option<SealedChild>, serde_json::Error> {
        let (bytes, mut value) = match self {
            Self::Secret(_) => return Ok(None),
            Self::ServiceAccount(object) => both(object)?,
            Self::Role(object) => both(object)?,
            Self::RoleBinding(object) => both(object)?,
            Self::Service(object) => both(object)?,
            Self::NetworkPolicy(object) => both(object)?,
            Self::Ingress(object) => both(object)?,
            Self::HTTPRoute(object) => both(object)?,
            Self::PodDisruptionBudget(object) => both(object)?,
            Self::StatefulSet(object) => both(object)?,
            Self::DaemonSet(object) => both(object)?,
            Self::Deployment(object) => both(object)?,
            Self::HorizontalPodAutoscaler(object) => both(object)?,
        };
        let digest = digest::digest(&digest::SHA256, &bytes);
        let hash = hex(&digest.as_ref()[..16]);
        value["metadata"]["annotations"][names::DESIRED_HASH] = Value::String(hash.clone());
        Ok(Some(SealedChild {
            id: self.id(),
            hash,
            value,
        }))
    }
}

fn both(object: &impl serde::Serialize) -> Result<(Vec<u8>, Value), serde_json::Error> {
    Ok((serde_json::to_vec(object)?, serde_json::to_value(object)?))
}

/// `bytes` in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
