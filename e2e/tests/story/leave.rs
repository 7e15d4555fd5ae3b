//! What is deleted is gone; what people would miss stays.

use anyhow::{Result, ensure};

use crate::wait::{Seen, until};
use crate::{SLOW, Story};

const KINDS: &str = "deployments,statefulsets,services,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies,ingresses,serviceaccounts,roles,rolebindings,secrets,pods";

/// With the resources goes everything that the operator made of them.
pub(crate) fn resources(story: &Story) -> Result<()> {
    let cluster = &story.cluster;
    cluster.kubectl(&["delete", "-f", &story.path("examples/quickstart")?])?;
    until("everything owned to disappear", SLOW, || {
        let left = cluster.kubectl(&[
            "get",
            KINDS,
            "-l",
            "app.kubernetes.io/part-of=berth",
            "-o",
            "name",
        ])?;
        Ok(Seen::equal(left.trim(), ""))
    })
}

/// The chart goes; the definitions of the kinds stay, because they hold people's resources.
pub(crate) fn chart(story: &Story) -> Result<()> {
    story
        .cluster
        .helm(&["uninstall", "berth", "--namespace", "berth-system", "--wait"])?;
    let kinds = story.cluster.kubectl(&["get", "crd", "-o", "name"])?;
    for kind in ["signalingclusters", "hostpools", "turnconfigs"] {
        ensure!(
            kinds.contains(&format!("{kind}.berth.dev")),
            "uninstall removed {kind}: {kinds}"
        );
    }
    story
        .cluster
        .kubectl(&["delete", "namespace", &story.cluster.namespace, "--wait=true"])
        .map(drop)
}
