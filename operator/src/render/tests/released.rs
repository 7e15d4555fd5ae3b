//! What was released is taken over without a restart: whoever upgrades the operator keeps the pods that run.
//!
//! `operator/released/VERSION/` holds, for each version, example resources and what that version made of them (`cargo xtask generate` writes the
//! folder of the version that is being made; those before stay as they are). Images are pinned, so they are those of the record.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::*;

const WORKLOADS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("released")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The resources of a record, and the objects that they became.
fn record(file: &Path) -> (Vec<Manifest>, Vec<Value>) {
    let text = fs::read_to_string(file).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text).map(|one| Value::deserialize(one).unwrap());
    let (mut resources, mut objects) = (Vec::new(), Vec::new());
    for document in documents {
        match document["kind"].as_str().unwrap() {
            "SignalingCluster" => resources.push(Manifest::SignalingCluster(Box::new(parse(document)))),
            "HostPool" => resources.push(Manifest::HostPool(Box::new(parse(document)))),
            "TurnConfig" => resources.push(Manifest::TurnConfig(Box::new(parse(document)))),
            _ => objects.push(document),
        }
    }
    (resources, objects)
}

fn images() -> Defaults {
    Defaults {
        image: "berth:released".into(),
        redis_image: "redis:released".into(),
        coturn_image: "coturn:released".into(),
        ..defaults()
    }
}

fn identity(object: &Value) -> String {
    format!("{} {}", object["kind"], object["metadata"]["name"])
}

#[test]
fn no_pod_template_of_a_release_changes() {
    let mut compared = 0;
    for version in files(&folder()) {
        for file in files(&version) {
            let (resources, recorded) = record(&file);
            let rendered = render_manifests(&resources, &images()).unwrap();
            for before in recorded {
                if !WORKLOADS.contains(&before["kind"].as_str().unwrap()) {
                    continue;
                }
                let now = rendered.iter().find(|now| identity(now) == identity(&before));
                let now =
                    now.unwrap_or_else(|| panic!("{}: {} is no more", file.display(), identity(&before)));
                assert_eq!(
                    now.pointer("/spec/template"),
                    before.pointer("/spec/template"),
                    "{}: {} would restart",
                    file.display(),
                    identity(&before)
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 8, "{compared}");
}

#[test]
fn the_version_that_is_being_made_has_a_record() {
    assert!(
        folder().join(env!("CARGO_PKG_VERSION")).is_dir(),
        "cargo xtask generate"
    );
}
