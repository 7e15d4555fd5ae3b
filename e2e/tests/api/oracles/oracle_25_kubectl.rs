//! Oracle 25, kubectl. What people see and do with it: the live table of pools, explanations, scale, and waiting for conditions. That `kubectl diff`
//! is empty after an apply is shown beside the GitOps tests. Counts come from a stand-in for a matchmaker.

use std::net::SocketAddr;
use std::sync::Arc;

use berth_e2e::process;
use berth_operator::counts::{CountsError, CountsReader, PoolCounts};
use futures::future::BoxFuture;
use serde_json::json;

use crate::operator::bed::{Bed, Running};

/// A matchmaker whose pool has seven hosts, of which five are idle.
struct Matchmaker(String);

impl CountsReader for Matchmaker {
    fn read(&self, _pod: SocketAddr) -> BoxFuture<'static, Result<PoolCounts, CountsError>> {
        let mut counts = PoolCounts {
            pool: self.0.clone(),
            ..PoolCounts::default()
        };
        counts.hosts.total = 7;
        counts.hosts.idle = 5;
        counts.hosts.busy = 2;
        counts.slots.total = 7;
        counts.slots.available = 5;
        counts.slots.taken = 2;
        Box::pin(std::future::ready(Ok(counts)))
    }
}

/// What kubectl prints, as words by line.
fn kubectl(bed: &Bed, arguments: &[&str]) -> Vec<Vec<String>> {
    let mut command = bed.server.kubectl();
    command.args(["--namespace", &bed.namespace]).args(arguments);
    let text = process::output(&mut command).unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    text.lines().map(words).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_25_people_watch_and_change_pools_with_kubectl() {
    let bed = Bed::new("kubectl").await;
    let mut options = bed.options().await;
    options.counts = Arc::new(Matchmaker(format!("{}/eu", bed.namespace)));
    let operator = Running::start(options);
    let _pods = bed.roll_out();
    bed.cluster("main").await;
    bed.resource(
        "HostPool",
        "eu",
        json!({"signalingClusterRef": {"name": "main"}, "statusIntervalSeconds": 1}),
    )
    .await;
    kubectl(
        &bed,
        &[
            "wait",
            "--for=condition=Ready",
            "--timeout=60s",
            "hostpool/eu",
            "sigc/main",
        ],
    );
    bed.wait_condition("HostPool", "eu", "HostsAvailable", "True")
        .await;

    let table = kubectl(&bed, &["get", "hostpools"]);
    assert_eq!(
        table[0],
        [
            "NAME",
            "READY",
            "HOSTS",
            "IDLE",
            "BUSY",
            "SLOTS",
            "SIGNALING",
            "AGE"
        ]
    );
    assert_eq!(table[1][..7], ["eu", "True", "7", "5", "2", "5", "main"]);
    let wide = kubectl(&bed, &["get", "hp", "--output=wide"]);
    for column in ["URL", "TURN", "PODS", "REASON"] {
        assert!(wide[0].contains(&column.to_owned()), "{wide:?}");
    }
    let all = kubectl(&bed, &["get", "cloudgaming", "--output=name"]).concat();
    assert_eq!(all, ["hostpool.berth.dev/eu", "signalingcluster.berth.dev/main"]);

    let explained = kubectl(&bed, &["explain", "hostpool.spec.drain"])
        .concat()
        .join(" ");
    assert!(explained.contains("Reload: hot"), "{explained}");

    kubectl(&bed, &["scale", "hostpool/eu", "--replicas=3"]);
    bed.wait("three pods", async || {
        let found = bed
            .api("apps/v1", "Deployment")
            .get("eu-matchmaker")
            .await
            .unwrap();
        (found.data["spec"]["replicas"] == 3).then_some(())
    })
    .await;
    kubectl(
        &bed,
        &["wait", "--for=condition=Ready", "--timeout=60s", "hostpool/eu"],
    );
    kubectl(
        &bed,
        &[
            "wait",
            "--for=jsonpath={.status.readyReplicas}=3",
            "--timeout=60s",
            "hostpool/eu",
        ],
    );

    // Under an autoscaler the field has no effect, and that is told.
    bed.edit(
        "HostPool",
        "eu",
        json!({"autoscaling": {"minReplicas": 3, "maxReplicas": 5}}),
    )
    .await;
    let wait = "--for=condition=AutoscalingOwnsReplicas";
    kubectl(&bed, &["wait", wait, "--timeout=60s", "hostpool/eu"]);
    kubectl(&bed, &["scale", "hostpool/eu", "--replicas=9"]);
    operator.settle().await;
    let found = bed
        .api("apps/v1", "Deployment")
        .get("eu-matchmaker")
        .await
        .unwrap();
    assert_eq!(found.data["spec"]["replicas"], 3);
    operator.stop().await.unwrap();
}
