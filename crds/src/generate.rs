//! The `CustomResourceDefinition` objects, as they are in `crds/*.yaml` and in the chart.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::{HostPool, SignalingCluster, TurnConfig};

/// The three definitions, in the order in which they are listed everywhere.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![SignalingCluster::crd(), HostPool::crd(), TurnConfig::crd()]
        .into_iter()
        .map(with_status_default)
        .collect()
}

/// Gives a resource that no operator has seen yet the condition `Ready=Unknown`, so that tools which judge by kstatus
/// (`kubectl wait`, Flux, Argo CD) never take it for healthy.
fn with_status_default(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let default = json!({
        "conditions": [{
            "type": "Ready",
            "status": "Unknown",
            "reason": "Pending",
            "message": "Waiting for the operator",
            "lastTransitionTime": "1970-01-01T00:00:00Z"
        }]
    });
    for version in &mut crd.spec.versions {
        if let Some(status) = status_schema(
            version
                .schema
                .as_mut()
                .and_then(|schema| schema.open_api_v3_schema.as_mut()),
        ) {
            status.default = Some(JSON(default.clone()));
        }
    }
    crd
}

fn status_schema(root: Option<&mut JSONSchemaProps>) -> Option<&mut JSONSchemaProps> {
    root?.properties.as_mut()?.get_mut("status")
}
