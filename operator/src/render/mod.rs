//! From resources to the objects that they become: pure, and the same every time.
//!
//! ```text
//! SignalingCluster ─▶ signaling  ─┬▶ workload   what both services have: Deployment, Service, HPA, PDB, access
//! HostPool         ─▶ matchmaker ─┤      └▶ pod  the pod template
//!                                 ├▶ network    NetworkPolicies
//!                                 ├▶ way_in     Ingress, HTTPRoute
//!                                 └▶ redis      the managed Redis
//! TurnConfig       ─▶ turn                       the coturn servers that Berth runs
//! ```
//!
//! Nothing here reads a clock, a random number or a server. What is rendered holds no label or annotation of the
//! resource itself, so that tools which mark what they own (Argo CD, Flux, Helm, `kubectl apply`) never find
//! their mark on a child. References are resolved before; a Deployment whose references are not resolved is *withheld*:
//! neither applied nor pruned, so running pods stay as they are.

mod child;
mod images;
mod manifests;
mod matchmaker;
mod meta;
mod network;
mod pod;
mod quantity;
mod redis;
mod signaling;
mod turn;
mod way_in;
mod workload;

#[cfg(test)]
mod tests;

pub use child::{Child, ChildId, ChildKind, GeneratedSecret, SealedChild};
pub use images::{Pins, Running};
pub use manifests::{GENERATED, Manifest, ManifestError, render_manifests};
pub use matchmaker::host_pool;
pub use meta::Owner;
pub use pod::PodLinks;
pub(crate) use quantity::same as same_quantity;
pub use redis::RedisAccess;
pub use signaling::signaling_cluster;
pub use turn::{turn_config, turn_workload};

use std::collections::BTreeSet;

/// What the operator was installed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Image of signaling and matchmaker pods whose resource names none.
    pub image: String,
    /// Image of managed Redis pods whose resource names none.
    pub redis_image: String,
    /// Image of managed TURN servers.
    pub coturn_image: String,
    /// `imagePullPolicy` of all pods.
    pub image_pull_policy: PullPolicy,
    /// `imagePullSecrets` of all pods, where a resource names none.
    pub image_pull_secrets: Vec<String>,
}

/// What the Kubernetes cluster offers beyond what every one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// `HTTPRoute` of the Gateway API.
    pub routes: bool,
    /// Custom metrics for autoscalers (`custom.metrics.k8s.io`).
    pub custom_metrics: bool,
}

impl Offered {
    /// All of it.
    pub const EVERYTHING: Self = Self {
        routes: true,
        custom_metrics: true,
    };
}

/// When a node pulls an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// At every start of a pod.
    Always,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Never: it must be there.
    Never,
}

impl PullPolicy {
    /// The word in a pod.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// What a resource should have become.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Objects to apply, in this order.
    pub children: Vec<Child>,
    /// Objects to leave as they are, because what they need is missing.
    pub withheld: BTreeSet<ChildId>,
    /// Fewest pods of an autoscaled Deployment, with which it begins.
    pub autoscaled_floor: Option<i32>,
}

/// Why a resource cannot be rendered. The resource is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A quantity of bytes cannot be read or is out of bounds.
    #[error("{path}: must be a quantity such as 256Mi, of at least {least} B, is {value}")]
    Quantity {
        /// Path of the field.
        path: &'static str,
        /// What the field says.
        value: String,
        /// Fewest bytes.
        least: u64,
    },
}
