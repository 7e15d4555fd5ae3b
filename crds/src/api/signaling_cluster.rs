//! `SignalingCluster`: how signaling behaves, and the Redis behind it.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::Auth;
use super::common::{
    Autoscaling, DisruptionBudget, ImagePolicy, LocalRef, NetworkPolicySpec, PodSpec, SecretKeyRef,
    ServiceSpec, SettingsStatus, quantity,
};
use super::way_in::{HttpRouteSpec, IngressSpec};

/// What a team wants of its signaling servers.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "SignalingCluster",
    plural = "signalingclusters",
    shortname = "sigc",
    category = "berth",
    category = "cloudgaming",
    namespaced,
    status = "SignalingClusterStatus",
    derive = "PartialEq",
    doc = "Signaling servers, through which players and streaming hosts exchange SDP and ICE candidates, and the Redis behind them.",
    validation = Rule::new("size(self.metadata.name) <= 40").message("metadata.name must have at most 40 characters"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Connections", type_ = "integer", json_path = ".status.connections"),
    printcolumn(name = "Redis", type_ = "string", json_path = ".status.conditions[?(@.type==\"RedisReady\")].status"),
    printcolumn(name = "Url", type_ = "string", json_path = ".spec.publicUrl", priority = 1),
    printcolumn(name = "Image", type_ = "string", json_path = ".status.image", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.wsPort != self.healthPort")
    .message("healthPort must differ from wsPort").field_path(".healthPort"))]
#[x_kube(validation = Rule::new("!self.security.requireWss || self.publicUrl.startsWith('wss://')")
    .message("publicUrl must start with wss:// while security.requireWss is true").field_path(".publicUrl"))]
pub struct SignalingClusterSpec {
    /// Container image of the signaling pods; absent: what `imagePolicy` says. Reload: rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Which image the pods run while `image` is absent: `Pinned` the one that the operator ran from when the resource was made, so that
    /// another version of the operator restarts nothing, `FollowOperator` the one that the operator runs from now. That of the managed Redis goes by it too. Reload: rolling.
    #[serde(default)]
    pub image_policy: ImagePolicy,
    /// Signaling pods while `autoscaling` is absent. Reload: hot.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 200))]
    pub replicas: i32,
    /// Scale the pods by their CPU use, and by their connections where the Kubernetes cluster can count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<SignalingAutoscaling>,
    /// Address by which players and hosts reach signaling, `ws://` or `wss://`, without query or fragment
    /// (clients append `?roomId=`). Reload: hot.
    #[schemars(length(min = 6, max = 512), extend("pattern" = r"^wss?://[^\s/?#]+(/[^\s?#]*)?$"))]
    pub public_url: String,
    /// Whether secrets that everybody knows, such as the placeholders of examples, are refused (`Production`), or accepted and reported
    /// (`Development`). Reload: hot.
    #[serde(default)]
    pub environment: ClusterEnvironment,
    /// Port of the WebSocket listener. Reload: rolling.
    #[serde(default = "ws_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub ws_port: i32,
    /// Internal port: health, readiness, metrics, state. Never in a public Service. Reload: rolling.
    #[serde(default = "health_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub health_port: i32,
    /// Rooms.
    #[serde(default)]
    pub rooms: Rooms,
    /// How a peer that speaks protocol v2 resumes a lost connection.
    #[serde(default)]
    pub resume: Resume,
    /// WebSocket connections.
    #[serde(default)]
    pub websocket: WebSocket,
    /// Rate limits. Each is a number per 10 seconds.
    #[serde(default)]
    pub rate_limits: RateLimits,
    /// Who may connect, and from where.
    #[serde(default)]
    pub security: Security,
    /// How peers prove who they are.
    #[serde(default)]
    pub auth: Auth,
    /// When Redis counts as down, and for how long it is then left alone.
    #[serde(default)]
    pub circuit_breaker: CircuitBreaker,
    /// What happens to open connections when a pod ends.
    #[serde(default)]
    pub drain: Drain,
    /// The Redis that carries rooms across pods: one that Berth runs, or one of yours.
    #[serde(default)]
    pub redis: Redis,
    /// TurnConfig whose servers signaling announces to peers that speak protocol v2. The Secrets that it names are part of the
    /// pods. Reload: rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_config_ref: Option<LocalRef>,
    /// How often the connections in the status are counted, in seconds. Reload: hot.
    #[serde(default = "status_interval_seconds")]
    #[schemars(range(min = 1, max = 300))]
    pub status_interval_seconds: i32,
    /// The PodDisruptionBudget of the signaling pods.
    #[serde(default)]
    pub pdb: DisruptionBudget,
    /// The NetworkPolicies of the signaling and Redis pods.
    #[serde(default)]
    pub network_policy: NetworkPolicySpec,
    /// The public Service.
    #[serde(default)]
    pub service: ServiceSpec,
    /// An Ingress to the public Service; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSpec>,
    /// An HTTPRoute of the Gateway API to the public Service; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<HttpRouteSpec>,
    /// The signaling pods, and where the managed Redis may run.
    #[serde(default)]
    pub pod: PodSpec,
    /// Leave everything that this resource has become as it is: the operator writes and deletes nothing for it. Its status goes on, and the
    /// pods follow fields of class hot as ever. Reload: hot.
    #[serde(default)]
    pub paused: bool,
}

impl SignalingClusterSpec {
    /// A spec in which everything but the public address has its default.
    pub fn new(public_url: impl Into<String>) -> Self {
        Self {
            image: None,
            image_policy: ImagePolicy::default(),
            replicas: two(),
            autoscaling: None,
            public_url: public_url.into(),
            environment: ClusterEnvironment::default(),
            ws_port: ws_port(),
            health_port: health_port(),
            rooms: Rooms::default(),
            resume: Resume::default(),
            websocket: WebSocket::default(),
            rate_limits: RateLimits::default(),
            security: Security::default(),
            auth: Auth::default(),
            circuit_breaker: CircuitBreaker::default(),
            drain: Drain::default(),
            redis: Redis::default(),
            turn_config_ref: None,
            status_interval_seconds: status_interval_seconds(),
            pdb: DisruptionBudget::default(),
            network_policy: NetworkPolicySpec::default(),
            service: ServiceSpec::default(),
            ingress: None,
            http_route: None,
            pod: PodSpec::default(),
            paused: false,
        }
    }
}

/// Bounds and targets of the HorizontalPodAutoscaler of signaling. While it is set, the autoscaler owns the number of pods and
/// `replicas` has no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SignalingAutoscaling {
    /// What every autoscaler has.
    #[serde(flatten)]
    pub common: Autoscaling,
    /// Connections per pod that the autoscaler aims for, besides the CPU use: the larger number of pods wins. It needs an adapter that offers the metric
    /// `signaling_active_connections` as a custom metric of pods; while there is none, the condition `AutoscalingLimited` says so; absent: CPU
    /// alone. Reload: hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub target_connections_per_pod: Option<i32>,
}

/// What a SignalingCluster and its pools are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterEnvironment {
    /// For players: secrets that everybody knows are refused.
    #[default]
    Production,
    /// For a laptop or a test: such secrets are accepted and reported.
    Development,
}

/// Rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rooms {
    /// Most members of a room, the host included. Reload: connection.
    #[schemars(range(min = 1, max = 64))]
    pub capacity: i32,
    /// How long the state of a room outlives its last member, in seconds. Reload: hot.
    #[schemars(range(min = 1, max = 86_400))]
    pub ttl_seconds: i32,
    /// Most characters of a room id. Reload: connection.
    #[schemars(range(min = 8, max = 256))]
    pub id_max_length: i32,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            capacity: 2,
            ttl_seconds: 120,
            id_max_length: 64,
        }
    }
}

/// How a peer that speaks protocol v2 resumes a lost connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resume {
    /// How long a seat waits for its lost connection, in seconds; 0: it does not. Reload: hot.
    #[schemars(range(min = 0, max = 300))]
    pub window_seconds: i32,
    /// Most messages of one sender that are kept for peers whose connection is lost. Reload: connection.
    #[schemars(range(min = 1, max = 1024))]
    pub max_messages: i32,
    /// Most bytes of them. Reload: connection.
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub max_bytes: i32,
}

impl Default for Resume {
    fn default() -> Self {
        Self {
            window_seconds: 30,
            max_messages: 64,
            max_bytes: 262_144,
        }
    }
}

/// WebSocket connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.backpressureCloseBytes >= self.maxMessageBytes", "message": "backpressureCloseBytes must be at least maxMessageBytes", "fieldPath": ".backpressureCloseBytes"}
]))]
pub struct WebSocket {
    /// Largest message that a peer may send, in bytes; a larger one closes its connection with 1009. Reload: connection.
    #[schemars(range(min = 1024, max = 4_194_304))]
    pub max_message_bytes: i32,
    /// Most bytes that may wait for a slow receiver; one more closes its connection with 1013. Reload: connection.
    #[schemars(range(min = 1024, max = 67_108_864))]
    pub backpressure_close_bytes: i32,
    /// How often each connection is pinged, in milliseconds; one that has not answered by the next ping is ended. Reload: hot.
    #[schemars(range(min = 1000, max = 300_000))]
    pub heartbeat_interval_ms: i32,
    /// WebSocket subprotocol that peers must offer; absent: none is required. Reload: connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("pattern" = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub subprotocol: Option<String>,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            max_message_bytes: 262_144,
            backpressure_close_bytes: 5_242_880,
            heartbeat_interval_ms: 30_000,
            subprotocol: None,
        }
    }
}

/// Rate limits. Each is a number per 10 seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimits {
    /// New connections of one client address per 10 seconds. Reload: hot.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub connections_per_ip: i32,
    /// Messages of one connection per 10 seconds. Reload: hot.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub messages_per_client: i32,
    /// Messages of one client address per 10 seconds. Reload: hot.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub messages_per_ip: i32,
    /// Messages in one room per 10 seconds. Reload: hot.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub messages_per_room: i32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            connections_per_ip: 20,
            messages_per_client: 200,
            messages_per_ip: 400,
            messages_per_room: 800,
        }
    }
}

/// Who may connect, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!self.requireWss || size(self.trustedProxyCidrs) > 0", "message": "requireWss needs trustedProxyCidrs: only a trusted proxy can say that a connection came by TLS", "fieldPath": ".trustedProxyCidrs"}
]))]
pub struct Security {
    /// Refuse connections that did not reach the proxy in front by TLS (`X-Forwarded-Proto: https` from a trusted proxy). Reload: connection.
    pub require_wss: bool,
    /// Origins that browsers may connect from, as `https://example.com`, `example.com` or `example.com:8443`; empty: all. Peers that send no Origin
    /// header, such as native hosts, always may. Reload: connection.
    #[schemars(length(max = 64), inner(length(min = 1, max = 256), regex(pattern = r"\S")), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_origins: Vec<String>,
    /// Networks of the proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` headers are believed; empty: nobody's.
    /// Reload: connection.
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

/// When Redis counts as down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CircuitBreaker {
    /// Failures in a row that open the circuit. Reload: hot.
    #[schemars(range(min = 1, max = 1000))]
    pub error_threshold: i32,
    /// How long it then stays open, in milliseconds. Reload: hot.
    #[schemars(range(min = 100, max = 300_000))]
    pub open_ms: i32,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            error_threshold: 3,
            open_ms: 5000,
        }
    }
}

/// What happens to open connections when a pod ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.gracePeriodSeconds > self.timeoutSeconds + 5", "message": "gracePeriodSeconds must be greater than timeoutSeconds + 5: the endpoints need 5 seconds to notice", "fieldPath": ".gracePeriodSeconds"},
    {"rule": "self.closeCode in [1000, 1001, 1012, 1013] || self.closeCode >= 3000", "message": "closeCode must be 1000, 1001, 1012, 1013 or 3000 to 4999", "fieldPath": ".closeCode"}
]))]
pub struct Drain {
    /// Window over which the connections of an ending pod are closed, in seconds. Reload: hot.
    #[schemars(range(min = 0, max = 3600))]
    pub timeout_seconds: i32,
    /// Close code of those connections: 1000, 1001, 1012, 1013 or one of your clients' own from 3000 on. Peers that speak
    /// `berth.v2` always get 1012. Reload: hot.
    #[schemars(range(min = 1000, max = 4999))]
    pub close_code: i32,
    /// `terminationGracePeriodSeconds` of the pods. Reload: rolling.
    #[schemars(range(min = 6, max = 7200))]
    pub grace_period_seconds: i32,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout_seconds: 5,
            close_code: 1012,
            grace_period_seconds: 45,
        }
    }
}

/// The Redis that carries rooms across pods: `managed` or `external`. Without either it is a managed one with defaults; no default is
/// stored, so that `external` can be added later without removing anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.managed) && has(self.external))")
    .message("managed and external must not both be set"))]
#[x_kube(validation = Rule::new("has(oldSelf.managed) || has(oldSelf.external) || !has(self.managed) || self.managed.persistence == 'Ephemeral'")
    .message("managed.persistence cannot be changed while the managed Redis exists"))]
#[x_kube(validation = Rule::new("!has(oldSelf.managed) || oldSelf.managed.persistence == 'Ephemeral' || has(self.managed) || has(self.external)")
    .message("managed.persistence cannot be changed while the managed Redis exists"))]
pub struct Redis {
    /// A Redis that Berth runs: one pod of a StatefulSet with a generated password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedRedis>,
    /// A Redis of yours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalRedis>,
}

/// What the managed Redis keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Persistence {
    /// Nothing: rooms and hosts are rebuilt from the running services and heartbeats.
    #[default]
    Ephemeral,
    /// An append-only file on a volume.
    AppendOnly,
}

/// What happens to the volume when the SignalingCluster is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReclaimPolicy {
    /// It is deleted.
    #[default]
    Delete,
    /// It stays.
    Retain,
}

/// A Redis that Berth runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.persistence == oldSelf.persistence && self.storageSize == oldSelf.storageSize", "message": "persistence and storageSize cannot be changed while the managed Redis exists"},
    {"rule": "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)", "message": "storageClassName cannot be changed while the managed Redis exists"}
]))]
pub struct ManagedRedis {
    /// Container image of Redis; absent: the one that the operator was installed with, as `spec.imagePolicy` says. Reload: rolling.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// `Ephemeral` or `AppendOnly`. Reload: immutable.
    pub persistence: Persistence,
    /// Size of the volume with `AppendOnly`. Reload: immutable.
    pub storage_size: Quantity,
    /// StorageClass of the volume; absent: the cluster's default. Reload: immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"))]
    pub storage_class_name: Option<String>,
    /// What happens to the volume when the SignalingCluster is deleted. Reload: hot.
    pub reclaim_policy: ReclaimPolicy,
    /// Most memory that Redis uses for data (`maxmemory`); the pod's limit is half as much again. Reload: rolling.
    pub max_memory: Quantity,
}

impl Default for ManagedRedis {
    fn default() -> Self {
        Self {
            image: None,
            persistence: Persistence::default(),
            storage_size: quantity("1Gi"),
            storage_class_name: None,
            reclaim_policy: ReclaimPolicy::default(),
            max_memory: quantity("256Mi"),
        }
    }
}

/// A Redis of yours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRedis {
    /// Secret key with the URL, user and password included: `redis://[user:password@]host[:port][/database]`,
    /// `redis+sentinel://[user:password@]host[:port][,host[:port]...]/master[/database]` (the servers that Sentinels watch under
    /// that name; `?sentinel_username=` and `sentinel_password=` where Sentinels ask for a login of their own) or
    /// `redis+cluster://[user:password@]host[:port][,host[:port]...]` (some nodes of a Redis Cluster); with TLS `rediss://`,
    /// `rediss+sentinel://`, `rediss+cluster://`. The name is part of the pods; a new URL of the same kind in the same Secret is
    /// taken at the next reconnect. Reload: rolling.
    pub url_secret_ref: SecretKeyRef,
    /// Secret key with the PEM certificates of the authorities that the Redis servers' certificates are checked with, instead of those
    /// that everybody trusts. It needs a URL with TLS. Reload: rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
}

/// What was seen of a SignalingCluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SignalingClusterStatus {
    /// The `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Signaling pods.
    pub replicas: i32,
    /// Signaling pods that are ready.
    pub ready_replicas: i32,
    /// Label selector of the pods, for the scale subresource.
    pub selector: String,
    /// Image that the pods run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How many pods follow the newest settings.
    pub settings: SettingsStatus,
    /// Open WebSocket connections of all pods, as of the last count.
    pub connections: i64,
    /// Redis, without user or password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStatus>,
    /// `Ready`, `Reconciling`, `Stalled` (as kstatus reads them), `Paused`, `Available`, `RedisReady`, `AutoscalingOwnsReplicas`, `AutoscalingLimited`, `RouteAccepted`, `ResolvedRefs`, `SettingsApplied`, `SecurityWarnings`.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What was seen of Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RedisStatus {
    /// Host and port; of Sentinels or a Redis Cluster those of the URL, separated by commas.
    pub endpoint: String,
    /// Whether it is ready.
    pub ready: bool,
    /// What kind of Redis the signaling pods found: `Standalone`, `Sentinel` or `Cluster`; only of one of yours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Host and port of the server that takes the commands, of Sentinels and in a Redis Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
}

fn two() -> i32 {
    2
}

fn ws_port() -> i32 {
    3002
}

fn status_interval_seconds() -> i32 {
    15
}

fn health_port() -> i32 {
    8080
}
