//! Names, labels and annotations of what the operator makes.

use std::collections::BTreeMap;

/// Label of who manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`] on every child; also the field manager of children.
pub const OPERATOR: &str = "berth-operator";
/// Label with the SignalingCluster that a child belongs to.
pub const SIGNALING_CLUSTER: &str = "berth.dev/signaling-cluster";
/// Label with the HostPool that a child belongs to.
pub const HOST_POOL: &str = "berth.dev/host-pool";
/// Label with the TurnConfig that a child belongs to.
pub const TURN_CONFIG: &str = "berth.dev/turn-config";
/// Label of pods that talk to the Redis of the SignalingCluster in its value; the NetworkPolicy of Redis lets them in.
pub const REDIS_CLIENT: &str = "berth.dev/redis-client";
/// Label of pods, or of namespaces with all their pods, that may reach the internal ports (metrics, counts, state), with the value
/// [`YES`]; set by whoever runs them, for example on the namespace of Prometheus.
pub const INTERNAL_CLIENT: &str = "berth.dev/internal-client";
/// Value of a label that only has to be there.
pub const YES: &str = "true";
/// Label of what a pod does: a [`Component`]; the operator's own pods have [`OPERATOR`] there.
pub const NAME: &str = "app.kubernetes.io/name";
/// Annotation with the hash of what was last applied to a child. A field that is rendered no longer changes it.
pub const DESIRED_HASH: &str = "berth.dev/desired-hash";
/// Annotation of a Deployment: whether the last apply set `spec.replicas` ([`REPLICAS_FIXED`]) or left it to the
/// autoscaler ([`REPLICAS_AUTOSCALED`]). It changes together with the field, so the hand-over between the two can be
/// resumed after a crash at any point.
pub const REPLICAS: &str = "berth.dev/replicas";
/// See [`REPLICAS`].
pub const REPLICAS_FIXED: &str = "fixed";
/// See [`REPLICAS`].
pub const REPLICAS_AUTOSCALED: &str = "autoscaled";

/// Annotation of a Deployment or StatefulSet: the image that its pods run when the resource names none. It outlives the operator that
/// applied it, and an image that was named for a while.
pub const DEFAULT_IMAGE: &str = "berth.dev/default-image";

/// Field manager of the status of our resources.
pub const STATUS_MANAGER: &str = "berth-operator-status";
/// Field manager that holds `spec.replicas` of a Deployment while it passes to an autoscaler.
pub const REPLICAS_MANAGER: &str = "berth-operator-replicas";

/// What a pod does: value of the label `app.kubernetes.io/name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Signaling servers of a SignalingCluster.
    Signaling,
    /// Managed Redis of a SignalingCluster.
    Redis,
    /// Matchmaker of a HostPool.
    Matchmaker,
    /// TURN servers of a TurnConfig.
    Turn,
}

impl Component {
    /// The word in labels and names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signaling => "signaling",
            Self::Redis => "redis",
            Self::Matchmaker => "matchmaker",
            Self::Turn => "turn",
        }
    }

    /// Name of the component's objects for the resource `instance`.
    pub fn object_name(self, instance: &str) -> String {
        format!("{instance}-{}", self.as_str())
    }

    fn resource_label(self) -> &'static str {
        match self {
            Self::Signaling | Self::Redis => SIGNALING_CLUSTER,
            Self::Matchmaker => HOST_POOL,
            Self::Turn => TURN_CONFIG,
        }
    }

    /// Labels by which the component's pods are found. A Deployment cannot change them, so they never may.
    pub fn selector(self, instance: &str) -> BTreeMap<String, String> {
        [(NAME, self.as_str()), ("app.kubernetes.io/instance", instance)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// All labels of the component's objects.
    pub fn labels(self, instance: &str) -> BTreeMap<String, String> {
        let mut labels = self.selector(instance);
        labels.extend(
            [
                (MANAGED_BY, OPERATOR),
                ("app.kubernetes.io/part-of", "berth"),
                (self.resource_label(), instance),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        labels
    }

    /// The selector as text, for the scale subresource.
    pub fn selector_text(self, instance: &str) -> String {
        let pairs: Vec<_> = self
            .selector(instance)
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        pairs.join(",")
    }
}

/// Headless Service of the managed Redis, which gives its pod a name.
pub fn redis_headless(cluster: &str) -> String {
    format!("{cluster}-redis-headless")
}

/// Service that tells which nodes have a TURN server that is ready.
pub fn turn_nodes(turn_config: &str) -> String {
    format!("{turn_config}-turn-nodes")
}

/// Label of a namespace: the pod security standard that its pods must pass.
/// <https://kubernetes.io/docs/concepts/security/pod-security-admission/>
pub const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";

/// Secret with the password of the managed Redis, under the key [`REDIS_PASSWORD_KEY`].
pub fn redis_auth_secret(cluster: &str) -> String {
    format!("{cluster}-redis-auth")
}

/// Key of the password in [`redis_auth_secret`].
pub const REDIS_PASSWORD_KEY: &str = "password";
/// Port of the managed Redis.
pub const REDIS_PORT: i32 = 6379;

/// Address of the managed Redis within the Kubernetes cluster.
pub fn redis_endpoint(namespace: &str, cluster: &str) -> String {
    format!(
        "{}.{namespace}.svc:{REDIS_PORT}",
        Component::Redis.object_name(cluster)
    )
}
