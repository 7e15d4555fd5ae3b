//! `HostPool`: one pool of streaming hosts, served by its own matchmaker.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{
    Autoscaling, DisruptionBudget, ImagePolicy, LocalRef, NetworkPolicySpec, PodSpec, RotatingSecretRef,
    ServiceSpec, SettingsStatus,
};
use super::way_in::{HttpRouteSpec, IngressSpec};

/// What a team wants of one pool of streaming hosts.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "HostPool",
    plural = "hostpools",
    shortname = "hp",
    category = "berth",
    category = "cloudgaming",
    namespaced,
    status = "HostPoolStatus",
    derive = "PartialEq",
    doc = "A pool of streaming hosts that register by heartbeat, and the matchmaker that hands them out to players.",
    validation = Rule::new("size(self.metadata.name) <= 40").message("metadata.name must have at most 40 characters"),
    selectable = ".spec.signalingClusterRef.name",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Hosts", type_ = "integer", json_path = ".status.hosts.total"),
    printcolumn(name = "Idle", type_ = "integer", json_path = ".status.hosts.idle"),
    printcolumn(name = "Busy", type_ = "integer", json_path = ".status.hosts.busy"),
    printcolumn(name = "Slots", type_ = "integer", json_path = ".status.slots.available"),
    printcolumn(name = "Signaling", type_ = "string", json_path = ".spec.signalingClusterRef.name"),
    printcolumn(name = "Url", type_ = "string", json_path = ".spec.publicUrl", priority = 1),
    printcolumn(name = "Turn", type_ = "string", json_path = ".spec.turnConfigRef.name", priority = 1),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.readyReplicas", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.httpPort != self.internalPort")
    .message("internalPort must differ from httpPort").field_path(".internalPort"))]
#[x_kube(validation = Rule::new("!has(self.ingress) || has(self.ingress.host) || has(self.publicUrl)")
    .message("ingress needs a host, its own or that of publicUrl").field_path(".ingress"))]
#[x_kube(validation = Rule::new("!has(self.httpRoute) || has(self.httpRoute.host) || has(self.publicUrl)")
    .message("httpRoute needs a host, its own or that of publicUrl").field_path(".httpRoute"))]
pub struct HostPoolSpec {
    /// SignalingCluster whose rooms the hosts of this pool sit in. Another cluster means another Redis, so naming one restarts the pods. Reload: rolling.
    pub signaling_cluster_ref: LocalRef,
    /// TurnConfig whose servers are handed out with each match; absent: a public STUN server. Its Secrets are mounted in the pods, so
    /// naming another restarts them. Reload: rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_config_ref: Option<LocalRef>,
    /// Container image of the matchmaker pods; absent: what `imagePolicy` says. Reload: rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Which image the pods run while `image` is absent: `Pinned` the one that the operator ran from when the resource was made, so that
    /// another version of the operator restarts nothing, `FollowOperator` the one that the operator runs from now. Reload: rolling.
    #[serde(default)]
    pub image_policy: ImagePolicy,
    /// Matchmaker pods while `autoscaling` is absent. Reload: hot.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 200))]
    pub replicas: i32,
    /// Scale the pods by their CPU use. Reload: hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Port of the API for hosts and players. Reload: rolling.
    #[serde(default = "http_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub http_port: i32,
    /// Internal port: health, readiness, metrics, counts. Never in a public Service. Reload: rolling.
    #[serde(default = "internal_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub internal_port: i32,
    /// How hosts prove that they belong to this pool.
    #[serde(default)]
    pub host_auth: HostAuth,
    /// Secret with the bearer token for changes on the internal port, such as the drain of one host; absent: the operator generates one
    /// in the Secret `NAME-admin-token`. The name is part of the pods; new contents restart nothing. Reload: rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_token_secret_ref: Option<RotatingSecretRef>,
    /// Take the pool out of service: no new matches, while sessions that run go on. The condition `Drained` is true when none is
    /// left. Reload: hot.
    #[serde(default)]
    pub drain: bool,
    /// Where the list of hosts (`GET /api/hosts`, `GET /api/hosts/ttl`) is answered: on the internal port only, or on the public port as
    /// well. The list names rooms, and who knows a room can try to join it. Reload: hot.
    #[serde(default)]
    pub host_list_access: HostListAccess,
    /// Heartbeats of hosts.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// How a host is picked.
    #[serde(default)]
    pub matching: Matching,
    /// Slots that are granted but not yet used.
    #[serde(default)]
    pub reservation: Reservation,
    /// What holds for a host that does not say otherwise in its heartbeat.
    #[serde(default)]
    pub host_defaults: HostDefaults,
    /// Rate limits of the public API.
    #[serde(default)]
    pub rate_limits: PoolRateLimits,
    /// Whose word counts.
    #[serde(default)]
    pub security: PoolSecurity,
    /// How often the counts in the status are refreshed, in seconds. Reload: hot.
    #[serde(default = "status_interval_seconds")]
    #[schemars(range(min = 1, max = 300))]
    pub status_interval_seconds: i32,
    /// Free slots below which the condition `CapacityLow` is true; 0: never. Reload: hot.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_available_slots: i32,
    /// The PodDisruptionBudget of the matchmaker pods.
    #[serde(default)]
    pub pdb: DisruptionBudget,
    /// The NetworkPolicy of the matchmaker pods.
    #[serde(default)]
    pub network_policy: NetworkPolicySpec,
    /// The public Service.
    #[serde(default)]
    pub service: ServiceSpec,
    /// Address by which hosts and players reach the matchmaker, `http://` or `https://`, without user, query or fragment. The Ingress takes
    /// its host name and path from it. Reload: hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 512), extend("pattern" = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"))]
    pub public_url: Option<String>,
    /// An Ingress to the public Service; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSpec>,
    /// An HTTPRoute of the Gateway API to the public Service; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<HttpRouteSpec>,
    /// The matchmaker pods.
    #[serde(default)]
    pub pod: PodSpec,
    /// Leave everything that this resource has become as it is: the operator writes and deletes nothing for it. Its status goes on, and the
    /// pods follow fields of class hot as ever. Reload: hot.
    #[serde(default)]
    pub paused: bool,
}

impl HostPoolSpec {
    /// A spec in which everything but the SignalingCluster has its default.
    pub fn new(signaling_cluster: impl Into<String>) -> Self {
        Self {
            signaling_cluster_ref: LocalRef {
                name: signaling_cluster.into(),
            },
            turn_config_ref: None,
            image: None,
            image_policy: ImagePolicy::default(),
            replicas: two(),
            autoscaling: None,
            http_port: http_port(),
            internal_port: internal_port(),
            host_auth: HostAuth::default(),
            admin_token_secret_ref: None,
            drain: false,
            host_list_access: HostListAccess::default(),
            heartbeat: Heartbeat::default(),
            matching: Matching::default(),
            reservation: Reservation::default(),
            host_defaults: HostDefaults::default(),
            rate_limits: PoolRateLimits::default(),
            security: PoolSecurity::default(),
            status_interval_seconds: status_interval_seconds(),
            min_available_slots: 0,
            pdb: DisruptionBudget::default(),
            network_policy: NetworkPolicySpec::default(),
            service: ServiceSpec::default(),
            public_url: None,
            ingress: None,
            http_route: None,
            pod: PodSpec::default(),
            paused: false,
        }
    }
}

/// How hosts prove that they belong to this pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostAuth {
    /// Secret with the bearer secret of the hosts; absent: the operator generates one in the Secret `NAME-host-secret`. The name is part of the pods;
    /// new contents restart nothing. Reload: rolling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<RotatingSecretRef>,
}

/// Where the list of hosts is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HostListAccess {
    /// On the internal port only.
    #[default]
    Internal,
    /// On the public port as well, for anybody.
    Public,
}

/// Heartbeats of hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// How long a host counts as alive after a heartbeat, in seconds. Reload: hot.
    #[schemars(range(min = 10, max = 600))]
    pub ttl_seconds: i32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { ttl_seconds: 30 }
    }
}

/// How a host is picked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.sampleSize) || self.strategy == 'Sample'", "message": "sampleSize needs strategy Sample", "fieldPath": ".sampleSize"}
]))]
pub struct Matching {
    /// Which of the hosts that fit is picked: `Spread` takes the one with the most free slots, `Packed` the one with the fewest, so that
    /// whole hosts stay empty, `Sample` draws a few at random and takes one of those in the best region. Equal ones are drawn at
    /// random. Reload: hot.
    pub strategy: MatchingStrategy,
    /// Hosts that `Sample` draws; absent: 50. Reload: hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub sample_size: Option<i32>,
    /// How many times more likely than in any other region a player is placed in the region that was asked for, while it has a free host; 100 means always.
    /// When it has none, another region serves. Reload: hot.
    #[schemars(range(min = 1, max = 100))]
    pub region_weight: i32,
    /// Hand out a host only while it sits in its room, as far as the room's occupancy is known. Reload: hot.
    pub require_host_in_room: bool,
    /// How long a host that is alive but not in its room is still handed out, in seconds; without effect where `requireHostInRoom` is
    /// false. Reload: hot.
    #[schemars(range(min = 0, max = 300))]
    pub unreachable_grace_seconds: i32,
}

impl Default for Matching {
    fn default() -> Self {
        Self {
            strategy: MatchingStrategy::default(),
            sample_size: None,
            region_weight: 100,
            require_host_in_room: true,
            unreachable_grace_seconds: 5,
        }
    }
}

/// Which of the hosts that fit is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MatchingStrategy {
    /// The one with the fewest free slots.
    Packed,
    /// The one with the most free slots.
    #[default]
    Spread,
    /// The best placed of a few that are drawn at random.
    Sample,
}

/// Slots that are granted but not yet used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Reservation {
    /// How long a granted slot waits for its player to join the room, in seconds. Reload: hot.
    #[schemars(range(min = 5, max = 300))]
    pub deadline_seconds: i32,
    /// How long the slot of a player who has left the room is kept for this player, in seconds: a reload of the page, or the browser's own
    /// reconnect, finds its seat. Reload: hot.
    #[schemars(range(min = 0, max = 60))]
    pub hold_seconds: i32,
}

impl Default for Reservation {
    fn default() -> Self {
        Self {
            deadline_seconds: 30,
            hold_seconds: 5,
        }
    }
}

/// What holds for a host that does not say otherwise in its heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostDefaults {
    /// Sessions that a host serves at the same time. Reload: hot.
    #[schemars(range(min = 1, max = 64))]
    pub capacity: i32,
}

impl Default for HostDefaults {
    fn default() -> Self {
        Self { capacity: 1 }
    }
}

/// Rate limits of the public API, each a number per 10 seconds, counted by each pod alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolRateLimits {
    /// Matches that one client address may ask one pod for; one over it is answered 429. Players behind one proxy share an address unless
    /// `security.trustedProxyCidrs` names it. Reload: hot.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub finds_per_ip: i32,
}

impl Default for PoolRateLimits {
    fn default() -> Self {
        Self { finds_per_ip: 20 }
    }
}

/// Whose word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolSecurity {
    /// Networks of the proxies whose `X-Forwarded-For` header is believed; empty: nobody's. Reload: hot.
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 64)),
        extend("x-kubernetes-list-type" = "set"),
        extend("x-kubernetes-validations" = [{
            "rule": "self.all(cidr, isCIDR(cidr) || isIP(cidr))",
            "message": "each entry must be an IP address or a CIDR such as 10.0.0.0/8"
        }])
    )]
    pub trusted_proxy_cidrs: Vec<String>,
}

/// What was seen of a HostPool. The counts come from one matchmaker pod, which reads them from the shared store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostPoolStatus {
    /// The `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Matchmaker pods.
    pub replicas: i32,
    /// Matchmaker pods that are ready.
    pub ready_replicas: i32,
    /// Label selector of the pods, for the scale subresource.
    pub selector: String,
    /// Image that the pods run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How many pods follow the newest settings.
    pub settings: SettingsStatus,
    /// Hosts by state.
    pub hosts: HostCounts,
    /// Slots of all hosts.
    pub slots: SlotCounts,
    /// Hosts and free slots by region; at most 64, the rest under `other`.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub regions: Vec<RegionCounts>,
    /// Requests for a match that were refused in the last 5 minutes, by the region that was asked for; at most 64, the rest under `other`.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["region"]))]
    pub demand: Vec<RegionDemand>,
    /// `Ready`, `Reconciling`, `Stalled` (as kstatus reads them), `Paused`, `Available`, `ResolvedRefs`, `SettingsApplied`, `SecurityWarnings`, `HostsAvailable`, `CapacityLow`, `Drained`, `AutoscalingOwnsReplicas`, `AutoscalingLimited`, `RouteAccepted`.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Hosts by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostCounts {
    /// Hosts whose heartbeat is alive.
    pub total: i64,
    /// Hosts with a free slot.
    pub idle: i64,
    /// Hosts without a free slot.
    pub busy: i64,
    /// Hosts with a slot that is granted but not yet used.
    pub allocated: i64,
    /// Hosts that are alive but not in their room, so that no player could reach them.
    pub unreachable: i64,
    /// Hosts that serve their sessions to the end and get no new ones.
    pub draining: i64,
}

/// Slots of all hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SlotCounts {
    /// Sessions that all hosts together could serve.
    pub total: i64,
    /// Sessions that could begin now.
    pub available: i64,
    /// Sessions that run, and slots that are kept for a player who is about to come or come back.
    pub taken: i64,
}

/// Hosts and free slots of one region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RegionCounts {
    /// Region as the hosts name it.
    pub name: String,
    /// Hosts whose heartbeat is alive.
    pub hosts: i64,
    /// Sessions that could begin now.
    pub available_slots: i64,
}

/// Requests for a match that one region could not serve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RegionDemand {
    /// Region as players ask for it.
    pub region: String,
    /// Requests that were refused in the last 5 minutes.
    pub refused: i64,
}

fn two() -> i32 {
    2
}

fn http_port() -> i32 {
    8080
}

fn internal_port() -> i32 {
    9090
}

fn status_interval_seconds() -> i32 {
    15
}
