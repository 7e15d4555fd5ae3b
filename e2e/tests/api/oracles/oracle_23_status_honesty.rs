//! Oracle 23, status honesty. In every version of a resource that the API server ever shows, `Ready=True` implies that the
//! rollout is complete, Redis is ready and every pod follows the generation that the status speaks of; and the time of a
//! condition's last transition changes with its status alone. The pods are stand-ins that follow an edit only after they
//! were asked a few times.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, WatchEvent, WatchParams};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::served::{Pages, Served};
use crate::operator::bed::{Bed, Running, conditions};
use crate::operator::pods::Obedient;

const SEED: u64 = 23;
const EDITS: usize = 10;

/// Pods that follow late.
struct Late {
    obedient: Obedient,
    pods: Mutex<BTreeMap<SocketAddr, LatePod>>,
    random: Mutex<Random>,
}

#[derive(Default)]
struct LatePod {
    own: String,
    in_force: BTreeMap<String, i64>,
    /// Every generation of its own resource that it ever followed.
    followed: BTreeSet<i64>,
    /// Answers that it still gives with the old settings.
    late_by: u64,
}

/// A small generator (`SplitMix64`), so that a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

impl Late {
    /// How many pods of `own` have followed `generation`.
    fn followed(&self, own: &str, generation: i64) -> usize {
        let pods = self.pods.lock();
        let follows = |pod: &&LatePod| pod.own == own && pod.followed.contains(&generation);
        pods.values().filter(follows).count()
    }
}

impl Pages for Late {
    fn statusz(&self, pod: SocketAddr) -> BoxFuture<'_, Value> {
        Box::pin(async move {
            let Some(live) = self.obedient.report(pod).await else {
                return json!({});
            };
            let newest = live.settings.generations.unwrap_or_default();
            let late_by = self.random.lock().below(3);
            let mut pods = self.pods.lock();
            let pod = pods.entry(pod).or_default();
            pod.own = live.settings.own;
            if pod.in_force != newest {
                if pod.late_by == 0 {
                    let kind = pod.own.split(' ').next().unwrap_or_default();
                    pod.followed.insert(newest[kind]);
                    pod.in_force = newest;
                    pod.late_by = late_by;
                } else {
                    pod.late_by -= 1;
                }
            }
            json!({"settings": {"own": pod.own, "generations": pod.in_force}, "connections": {"open": 0}})
        })
    }

    fn counts(&self, _: SocketAddr) -> Value {
        json!({})
    }
}

/// Judges every version of the resources of a kind; the task ends with the first that is not honest.
fn judge(bed: &Bed, kind: &'static str, pods: Arc<Late>) -> tokio::task::JoinHandle<()> {
    let (api, namespace) = (bed.ours(kind), bed.namespace.clone());
    tokio::spawn(async move {
        let start = api.list(&ListParams::default()).await.unwrap();
        let mut events = api
            .watch(
                &WatchParams::default().timeout(250),
                &start.metadata.resource_version.unwrap(),
            )
            .await
            .unwrap()
            .boxed();
        let mut before: Option<DynamicObject> = None;
        while let Some(event) = events.next().await {
            let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event.unwrap() else {
                continue;
            };
            let own = format!("{kind} named {} in namespace {namespace}", object.name_any());
            honest(&object, |generation| pods.followed(&own, generation));
            if let Some(before) = &before {
                transitions(before, &object);
            }
            before = Some(object);
        }
    })
}

fn honest(object: &DynamicObject, followed: impl Fn(i64) -> usize) {
    let status = &object.data["status"];
    let told = conditions(object);
    let is = |kind: &str| told.get(kind).is_some_and(|(status, _, _)| status == "True");
    let Some(generation) = status["observedGeneration"].as_i64() else {
        return;
    };
    let list = status["conditions"].as_array().unwrap();
    assert!(
        list.iter()
            .all(|condition| condition["observedGeneration"] == generation),
        "{status}"
    );
    let total = status["settings"]["totalPods"].as_u64().unwrap();
    if is("SettingsApplied") {
        assert_eq!(status["settings"]["appliedPods"], total, "{status}");
        let followed = u64::try_from(followed(generation)).unwrap();
        assert!(
            followed >= total,
            "{followed} of {total} pods followed generation {generation}: {status}"
        );
    }
    if is("Ready") {
        assert!(is("SettingsApplied") && is("ResolvedRefs"), "{status}");
        assert!(is("Available") || total == 0, "{status}");
        assert!(is("RedisReady") || !told.contains_key("RedisReady"), "{status}");
        assert_eq!(status["readyReplicas"], status["replicas"], "{status}");
        assert!(!is("Reconciling") && !is("Stalled"), "{status}");
    }
}

/// The time changes exactly when the status of the condition does, to the second in which it is kept.
fn transitions(before: &DynamicObject, after: &DynamicObject) {
    let list = |object: &DynamicObject| {
        object.data["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    for (was, is) in list(before)
        .iter()
        .flat_map(|was| list(after).into_iter().map(move |is| (was.clone(), is)))
        .filter(|(was, is)| was["type"] == is["type"] && was["status"] == is["status"])
    {
        assert_eq!(was["lastTransitionTime"], is["lastTransitionTime"], "{was} {is}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_23_ready_is_told_only_when_every_pod_follows() {
    let bed = Bed::new("honest").await;
    let late = Arc::new(Late {
        obedient: bed.obedient(),
        pods: Mutex::default(),
        random: Mutex::new(Random(SEED)),
    });
    let mut options = bed.options().await;
    options.pods = Arc::new(Served::new(Arc::clone(&late)));
    let operator = Running::start(options);
    let _pods = bed.roll_out();
    let judges = ["SignalingCluster", "HostPool"].map(|kind| judge(&bed, kind, Arc::clone(&late)));
    bed.resource(
        "TurnConfig",
        "turn",
        json!({"stunUrls": ["stun:stun.example.com"]}),
    )
    .await;
    bed.cluster("main").await;
    bed.resource(
        "HostPool",
        "eu",
        json!({"signalingClusterRef": {"name": "main"}, "turnConfigRef": {"name": "turn"}}),
    )
    .await;

    let mut random = Random(SEED);
    for _ in 0..EDITS {
        let number = random.below(40);
        match random.below(5) {
            0 => {
                bed.edit(
                    "HostPool",
                    "eu",
                    json!({"matching": {"regionWeight": number + 1}}),
                )
                .await
            }
            1 => bed.edit("HostPool", "eu", json!({"replicas": number % 4})).await,
            2 => {
                bed.edit(
                    "SignalingCluster",
                    "main",
                    json!({"rooms": {"capacity": number + 2}}),
                )
                .await
            }
            3 => {
                bed.edit(
                    "SignalingCluster",
                    "main",
                    json!({"image": format!("berth:{number}")}),
                )
                .await
            }
            _ => {
                bed.edit(
                    "TurnConfig",
                    "turn",
                    json!({"credentialTtlSeconds": 3600 + number}),
                )
                .await
            }
        };
        if random.below(2) == 0 {
            for (kind, name) in [("SignalingCluster", "main"), ("HostPool", "eu")] {
                applied(&bed, kind, name).await;
            }
        }
    }
    for (kind, name) in [("SignalingCluster", "main"), ("HostPool", "eu")] {
        applied(&bed, kind, name).await;
        bed.wait_condition(kind, name, "Ready", "True").await;
    }
    operator.settle().await;
    for judge in judges {
        assert!(
            !judge.is_finished(),
            "a version was not honest: {:?}",
            judge.await
        );
        judge.abort();
    }
    operator.stop().await.unwrap();
}

/// What `kubectl wait --for=condition=SettingsApplied` waits for.
async fn applied(bed: &Bed, kind: &str, name: &str) {
    let wanted = bed.ours(kind).get(name).await.unwrap().metadata.generation;
    bed.wait(&format!("{kind} {name} to be followed"), async || {
        let found = bed.ours(kind).get(name).await.unwrap();
        let is = conditions(&found)
            .get("SettingsApplied")
            .is_some_and(|(is, _, _)| is == "True");
        (is && found.data["status"]["observedGeneration"].as_i64() >= wanted).then_some(())
    })
    .await;
}
