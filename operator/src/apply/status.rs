//! Writes the status of a resource, when it changed.

use berth_crds::settings::ObjectName;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::client::call;
use crate::cluster::{Cluster, MainKind};
use crate::error::CallError;
use crate::names;

/// Makes `status` that of `resource`; says whether there was something to write.
///
/// The write names the uid, so that the status of a deleted resource never lands on its successor.
pub(crate) async fn write_status<K: MainKind>(
    client: &Client,
    cluster: &Cluster,
    name: &ObjectName,
    resource: &K,
    status: K::Status,
) -> Result<bool, CallError> {
    let registry = K::registry(cluster);
    if registry.last_status(name, resource) == status && resource.status().is_some() {
        return Ok(false);
    }
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name.name, "namespace": name.namespace, "uid": resource.meta().uid},
        "status": status,
    });
    let api: Api<K> = Api::namespaced(client.clone(), &name.namespace);
    let params = PatchParams::apply(names::STATUS_MANAGER).force();
    let action = format!("write the status of {} {name}", K::KIND.as_str());
    call(
        action,
        api.patch_status(&name.name, &params, &Patch::Apply(&body)),
    )
    .await?;
    registry.wrote_status(name, resource, status);
    Ok(true)
}
