use super::super::bundle::Kind;
use super::super::view::{MatchmakerView, SignalingView};
use super::*;

use tokio::time::timeout;

const LONG: Duration = Duration::from_mins(1);

fn manifest(kind: Kind, name: &str, generation: i64, spec: &Value) -> Value {
    json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": kind.as_str(),
        "metadata": {"name": name, "namespace": "games", "generation": generation},
        "spec": spec,
    })
}

fn cluster(generation: i64, capacity: i64) -> Value {
    let spec = json!({"publicUrl": "wss://a", "rooms": {"capacity": capacity}});
    manifest(Kind::SignalingCluster, "main", generation, &spec)
}

fn pool(generation: i64, turn: Option<&str>) -> Value {
    let mut spec = json!({"signalingClusterRef": {"name": "main"}});
    if let Some(turn) = turn {
        spec["turnConfigRef"] = json!({"name": turn});
    }
    manifest(Kind::HostPool, "eu", generation, &spec)
}

fn turn() -> Value {
    manifest(Kind::TurnConfig, "turn", 5, &json!({"stunUrls": ["stun:s:1"]}))
}

fn bundle(manifests: &[Value]) -> Bundle {
    let mut bundle = Bundle::default();
    for manifest in manifests {
        bundle.add(manifest, "default").unwrap();
    }
    bundle
}

fn update(manifests: &[Value]) -> Update {
    Update::Bundle(bundle(manifests))
}

fn own(name: &str) -> Own {
    Own {
        namespace: Some("games".to_owned()),
        name: Some(name.to_owned()),
    }
}

/// Waits until the status fulfils a condition.
async fn until<V: View>(settings: &Settings<V>, condition: impl Fn(&Value) -> bool) -> Value {
    let poll = async {
        loop {
            let status = settings.status();
            if condition(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, poll).await.expect("the status never got there")
}

#[tokio::test]
async fn new_versions_replace_and_wrong_ones_are_refused() {
    let (updates, receiver) = watch::channel(update(&[cluster(1, 2)]));
    let metrics = Metrics::new();
    let settings = Settings::<SignalingView>::follow_updates(own("main"), receiver, &metrics);
    let snapshot = timeout(LONG, settings.first()).await.unwrap();
    assert_eq!(snapshot.load().cluster.rooms.capacity, 2);

    let mut changes = snapshot.watch();
    updates.send(update(&[cluster(2, 8)])).unwrap();
    timeout(LONG, changes.changed()).await.unwrap().unwrap();
    assert_eq!(snapshot.get().cluster.rooms.capacity, 8);

    updates.send(update(&[cluster(3, 65)])).unwrap();
    let status = until(&settings, |status| status["refusals"] == 1).await;
    assert_eq!(
        status["lastRefusal"]["reason"],
        "SignalingCluster games/main: spec.rooms.capacity: must be from 1 to 64, is 65"
    );
    assert_eq!(status["refused"]["generations"], json!({"SignalingCluster": 3}));
    assert_eq!(
        (&status["generation"], &status["source"]),
        (&2.into(), &"updates".into())
    );
    assert_eq!(snapshot.load().cluster.rooms.capacity, 8);
    assert_eq!(
        settings.not_ready(),
        None,
        "a refused version made the service unready"
    );

    updates
        .send(Update::Broken("a.yaml: not YAML".to_owned()))
        .unwrap();
    let status = until(&settings, |status| status["refusals"] == 2).await;
    assert_eq!(
        status["refused"],
        json!({"generations": null, "reason": "a.yaml: not YAML"})
    );
    updates.send(update(&[cluster(4, 3)])).unwrap();
    let status = until(&settings, |status| status["generation"] == 4).await;
    assert_eq!(status["refused"], Value::Null, "it is no longer the newest");
    let text = metrics.encode();
    assert!(text.contains("berth_settings_refused_total 2"), "{text}");
    assert!(
        text.contains("berth_settings_generation{kind=\"SignalingCluster\"} 4"),
        "{text}"
    );
}

#[tokio::test]
async fn missing_reference_waits_at_the_start_and_is_refused_later() {
    let (updates, receiver) = watch::channel(Update::Waiting("API server away".to_owned()));
    let settings = Settings::<MatchmakerView>::follow_updates(own("eu"), receiver, &Metrics::new());
    let waiting = async {
        while settings.not_ready().as_deref() != Some("API server away") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, waiting).await.unwrap();

    updates.send(update(&[pool(1, None)])).unwrap();
    until(&settings, |status| status["refusals"] == 1).await;
    let reason =
        "HostPool games/eu: spec.signalingClusterRef.name: SignalingCluster games/main does not exist";
    assert_eq!(settings.not_ready().as_deref(), Some(reason));
    assert!(settings.snapshot().is_none());

    updates.send(update(&[pool(1, None), cluster(7, 2)])).unwrap();
    let snapshot = timeout(LONG, settings.first()).await.unwrap();
    assert_eq!(snapshot.load().turn, None);
    assert_eq!(settings.not_ready(), None);

    updates
        .send(update(&[pool(2, Some("turn")), cluster(7, 2)]))
        .unwrap();
    let status = until(&settings, |status| status["refusals"] == 2).await;
    assert_eq!(
        status["lastRefusal"]["reason"],
        "HostPool games/eu: spec.turnConfigRef.name: TurnConfig games/turn does not exist"
    );
    assert_eq!(snapshot.load().pool.generation, 1);

    updates
        .send(update(&[pool(2, Some("turn")), cluster(7, 2), turn()]))
        .unwrap();
    let status = until(&settings, |status| status["generation"] == 2).await;
    assert_eq!(
        status["generations"],
        json!({"HostPool": 2, "SignalingCluster": 7, "TurnConfig": 5})
    );
    assert_eq!(snapshot.load().turn.as_ref().unwrap().stun_urls, ["stun:s:1"]);
}

#[tokio::test]
async fn undecodable_field_is_named() {
    let mut wrong = cluster(1, 2);
    wrong["spec"]["rooms"]["capacity"] = json!("many");
    let (_updates, receiver) = watch::channel(update(&[wrong]));
    let settings = Settings::<SignalingView>::follow_updates(own("main"), receiver, &Metrics::new());
    until(&settings, |status| status["refusals"] == 1).await;
    let reason = settings.not_ready().unwrap();
    assert!(
        reason.starts_with("SignalingCluster games/main: spec.rooms.capacity: invalid type"),
        "{reason}"
    );
}

#[tokio::test]
async fn every_wrong_resource_is_reported_at_once() {
    let wrong = [
        manifest(
            Kind::HostPool,
            "eu",
            1,
            &json!({"signalingClusterRef": {"name": "main"}, "httpPort": 0}),
        ),
        cluster(1, 0),
    ];
    let (_updates, receiver) = watch::channel(update(&wrong));
    let settings = Settings::<MatchmakerView>::follow_updates(own("eu"), receiver, &Metrics::new());
    until(&settings, |status| status["refusals"] == 1).await;
    let reason = settings.not_ready().unwrap();
    assert!(
        reason.contains("spec.httpPort") && reason.contains("spec.rooms.capacity"),
        "{reason}"
    );
}

fn cached(folder: &tempfile::TempDir) -> Cache {
    Cache::new(folder.path().join("settings.json"))
}

fn follow_with_cache(cache: Cache, updates: watch::Receiver<Update>) -> Settings<SignalingView> {
    Settings::follow(
        "kube",
        own("main"),
        updates,
        Box::pin(async {}),
        Some(cache),
        &Metrics::new(),
    )
}

#[tokio::test]
async fn cache_serves_while_the_api_server_is_away_and_yields_to_it() {
    let folder = tempfile::tempdir().unwrap();
    cached(&folder).store(bundle(&[cluster(3, 6)])).await.unwrap();
    let (updates, mut receiver) = watch::channel(Update::Waiting("away".to_owned()));
    receiver.mark_changed();
    let settings = follow_with_cache(cached(&folder), receiver);
    assert!(settings.snapshot().is_none());
    let snapshot = timeout(LONG, settings.first()).await.unwrap();
    assert_eq!(snapshot.load().cluster.rooms.capacity, 6);
    assert_eq!(settings.status()["fromCache"], true);

    updates.send(update(&[cluster(4, 9)])).unwrap();
    let status = until(&settings, |status| status["generation"] == 4).await;
    assert_eq!(status["fromCache"], false);
    let written = async {
        loop {
            if cached(&folder).load().await.unwrap() == Some(bundle(&[cluster(4, 9)])) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, written)
        .await
        .expect("the new version never reached the cache");
}

#[tokio::test]
async fn refused_versions_never_reach_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let (updates, mut receiver) = watch::channel(update(&[cluster(1, 2)]));
    receiver.mark_changed();
    let settings = follow_with_cache(cached(&folder), receiver);
    timeout(LONG, settings.first()).await.unwrap();
    updates.send(update(&[cluster(2, 0)])).unwrap();
    until(&settings, |status| status["refusals"] == 1).await;
    updates.send(Update::Broken("x".to_owned())).unwrap();
    until(&settings, |status| status["refusals"] == 2).await;
    assert_eq!(
        cached(&folder).load().await.unwrap(),
        Some(bundle(&[cluster(1, 2)]))
    );
}

#[tokio::test]
async fn unusable_cache_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("settings.json"), "{").unwrap();
    let (updates, mut receiver) = watch::channel(Update::Waiting("away".to_owned()));
    receiver.mark_changed();
    let settings = follow_with_cache(cached(&folder), receiver);
    tokio::time::sleep(CACHE_AFTER + Duration::from_millis(200)).await;
    assert!(settings.snapshot().is_none());
    updates.send(update(&[cluster(1, 2)])).unwrap();
    timeout(LONG, settings.first()).await.unwrap();
}

#[tokio::test]
async fn refused_first_version_starts_from_the_cache_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    cached(&folder).store(bundle(&[cluster(3, 6)])).await.unwrap();
    let (updates, mut receiver) = watch::channel(update(&[cluster(4, 65)]));
    receiver.mark_changed();
    let settings = follow_with_cache(cached(&folder), receiver);
    let snapshot = timeout(LONG, settings.first())
        .await
        .expect("the cache was not used");
    assert_eq!(snapshot.load().cluster.rooms.capacity, 6);
    let status = settings.status();
    assert_eq!(
        (&status["fromCache"], &status["generation"], &status["refusals"]),
        (&true.into(), &3.into(), &1.into())
    );
    assert_eq!(
        status["lastRefusal"]["reason"],
        "SignalingCluster games/main: spec.rooms.capacity: must be from 1 to 64, is 65"
    );
    updates.send(update(&[cluster(5, 9)])).unwrap();
    let status = until(&settings, |status| status["generation"] == 5).await;
    assert_eq!(status["fromCache"], false);
}

#[tokio::test]
async fn refused_cache_leaves_the_refusal_of_the_first_version() {
    let folder = tempfile::tempdir().unwrap();
    cached(&folder).store(bundle(&[cluster(3, 0)])).await.unwrap();
    let (updates, mut receiver) = watch::channel(update(&[cluster(4, 65)]));
    receiver.mark_changed();
    let settings = follow_with_cache(cached(&folder), receiver);
    until(&settings, |status| status["refusals"] == 1).await;
    updates.send(update(&[cluster(5, 66)])).unwrap();
    let status = until(&settings, |status| status["refusals"] == 2).await;
    let reason = status["lastRefusal"]["reason"].as_str().unwrap();
    assert!(reason.ends_with("is 66"), "{reason}");
    assert!(settings.snapshot().is_none());
}
