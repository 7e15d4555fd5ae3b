//! A client that applies the same objects and knows nothing else: what the API server takes for them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::Plan;
use super::house::{AT_A_TIME, House, NAMESPACE, Objects};

/// How long it takes on a fresh server with the same resources.
pub(super) async fn measure(plan: &Plan, objects: &Objects) -> anyhow::Result<Duration> {
    let house = House::new(plan).await?;
    let mut calls = Vec::new();
    for child in &objects.children {
        let (api_version, kind) = (child["apiVersion"].as_str(), child["kind"].as_str());
        let (api_version, kind) = api_version.zip(kind).context("a child without a kind")?;
        let name = child["metadata"]["name"]
            .as_str()
            .context("a child without a name")?;
        calls.push((
            api(&house, api_version, kind),
            name.to_owned(),
            child.clone(),
            false,
        ));
    }
    for (kind, name, status) in &objects.statuses {
        let status: Value = json!({"apiVersion": "berth.dev/v1alpha1", "kind": kind, "status": status});
        calls.push((
            api(&house, "berth.dev/v1alpha1", kind),
            name.clone(),
            status,
            true,
        ));
    }
    let began = Instant::now();
    let params = PatchParams::apply("berth-operator").force();
    let call = |(api, name, body, is_status): (Api<DynamicObject>, String, Value, bool)| {
        let params = params.clone();
        async move {
            let patch = Patch::Apply(&body);
            if is_status {
                api.patch_status(&name, &params, &patch).await.map(drop)
            } else {
                api.patch(&name, &params, &patch).await.map(drop)
            }
        }
    };
    futures::stream::iter(calls.into_iter().map(call))
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(began.elapsed())
}

fn api(house: &House, api_version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(house.client.clone(), NAMESPACE, &resource)
}
