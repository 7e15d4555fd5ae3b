//! What resources become: whole, against golden files, and rule by rule.

mod flows;
mod golden;
mod pods;
mod policies;
mod released;
mod reload;
mod turn;

use berth_crds::api::ImagePolicy;
use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use serde_json::{Value, json};

use super::*;
use crate::resolve;

/// Every optional field that does not exclude another is set.
fn full_cluster() -> SignalingCluster {
    parse(json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "SignalingCluster",
        "metadata": metadata("main"),
        "spec": {
            "image": "registry.example/berth:1",
            "publicUrl": "wss://signaling.example.com",
            "autoscaling": {"minReplicas": 3, "maxReplicas": 9, "targetConnectionsPerPod": 5000},
            "auth": {"mode": "Jwt", "jwt": {"secretRef": {"name": "jwt.example"}, "issuer": "i", "audience": "a"}},
            "websocket": {"subprotocol": "berth.v1"},
            "redis": {"managed": {"persistence": "AppendOnly", "storageClassName": "fast", "image": "redis:x"}},
            "turnConfigRef": {"name": "turn"},
            "service": {"type": "NodePort", "nodePort": 30002, "annotations": {"cloud.example/lb": "x"}},
            "ingress": {"className": "nginx", "host": "s.example.com", "path": "/ws", "tls": {"secretName": "signaling-tls"}},
            "httpRoute": {"parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https", "port": 443}],
                "host": "s.example.com", "path": "/ws", "replacePrefix": "/", "annotations": {"example.com/a": "b"}},
            "pod": pod_options(),
        },
    }))
}

/// Tokens by published keys of a server with an authority of its own.
fn jwks_cluster() -> SignalingCluster {
    parse(json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "SignalingCluster",
        "metadata": metadata("main"),
        "spec": {
            "publicUrl": "wss://signaling.example.com",
            "auth": {"mode": "Jwt", "jwt": {"jwks": {
                "url": "https://id.example.com:8443/keys", "caSecretRef": {"name": "authorities", "key": "ca.crt"}}}},
        },
    }))
}

fn small_cluster() -> SignalingCluster {
    parse(json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "SignalingCluster",
        "metadata": metadata("main"),
        "spec": {"publicUrl": "ws://signaling.example.com"},
    }))
}

fn external_cluster() -> SignalingCluster {
    parse(json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "SignalingCluster",
        "metadata": metadata("main"),
        "spec": {
            "publicUrl": "ws://signaling.example.com",
            "redis": {"external": {
                "urlSecretRef": {"name": "redis-url", "key": "url"}, "caSecretRef": {"name": "redis-ca", "key": "ca.crt"}}},
        },
    }))
}

fn small_pool() -> HostPool {
    parse(json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "HostPool",
        "metadata": metadata("eu"),
        "spec": {"signalingClusterRef": {"name": "main"}},
    }))
}

fn full_pool() -> HostPool {
    parse(json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "HostPool",
        "metadata": metadata("eu"),
        "spec": {
            "image": "registry.example/berth:1",
            "signalingClusterRef": {"name": "main"},
            "turnConfigRef": {"name": "turn"},
            "autoscaling": {"minReplicas": 3, "maxReplicas": 9},
            "hostAuth": {"secretRef": {"name": "hosts"}},
            "adminTokenSecretRef": {"name": "admins"},
            // Without a size, so that each of the two may change alone.
            "matching": {"strategy": "Sample"},
            "service": {"type": "LoadBalancer", "nodePort": 30003, "annotations": {"cloud.example/lb": "x"}},
            "publicUrl": "https://match.example.com/eu",
            "ingress": {"annotations": {"ingress.example/rewrite": "/"}, "pathType": "Exact", "tls": {}},
            "httpRoute": {"parentRefs": [{"name": "public"}]},
            "pod": pod_options(),
        },
    }))
}

fn turn_config() -> TurnConfig {
    parse(json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "TurnConfig",
        "metadata": metadata("turn"),
        "spec": {
            "stunUrls": ["stun:stun.example.com"],
            "providers": [
                {"name": "a", "sharedSecret": {"urls": ["turn:a.example"], "secretRef": {"name": "coturn", "key": "k"}}},
                {"name": "b", "static": {"urls": ["turn:b.example"], "secretRef":
                    {"name": "fixed", "usernameKey": "u", "credentialKey": "c"}}},
                {"name": "c", "metered": {"domain": "games", "apiKeySecretRef": {"name": "metered", "key": "k"}}},
            ],
        },
    }))
}

/// Servers with addresses of their own; every optional field is set.
fn full_turn() -> TurnConfig {
    parse(json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "TurnConfig",
        "metadata": metadata("turn"),
        "spec": {"managed": {
            "image": "registry.example/coturn:1",
            "replicas": 2,
            "externalAddress": "203.0.113.7",
            "hostname": "turn.example.com",
            "realm": "games",
            "listeningPort": 3479,
            "relayPorts": {"min": 50000, "max": 50999},
            "tls": {"secretName": "turn-tls", "port": 5350, "nodePort": 30350},
            "allowedPeers": ["10.7.0.0/16"],
            "quotas": {"total": 1000, "perUser": 12},
            "metrics": {"enabled": true, "port": 9642},
            "service": {"type": "NodePort", "nodePort": 30479, "annotations": {"cloud.example/lb": "x"}},
            "pod": pod_options(),
        }},
    }))
}

/// Those under which a TurnConfig's servers are rendered.
fn defaults_of_turn(resource: &TurnConfig) -> Defaults {
    let managed = resource.spec.managed.as_ref();
    defaults_under(managed.map(|managed| managed.image_policy).unwrap_or_default())
}

/// Servers with the addresses of their nodes.
fn host_turn(workload: &str) -> TurnConfig {
    parse(json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "TurnConfig",
        "metadata": metadata("turn"),
        "spec": {"managed": {"network": "Host", "workload": workload}},
    }))
}

fn turn(resource: &TurnConfig) -> Desired {
    assert!(berth_crds::settings::TurnSettings::try_from(resource).is_ok());
    super::turn_config(resource, true, &defaults_of_turn(resource))
}

/// With marks of the tools that own the resource, none of which may reach a child.
fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "namespace": "games",
        "uid": format!("uid-of-{name}"),
        "labels": {
            "app.kubernetes.io/managed-by": "Helm",
            "argocd.argoproj.io/instance": "app",
            "kustomize.toolkit.fluxcd.io/name": "app",
            "applyset.kubernetes.io/part-of": "set",
            "team": "players",
        },
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "argocd.argoproj.io/tracking-id": "id",
            "meta.helm.sh/release-name": "release",
        },
    })
}

fn pod_options() -> Value {
    json!({
        "resources": {"requests": {"cpu": "0.5"}, "limits": {"memory": "1024Mi"}},
        "nodeSelector": {"pool": "games"},
        "tolerations": [{"key": "games", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpread": [{"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}],
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "registry"}],
        "labels": {"team": "players", "app.kubernetes.io/name": "not-ours-to-change"},
        "annotations": {"example.com/scrape": "true"},
    })
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
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

/// Those for a resource whose pods began with [`defaults`], under a newer operator.
fn defaults_under(policy: ImagePolicy) -> Defaults {
    let began = defaults();
    let newer = Defaults {
        image: "berth:next".into(),
        redis_image: "redis:next".into(),
        coturn_image: "coturn:next".into(),
        ..defaults()
    };
    let pins = Pins {
        service: Some(began.image),
        redis: Some(began.redis_image),
        coturn: Some(began.coturn_image),
    };
    newer.under(policy, pins)
}

fn cluster(resource: &SignalingCluster) -> Desired {
    cluster_with(resource, &turn_config())
}

/// With this TurnConfig, if the resource names one.
fn cluster_with(resource: &SignalingCluster, turn: &TurnConfig) -> Desired {
    let named = resource.spec.turn_config_ref.as_ref();
    let turn = named.map(|named| resolve::turn_settings(&named.name, Some(turn)).unwrap());
    let links = resolve::cluster_links(resource, turn.as_ref());
    signaling_cluster(
        resource,
        Some(&links),
        &defaults_under(resource.spec.image_policy),
        Offered::EVERYTHING,
    )
    .unwrap()
}

fn pool(resource: &HostPool, of: &SignalingCluster, turn: Option<&TurnConfig>) -> Desired {
    let settings = berth_crds::settings::PoolSettings::try_from(resource).unwrap();
    let turn = turn.map(|turn| resolve::turn_settings("turn", Some(turn)).unwrap());
    let links = resolve::pool_links(&settings, of, turn.as_ref());
    host_pool(
        resource,
        Some(&links),
        &defaults_under(resource.spec.image_policy),
        Offered::EVERYTHING,
    )
}

/// Everything that the fixtures become.
fn everything() -> Vec<Desired> {
    vec![
        cluster(&small_cluster()),
        cluster(&full_cluster()),
        cluster(&external_cluster()),
        cluster(&jwks_cluster()),
        pool(&small_pool(), &small_cluster(), None),
        pool(&full_pool(), &full_cluster(), Some(&turn_config())),
        pool(&small_pool(), &external_cluster(), None),
        turn(&full_turn()),
    ]
}

/// All objects as JSON; generated Secrets are not among them.
fn values(desired: &Desired) -> Vec<Value> {
    desired
        .children
        .iter()
        .filter_map(|child| Some(child.seal().unwrap()?.value))
        .collect()
}

fn find(desired: &Desired, kind: ChildKind, name: &str) -> Value {
    let id = ChildId::new(kind, name);
    let child = desired.children.iter().find(|child| child.id() == id);
    child
        .unwrap_or_else(|| panic!("no {id}"))
        .seal()
        .unwrap()
        .unwrap()
        .value
}
