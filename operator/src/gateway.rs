//! `HTTPRoute` of the [Gateway API](https://gateway-api.sigs.k8s.io), as far as it is needed: its spec and status are JSON, because not
//! every Kubernetes cluster has the kind and the Rust bindings of Kubernetes have none of it.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// API group.
pub const GROUP: &str = "gateway.networking.k8s.io";
/// API version.
pub const VERSION: &str = "v1";
/// Plural of the kind.
pub const PLURAL: &str = "httproutes";
/// Name of the kind's `CustomResourceDefinition`.
pub const DEFINITION: &str = "httproutes.gateway.networking.k8s.io";

/// An HTTPRoute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    /// Metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// `spec`
    #[serde(default)]
    pub spec: Value,
    /// `status`
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub status: Value,
}

impl HttpRoute {
    /// A route that was not seen by a server yet.
    pub fn new(metadata: ObjectMeta, spec: Value) -> Self {
        Self {
            api_version: Self::api_version(&()).into_owned(),
            kind: Self::kind(&()).into_owned(),
            metadata,
            spec,
            status: Value::Null,
        }
    }
}

impl Resource for HttpRoute {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "HTTPRoute".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
