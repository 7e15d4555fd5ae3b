//! Oracle 6, missed events: single events that never come, all events of some kinds for a while, and children that come and go in one
//! burst. The end is that of an undisturbed run as soon as the watches have begun anew, which they do every ten minutes (here: every
//! two seconds), and nothing is created or deleted more often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use super::lives::start_with;
use super::script;
use super::state::{state, wait_state, wait_values};
use crate::faults::{Edit, Network, Plan, Random, seed};
use crate::operator::bed::Bed;

const RELIST: Duration = Duration::from_secs(2);
const RUNS: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn oracle_06_any_event_may_be_lost() {
    let seed = seed(6);
    let run = async |plan| {
        let bed = Bed::new("o6").await;
        let pods = bed.roll_out();
        let network = Network::new(plan);
        let operator = start_with(&bed, &network, |options| options.intervals.relist = RELIST).await;
        (bed, pods, network, operator)
    };
    let (bed, _pods, calm, operator) = run(Plan::none()).await;
    script::whole(&bed).await;
    operator.settle().await;
    let expected = state(&bed).await;
    operator.stop().await.unwrap();
    let lossy = (0..RUNS).map(async |number| {
        let random = Mutex::new((Random(seed + number), 30));
        let plan = Plan::none().editing(move |line| {
            let (random, left) = &mut *random.lock();
            if !line.is_news() || *left == 0 || random.below(3) != 0 {
                return Edit::Pass;
            }
            *left -= 1;
            Edit::Drop
        });
        let (bed, _pods, network, operator) = run(plan).await;
        script::whole(&bed).await;
        wait_state(&bed, &format!("lossy run {number}"), &expected).await;
        assert_eq!(network.summary(), calm.summary(), "lossy run {number}");
        operator.stop().await.unwrap();
    });
    futures::future::join_all(lossy).await;
}

/// Whatever happens to children while nobody is told.
#[tokio::test(flavor = "multi_thread")]
async fn oracle_06_all_between_two_states_and_a_burst() {
    let bed = Bed::new("o6-deaf").await;
    let _pods = bed.roll_out();
    let deaf = Arc::new(AtomicBool::new(false));
    let is_deaf = Arc::clone(&deaf);
    let network = Network::new(Plan::none().editing(move |line| {
        let is_lost = is_deaf.load(Ordering::Relaxed) && line.listed && line.is_news();
        if is_lost { Edit::Drop } else { Edit::Pass }
    }));
    let operator = start_with(&bed, &network, |options| options.intervals.relist = RELIST).await;
    script::make(&bed).await;
    operator.settle().await;
    let before = state(&bed).await;

    let policies = bed.api("networking.k8s.io/v1", "NetworkPolicy");
    let services = bed.api("v1", "Service");
    let vandalise = async || {
        let vandal = PatchParams::default();
        policies
            .delete("main-redis", &DeleteParams::default())
            .await
            .unwrap();
        let nobody = json!({"spec": {"selector": {"app.kubernetes.io/name": "nobody"}}});
        services
            .patch("main-signaling", &vandal, &Patch::Merge(nobody))
            .await
            .unwrap();
        let fewer = json!({"spec": {"minReadySeconds": 1}});
        let deployments = bed.api("apps/v1", "Deployment");
        deployments
            .patch("eu-matchmaker", &vandal, &Patch::Merge(fewer))
            .await
            .unwrap();
    };
    deaf.store(true, Ordering::Relaxed);
    vandalise().await;
    wait_values(&bed, "what nobody was told of", &before).await;
    deaf.store(false, Ordering::Relaxed);

    // Objects of the names and labels of children that come and go faster than anybody can look.
    for _ in 0..10 {
        let _ = policies.delete("eu-matchmaker", &DeleteParams::default()).await;
        let _ = services.delete("eu-matchmaker", &DeleteParams::default()).await;
        let labels = json!({"app.kubernetes.io/managed-by": "berth-operator"});
        let stranger = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "eu-stranger", "labels": labels}, "spec": {"ports": [{"port": 1}]}});
        bed.apply(stranger).await;
        services
            .delete("eu-stranger", &DeleteParams::default())
            .await
            .unwrap();
    }
    wait_values(&bed, "a burst", &before).await;
    // The streams are not stalled.
    vandalise().await;
    wait_values(&bed, "after a burst", &before).await;
    operator.stop().await.unwrap();
}
