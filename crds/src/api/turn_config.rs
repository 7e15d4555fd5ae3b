//! `TurnConfig`: where ICE servers and their credentials come from.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::managed_turn::{ManagedTurn, ManagedTurnStatus};

/// Where ICE servers and their credentials come from.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "TurnConfig",
    plural = "turnconfigs",
    shortname = "tc",
    category = "berth",
    category = "cloudgaming",
    namespaced,
    status = "TurnConfigStatus",
    derive = "PartialEq",
    doc = "STUN and TURN servers, how players and hosts get credentials for them, and the TURN servers that Berth runs.",
    validation = Rule::new("size(self.metadata.name) <= 40").message("metadata.name must have at most 40 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Providers", type_ = "string", json_path = ".spec.providers[*].name"),
    printcolumn(name = "Ttl", type_ = "integer", json_path = ".spec.credentialTtlSeconds"),
    printcolumn(name = "Consumers", type_ = "integer", json_path = ".status.consumers"),
    printcolumn(name = "Reachable", type_ = "string", json_path = ".status.conditions[?(@.type==\"ServersReachable\")].status"),
    printcolumn(name = "Servers", type_ = "integer", json_path = ".status.managed.readyReplicas"),
    printcolumn(name = "Network", type_ = "string", json_path = ".spec.managed.network", priority = 1),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".status.managed.addresses", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("size(self.stunUrls) > 0 || size(self.providers) > 0 || has(self.managed)")
    .message("stunUrls or providers must have an entry, or managed must be set"))]
#[x_kube(validation = Rule::new("!has(self.managed) || self.providers.all(provider, provider.name != 'managed')")
    .message("the name managed is that of the servers in spec.managed").field_path(".providers"))]
pub struct TurnConfigSpec {
    /// STUN servers, as `stun:host:port` or `stuns:host:port` (RFC 7064). Reload: hot.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256), regex(pattern = r"^stuns?:[^\s?]+$")), extend("x-kubernetes-list-type" = "set"))]
    pub stun_urls: Vec<String>,
    /// Where TURN servers come from; all of them are handed out, in this order, after those of `managed`.
    #[serde(default)]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub providers: Vec<TurnProvider>,
    /// How long issued credentials are valid, in seconds. Reload: hot.
    #[serde(default = "credential_ttl_seconds")]
    #[schemars(range(min = 300, max = 86_400))]
    pub credential_ttl_seconds: i32,
    /// What a match gets while a provider fails: the servers that are left, or a public STUN server if there are none (`StunOnly`), or an
    /// answer 503 and no slot (`Fail`). Signaling always announces the servers that it has. Reload: hot.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    /// TURN servers that Berth runs; absent: none. Their secret is part of the consumers' pods. Reload: rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedTurn>,
    /// Leave everything that this resource has become as it is: the operator writes and deletes nothing for it. Its status goes on, and its
    /// consumers follow fields of class hot as ever. Reload: hot.
    #[serde(default)]
    pub paused: bool,
}

impl Default for TurnConfigSpec {
    fn default() -> Self {
        Self {
            stun_urls: Vec::new(),
            providers: Vec::new(),
            credential_ttl_seconds: credential_ttl_seconds(),
            failure_policy: FailurePolicy::default(),
            managed: None,
            paused: false,
        }
    }
}

/// What a match gets while a provider fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// The servers that are left, or a public STUN server.
    #[default]
    StunOnly,
    /// An error, and no slot.
    Fail,
}

/// One source of TURN servers: exactly one of `sharedSecret`, `static` and `metered`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.sharedSecret), has(self.static), has(self.metered)].exists_one(is, is)")
    .message("exactly one of sharedSecret, static and metered must be set"))]
pub struct TurnProvider {
    /// Name of this entry, unique in the list. Reload: hot.
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Servers that share a secret with Berth, which issues time-limited credentials with it: coturn's `use-auth-secret`, STUNner
    /// (draft-uberti-behave-turn-rest-00).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_secret: Option<SharedSecretProvider>,
    /// Servers with one fixed user.
    #[serde(default, rename = "static", skip_serializing_if = "Option::is_none")]
    pub fixed: Option<StaticProvider>,
    /// Servers of the service Metered, which issues a credential for them when asked by HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metered: Option<MeteredProvider>,
}

/// Servers that share a secret with Berth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedSecretProvider {
    /// TURN servers, as `turn:host:port?transport=udp` or `turns:...` (RFC 7065). Reload: hot.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 256), regex(pattern = r"^turns?:[^\s]+$")), extend("x-kubernetes-list-type" = "set"))]
    pub urls: Vec<String>,
    /// The shared secret. Reload: rolling.
    pub secret_ref: SharedSecretRef,
}

/// A Secret with the secret that coturn knows too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret; absent: `secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// Servers with one fixed user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaticProvider {
    /// TURN servers, as `turn:host:port?transport=udp` or `turns:...` (RFC 7065). Reload: hot.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 256), regex(pattern = r"^turns?:[^\s]+$")), extend("x-kubernetes-list-type" = "set"))]
    pub urls: Vec<String>,
    /// User name and credential. Reload: rolling.
    pub secret_ref: StaticSecretRef,
}

/// A Secret with user name and credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaticSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the user name; absent: `username`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: Option<String>,
    /// Key of the credential; absent: `credential`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub credential_key: Option<String>,
}

/// Servers of the service Metered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeteredProvider {
    /// Domain of the application at Metered: its name alone, or in full as `name.metered.live`. Reload: hot.
    #[schemars(length(min = 1, max = 253), extend("pattern" = r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"))]
    pub domain: String,
    /// The application's secret key. Reload: rolling.
    pub api_key_secret_ref: ApiKeySecretRef,
}

/// A Secret with the key of a provider's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeySecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret; absent: `apiKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// What was seen of a TurnConfig.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TurnConfigStatus {
    /// The `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// SignalingClusters and HostPools that name this TurnConfig.
    pub consumers: i32,
    /// The servers that Berth runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedTurnStatus>,
    /// `Ready`, `Reconciling`, `Stalled` (as kstatus reads them), `Paused`, `ResolvedRefs`, `ServersReachable`; with `spec.managed` also
    /// `Available` and `PodSecurityBlocked`.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

fn credential_ttl_seconds() -> i32 {
    14_400
}
