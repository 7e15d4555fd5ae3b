//! The manifests that people copy, and the two files that put them to use: `kind-config.yaml` and `examples/compose.yaml`.
//!
//! Neither kind nor Docker Compose runs here: what can go wrong between these files and the manifests is compared
//! field by field instead.

// Clippy's exception for tests does not reach the helpers of a test program.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use berth_crds::offline::{Source, Validator};
use serde::Deserialize;
use serde_yaml::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&fs::read_to_string(repository().join(path)).unwrap()).unwrap()
}

/// Folders of `examples/` for a cluster.
const FOLDERS: [&str; 8] = [
    "gateway",
    "ingress",
    "kind",
    "local",
    "minimal",
    "production",
    "quickstart",
    "turn",
];

/// The files of a folder of `examples/`.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(repository().join("examples").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn documents(folder: &str) -> Vec<Value> {
    let texts = files(folder)
        .into_iter()
        .map(|file| fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| {
            serde_yaml::Deserializer::from_str(&text)
                .map(|document| Value::deserialize(document).unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The only resource of this kind in a folder of `examples/`.
fn resource(folder: &str, kind: &str) -> Value {
    let mut found: Vec<_> = documents(folder)
        .into_iter()
        .filter(|document| document["kind"] == kind)
        .collect();
    assert_eq!(found.len(), 1, "{kind} in {folder}");
    found.remove(0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value:?}"))
}

#[test]
fn every_example_is_valid_and_complete() {
    // What is in `argocd` is for Argo CD alone.
    let ours = |path: &PathBuf| path.is_dir() && !path.ends_with("argocd");
    let folders: Vec<_> = files("").into_iter().filter(ours).collect();
    let names: BTreeSet<_> = folders
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, FOLDERS.into_iter().chain(["compose"]).collect());
    let validator = Validator::new().unwrap();
    for name in names {
        let sources: Vec<_> = files(name)
            .into_iter()
            .map(|file| Source {
                name: file.display().to_string(),
                text: fs::read_to_string(&file).unwrap(),
            })
            .collect();
        let report = validator.check(&sources, &[]);
        // Warnings too: a reference must lead to a resource of the same folder.
        assert_eq!(report.findings, [], "{name}");
        assert!(report.resources >= 2, "{name}");
    }
}

/// Manifests on the pages of the documentation are to be copied like those in files.
#[test]
fn every_manifest_of_the_documentation_is_valid_and_complete() {
    let validator = Validator::new().unwrap();
    let mut count = 0;
    for entry in fs::read_dir(repository().join("docs")).unwrap() {
        let page = entry.unwrap().path();
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        let blocks = text
            .split("```yaml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap());
        for block in blocks.filter(|block| block.starts_with("apiVersion: berth.dev/")) {
            let source = Source {
                name: page.display().to_string(),
                text: block.to_owned(),
            };
            let report = validator.check(&[source], &[]);
            assert_eq!(report.findings, [], "{block}");
            assert!(report.resources > 0, "{block}");
            count += 1;
        }
    }
    assert!(count >= 3, "the walk is broken");
}

#[test]
fn examples_leave_the_namespace_to_the_one_who_applies_them() {
    for folder in FOLDERS {
        for document in documents(folder) {
            assert!(document["metadata"]["namespace"].is_null(), "{folder}");
        }
    }
}

#[test]
fn a_pool_takes_six_lines() {
    let text = fs::read_to_string(repository().join("examples/minimal/hostpool.yaml")).unwrap();
    assert_eq!(text.lines().count(), 6, "{text}");
}

/// The port of `ws://localhost:3002` and the like.
fn port_of(url: &str) -> u64 {
    url.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn kind_maps_the_ports_that_the_examples_ask_for() {
    let config = yaml("kind-config.yaml");
    assert_eq!(config["kind"], "Cluster");
    assert_eq!(config["apiVersion"], "kind.x-k8s.io/v1alpha4");
    let nodes = config["nodes"].as_sequence().unwrap();
    assert_eq!(
        nodes.len(),
        1,
        "a node port answers on every node, the mapping is that of one"
    );
    let mappings = nodes[0]["extraPortMappings"].as_sequence().unwrap();
    assert_eq!(mappings.len(), 2);
    let host_port = |node_port: &Value| {
        let mapping = mappings
            .iter()
            .find(|mapping| mapping["containerPort"] == *node_port);
        let mapping = mapping.unwrap_or_else(|| panic!("node port {node_port:?} is not mapped"));
        assert_eq!(mapping["protocol"], "TCP");
        // `localhost` in the examples is this machine, and nobody else's.
        assert_eq!(mapping["listenAddress"], "127.0.0.1");
        mapping["hostPort"].as_u64().unwrap()
    };
    for folder in ["quickstart", "kind"] {
        let (cluster, pool) = (resource(folder, "SignalingCluster"), resource(folder, "HostPool"));
        for service in [&cluster["spec"]["service"], &pool["spec"]["service"]] {
            assert_eq!(service["type"], "NodePort", "{folder}");
            let port = service["nodePort"].as_u64().unwrap();
            assert!(
                (30_000..=32_767).contains(&port),
                "{port} is outside the range of Kubernetes"
            );
        }
        let url = text(&cluster["spec"]["publicUrl"]);
        assert_eq!(
            host_port(&cluster["spec"]["service"]["nodePort"]),
            port_of(url),
            "{folder}: {url}"
        );
        // The address of the matchmaker stands in no manifest; `berth up` and the README use this port.
        assert_eq!(host_port(&pool["spec"]["service"]["nodePort"]), 3000, "{folder}");
    }
}

/// `HOST:CONTAINER` of a port that compose publishes, without address and protocol.
fn published(service: &Value) -> Vec<(String, String)> {
    let ports = service["ports"].as_sequence().map_or(&[][..], Vec::as_slice);
    let split = |port: &Value| {
        let port = text(port).strip_prefix("127.0.0.1:").unwrap();
        let (outside, inside) = port.split_once(':').unwrap();
        let inside = inside.split('/').next().unwrap();
        (outside.to_owned(), inside.to_owned())
    };
    ports.iter().map(split).collect()
}

#[test]
fn compose_runs_the_images_of_the_chart() {
    let (compose, values) = (yaml("examples/compose.yaml"), yaml("charts/berth/values.yaml"));
    let berth = format!(
        "{}:{}",
        text(&values["image"]["repository"]),
        env!("CARGO_PKG_VERSION")
    );
    let expected = [
        ("redis", text(&values["redisImage"])),
        ("signaling", &berth),
        ("matchmaker", &berth),
        ("coturn", text(&values["coturnImage"])),
    ];
    let services = compose["services"].as_mapping().unwrap();
    assert_eq!(services.len(), expected.len());
    for (service, image) in expected {
        let named = text(&services[service]["image"]);
        assert_eq!(named, image, "{service}");
        let tag = named.rsplit_once(':').unwrap().1;
        assert!(tag.split('.').count() == 3, "{service}: {tag} is not pinned");
    }
}

#[test]
fn compose_publishes_the_ports_that_its_services_listen_on() {
    let compose = yaml("examples/compose.yaml");
    let (signaling, matchmaker) = (
        &compose["services"]["signaling"],
        &compose["services"]["matchmaker"],
    );
    for (service, outside) in [(signaling, "3002"), (matchmaker, "3000")] {
        let inside = text(&service["environment"]["PORT"]).to_owned();
        assert_eq!(published(service), [(outside.to_owned(), inside)]);
        let redis = text(&service["environment"]["REDIS_URL"]);
        assert_eq!(
            redis, "redis://redis:6379",
            "the name of the service in this file"
        );
        assert_eq!(service["depends_on"]["redis"]["condition"], "service_healthy");
    }
    let url = text(&signaling["environment"]["SIGNALING_PUBLIC_URL"]);
    assert_eq!(port_of(url).to_string(), published(signaling)[0].0);
}

#[test]
fn compose_and_its_manifests_say_the_same() {
    let compose = yaml("examples/compose.yaml");
    let (signaling, matchmaker) = (
        &compose["services"]["signaling"],
        &compose["services"]["matchmaker"],
    );
    let cluster = resource("compose", "SignalingCluster");
    // Signaling has no manifest, so these are told twice.
    let environment = &signaling["environment"];
    assert_eq!(cluster["spec"]["publicUrl"], environment["SIGNALING_PUBLIC_URL"]);
    assert_eq!(cluster["metadata"]["name"], "default");
    for (variable, field) in [
        ("ROOM_CAPACITY", "capacity"),
        ("ROOM_ID_MAX_LENGTH", "idMaxLength"),
    ] {
        let number = cluster["spec"]["rooms"][field].as_u64().unwrap();
        assert_eq!(text(&environment[variable]), number.to_string(), "{variable}");
    }
    let pool = resource("compose", "HostPool");
    assert_eq!(
        text(&matchmaker["environment"]["PORT"]),
        pool["spec"]["httpPort"].as_u64().unwrap().to_string()
    );
    let mounted = text(&matchmaker["volumes"][0]);
    let settings = text(&matchmaker["command"][2]).strip_prefix("file:").unwrap();
    assert_eq!(mounted, format!("./compose:{settings}:ro"));
}

#[test]
fn compose_gives_coturn_what_its_turnconfig_says() {
    let compose = yaml("examples/compose.yaml");
    let coturn = &compose["services"]["coturn"];
    let flag = |name: &str| {
        let mut arguments = coturn["command"].as_sequence().unwrap().iter().map(text);
        let value = arguments.find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("coturn has no {name}")).to_owned()
    };
    let turn = resource("compose", "TurnConfig");
    let provider = &turn["spec"]["providers"][0]["sharedSecret"];
    let secrets: Vec<_> = documents("compose")
        .into_iter()
        .filter(|document| document["kind"] == "Secret")
        .collect();
    let secret = secrets
        .iter()
        .find(|secret| secret["metadata"]["name"] == provider["secretRef"]["name"])
        .unwrap();
    assert_eq!(
        text(&secret["stringData"]["secret"]),
        flag("--static-auth-secret")
    );
    let port = flag("--listening-port");
    for url in provider["urls"].as_sequence().unwrap() {
        let host = text(url)
            .strip_prefix("turn:")
            .unwrap()
            .split('?')
            .next()
            .unwrap();
        assert_eq!(host, format!("localhost:{port}"));
    }
    assert_eq!(
        text(&turn["spec"]["stunUrls"][0]),
        format!("stun:localhost:{port}")
    );
    let relay = format!("{}-{}", flag("--min-port"), flag("--max-port"));
    for expected in [port, relay] {
        assert!(
            published(coturn).contains(&(expected.clone(), expected.clone())),
            "{expected} is not published"
        );
    }
}

/// The Rust files below `folder`.
fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn compose_sets_no_variable_that_the_services_do_not_read() {
    let mut code = String::new();
    for part in ["dataplane/src", "signaling/src", "matchmaker/src"] {
        sources(&repository().join(part), &mut code);
    }
    let compose = yaml("examples/compose.yaml");
    for service in ["signaling", "matchmaker"] {
        for (variable, value) in compose["services"][service]["environment"].as_mapping().unwrap() {
            let name = text(variable);
            assert!(
                code.contains(&format!("\"{name}\"")),
                "{service}: nobody reads {name}"
            );
            assert!(
                value.is_string(),
                "{service}: {name} must be quoted: compose hands out texts"
            );
        }
    }
}
