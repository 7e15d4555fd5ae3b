//! What more than one kind uses.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LocalObjectReference, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A resource of one of Berth's kinds in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the resource.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
}

/// One key of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A secret that rotates: two keys of one Secret, of which both are accepted and the current one is used to issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotatingSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the secret in use.
    #[serde(default = "current_key")]
    #[schemars(length(min = 1, max = 253))]
    pub current_key: String,
    /// Key of the secret that is still accepted during a rotation; the key may be absent.
    #[serde(default = "previous_key")]
    #[schemars(length(min = 1, max = 253))]
    pub previous_key: String,
}

impl RotatingSecretRef {
    /// The Secret `name` with the usual keys `current` and `previous`.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            current_key: current_key(),
            previous_key: previous_key(),
        }
    }
}

fn current_key() -> String {
    "current".into()
}

fn previous_key() -> String {
    "previous".into()
}

/// Bounds and target of a HorizontalPodAutoscaler. While it is set, the autoscaler owns the number of pods and
/// `replicas` has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.minReplicas <= self.maxReplicas", "message": "minReplicas must not be greater than maxReplicas", "fieldPath": ".minReplicas"}
]))]
pub struct Autoscaling {
    /// Fewest pods. Reload: hot.
    #[schemars(range(min = 1, max = 200))]
    pub min_replicas: i32,
    /// Most pods. Reload: hot.
    #[schemars(range(min = 1, max = 200))]
    pub max_replicas: i32,
    /// Average CPU use of the pods that the autoscaler aims for, in per cent of their CPU request. Reload: hot.
    #[schemars(range(min = 1, max = 100))]
    pub target_cpu_percent: i32,
    /// How long fewer pods must have been enough before pods are removed, in seconds. Reload: hot.
    #[schemars(range(min = 0, max = 3600))]
    pub scale_down_stabilization_seconds: i32,
    /// Most pods that are removed within a minute, in per cent of those there are; one always may go. Reload: hot.
    #[schemars(range(min = 1, max = 100))]
    pub scale_down_percent_per_minute: i32,
}

impl Default for Autoscaling {
    fn default() -> Self {
        Self {
            min_replicas: 2,
            max_replicas: 10,
            target_cpu_percent: 70,
            scale_down_stabilization_seconds: 300,
            scale_down_percent_per_minute: 10,
        }
    }
}

/// Which image the pods run of a resource that names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePolicy {
    /// The one that the operator ran from when the resource was made: another version of the operator restarts nothing.
    #[default]
    Pinned,
    /// The one that the operator itself runs from, so that the pods are upgraded with it.
    FollowOperator,
}

/// How far the pods of a service have come in following its settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SettingsStatus {
    /// Pods that follow the newest settings.
    pub applied_pods: i32,
    /// Pods that are ready.
    pub total_pods: i32,
}

/// How a Service is exposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Inside the cluster only.
    #[default]
    ClusterIP,
    /// On a port of every node.
    NodePort,
    /// By a load balancer of the cloud.
    LoadBalancer,
}

impl ServiceType {
    /// The word in a Service.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// The public Service. The internal port is never in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.nodePort) || self.type != 'ClusterIP'", "message": "nodePort needs type NodePort or LoadBalancer", "fieldPath": ".nodePort"}
]))]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort` or `LoadBalancer`. Reload: hot.
    #[serde(rename = "type")]
    pub type_: ServiceType,
    /// Port on every node; chosen by the cluster when absent. Reload: hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
    /// Annotations of the Service, for example for the load balancer of a cloud. Reload: hot.
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

/// The PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DisruptionBudget {
    /// Whether there is one. Reload: hot.
    pub enabled: bool,
    /// How many pods a node drain may take away at a time. Reload: hot.
    #[schemars(range(min = 1, max = 200))]
    pub max_unavailable: i32,
}

impl Default for DisruptionBudget {
    fn default() -> Self {
        Self {
            enabled: true,
            max_unavailable: 1,
        }
    }
}

/// The NetworkPolicy of the pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicySpec {
    /// Whether there is one. Reload: hot.
    pub enabled: bool,
}

impl Default for NetworkPolicySpec {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// What may be said about the pods. There is no way to pass a whole pod template: what Berth needs of a pod stays
/// Berth's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Requests and limits of the service's container; absent: requests of 100m CPU and 64Mi memory, limit of 512Mi memory. Reload: rolling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels that a node must have. Reload: rolling.
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate. Reload: rolling.
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Name of the PriorityClass. Reload: rolling.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
    /// How the pods of a service are spread, at most one entry for each label of nodes; absent: over nodes and over zones, as evenly as the
    /// cluster allows; empty: as the scheduler likes. The managed Redis is one pod. Reload: rolling.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["topologyKey"])
    )]
    pub topology_spread: Option<Vec<TopologySpread>>,
    /// Secrets with the credentials of the image's registry. Reload: rolling.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// More labels of the pods; those that Berth sets itself win. Reload: rolling.
    #[schemars(extend("maxProperties" = 32))]
    pub labels: BTreeMap<String, String>,
    /// More annotations of the pods. Reload: rolling.
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

/// How evenly pods of one version are spread over the values of one label of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopologySpread {
    /// Label of the nodes, such as `topology.kubernetes.io/zone`. Reload: rolling.
    #[schemars(length(min = 1, max = 317))]
    pub topology_key: String,
    /// By how many pods two values of the label may differ; absent: 1. Reload: rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_skew: Option<i32>,
    /// What becomes of a pod that would break this: it runs all the same (`ScheduleAnyway`), or waits (`DoNotSchedule`); absent:
    /// `ScheduleAnyway`. Reload: rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_unsatisfiable: Option<WhenUnsatisfiable>,
}

/// What becomes of a pod that would break the spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenUnsatisfiable {
    /// It runs all the same.
    #[default]
    ScheduleAnyway,
    /// It waits.
    DoNotSchedule,
}

/// A quantity of bytes such as `256Mi`.
pub(super) fn quantity(text: &str) -> Quantity {
    Quantity(text.to_owned())
}
