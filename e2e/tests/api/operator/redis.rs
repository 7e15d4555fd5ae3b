//! A Redis of the team's: what the signaling pods say of it, those that are not ready because of it included. The pods are stand-ins.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_operator::counts::CountsError;
use berth_operator::pods::{PodReader, PodReport, ReportedRedis};
use futures::future::BoxFuture;
use serde_json::json;

use super::bed::{Bed, Running, conditions};
use super::pods::Obedient;

/// Pods behind Sentinels that they reach or not.
struct BehindSentinels {
    obedient: Obedient,
    up: AtomicBool,
}

struct Reader(Arc<BehindSentinels>);

impl PodReader for Reader {
    fn read(&self, pod: SocketAddr) -> BoxFuture<'static, Result<PodReport, CountsError>> {
        let pods = Arc::clone(&self.0);
        Box::pin(async move {
            let mut report = pods.obedient.report(pod).await.ok_or(CountsError::Unreachable)?;
            let up = pods.up.load(Ordering::Relaxed);
            report.redis = Some(ReportedRedis {
                mode: "sentinel".into(),
                up,
                master: up.then(|| "10.1.1.1:6379".into()),
                sharded: None,
                last_error: (!up).then(|| "no Sentinel answers".into()),
            });
            Ok(report)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_say_what_is_behind_the_url_of_an_external_redis() {
    let bed = Bed::new("external").await;
    bed.secret(
        "redis",
        json!({"url": "rediss+sentinel://user:hunter2@sentinel.example/main"}),
    )
    .await;
    let pods = Arc::new(BehindSentinels {
        obedient: bed.obedient(),
        up: AtomicBool::new(true),
    });
    let mut options = bed.options().await;
    options.pods = Arc::new(Reader(Arc::clone(&pods)));
    let operator = Running::start(options);
    let rolled_out = bed.roll_out();
    bed.resource(
        "SignalingCluster",
        "main",
        json!({
            "publicUrl": "ws://signaling.example.com",
            "statusIntervalSeconds": 1,
            "redis": {"external": {
                "urlSecretRef": {"name": "redis", "key": "url"},
                "caSecretRef": {"name": "authorities", "key": "ca.crt"}}},
        }),
    )
    .await;
    let missing = bed
        .wait_condition("SignalingCluster", "main", "ResolvedRefs", "False")
        .await;
    assert!(
        conditions(&missing)["ResolvedRefs"]
            .2
            .contains("Secret authorities")
    );
    bed.secret("authorities", json!({"ca.crt": "certificates"})).await;
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    bed.wait("the master", async || {
        let found = bed.ours("SignalingCluster").get("main").await.unwrap();
        let redis = &found.data["status"]["redis"];
        assert!(!found.data.to_string().contains("hunter2"));
        (redis["mode"] == "Sentinel" && redis["master"] == "10.1.1.1:6379" && redis["ready"] == true)
            .then_some(())
    })
    .await;

    // Pods that do not reach Redis are not ready, and only they can say why.
    drop(rolled_out);
    pods.up.store(false, Ordering::Relaxed);
    let unready = json!({"addresses": ["10.9.9.9"], "conditions": {"ready": false}});
    bed.apply(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "main-signaling-pods", "labels": {
            "app.kubernetes.io/name": "signaling", "berth.dev/signaling-cluster": "main",
            "kubernetes.io/service-name": "main-signaling"}},
        "addressType": "IPv4", "endpoints": [unready],
    }))
    .await;
    let down = bed
        .wait_condition("SignalingCluster", "main", "RedisReady", "False")
        .await;
    let (_, reason, message) = &conditions(&down)["RedisReady"];
    assert_eq!(reason, "RedisUnreachable");
    assert!(message.ends_with("no Sentinel answers"), "{message}");
    operator.stop().await.unwrap();
}
