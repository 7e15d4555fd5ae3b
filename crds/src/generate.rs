//! The `CustomResourceDefinition` objects, and the files that are made from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::docs::api_reference;
use crate::{HostPool, SignalingCluster, TurnConfig};

/// A file of the repository that is made from the types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Path from the root of the repository.
    pub path: String,
    /// What must be in it.
    pub contents: String,
}

/// Every file that is made from the types: `crds/*.yaml`, their copies in the chart (Helm reads no file outside a chart), and
/// the API reference.
pub fn files() -> Result<Vec<GeneratedFile>, serde_yaml::Error> {
    let mut files = Vec::new();
    for crd in definitions() {
        let contents = document(&crd)?;
        for folder in ["crds", "charts/berth/files/crds"] {
            files.push(GeneratedFile {
                path: format!("{folder}/{}.yaml", crd.spec.names.plural),
                contents: contents.clone(),
            });
        }
    }
    files.push(GeneratedFile {
        path: "docs/api.md".into(),
        contents: api_reference(),
    });
    Ok(files)
}

/// The three definitions as one text, for `kubectl apply -f -`. Each document is one of the generated files.
pub fn manifest() -> Result<String, serde_yaml::Error> {
    let documents = definitions()
        .iter()
        .map(document)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(documents.join("---\n"))
}

fn document(crd: &CustomResourceDefinition) -> Result<String, serde_yaml::Error> {
    let yaml = serde_yaml::to_string(crd)?;
    Ok(format!(
        "# Generated from crds/src/api by `cargo xtask generate`.\n{yaml}"
    ))
}

/// The three definitions, in the order in which they are listed everywhere.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![SignalingCluster::crd(), HostPool::crd(), TurnConfig::crd()]
        .into_iter()
        .map(finish)
        .collect()
}

fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let root = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(root) = root {
            refuse_null(root);
            set_status_default(root);
        }
    }
    crd
}

/// Makes null mean "absent" everywhere: the API server then drops it, or puts the default in its place. A null that is kept
/// would pass rules such as `has(self.jwt)`, and is no value of a field that the types do not make optional.
fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(fields) = &mut schema.properties {
        fields.values_mut().for_each(refuse_null);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut schema.items {
        refuse_null(item);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        refuse_null(value);
    }
}

/// Gives a resource that no operator has seen yet the condition `Ready=Unknown`, so that tools which judge by kstatus
/// (`kubectl wait`, Flux, Argo CD) never take it for healthy.
fn set_status_default(root: &mut JSONSchemaProps) {
    let status = root
        .properties
        .as_mut()
        .and_then(|fields| fields.get_mut("status"));
    if let Some(status) = status {
        status.default = Some(JSON(json!({
            "conditions": [{
                "type": "Ready",
                "status": "Unknown",
                "reason": "Pending",
                "message": "Waiting for the operator",
                "lastTransitionTime": "1970-01-01T00:00:00Z"
            }]
        })));
    }
}
