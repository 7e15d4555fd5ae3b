//! A namespace of its own on the shared server, an operator in it, and a stand-in for the controllers and the kubelet: it
//! reports every Deployment, StatefulSet and DaemonSet as rolled out, because no pods run here.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use berth_e2e::apiserver::ApiServer;
use berth_operator::metrics::Metrics;
use berth_operator::render::{Defaults, PullPolicy};
use berth_operator::{Operator, OperatorError, Options};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::pods::Obedient;
use crate::server;

/// Enough for a loaded machine; an idle one takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct Bed {
    pub(crate) server: Arc<ApiServer>,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// An operator that runs in this process. Dropping it is a crash.
pub(crate) struct Running {
    pub(crate) metrics: Metrics,
    stop: CancellationToken,
    task: JoinHandle<Result<(), OperatorError>>,
}

impl Running {
    pub(crate) fn start(options: Options) -> Self {
        let operator = Operator::new(options);
        let stop = CancellationToken::new();
        Self {
            metrics: operator.metrics(),
            task: tokio::spawn(operator.run(stop.clone())),
            stop,
        }
    }

    /// SIGTERM, and the end of the process.
    pub(crate) async fn stop(mut self) -> Result<(), OperatorError> {
        self.stop.cancel();
        (&mut self.task).await.unwrap()
    }

    /// Waits until the operator ends by itself.
    pub(crate) async fn ended(mut self) -> Result<(), OperatorError> {
        tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .expect("the operator ends")
            .unwrap()
    }

    /// How many requests with these verbs were sent, by kind.
    pub(crate) fn requests(&self, verbs: &[&str]) -> BTreeMap<String, u64> {
        let mut counted = BTreeMap::new();
        for line in self.metrics.encode().lines() {
            let Some(labels) = line.strip_prefix("berth_operator_api_requests_total{") else {
                continue;
            };
            let label = |name: &str| {
                let rest = labels.split(&format!("{name}=\"")).nth(1)?;
                rest.split('"').next()
            };
            if verbs.contains(&label("verb").unwrap()) {
                let number: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
                *counted.entry(label("kind").unwrap().to_owned()).or_default() += number;
            }
        }
        counted
    }

    /// Waits until what follows from the last change is done.
    pub(crate) async fn settle(&self) {
        let end = Instant::now() + PATIENCE;
        let mut before = u64::MAX;
        while self.writes() != before {
            assert!(Instant::now() < end, "the writes do not end");
            before = self.writes();
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
    }

    /// How many objects were written.
    pub(crate) fn writes(&self) -> u64 {
        self.requests(&WRITES).values().sum()
    }
}

/// Verbs that change something.
pub(crate) const WRITES: [&str; 5] = ["create", "update", "patch", "patch-status", "delete"];

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bed {
    /// A fresh namespace on the shared server.
    pub(crate) async fn new(purpose: &str) -> Self {
        Self::on(server::shared(), purpose).await
    }

    /// A fresh namespace on `server`, which has the definitions.
    pub(crate) async fn on(server: Arc<ApiServer>, purpose: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("{purpose}-{}-{number}", std::process::id());
        let client = server::client(&server).await;
        let api: Api<Namespace> = Api::all(client.clone());
        let object = Namespace {
            metadata: ObjectMeta {
                name: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        api.create(&PostParams::default(), &object).await.unwrap();
        Self {
            server,
            client,
            namespace,
        }
    }

    /// Options of an operator that works in this namespace, without an election.
    pub(crate) async fn options(&self) -> Options {
        self.options_of(self.server.kubeconfig()).await
    }

    /// The same, as the user of a kubeconfig.
    pub(crate) async fn options_of(&self, kubeconfig: &Path) -> Options {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        let mut options = Options::new(config, defaults());
        options.namespaces = vec![self.namespace.clone()];
        options.pods = Arc::new(self.obedient());
        options
    }

    /// Stand-ins for the pods of this namespace.
    pub(crate) fn obedient(&self) -> Obedient {
        Obedient {
            client: self.client.clone(),
            namespace: self.namespace.clone(),
        }
    }

    /// Says that the pods of a service are ready, at these addresses.
    pub(crate) async fn endpoints(&self, component: &str, resource: &str, addresses: &[String]) {
        let label = match component {
            "matchmaker" => "berth.dev/host-pool",
            "turn" => "berth.dev/turn-config",
            _ => "berth.dev/signaling-cluster",
        };
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
            .collect();
        self.apply(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{resource}-{component}-pods"), "labels": {
                "app.kubernetes.io/name": component, label: resource,
                "kubernetes.io/service-name": format!("{resource}-{component}")}},
            "addressType": "IPv4", "endpoints": endpoints,
        }))
        .await;
    }

    /// Starts an operator with the usual options.
    pub(crate) async fn operator(&self) -> Running {
        Running::start(self.options().await)
    }

    /// Objects of a kind, whatever it is.
    pub(crate) fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// One of our kinds.
    pub(crate) fn ours(&self, kind: &str) -> Api<DynamicObject> {
        self.api("berth.dev/v1alpha1", kind)
    }

    /// Applies an object as a user does.
    pub(crate) async fn apply(&self, object: Value) -> DynamicObject {
        let api = self.api(
            object["apiVersion"].as_str().unwrap(),
            object["kind"].as_str().unwrap(),
        );
        let name = object["metadata"]["name"].as_str().unwrap();
        api.patch(name, &PatchParams::apply("user").force(), &Patch::Apply(&object))
            .await
            .unwrap()
    }

    /// One of our kinds, applied as a user does.
    pub(crate) async fn resource(&self, kind: &str, name: &str, spec: Value) -> DynamicObject {
        self.apply(json!({
            "apiVersion": "berth.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }))
        .await
    }

    /// Changes some fields of a resource; null takes one out.
    pub(crate) async fn edit(&self, kind: &str, name: &str, spec: Value) -> DynamicObject {
        let change = Patch::Merge(json!({"spec": spec}));
        self.ours(kind)
            .patch(name, &PatchParams::default(), &change)
            .await
            .unwrap()
    }

    pub(crate) async fn cluster(&self, name: &str) -> DynamicObject {
        self.resource(
            "SignalingCluster",
            name,
            json!({"publicUrl": "ws://signaling.example.com"}),
        )
        .await
    }

    pub(crate) async fn pool(&self, name: &str, cluster: &str) -> DynamicObject {
        self.resource(
            "HostPool",
            name,
            json!({"signalingClusterRef": {"name": cluster}}),
        )
        .await
    }

    pub(crate) async fn secret(&self, name: &str, values: Value) {
        self.apply(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}),
        )
        .await;
    }

    /// Has the namespace enforce a pod security standard.
    pub(crate) async fn enforce(&self, level: &str) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
        api.patch(&self.namespace, &PatchParams::default(), &Patch::Merge(label))
            .await
            .unwrap();
    }

    /// Waits until an object is gone.
    pub(crate) async fn gone(&self, api_version: &str, kind: &str, name: &str) {
        self.wait(&format!("{kind} {name} to go"), async || {
            let found = self.api(api_version, kind).get_opt(name).await.unwrap();
            found.is_none().then_some(())
        })
        .await;
    }

    /// The stand-in for controllers and kubelet, until the returned task is dropped. Its pods are [`Obedient`]. The DaemonSet
    /// of a TurnConfig called `short` gets a pod too few.
    pub(crate) fn roll_out(&self) -> RollOut {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let sets: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let daemons: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let bed = Self {
            server: Arc::clone(&self.server),
            client: self.client.clone(),
            namespace: self.namespace.clone(),
        };
        RollOut(tokio::spawn(async move {
            let changes = |watched| watcher::Config::default().timeout(watched);
            let found = watcher(deployments.clone(), changes(250)).default_backoff();
            let changed_sets = watcher(sets.clone(), changes(250)).default_backoff();
            let changed_daemons = watcher(daemons.clone(), changes(250)).default_backoff();
            let (mut found, mut changed_sets, mut changed_daemons) = (
                pin!(found.applied_objects()),
                pin!(changed_sets.applied_objects()),
                pin!(changed_daemons.applied_objects()),
            );
            let mut pods = BTreeMap::new();
            loop {
                tokio::select! {
                    // Those of others stand in the way and have no pods.
                    Some(found) = found.next() => if let Ok(found) = found
                        && found.labels().contains_key("app.kubernetes.io/instance")
                    {
                        let status = found.status.clone().unwrap_or_default();
                        let replicas = found.spec.as_ref().and_then(|spec| spec.replicas);
                        let number = pods.len();
                        let (number, listed) = pods.entry(found.name_any()).or_insert((number, None));
                        if *listed != replicas {
                            bed.list_pods(&found, *number, replicas.unwrap_or(1)).await;
                            *listed = replicas;
                        }
                        if status.observed_generation != found.metadata.generation
                            || status.ready_replicas != replicas
                        {
                            let rolled_out = rolled_out(found.metadata.generation, replicas);
                            // One that is gone meanwhile needs no status.
                            let _ = deployments
                                .patch_status(
                                    &found.name_any(),
                                    &PatchParams::default(),
                                    &Patch::Merge(rolled_out),
                                )
                                .await;
                        }
                    },
                    Some(found) = changed_sets.next() => if let Ok(found) = found {
                        let status = found.status.clone().unwrap_or_default();
                        if status.observed_generation != found.metadata.generation {
                            let rolled_out = rolled_out(found.metadata.generation, Some(1));
                            let _ = sets
                                .patch_status(
                                    &found.name_any(),
                                    &PatchParams::default(),
                                    &Patch::Merge(rolled_out),
                                )
                                .await;
                        }
                    },
                    Some(found) = changed_daemons.next() => if let Ok(found) = found {
                        let status = found.status.clone().unwrap_or_default();
                        if status.observed_generation != found.metadata.generation {
                            let name = found.name_any();
                            let pods = i32::from(name != "short-turn");
                            let counts = json!({"status": {
                                "observedGeneration": found.metadata.generation, "desiredNumberScheduled": 1,
                                "currentNumberScheduled": pods, "updatedNumberScheduled": pods, "numberReady": pods,
                                "numberAvailable": pods, "numberMisscheduled": 0,
                            }});
                            let _ = daemons
                                .patch_status(&name, &PatchParams::default(), &Patch::Merge(counts))
                                .await;
                        }
                    },
                }
            }
        }))
    }

    async fn list_pods(&self, deployment: &Deployment, number: usize, replicas: i32) {
        let labels = deployment.labels();
        let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
        let addresses: Vec<_> = (1..=replicas)
            .map(|pod| format!("10.{}.{}.{pod}", 100 + number / 250, number % 250))
            .collect();
        let (component, resource) = (
            label("app.kubernetes.io/name"),
            label("app.kubernetes.io/instance"),
        );
        self.endpoints(&component, &resource, &addresses).await;
    }

    /// Waits until the condition of a resource has this status, and gives the resource.
    pub(crate) async fn wait_condition(
        &self,
        kind: &str,
        name: &str,
        condition: &str,
        status: &str,
    ) -> DynamicObject {
        let what = format!("{kind} {name}: {condition}={status}");
        self.wait(&what, async || {
            let found = self.ours(kind).get(name).await.unwrap();
            let is = conditions(&found)
                .get(condition)
                .is_some_and(|(is, _, _)| is == status);
            is.then_some(found)
        })
        .await
    }

    /// Waits until an object is there.
    pub(crate) async fn wait_object(&self, api_version: &str, kind: &str, name: &str) -> DynamicObject {
        let what = format!("{kind} {name}");
        self.wait(&what, async || {
            self.api(api_version, kind).get_opt(name).await.unwrap()
        })
        .await
    }

    /// Looks again and again until `look` finds something.
    pub(crate) async fn wait<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < end, "waited {} s for {what}", PATIENCE.as_secs());
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

/// What the operators of tests were installed with.
pub(crate) fn defaults() -> Defaults {
    Defaults {
        image: "berth:test".into(),
        redis_image: "redis:test".into(),
        coturn_image: "coturn:test".into(),
        image_pull_policy: PullPolicy::IfNotPresent,
        image_pull_secrets: Vec::new(),
    }
}

/// See [`Bed::roll_out`].
pub(crate) struct RollOut(JoinHandle<()>);

impl Drop for RollOut {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn rolled_out(generation: Option<i64>, replicas: Option<i32>) -> Value {
    let replicas = replicas.unwrap_or(1);
    json!({"status": {
        "observedGeneration": generation,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
    }})
}

/// Status, reason and message of each condition.
pub(crate) fn conditions(object: &DynamicObject) -> BTreeMap<String, (String, String, String)> {
    let conditions = object.data["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    conditions
        .iter()
        .map(|condition| {
            let told = (
                text(&condition["status"]),
                text(&condition["reason"]),
                text(&condition["message"]),
            );
            (text(&condition["type"]), told)
        })
        .collect()
}
