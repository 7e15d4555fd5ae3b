//! Live counts in the status of a pool.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use berth_crds::api::RegionDemand;
use berth_operator::counts::{CountsError, CountsReader, PoolCounts, Region};
use futures::future::BoxFuture;
use serde_json::json;

use super::bed::{Bed, Running, conditions};

/// The only thing that no API server has: a matchmaker.
struct Matchmaker {
    pool: String,
    free: AtomicI64,
    answers: AtomicBool,
    asked: AtomicI64,
}

impl CountsReader for Matchmaker {
    fn read(&self, pod: SocketAddr) -> BoxFuture<'static, Result<PoolCounts, CountsError>> {
        // The pods of the stand-in for the kubelet keep no counts.
        if pod.to_string() != "10.1.2.3:9090" {
            return Box::pin(std::future::ready(Err(CountsError::Unreachable)));
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let free = self.free.load(Ordering::Relaxed);
        let mut counts = PoolCounts {
            pool: self.pool.clone(),
            regions: [(
                "us".to_owned(),
                Region {
                    hosts: 4,
                    available_slots: free,
                },
            )]
            .into(),
            demand: vec![RegionDemand {
                region: "eu".to_owned(),
                refused: 2,
            }],
            ..PoolCounts::default()
        };
        counts.hosts.total = 4;
        counts.hosts.idle = free;
        counts.hosts.busy = 4 - free;
        counts.slots.total = 4;
        counts.slots.available = free;
        let answer = if self.answers.load(Ordering::Relaxed) {
            Ok(counts)
        } else {
            Err(CountsError::Unreachable)
        };
        Box::pin(std::future::ready(answer))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_come_from_a_ready_pod_and_cost_a_write_only_when_they_change() {
    let bed = Bed::new("counts").await;
    let matchmaker = Arc::new(Matchmaker {
        pool: format!("{}/eu", bed.namespace),
        free: AtomicI64::new(3),
        answers: AtomicBool::new(true),
        asked: AtomicI64::new(0),
    });
    let mut options = bed.options().await;
    options.counts = Arc::clone(&matchmaker) as Arc<dyn CountsReader>;
    let operator = Running::start(options);
    let _pods = bed.roll_out();
    bed.cluster("main").await;
    bed.resource(
        "HostPool",
        "eu",
        json!({"signalingClusterRef": {"name": "main"}, "statusIntervalSeconds": 1}),
    )
    .await;
    let pool = bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    // An empty pool is no broken rollout.
    assert_eq!(conditions(&pool)["HostsAvailable"].0, "Unknown");
    bed.apply(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "eu-1", "labels": {"app.kubernetes.io/name": "matchmaker", "berth.dev/host-pool": "eu", "kubernetes.io/service-name": "eu-matchmaker"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": true}}],
    }))
    .await;

    let pool = bed
        .wait_condition("HostPool", "eu", "HostsAvailable", "True")
        .await;
    let status = &pool.data["status"];
    assert_eq!(
        status["hosts"],
        json!({"total": 4, "idle": 3, "busy": 1, "allocated": 0, "unreachable": 0, "draining": 0})
    );
    assert_eq!(status["slots"], json!({"total": 4, "available": 3, "taken": 0}));
    assert_eq!(
        status["regions"],
        json!([{"name": "us", "hosts": 4, "availableSlots": 3}])
    );
    assert_eq!(status["demand"], json!([{"region": "eu", "refused": 2}]));
    let told = berth_e2e::process::output(bed.server.kubectl().args([
        "--namespace",
        &bed.namespace,
        "get",
        "hostpools",
    ]))
    .unwrap();
    let columns: Vec<_> = told.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(columns[..7], ["eu", "True", "4", "3", "1", "3", "main"], "{told}");

    operator.settle().await;
    let (writes, asked) = (operator.writes(), matchmaker.asked.load(Ordering::Relaxed));
    bed.wait("more readings", async || {
        (matchmaker.asked.load(Ordering::Relaxed) > asked + 2).then_some(())
    })
    .await;
    assert_eq!(operator.writes(), writes, "the same counts are no news");

    matchmaker.free.store(0, Ordering::Relaxed);
    let full = bed
        .wait_condition("HostPool", "eu", "HostsAvailable", "False")
        .await;
    assert_eq!(conditions(&full)["HostsAvailable"].1, "NoFreeSlots");
    assert_eq!(conditions(&full)["Ready"].0, "True");

    matchmaker.answers.store(false, Ordering::Relaxed);
    let unknown = bed
        .wait_condition("HostPool", "eu", "HostsAvailable", "Unknown")
        .await;
    assert_eq!(unknown.data["status"]["hosts"]["busy"], 4, "the last counts stay");
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn flapping_counts_are_written_once_per_interval() {
    let bed = Bed::new("budget").await;
    let matchmaker = Arc::new(Matchmaker {
        pool: format!("{}/eu", bed.namespace),
        free: AtomicI64::new(1),
        answers: AtomicBool::new(true),
        asked: AtomicI64::new(0),
    });
    let mut options = bed.options().await;
    options.counts = Arc::clone(&matchmaker) as Arc<dyn CountsReader>;
    let operator = Running::start(options);
    let _pods = bed.roll_out();
    bed.cluster("main").await;
    bed.resource(
        "HostPool",
        "eu",
        json!({"signalingClusterRef": {"name": "main"}, "statusIntervalSeconds": 1}),
    )
    .await;
    bed.apply(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "eu-1", "labels": {"app.kubernetes.io/name": "matchmaker", "berth.dev/host-pool": "eu"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}],
    }))
    .await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    bed.wait_condition("HostPool", "eu", "HostsAvailable", "True")
        .await;

    let writes = |operator: &Running| operator.requests(&["patch-status"])["hostpools"];
    let (before, asked) = (writes(&operator), matchmaker.asked.load(Ordering::Relaxed));
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        let free = matchmaker.free.load(Ordering::Relaxed);
        matchmaker.free.store(1 + (free + 1) % 3, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let written = writes(&operator) - before;
    let asked = u64::try_from(matchmaker.asked.load(Ordering::Relaxed) - asked).unwrap();
    assert!(asked <= began.elapsed().as_secs() + 1, "{asked} readings in 5 s");
    assert!(written <= asked, "{written} writes for {asked} readings");
    operator.stop().await.unwrap();
}
