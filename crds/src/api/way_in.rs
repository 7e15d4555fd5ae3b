//! The way in from outside the Kubernetes cluster, for both services alike.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the path of an Ingress is compared with that of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathType {
    /// Element by element, from the first on.
    #[default]
    Prefix,
    /// As a whole.
    Exact,
    /// As the Ingress controller wants it.
    ImplementationSpecific,
}

impl PathType {
    /// The word in an Ingress.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefix => "Prefix",
            Self::Exact => "Exact",
            Self::ImplementationSpecific => "ImplementationSpecific",
        }
    }
}

/// An Ingress to the public port. The internal port is never in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// Name of the `IngressClass`; absent: the cluster's default. Reload: hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub class_name: Option<String>,
    /// Annotations of the Ingress, for its controller: timeouts, and for cert-manager. Reload: hot.
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    /// Host name; absent: that of `publicUrl`. Where that is an address, the Ingress takes every host name. Reload: hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = r"^(\*\.)?[a-z]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"))]
    pub host: Option<String>,
    /// Path; absent: that of `publicUrl`. Reload: hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), extend("pattern" = r"^/[^\s?#]*$"))]
    pub path: Option<String>,
    /// `Prefix`, `Exact` or `ImplementationSpecific`. Reload: hot.
    pub path_type: PathType,
    /// End TLS at the Ingress; absent: it speaks plain HTTP, or what its annotations say. Reload: hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<IngressTls>,
}

/// TLS of an Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    /// Secret of type `kubernetes.io/tls` in the same namespace; absent: the default certificate of the Ingress controller. It may
    /// come later, as cert-manager makes it. Reload: hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"))]
    pub secret_name: Option<String>,
}

/// How the path of an HTTPRoute is compared with that of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RoutePathType {
    /// Element by element, from the first on.
    #[default]
    PathPrefix,
    /// As a whole.
    Exact,
}

impl RoutePathType {
    /// The word in an HTTPRoute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PathPrefix => "PathPrefix",
            Self::Exact => "Exact",
        }
    }
}

/// An HTTPRoute to the public port (`gateway.networking.k8s.io/v1`). The internal port is never in it. TLS ends at the listener of the Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.replacePrefix) || self.pathType == 'PathPrefix'", "message": "replacePrefix needs pathType PathPrefix", "fieldPath": ".replacePrefix"}
]))]
pub struct HttpRouteSpec {
    /// Gateways, or listeners of them, that take the route. Reload: hot.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub parent_refs: Vec<ParentRef>,
    /// Annotations of the HTTPRoute, for its controller. Reload: hot.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    /// Host name; absent: that of `publicUrl`. Where that is an address, the route takes every host name. Reload: hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = r"^(\*\.)?[a-z]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"))]
    pub host: Option<String>,
    /// Path; absent: that of `publicUrl`. Reload: hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), extend("pattern" = r"^/[^\s?#]*$"))]
    pub path: Option<String>,
    /// `PathPrefix` or `Exact`. Reload: hot.
    #[serde(default)]
    pub path_type: RoutePathType,
    /// What the matched prefix of the path is replaced by on the way to the pods, such as `/`; absent: it stays. The matchmaker serves `/api/...` at its
    /// root, so a `publicUrl` with a path needs this. Reload: hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), extend("pattern" = r"^/[^\s?#]*$"))]
    pub replace_prefix: Option<String>,
}

/// A Gateway that takes a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Name of the Gateway. Reload: hot.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; absent: that of the resource. Reload: hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("pattern" = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// Name of the listener, such as the one that ends TLS; absent: every one that fits. Reload: hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub section_name: Option<String>,
    /// Port of the listener; absent: any. Reload: hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}
