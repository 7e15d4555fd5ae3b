//! A change of a resource reaches running pods; a wrong one reaches nobody.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Story;
use crate::play::SIGNALING;
use crate::wait::{Seen, until};

/// What the issue of a slow settings watch would look like: pods must follow within this time.
const FOLLOW: Duration = Duration::from_secs(10);

/// Room capacity and a rate limit change by `kubectl apply`; every pod reports the new generation, none restarts.
pub(crate) fn follow(story: &Story) -> Result<()> {
    let cluster = &story.cluster;
    let before = cluster.pods(SIGNALING)?;
    cluster.apply_text(&changed(story, |spec| {
        spec["rooms"]["capacity"] = 3.into();
        spec["rateLimits"]["messagesPerClient"] = 333.into();
    })?)?;
    let applied = Instant::now();
    let generation = cluster.get(&["signalingcluster", "main"])?["metadata"]["generation"]
        .as_i64()
        .context("no generation")?;
    for pod in &before {
        until(
            &format!("{} to follow generation {generation}", pod.name),
            FOLLOW.saturating_sub(applied.elapsed()),
            || {
                let state: Value = serde_json::from_str(&cluster.pod_get(&pod.name, 8080, "/statusz")?)?;
                let seen = &state["settings"]["generations"]["SignalingCluster"];
                Ok(Seen::equal(seen.as_i64(), Some(generation)))
            },
        )?;
    }
    ensure!(
        cluster.pods(SIGNALING)? == before,
        "pods were replaced or restarted"
    );
    cluster
        .kubectl(&["apply", "-f", &story.path("examples/quickstart")?])
        .map(drop)
}

/// The API server refuses a bad value and names the field.
pub(crate) fn refused(story: &Story) -> Result<()> {
    let manifest = changed(story, |spec| spec["rooms"]["capacity"] = 1000.into())?;
    let message = story.cluster.kubectl_refused(&["apply", "-f", "-"], &manifest)?;
    ensure!(
        message.contains("spec.rooms.capacity"),
        "the message does not name the field: {message}"
    );
    let manifest = changed(story, |spec| spec["healthPort"] = 3002.into())?;
    let message = story.cluster.kubectl_refused(&["apply", "-f", "-"], &manifest)?;
    ensure!(
        message.contains("healthPort must differ from wsPort"),
        "no CEL message: {message}"
    );
    Ok(())
}

/// The SignalingCluster of the quickstart with a change.
fn changed(story: &Story, change: impl FnOnce(&mut Value)) -> Result<String> {
    let folder = story.path("examples/quickstart")?;
    for entry in std::fs::read_dir(folder)? {
        let text = std::fs::read_to_string(entry?.path())?;
        for document in text.split("\n---") {
            let Ok(mut manifest) = serde_yaml::from_str::<Value>(document) else {
                continue;
            };
            if manifest["kind"] == "SignalingCluster" {
                change(&mut manifest["spec"]);
                return Ok(serde_json::to_string(&manifest)?);
            }
        }
    }
    anyhow::bail!("the quickstart has no SignalingCluster")
}
