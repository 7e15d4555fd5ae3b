//! From an empty cluster to three resources that are Ready.

use anyhow::{Result, ensure};

use crate::Story;

/// Helm installs the operator. The namespace of the workloads enforces the restricted Pod Security Standard.
pub(crate) fn chart(story: &Story) -> Result<()> {
    let chart = story.path("charts/berth")?;
    let namespace = ["--namespace", "berth-system", "--create-namespace"];
    let args = [
        &["install", "berth", chart.as_str()],
        &namespace[..],
        &["--wait", "--timeout", "180s"],
    ]
    .concat();
    story.cluster.helm(&args)?;
    for name in ["berth-system", "games"] {
        if name == "games" {
            story.cluster.kubectl(&["create", "namespace", name])?;
        }
        let label = "pod-security.kubernetes.io/enforce=restricted";
        story
            .cluster
            .kubectl(&["label", "namespace", name, label, "--overwrite"])?;
    }
    Ok(())
}

/// `kubectl apply` and `kubectl wait`, as the README has them.
pub(crate) fn quickstart(story: &Story) -> Result<()> {
    let cluster = &story.cluster;
    let printed = cluster.kubectl(&["apply", "-f", &story.path("examples/quickstart")?])?;
    ensure!(!printed.contains("Warning"), "the API server warns: {printed}");
    for kind in ["signalingcluster", "turnconfig", "hostpool"] {
        cluster
            .kubectl(&["wait", "--for=condition=Ready", kind, "--all", "--timeout=180s"])
            .map_err(|error| {
                let seen = cluster.describe(kind);
                error.context(seen)
            })?;
    }
    let table = cluster.kubectl(&["get", "hostpools"])?;
    for column in ["NAME", "READY", "HOSTS", "IDLE", "BUSY", "SLOTS", "AGE"] {
        ensure!(
            table.lines().next().is_some_and(|header| header.contains(column)),
            "no column {column} in {table}"
        );
    }
    Ok(())
}
