//! Another version of the operator restarts no pods but those that are to follow it.

use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::bed::{Bed, Running};

impl Bed {
    /// An operator of a version of its own.
    async fn release(&self, version: u32) -> Running {
        let mut options = self.options().await;
        options.defaults.image = format!("berth:{version}");
        options.defaults.redis_image = format!("redis:{version}");
        Running::start(options)
    }

    async fn image(&self, kind: &str, name: &str) -> Value {
        let found = self.api("apps/v1", kind).get_opt(name).await.unwrap();
        found.map_or(Value::Null, |found| {
            found.data["spec"]["template"]["spec"]["containers"][0]["image"].clone()
        })
    }

    async fn wait_image(&self, kind: &str, name: &str, image: &str) {
        self.wait(&format!("{kind} {name} to run {image}"), async || {
            (self.image(kind, name).await == image).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_pinned_to_the_image_that_they_began_with_or_follow_the_operator() {
    let bed = Bed::new("images").await;
    let _pods = bed.roll_out();
    bed.cluster("main").await;
    bed.pool("eu", "main").await;
    let following = json!({"signalingClusterRef": {"name": "main"}, "imagePolicy": "FollowOperator"});
    bed.resource("HostPool", "us", following).await;
    let operator = bed.release(1).await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;
    bed.wait_condition("HostPool", "us", "Ready", "True").await;
    bed.wait_condition("SignalingCluster", "main", "Ready", "True")
        .await;
    operator.stop().await.unwrap();

    let operator = bed.release(2).await;
    bed.wait_image("Deployment", "us-matchmaker", "berth:2").await;
    operator.settle().await;
    let of_pinned = [
        ("Deployment", "eu-matchmaker", "berth:1"),
        ("Deployment", "main-signaling", "berth:1"),
        ("StatefulSet", "main-redis", "redis:1"),
    ];
    for (kind, name, image) in of_pinned {
        assert_eq!(bed.image(kind, name).await, image, "{kind} {name}");
    }

    bed.edit("HostPool", "eu", json!({"image": "mine:1"})).await;
    bed.wait_image("Deployment", "eu-matchmaker", "mine:1").await;
    bed.edit("HostPool", "eu", json!({"image": null})).await;
    bed.wait_image("Deployment", "eu-matchmaker", "berth:1").await;
    bed.wait_condition("HostPool", "eu", "Ready", "True").await;

    let deployments = bed.api("apps/v1", "Deployment");
    deployments
        .delete("eu-matchmaker", &DeleteParams::background())
        .await
        .unwrap();
    bed.wait_image("Deployment", "eu-matchmaker", "berth:1").await;

    bed.edit(
        "SignalingCluster",
        "main",
        json!({"imagePolicy": "FollowOperator"}),
    )
    .await;
    bed.wait_image("Deployment", "main-signaling", "berth:2").await;
    bed.wait_image("StatefulSet", "main-redis", "redis:2").await;
    operator.stop().await.unwrap();
}
