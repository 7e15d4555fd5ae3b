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
