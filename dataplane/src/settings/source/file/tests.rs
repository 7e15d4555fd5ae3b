use super::*;
use crate::settings::bundle::{Kind, Own};
use crate::settings::view::{SignalingView, View};

use berth_crds::settings::SecretRef;
use tokio::time::timeout;

const LONG: Duration = Duration::from_mins(1);

const CLUSTER: &str = "
apiVersion: berth.dev/v1alpha1
kind: SignalingCluster
metadata:
  name: main
spec:
  publicUrl: ws://localhost:3002
  rooms: {capacity: 4}
";

fn parse_one(text: &str) -> Result<Manifests, String> {
    parse(&BTreeMap::from([(PathBuf::from("a.yaml"), text.to_owned())]))
}

fn capacity(bundle: &Bundle) -> u16 {
    let own = Own::default().resolve(bundle, Kind::SignalingCluster).unwrap();
    SignalingView::assemble(bundle, &own)
        .unwrap()
        .cluster
        .rooms
        .capacity
}

fn secret(store: &SecretStore, key: &str) -> Option<String> {
    let reference = SecretRef {
        name: "host".to_owned(),
        key: key.to_owned(),
    };
    store
        .get(&reference)
        .map(|secret| secret.expose_str().unwrap().to_owned())
}

#[test]
fn several_documents_lists_and_foreign_kinds() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: berth.dev/v1alpha1, kind: TurnConfig, \
                metadata: {name: turn}, spec: {stunUrls: ['stun:s:1']}}";
    let text = format!("---\n{CLUSTER}\n---\n# nothing\n---\nkind: ConfigMap\napiVersion: v1\n---\n{list}\n");
    let manifests = parse_one(&text).unwrap();
    assert_eq!(capacity(&manifests.bundle), 4);
    assert_eq!(manifests.bundle.names(Kind::TurnConfig).count(), 1);
}

#[test]
fn secret_documents() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: host}\ndata: {previous: b2xk}\nstringData: {current: new}";
    let manifests = parse_one(text).unwrap();
    let store = SecretStore::in_memory();
    store.set_documents(manifests.secrets);
    assert_eq!(secret(&store, "current").as_deref(), Some("new"));
    assert_eq!(secret(&store, "previous").as_deref(), Some("old"));

    let wrong = parse_one("apiVersion: v1\nkind: Secret\nmetadata: {name: host}\ndata: {current: hunter2!}")
        .unwrap_err();
    assert_eq!(wrong, "a.yaml: Secret host: data.current: must be base64");
}

#[test]
fn errors_name_file_and_field() {
    for (text, expected) in [
        ("a: [", "a.yaml: "),
        (
            &CLUSTER.replace("rooms", "roomz"),
            "a.yaml: SignalingCluster default/main: spec.roomz: there is no such field",
        ),
        (
            &format!("{CLUSTER}---{CLUSTER}"),
            "a.yaml: SignalingCluster default/main is there twice",
        ),
    ] {
        let error = parse_one(text).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn changes_of_a_folder_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.yaml");
    std::fs::write(&path, CLUSTER).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not: [yaml").unwrap();
    let store = SecretStore::in_memory();
    let (mut updates, task) = follow_manifests(folder.path().to_owned(), store.clone())
        .await
        .unwrap();
    let task = tokio::spawn(task);
    let Update::Bundle(first) = updates.borrow_and_update().clone() else {
        panic!("no bundle")
    };
    assert_eq!(capacity(&first), 4);

    std::fs::write(&path, CLUSTER.replace("capacity: 4", "capacity: 5")).unwrap();
    timeout(LONG, updates.changed()).await.unwrap().unwrap();
    let Update::Bundle(second) = updates.borrow_and_update().clone() else {
        panic!("no bundle")
    };
    assert_eq!(capacity(&second), 5);

    std::fs::write(&path, "a: [").unwrap();
    timeout(LONG, updates.changed()).await.unwrap().unwrap();
    assert!(
        matches!(&*updates.borrow_and_update(), Update::Broken(reason) if reason.contains("cluster.yaml"))
    );

    let document = "{apiVersion: v1, kind: Secret, metadata: {name: host}, stringData: {current: x}}";
    std::fs::write(folder.path().join("secret.yml"), document).unwrap();
    std::fs::write(&path, CLUSTER).unwrap();
    let followed = async {
        while *updates.borrow_and_update() != Update::Bundle(first.clone()) {
            updates.changed().await.unwrap();
        }
    };
    timeout(LONG, followed).await.unwrap();
    assert_eq!(secret(&store, "current").as_deref(), Some("x"));
    drop(updates);
    timeout(LONG, task)
        .await
        .expect("the task outlives its readers")
        .unwrap();
}

#[tokio::test]
async fn missing_file_is_named() {
    let error = follow_manifests("/nonexistent/berth.yaml".into(), SecretStore::in_memory())
        .await
        .err()
        .unwrap();
    assert!(error.starts_with("/nonexistent/berth.yaml: "), "{error}");
}
