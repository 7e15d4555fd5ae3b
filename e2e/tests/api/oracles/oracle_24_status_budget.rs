//! Oracle 24, status budget. However the numbers of 500 hosts and of the connections move, each resource gets at most one
//! status write per interval for them, and none when they stand still. Matchmakers and signaling are stand-ins.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::served::{Pages, Served};
use crate::operator::bed::{Bed, Running};
use crate::operator::pods::Obedient;

const HOSTS: i64 = 500;
const POOLS: [&str; 3] = ["eu", "us", "asia"];
/// How long the numbers flap.
const FLAPPING: Duration = Duration::from_secs(6);

/// Services whose numbers are others in each answer.
struct Flapping {
    obedient: Obedient,
    answers: AtomicI64,
    stands_still: AtomicBool,
    /// Pools by the address of their pods.
    pools: Vec<(String, String)>,
}

impl Flapping {
    fn number(&self) -> i64 {
        if self.stands_still.load(Ordering::Relaxed) {
            return 7;
        }
        self.answers.fetch_add(1, Ordering::Relaxed) * 37 % HOSTS
    }
}

impl Pages for Flapping {
    fn statusz(&self, pod: SocketAddr) -> BoxFuture<'_, Value> {
        Box::pin(async move {
            let report = self.obedient.report(pod).await.unwrap_or_default();
            json!({
                "settings": {"own": report.settings.own, "generations": report.settings.generations},
                "connections": {"open": self.number()},
            })
        })
    }

    fn counts(&self, pod: SocketAddr) -> Value {
        let idle = self.number();
        let address = pod.ip().to_string();
        let pool = self.pools.iter().find(|(of, _)| *of == address);
        json!({
            "pool": pool.map(|(_, pool)| pool),
            "hosts": {"total": HOSTS, "idle": idle, "busy": HOSTS - idle, "allocated": 0, "unreachable": 0, "draining": 0},
            "slots": {"total": HOSTS, "available": idle},
            "regions": {"eu": {"hosts": HOSTS, "availableSlots": idle}},
            "demand": [{"region": "eu", "refused": HOSTS - idle}],
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_24_flapping_numbers_are_written_once_per_interval() {
    let bed = Bed::new("flap").await;
    let addresses: Vec<_> = (1..=POOLS.len()).map(|pool| format!("10.2.3.{pool}")).collect();
    let pools = addresses
        .iter()
        .cloned()
        .zip(POOLS.map(|pool| format!("{}/{pool}", bed.namespace)))
        .collect();
    let flapping = Arc::new(Flapping {
        obedient: bed.obedient(),
        answers: AtomicI64::new(0),
        stands_still: AtomicBool::new(false),
        pools,
    });
    let served = Served::new(Arc::clone(&flapping));
    let mut options = bed.options().await;
    options.counts = Arc::new(served.clone());
    options.pods = Arc::new(served);
    let operator = Running::start(options);
    let _pods = bed.roll_out();
    bed.resource(
        "SignalingCluster",
        "main",
        json!({"publicUrl": "ws://signaling.example.com", "statusIntervalSeconds": 1}),
    )
    .await;
    for (pool, address) in POOLS.iter().zip(&addresses) {
        bed.resource(
            "HostPool",
            pool,
            json!({"signalingClusterRef": {"name": "main"}, "statusIntervalSeconds": 1}),
        )
        .await;
        bed.apply(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{pool}-counted"), "labels": {
                "app.kubernetes.io/name": "matchmaker", "berth.dev/host-pool": pool}},
            "addressType": "IPv4", "endpoints": [{"addresses": [address]}],
        }))
        .await;
    }
    for pool in POOLS {
        bed.wait_condition("HostPool", pool, "Ready", "True").await;
        bed.wait_condition("HostPool", pool, "HostsAvailable", "True")
            .await;
    }
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;

    let writes = |kind: &str| {
        let all = operator.requests(&["patch-status"]);
        all.get(kind).copied().unwrap_or_default()
    };
    let (pools, clusters, began) = (writes("hostpools"), writes("signalingclusters"), Instant::now());
    tokio::time::sleep(FLAPPING).await;
    let [pools, clusters] = [
        writes("hostpools") - pools,
        writes("signalingclusters") - clusters,
    ];
    let intervals = began.elapsed().as_secs() + 2;
    println!("in {intervals} intervals: {pools} writes for 3 pools, {clusters} for their SignalingCluster");
    assert!(pools <= intervals * 3, "{pools} writes in {intervals} intervals");
    assert!(
        clusters <= intervals,
        "{clusters} writes in {intervals} intervals"
    );
    assert!(pools > 0 && clusters > 0, "the numbers were told");

    flapping.stands_still.store(true, Ordering::Relaxed);
    bed.wait("the last numbers", async || {
        let cluster = bed.ours("SignalingCluster").get("main").await.unwrap();
        (cluster.data["status"]["connections"] == 14).then_some(())
    })
    .await;
    operator.settle().await;
    let written = operator.writes();
    let asked = reads(&operator);
    bed.wait("more readings", async || {
        (reads(&operator) > asked + 4).then_some(())
    })
    .await;
    assert_eq!(operator.writes(), written, "numbers that stand still are no news");
    operator.stop().await.unwrap();
}

/// Questions to pods.
fn reads(operator: &Running) -> u64 {
    let metrics = operator.metrics.encode();
    metrics
        .lines()
        .filter(|line| line.starts_with("berth_operator_pods_asked_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}
