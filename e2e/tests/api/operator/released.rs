//! An upgrade: what an earlier version wrote is taken over by this one, and no pod is replaced.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_e2e::apiserver::{ApiServer, Options};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bed::{Bed, Running};
use crate::server::{install_definitions, repository};

/// Records whose resources need nothing that is not in them.
const COMPLETE: [&str; 3] = ["minimal.yaml", "quickstart.yaml", "turn.yaml"];
const WORKLOADS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

fn versions() -> Vec<PathBuf> {
    let released = repository().join("operator/released");
    let mut versions: Vec<_> = fs::read_dir(released)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    versions.sort();
    versions
}

/// The documents of a record as they would have been in `namespace`. They were made without one, which means `default`.
fn documents(file: &Path, namespace: &str) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let text = text
        .replace(": default\n", &format!(": {namespace}\n"))
        .replace(".default.svc", &format!(".{namespace}.svc"));
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// Kind and name of the resource that an object belongs to.
fn owner(object: &Value) -> (&'static str, String) {
    let labels = &object["metadata"]["labels"];
    let of = |label: &str| labels[label].as_str().map(str::to_owned);
    let owners = [
        ("HostPool", of("berth.dev/host-pool")),
        ("SignalingCluster", of("berth.dev/signaling-cluster")),
        ("TurnConfig", of("berth.dev/turn-config")),
    ];
    let found = owners.into_iter().find_map(|(kind, name)| Some((kind, name?)));
    found.unwrap_or_else(|| panic!("whose is {object}?"))
}

async fn taken_over(server: &Arc<ApiServer>, record: &Path) {
    let bed = Bed::on(Arc::clone(server), "released").await;
    let (resources, objects): (Vec<_>, Vec<_>) = documents(record, &bed.namespace)
        .into_iter()
        .partition(|document| document["apiVersion"] == "berth.dev/v1alpha1");
    let mut uids = BTreeMap::new();
    for resource in &resources {
        let made = bed.apply(resource.clone()).await;
        let kind = resource["kind"].as_str().unwrap().to_owned();
        uids.insert((kind, made.name_any()), made.uid().unwrap());
    }
    let mut workloads = Vec::new();
    for mut object in objects {
        let (kind, name) = owner(&object);
        let uid = &uids[&(kind.to_owned(), name.clone())];
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("namespace");
        metadata.insert(
            "ownerReferences".into(),
            json!([{"apiVersion": "berth.dev/v1alpha1", "kind": kind, "name": name, "uid": uid, "controller": true}]),
        );
        let (api_version, kind) = (object["apiVersion"].clone(), object["kind"].clone());
        let api = bed.api(api_version.as_str().unwrap(), kind.as_str().unwrap());
        let own = object["metadata"]["name"].as_str().unwrap().to_owned();
        let operator = PatchParams::apply("berth-operator").force();
        api.patch(&own, &operator, &Patch::Apply(&object)).await.unwrap();
        if WORKLOADS.contains(&kind.as_str().unwrap()) {
            workloads.push((api, own));
        }
    }
    let mut before = Vec::new();
    for (api, name) in &workloads {
        before.push(api.get(name).await.unwrap());
    }

    let mut options = bed.options().await;
    options.defaults.image = "berth:next".into();
    options.defaults.redis_image = "redis:next".into();
    options.defaults.coturn_image = "coturn:next".into();
    let operator = Running::start(options);
    let _pods = bed.roll_out();
    for resource in &resources {
        let (kind, name) = (&resource["kind"], &resource["metadata"]["name"]);
        bed.wait_condition(kind.as_str().unwrap(), name.as_str().unwrap(), "Ready", "True")
            .await;
    }
    operator.settle().await;
    for ((api, name), before) in workloads.iter().zip(before) {
        let now = api.get(name).await.unwrap();
        assert_eq!(now.uid(), before.uid(), "{name} was made anew");
        let is_same = now.data["spec"]["template"] == before.data["spec"]["template"];
        assert!(is_same, "pods of {name} are replaced");
        // Not the generation: that of a Deployment counts changes of its annotations too.
        assert!(now.data["spec"] == before.data["spec"], "{name} is another one");
    }
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn state_of_every_release_is_taken_over_without_a_restart() {
    let versions = versions();
    assert!(!versions.is_empty());
    for version in versions {
        // Each has the same node ports.
        let server = Arc::new(ApiServer::start(Options::default()).unwrap());
        install_definitions(&server);
        for record in COMPLETE {
            taken_over(&server, &version.join(record)).await;
        }
    }
}
