//! From the edit of a resource to the first write that follows.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use berth_crds::HostPool;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::house::{House, NAMESPACE};

/// Longest wait for one.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long each of so many edits took, one after the other.
pub(super) async fn measure(house: &House, edits: usize) -> anyhow::Result<Vec<Duration>> {
    let pools: Api<HostPool> = Api::namespaced(house.client.clone(), NAMESPACE);
    let deployments: Api<Deployment> = Api::namespaced(house.client.clone(), NAMESPACE);
    let names: Vec<_> = pools
        .list(&ListParams::default())
        .await?
        .into_iter()
        .map(|pool| pool.name_any())
        .collect();
    let from = deployments.list(&ListParams::default().limit(1)).await?.metadata;
    let from = from.resource_version.context("a list without a version")?;
    let mut events = deployments
        .watch(&WatchParams::default().timeout(290), &from)
        .await?
        .boxed();
    let mut waits = Vec::with_capacity(edits);
    for number in 0..edits {
        let name = &names[number % names.len()];
        // Another count than before, whatever that was.
        let replicas = 3 + i32::try_from(number / names.len())?;
        let began = Instant::now();
        let edit = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        pools.patch(name, &PatchParams::default(), &edit).await?;
        let deployment = format!("{name}-matchmaker");
        let told = async {
            while let Some(event) = events.next().await {
                if let WatchEvent::Added(found) | WatchEvent::Modified(found) = event?
                    && found.name_any() == deployment
                    && found.spec.and_then(|spec| spec.replicas) == Some(replicas)
                {
                    return Ok(());
                }
            }
            anyhow::bail!("the watch ended")
        };
        tokio::time::timeout(PATIENCE, told)
            .await
            .with_context(|| format!("{deployment} does not follow"))??;
        waits.push(began.elapsed());
    }
    Ok(waits)
}
