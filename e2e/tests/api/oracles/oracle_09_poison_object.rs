//! Oracle 9, poison object: one resource that cannot be decoded stops no other one; a metric counts it and a log line names it; what was
//! made of its last good version stays, and it is taken up again when it is readable.
//!
//! The API server refuses such an object, so the network changes it on its way.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_dataplane::testing::free_port;
use serde_json::json;

use super::lives::start_with;
use crate::faults::{Edit, Network, Plan};
use crate::operator::bed::Bed;
use crate::operator::metrics::scrape;

const OTHERS: usize = 20;

/// Waits until the metrics say that so many pools cannot be read.
async fn wait_undecodable(bed: &Bed, address: SocketAddr, number: usize) {
    let line = format!("berth_operator_undecodable_resources{{kind=\"HostPool\"}} {number}");
    bed.wait(&line, async || {
        scrape(address).await?.contains(&line).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_09_one_that_cannot_be_read_stops_no_other() {
    let bed = Bed::new("o9").await;
    let _pods = bed.roll_out();
    let poisonous = Arc::new(AtomicBool::new(true));
    let poisons = Arc::clone(&poisonous);
    let network = Network::new(Plan::none().editing(move |line| {
        if !line.is_of("hostpools", "poison") || !poisons.load(Ordering::Relaxed) {
            return Edit::Pass;
        }
        let mut event = line.event.clone();
        event["object"]["spec"]["replicas"] = json!({"not": "a number"});
        Edit::Replace(event)
    }));
    // It is there before the operator, so it is in the first list, and after that in a watch.
    bed.pool("poison", "main").await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let operator = start_with(&bed, &network, |options| options.listen = Some(address)).await;
    bed.cluster("main").await;
    for number in 0..OTHERS {
        bed.pool(&format!("eu-{number}"), "main").await;
    }
    for number in 0..OTHERS {
        bed.wait_condition("HostPool", &format!("eu-{number}"), "Ready", "True")
            .await;
    }
    wait_undecodable(&bed, address, 1).await;
    let deployments = bed.api("apps/v1", "Deployment");
    assert!(deployments.get_opt("poison-matchmaker").await.unwrap().is_none());

    poisonous.store(false, Ordering::Relaxed);
    bed.edit("HostPool", "poison", json!({"replicas": 3})).await;
    bed.wait_condition("HostPool", "poison", "Ready", "True").await;
    wait_undecodable(&bed, address, 0).await;

    poisonous.store(true, Ordering::Relaxed);
    bed.edit("HostPool", "poison", json!({"replicas": 4})).await;
    wait_undecodable(&bed, address, 1).await;
    bed.edit("HostPool", "eu-0", json!({"replicas": 1})).await;
    bed.wait("the others to go on", async || {
        let found = deployments.get("eu-0-matchmaker").await.unwrap();
        (found.data["spec"]["replicas"] == 1).then_some(())
    })
    .await;
    let left = deployments.get("poison-matchmaker").await.unwrap();
    assert_eq!(left.data["spec"]["replicas"], 3, "its last good version stays");
    operator.stop().await.unwrap();
}
