//! Oracles 25 and 26: applying the same again changes nothing, from either side, and kstatus goes one way.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use berth_e2e::process;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};

use super::judge::judge;
use crate::operator::bed::{Bed, Running};
use crate::operator::follow;
use crate::server::{complaint, repository};

const KINDS: [&str; 3] = ["SignalingCluster", "HostPool", "TurnConfig"];

/// Uid and version of every resource in the namespace.
async fn versions(bed: &Bed) -> BTreeMap<(&'static str, String), (Option<String>, Option<String>)> {
    let mut found = BTreeMap::new();
    for kind in KINDS {
        for object in bed.ours(kind).list(&ListParams::default()).await.unwrap() {
            let version = (object.uid(), object.resource_version());
            found.insert((kind, object.name_any()), version);
        }
    }
    found
}

/// A `kubectl` on manifests.
fn kubectl(bed: &Bed, arguments: &[&str], manifests: &[PathBuf]) -> Command {
    let mut command = bed.server.kubectl();
    command.args(["--namespace", &bed.namespace]).args(arguments);
    for file in manifests {
        command.arg("--filename").arg(file);
    }
    command
}

/// The manifests of a folder.
fn manifests(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(repository().join(folder)).unwrap();
    files.map(|entry| entry.unwrap().path()).collect()
}

/// Applies once more what is there, with `side` as it was applied before: `kubectl diff` is empty and no version is new.
async fn again(bed: &Bed, side: &[&str], manifests: &[PathBuf]) {
    let before = versions(bed).await;
    let output = kubectl(bed, &[&["diff"], side].concat(), manifests)
        .output()
        .unwrap();
    let different = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{different}{output:?}");
    assert_eq!(different, "");
    let told = process::output(&mut kubectl(bed, &[&["apply"], side].concat(), manifests)).unwrap();
    // From the server's side it does not say that nothing changed; the versions do.
    let word = if side.is_empty() {
        " unchanged"
    } else {
        " serverside-applied"
    };
    assert!(told.lines().all(|line| line.ends_with(word)), "{told}");
    assert_eq!(versions(bed).await, before);
}

/// Defaults inside of lists, values that the server writes in another way, and nulls would show here: every manifest of the
/// corpus, among them one of each kind with every field.
#[tokio::test(flavor = "multi_thread")]
async fn oracle_26_a_second_apply_of_anything_valid_changes_nothing() {
    for (purpose, side) in [
        ("apply-client", &[][..]),
        ("apply-server", &["--server-side"][..]),
    ] {
        let mut corpus = manifests("crds/tests/corpus/accept");
        if !side.is_empty() {
            // A null is refused there where the schema has no default, as it is for every custom resource.
            corpus.retain(|file| !file.ends_with("signalingcluster-nulls.yaml"));
        }
        let bed = Bed::new(purpose).await;
        let mut apply = kubectl(&bed, &[&["apply"], side].concat(), &corpus);
        assert_eq!(complaint(&mut apply), None);
        assert!(versions(&bed).await.len() > 10);
        if !side.is_empty() {
            // The status that the schema gives a resource which nobody has seen is stored with the first write after the
            // creation. Under an operator that is the operator's own.
            assert_eq!(
                complaint(&mut kubectl(&bed, &["apply", "--server-side"], &corpus)),
                None
            );
        }
        again(&bed, side, &corpus).await;
    }
}

/// The same under the operator, whose writes would be seen as differences, and with a change of sides; and from the first
/// version to the last, whatever is applied again, each resource is in progress and then current, for good.
#[tokio::test(flavor = "multi_thread")]
async fn oracle_26_kstatus_goes_from_in_progress_to_current_and_stays() {
    let bed = Bed::new("apply-live").await;
    let mut followers = Vec::new();
    for kind in KINDS {
        followers.push(follow(&bed, kind).await);
    }
    let mut options = bed.options().await;
    options.intervals.probe = Duration::ZERO;
    let operator = Running::start(options);
    let _pods = bed.roll_out();
    let manifests = manifests("examples/quickstart");
    assert_eq!(complaint(&mut kubectl(&bed, &["apply"], &manifests)), None);
    let names = versions(&bed).await;
    assert_eq!(names.len(), KINDS.len());
    for (kind, name) in names.keys() {
        bed.wait_condition(kind, name, "Ready", "True").await;
    }
    operator.settle().await;
    again(&bed, &[], &manifests).await;
    // Whoever goes over to the server's side takes over the fields, and changes nothing else.
    let server_side = ["--server-side"];
    let mut apply = kubectl(&bed, &["apply", "--server-side"], &manifests);
    assert_eq!(complaint(&mut apply), None);
    again(&bed, &server_side, &manifests).await;
    operator.settle().await;

    for (kind, follower) in KINDS.into_iter().zip(followers) {
        let seen: Vec<DynamicObject> = follower.finish().await;
        let mut states: Vec<String> = judge(&seen).into_iter().map(|verdict| verdict.kstatus).collect();
        states.dedup();
        assert_eq!(states, ["InProgress", "Current"], "{kind}");
    }
    operator.stop().await.unwrap();
}
