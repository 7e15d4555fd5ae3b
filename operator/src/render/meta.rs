//! Metadata of children.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::names::Component;

/// The resource that children belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `apiVersion` of the resource.
    pub api_version: String,
    /// Kind of the resource.
    pub kind: String,
    /// Namespace of the resource and of its children.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// Absent offline: then children name no owner.
    pub uid: Option<String>,
}

impl Owner {
    /// The owner that `resource` is to its children.
    pub fn of<K: Resource<DynamicType = ()>>(resource: &K) -> Self {
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: resource.namespace().unwrap_or_else(|| "default".into()),
            name: resource.name_any(),
            uid: resource.uid(),
        }
    }

    /// Metadata of the child `name` that is part of `component`.
    pub(super) fn child(&self, component: Component, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.namespace.clone()),
            labels: Some(component.labels(&self.name)),
            owner_references: self.uid.clone().map(|uid| {
                vec![OwnerReference {
                    api_version: self.api_version.clone(),
                    kind: self.kind.clone(),
                    name: self.name.clone(),
                    uid,
                    controller: Some(true),
                    block_owner_deletion: None,
                }]
            }),
            ..ObjectMeta::default()
        }
    }
}
