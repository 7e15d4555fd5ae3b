//! Where a service's settings come from in a cluster: resources of the API server, watched with the Role of its pods.

mod proxy;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use berth_crds::settings::ProviderSettings;
use berth_crds::{HostPool, SignalingCluster};
use berth_dataplane::settings::{MatchmakerView, Own, Settings, SignalingView, View};
use berth_dataplane::telemetry::Metrics;
use berth_e2e::apiserver::ApiServer;
use berth_operator::render::{self, Child, Defaults, PullPolicy};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use crate::server;
use proxy::Proxy;

/// Enough for a loaded machine and for the longest pause between two attempts to watch.
const PATIENCE: Duration = Duration::from_mins(2);

/// A namespace of its own on the shared server, and a way there that can be closed.
struct Place {
    server: Arc<ApiServer>,
    admin: Client,
    namespace: String,
    way: Proxy,
}

impl Place {
    async fn new(purpose: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("settings-{purpose}-{}-{number}", std::process::id());
        let server = server::shared();
        let admin = server::client(&server).await;
        let mut object = Namespace::default();
        object.metadata.name = Some(namespace.clone());
        Api::all(admin.clone())
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        let address = server.url().strip_prefix("https://").unwrap().parse().unwrap();
        Self {
            way: Proxy::to(address).await,
            server,
            admin,
            namespace,
        }
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("berth.dev", "v1alpha1", kind));
        Api::namespaced_with(self.admin.clone(), &self.namespace, &resource)
    }

    /// Writes a resource as a user does. The API server must accept it.
    async fn apply(&self, kind: &str, name: &str, spec: Value) {
        let object = json!({
            "apiVersion": "berth.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        });
        self.api(kind)
            .patch(name, &PatchParams::apply("user"), &Patch::Apply(object))
            .await
            .unwrap();
    }

    async fn signaling(&self, spec: Value) {
        let mut whole = json!({"publicUrl": "ws://signaling.example.com"});
        whole
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        self.apply("SignalingCluster", "main", whole).await;
    }

    /// A client with the account that the operator makes for pods, and with the Role that it gives them.
    async fn pod(&self, children: Vec<Child>) -> Client {
        let mut account = None;
        for child in children {
            match child {
                Child::Role(mut role) => {
                    role.metadata.owner_references = None;
                    self.create(&role).await;
                }
                Child::RoleBinding(mut binding) => {
                    binding.metadata.owner_references = None;
                    self.create(&binding).await;
                }
                Child::ServiceAccount(found) => account = found.metadata.name,
                _ => {}
            }
        }
        let user = format!("system:serviceaccount:{}:{}", self.namespace, account.unwrap());
        let groups = ["system:serviceaccounts", "system:authenticated"];
        let kubeconfig = self.server.kubeconfig_of(&user, &groups).unwrap();
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        config.cluster_url = format!("https://{}", self.way.address()).parse().unwrap();
        Client::try_from(config).unwrap()
    }

    async fn create<K>(&self, object: &K)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.admin.clone(), &self.namespace);
        api.create(&PostParams::default(), object).await.unwrap();
    }

    fn watch<V: View>(&self, client: &Client, name: &str, cache: Option<PathBuf>) -> Settings<V> {
        let own = Own {
            namespace: Some(self.namespace.clone()),
            name: Some(name.to_owned()),
        };
        Settings::watch(client.clone(), own, cache, &Metrics::new()).unwrap()
    }
}

fn defaults() -> Defaults {
    Defaults {
        image: "berth:test".into(),
        redis_image: "redis:test".into(),
        coturn_image: "coturn:test".into(),
        image_pull_policy: PullPolicy::IfNotPresent,
        image_pull_secrets: Vec::new(),
    }
}

/// Waits until the settings are as wanted.
async fn until<V: View>(what: &str, settings: &Settings<V>, wanted: impl Fn(&V, &Value) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = settings.status();
        if let Some(snapshot) = settings.snapshot()
            && wanted(&snapshot.load(), &status)
        {
            return;
        }
        assert!(Instant::now() < end, "never: {what}; {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until this many versions were refused, the last of them for a reason with these words.
async fn refused<V: View>(settings: &Settings<V>, count: u64, words: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = settings.status();
        if status["refusals"] == count {
            let reason = status["lastRefusal"]["reason"].as_str().unwrap();
            assert!(reason.contains(words), "{reason}");
            return;
        }
        assert!(Instant::now() < end, "never refused: {words}; {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_followed_a_wrong_one_refused_and_an_outage_outlived() {
    let mut place = Place::new("signaling").await;
    let folder = tempfile::tempdir().unwrap();
    let cache = Some(folder.path().join("settings.json"));
    let resource: SignalingCluster = {
        let mut resource = SignalingCluster::new(
            "main",
            serde_json::from_value(json!({"publicUrl": "ws://x"})).unwrap(),
        );
        resource.metadata.namespace = Some(place.namespace.clone());
        resource
    };
    let children = render::signaling_cluster(&resource, None, &defaults(), render::Offered::default())
        .unwrap()
        .children;
    let pod = place.pod(children).await;
    let settings: Settings<SignalingView> = place.watch(&pod, "main", cache.clone());
    refused(&settings, 1, "no SignalingCluster named main").await;
    assert!(settings.snapshot().is_none() && settings.not_ready().is_some());

    place.signaling(json!({"rooms": {"capacity": 3}})).await;
    until("the first version", &settings, |view, status| {
        view.cluster.rooms.capacity == 3 && status["generation"] == 1
    })
    .await;
    assert_eq!(settings.not_ready(), None);
    let snapshot = settings.snapshot().unwrap();
    place.signaling(json!({"rooms": {"capacity": 4}})).await;
    until("a change", &settings, |view, status| {
        view.cluster.rooms.capacity == 4 && status["generation"] == 2
    })
    .await;
    assert_eq!(snapshot.load().cluster.rooms.capacity, 4, "another snapshot");

    // The schema knows how an address looks, but not how far ports go.
    place
        .signaling(json!({"rooms": {"capacity": 5}, "publicUrl": "ws://signaling.example.com:99999"}))
        .await;
    refused(&settings, 2, "spec.publicUrl").await;
    assert_eq!(snapshot.load().cluster.rooms.capacity, 4);
    assert_eq!(settings.not_ready(), None, "a wrong edit made an outage");

    place.way.close().await;
    place.signaling(json!({"rooms": {"capacity": 6}})).await;
    let started_late: Settings<SignalingView> = place.watch(&pod, "main", cache);
    until("a start without API server", &started_late, |view, status| {
        view.cluster.rooms.capacity == 4 && status["fromCache"] == true
    })
    .await;
    assert_eq!(snapshot.load().cluster.rooms.capacity, 4);
    assert_eq!(settings.not_ready(), None);

    place.way.open().await;
    for settings in [&settings, &started_late] {
        until("what changed meanwhile", settings, |view, status| {
            view.cluster.rooms.capacity == 6 && status["fromCache"] == false
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn references_are_followed_wherever_they_point() {
    let place = Place::new("matchmaker").await;
    let pool = |cluster: &str, turn: Option<&str>| {
        let mut spec = json!({"signalingClusterRef": {"name": cluster}});
        if let Some(turn) = turn {
            spec["turnConfigRef"] = json!({"name": turn});
        }
        spec
    };
    let mut resource = HostPool::new("eu", serde_json::from_value(pool("main", None)).unwrap());
    resource.metadata.namespace = Some(place.namespace.clone());
    let pod = place
        .pod(render::host_pool(&resource, None, &defaults(), render::Offered::default()).children)
        .await;
    place.apply("HostPool", "eu", pool("main", None)).await;
    let settings: Settings<MatchmakerView> = place.watch(&pod, "eu", None);
    refused(&settings, 1, "spec.signalingClusterRef.name: SignalingCluster").await;

    place.signaling(json!({})).await;
    until("what the pool names", &settings, |view, _| {
        view.cluster.name.name == "main" && view.turn.is_none()
    })
    .await;
    place.signaling(json!({"rooms": {"idMaxLength": 99}})).await;
    until("a change of what the pool names", &settings, |view, _| {
        view.cluster.rooms.id_max_length == 99
    })
    .await;

    place.apply("HostPool", "eu", pool("main", Some("turn"))).await;
    refused(&settings, 2, "spec.turnConfigRef.name: TurnConfig").await;
    place
        .apply(
            "TurnConfig",
            "turn",
            json!({"stunUrls": ["stun:stun.example.com:3478"]}),
        )
        .await;
    until("one more", &settings, |view, _| {
        view.turn
            .as_ref()
            .is_some_and(|turn| turn.stun_urls == ["stun:stun.example.com:3478"])
    })
    .await;

    // The addresses of servers that Berth runs are in a status, and change without a generation.
    let on_nodes = json!({"managed": {"network": "Host"}});
    place.apply("TurnConfig", "turn", on_nodes).await;
    for addresses in [&[][..], &["192.0.2.1"], &["192.0.2.1", "192.0.2.2"]] {
        let status = json!({"status": {"managed": {"addresses": addresses}}});
        place
            .api("TurnConfig")
            .patch_status("turn", &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
        let url = |address: &&str| format!("turn:{address}:3478?transport=udp");
        let expected: Vec<String> = addresses.iter().map(url).collect();
        until(&format!("servers at {addresses:?}"), &settings, |view, _| {
            let providers = view.turn.iter().flat_map(|turn| &turn.providers);
            let servers = providers.filter_map(|provider| match provider {
                ProviderSettings::Managed { servers, .. } => Some(servers),
                _ => None,
            });
            let first: Vec<_> = servers.flatten().map(|urls| urls[0].clone()).collect();
            view.turn.as_ref().is_some_and(|turn| turn.generation == 2) && first == expected
        })
        .await;
    }

    place
        .apply(
            "SignalingCluster",
            "other",
            json!({"publicUrl": "ws://other.example.com"}),
        )
        .await;
    place.apply("HostPool", "eu", pool("other", None)).await;
    until("another one", &settings, |view, status| {
        view.cluster.name.name == "other" && view.turn.is_none() && status["generation"] == 3
    })
    .await;
    // Nobody looks at the former one any more.
    place
        .api("SignalingCluster")
        .delete("main", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    place
        .apply(
            "SignalingCluster",
            "other",
            json!({"publicUrl": "ws://other.example.com", "rooms": {"idMaxLength": 98}}),
        )
        .await;
    until("a change of the other one", &settings, |view, _| {
        view.cluster.rooms.id_max_length == 98
    })
    .await;
    assert_eq!(settings.status()["refusals"], 2);
}
