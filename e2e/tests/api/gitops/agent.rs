//! Argo CD's sync engine on a repository and a namespace, and what it says of each sync.

use std::collections::BTreeMap;
use std::process::Stdio;

use berth_e2e::binaries;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::argocd_cm;
use super::repository::Repository;
use crate::operator::bed::{Bed, PATIENCE};

/// One sync: what was there before it, and what it did.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) revision: String,
    pub(super) resources: Vec<Resource>,
    pub(super) children: Vec<Object>,
    pub(super) results: Vec<Outcome>,
    #[serde(default)]
    pub(super) error: Option<String>,
}

/// An object that is there.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) resource_version: String,
    pub(super) health: String,
    pub(super) message: String,
}

/// One that the commit has, or that an earlier one had.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resource {
    #[serde(flatten)]
    pub(super) object: Object,
    pub(super) in_git: bool,
    /// What the engine would change.
    #[serde(default)]
    pub(super) difference: Option<Value>,
}

/// What the engine did to a resource.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Outcome {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) message: String,
}

impl Report {
    /// The resource of a kind, of which there is one.
    pub(super) fn resource(&self, kind: &str) -> Option<&Object> {
        let mut all = self.resources.iter().map(|resource| &resource.object);
        all.find(|object| object.kind == kind)
    }

    /// Health of all resources, by kind.
    pub(super) fn health(&self) -> BTreeMap<&str, &str> {
        self.resources
            .iter()
            .map(|resource| (&*resource.object.kind, &*resource.object.health))
            .collect()
    }

    /// Whether all of these kinds, and no others, are there and healthy, of this revision.
    pub(super) fn is_healthy(&self, revision: &str, kinds: &[&str]) -> bool {
        let healthy = kinds.iter().map(|kind| (*kind, "Healthy")).collect();
        self.revision == revision && self.health() == healthy
    }

    /// The version of every object, by kind and name.
    pub(super) fn versions(&self) -> BTreeMap<(String, String), String> {
        let resources = self.resources.iter().map(|resource| &resource.object);
        resources
            .chain(&self.children)
            .map(|object| {
                let key = (object.kind.clone(), object.name.clone());
                (key, object.resource_version.clone())
            })
            .collect()
    }
}

pub(super) struct Agent {
    reports: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Agent {
    /// Syncs all the time, until it is dropped, with more `options` of the program.
    pub(super) fn start(bed: &Bed, repository: &Repository, options: &[&str]) -> Self {
        let mut command = Command::new(binaries::gitops().unwrap());
        command
            .args(["sync", "--interval", "300ms", "--config"])
            .arg(argocd_cm())
            .arg("--kubeconfig")
            .arg(bed.server.kubeconfig())
            .arg("--repository")
            .arg(repository.folder())
            .args(["--namespace", &bed.namespace])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let reports = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { reports, child }
    }

    /// The next report. It was the next to be made, however late it is asked for.
    pub(super) async fn next(&mut self) -> Report {
        let line = tokio::time::timeout(PATIENCE, self.reports.next_line())
            .await
            .expect("the engine syncs")
            .unwrap();
        let Some(line) = line else {
            panic!("the engine ended: {:?}", self.child.wait().await);
        };
        serde_json::from_str(&line).unwrap()
    }

    /// The first report from now on that is as it should be.
    pub(super) async fn until(&mut self, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let report = self.next().await;
            if wanted(&report) {
                return report;
            }
            let late = tokio::time::Instant::now() > end;
            assert!(!late, "waited {} s for {what}: {report:#?}", PATIENCE.as_secs());
        }
    }

    /// The first report of the same versions as the one before it, and the `count` reports that follow.
    pub(super) async fn at_rest(&mut self, count: usize) -> (Report, Vec<Report>) {
        let end = tokio::time::Instant::now() + PATIENCE;
        let mut before = self.next().await;
        loop {
            let now = self.next().await;
            if now.versions() == before.versions() {
                break;
            }
            assert!(tokio::time::Instant::now() < end, "it does not come to rest");
            before = now;
        }
        let mut reports = Vec::new();
        for _ in 0..count {
            reports.push(self.next().await);
        }
        (before, reports)
    }
}
