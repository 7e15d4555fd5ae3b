//! Every field of the SignalingCluster that the server reads is in force when its reload class says, without a restart:
//! *hot* for connections that are open, *connection* for the next one while open ones keep the old value.

mod auth;
mod connections;
mod rooms;
mod server;

use std::fs;
use std::path::Path;

use berth_crds::api::SignalingClusterSpec;
use berth_crds::generate::definitions;
use berth_crds::reload::{ReloadClass, leaves};
use serde_json::Value;

use crate::support::{Client, Node, NodeOptions, RedisServer, Request, candidate, offer};

/// A field, its class, and the test that proves it.
type Proof = (&'static str, ReloadClass, fn());

/// Fields that are proven here.
fn here() -> Vec<Proof> {
    [auth::PROVEN, connections::PROVEN, rooms::PROVEN, server::PROVEN].concat()
}

/// Fields that are proven elsewhere, or that signaling does not read: their path, or with a dot at its end how their paths
/// begin, the file, and a test there.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("spec.auth.mode", AUTH, CHANGES),
    ("spec.auth.jwt.jwks.url", AUTH, CHANGES),
    // Read by the operator, which applies them to objects around pods that it leaves alone.
    ("spec.autoscaling.", RELOAD, "classes_of_signaling_cluster"),
    ("spec.httpRoute.", RELOAD, "classes_of_signaling_cluster"),
    ("spec.ingress.", RELOAD, "classes_of_signaling_cluster"),
    ("spec.networkPolicy.", RELOAD, "classes_of_signaling_cluster"),
    ("spec.paused", RELOAD, "classes_of_signaling_cluster"),
    ("spec.pdb.", RELOAD, "classes_of_signaling_cluster"),
    (
        "spec.redis.managed.reclaimPolicy",
        RELOAD,
        "classes_of_signaling_cluster",
    ),
    ("spec.replicas", RELOAD, "classes_of_signaling_cluster"),
    ("spec.service.", RELOAD, "classes_of_signaling_cluster"),
    (
        "spec.statusIntervalSeconds",
        RELOAD,
        "classes_of_signaling_cluster",
    ),
    // Read by the matchmaker, which tells it to players.
    (
        "spec.publicUrl",
        "matchmaker/tests/integration/program.rs",
        "signalingUrl",
    ),
];

/// Where the kinds of tokens change under open connections.
const AUTH: &str = "signaling/tests/it/auth.rs";
const CHANGES: &str = "changed_settings_are_in_force_for_the_next_connection";

/// Where it is proven for every field of every kind which ones restart pods.
const RELOAD: &str = "operator/src/render/tests/reload.rs";

#[test]
fn every_field_is_proven() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (_, file, test) in ELSEWHERE
        .iter()
        .chain(&[("", RELOAD, "classes_of_signaling_cluster")])
    {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(text.contains(test), "{file} has no {test}");
    }
    let crd = &definitions()[0];
    assert_eq!(crd.spec.names.kind, "SignalingCluster");
    let (fields, here) = (leaves(crd), here());
    for field in &fields {
        let class = field
            .class
            .unwrap_or_else(|| panic!("{} has no class", field.path));
        let proof = here.iter().find(|(path, ..)| *path == field.path);
        // Whatever begins so, or, without a dot at the end, this field alone.
        let is_meant = |path: &str| field.path == path || path.ends_with('.') && field.path.starts_with(path);
        let elsewhere = ELSEWHERE.iter().any(|(path, ..)| is_meant(path));
        match (class, proof) {
            (_, Some((_, proven, _))) => assert_eq!(*proven, class, "{}", field.path),
            (ReloadClass::Hot | ReloadClass::Connection, None) => {
                assert!(
                    elsewhere,
                    "nothing proves that {} is {}",
                    field.path,
                    class.as_str()
                );
            }
            // All of them by the test in RELOAD.
            (ReloadClass::Rolling | ReloadClass::Immutable, None) => {}
        }
    }
    for (path, ..) in &here {
        assert!(
            fields.iter().any(|field| field.path == **path),
            "{path} is no field"
        );
    }
    for (path, ..) in ELSEWHERE {
        assert!(
            fields.iter().any(|field| field.path.starts_with(path)),
            "{path} is no field"
        );
    }
}

/// A node whose resource is changed field by field.
struct Live {
    node: Node,
    spec: Value,
}

impl Live {
    async fn memory() -> Self {
        Self::start(None).await
    }

    async fn start(redis: Option<&RedisServer>) -> Self {
        let options = NodeOptions {
            redis: redis.map(RedisServer::url),
            ..NodeOptions::default()
        };
        let spec = serde_json::to_value(&options.spec).unwrap();
        let node = Node::start(options).await;
        Self { node, spec }
    }

    /// Sets fields of the resource, all at once, as an edit of the resource would.
    fn set(&mut self, fields: &[(&str, Value)]) {
        for (path, value) in fields {
            let path = path.strip_prefix("spec").unwrap().replace('.', "/");
            let (around, name) = path.rsplit_once('/').unwrap();
            let around = self.spec.pointer_mut(around).unwrap().as_object_mut().unwrap();
            around.insert(name.to_owned(), value.clone());
        }
        let spec: SignalingClusterSpec = serde_json::from_value(self.spec.clone()).unwrap();
        self.node.apply(spec);
    }

    /// Two peers of one room.
    async fn pair(&self, room: &str) -> (Client, Client) {
        (
            Client::join(&self.node, room).await,
            Client::join(&self.node, room).await,
        )
    }

    async fn open(&self, request: Request) -> Client {
        Client::open(self.node.address, request).await
    }

    /// The connection of this handshake is closed so.
    async fn is_closed(&self, request: Request, code: u16, reason: &str) {
        assert_eq!(self.open(request).await.closed().await, (code, reason.to_owned()));
    }

    /// The connection of this handshake gets a seat.
    async fn is_seated(&self, request: Request) -> Client {
        let mut client = self.open(request).await;
        // What is no message is answered to a seated peer.
        client.send("[]").await;
        assert!(client.hear().await.contains("schema-error"));
        client
    }
}

/// The two go on as if nothing had changed.
async fn talk((one, other): (&mut Client, &mut Client), word: &str) {
    one.send(offer(word)).await;
    assert_eq!(other.hear().await, offer(word));
    other.send(candidate(word)).await;
    assert_eq!(one.hear().await, candidate(word));
}
