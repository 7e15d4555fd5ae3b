//! What GitOps tools make of our resources: Argo CD's own sync engine with our health script, and kstatus, as the program of
//! `e2e/gitops` runs them, against the real API server.

mod agent;
mod applies;
mod commits;
mod judge;
mod labels;
mod prune;
mod repository;
mod verdicts;
mod waves;

use std::path::PathBuf;

/// A SignalingCluster that says what must be said.
const CLUSTER: &str = "\
apiVersion: berth.dev/v1alpha1
kind: SignalingCluster
metadata:
  name: main
spec:
  publicUrl: ws://signaling.example.com
";

/// The `ConfigMap` that people install.
fn argocd_cm() -> PathBuf {
    crate::server::repository().join("examples/argocd/argocd-cm.yaml")
}
