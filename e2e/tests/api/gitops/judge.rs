//! Verdicts on objects as they are.

use std::io::Write;
use std::process::{Command, Stdio};

use berth_e2e::binaries;
use serde::{Deserialize, Serialize};

use super::argocd_cm;

/// What GitOps tools make of an object.
#[derive(Debug, Deserialize)]
pub(super) struct Verdict {
    /// What Argo CD shows.
    pub(super) health: String,
    pub(super) message: String,
    /// What kstatus says, and so Flux.
    pub(super) kstatus: String,
}

/// The verdicts on `objects`, in their order.
pub(super) fn judge(objects: &[impl Serialize]) -> Vec<Verdict> {
    let mut program = Command::new(binaries::gitops().unwrap())
        .arg("judge")
        .arg("--config")
        .arg(argocd_cm())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = program.stdin.take().unwrap();
    let lines: Vec<_> = objects
        .iter()
        .map(|object| serde_json::to_string(object).unwrap() + "\n")
        .collect();
    // It writes while it reads.
    let writer = std::thread::spawn(move || stdin.write_all(lines.concat().as_bytes()));
    let output = program.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let verdicts: Vec<Verdict> = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(verdicts.len(), objects.len());
    verdicts
}
