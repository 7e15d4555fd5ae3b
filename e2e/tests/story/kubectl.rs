//! The real `kubectl` and `helm`, as a newcomer types them.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The cluster under test. It is named by the runner, never taken from the user's own configuration.
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
    /// Namespace in which the manifests are applied.
    pub(crate) namespace: String,
}

impl Cluster {
    /// The cluster that `cargo xtask test` prepared.
    pub(crate) fn from_runner(namespace: &str) -> Result<Self> {
        let path = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).with_context(|| {
                format!("{name} is not set: this suite needs a cluster with Berth's image; run it by `cargo xtask test`")
            })
        };
        Ok(Self {
            kubeconfig: path("BERTH_E2E_KUBECONFIG")?,
            kubectl: path("BERTH_E2E_KUBECTL")?,
            helm: path("BERTH_E2E_HELM")?,
            namespace: namespace.to_owned(),
        })
    }

    fn command(&self, program: &PathBuf, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null());
        command
    }

    /// Runs `kubectl` in the namespace; standard output when it succeeds.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut all = vec!["--namespace", &self.namespace];
        all.extend(args);
        succeeded("kubectl", args, &self.command(&self.kubectl, &all).output()?)
    }

    /// Runs `kubectl` and returns what it printed to standard error; an error when it succeeds.
    pub(crate) fn kubectl_refused(&self, args: &[&str], stdin: &str) -> Result<String> {
        let mut all = vec!["--namespace", &self.namespace];
        all.extend(args);
        let output = self.with_stdin(&all, stdin)?;
        ensure!(
            !output.status.success(),
            "kubectl {args:?} was expected to be refused"
        );
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// `kubectl apply -f -` of a manifest.
    pub(crate) fn apply_text(&self, manifest: &str) -> Result<String> {
        let args = ["--namespace", &self.namespace, "apply", "-f", "-"];
        succeeded("kubectl", &args, &self.with_stdin(&args, manifest)?)
    }

    fn with_stdin(&self, args: &[&str], stdin: &str) -> Result<Output> {
        let mut command = self.command(&self.kubectl, args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child
            .stdin
            .take()
            .context("no standard input")?
            .write_all(stdin.as_bytes())?;
        Ok(child.wait_with_output()?)
    }

    /// `kubectl get ... -o json`.
    pub(crate) fn get(&self, args: &[&str]) -> Result<Value> {
        let mut all = vec!["get"];
        all.extend(args);
        all.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.kubectl(&all)?)?)
    }

    /// The exit code of a `kubectl` that may fail, with everything that it printed.
    pub(crate) fn kubectl_code(&self, args: &[&str]) -> Result<(i32, String)> {
        let mut all = vec!["--namespace", &self.namespace];
        all.extend(args);
        let output = self.command(&self.kubectl, &all).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&text).into_owned(),
        ))
    }

    /// Runs `helm`.
    pub(crate) fn helm(&self, args: &[&str]) -> Result<String> {
        succeeded("helm", args, &self.command(&self.helm, args).output()?)
    }

    /// Waits for a condition as a newcomer would.
    pub(crate) fn wait_for(&self, condition: &str, what: &str, timeout: &str) -> Result<()> {
        let (condition, timeout) = (
            format!("--for=condition={condition}"),
            format!("--timeout={timeout}"),
        );
        self.kubectl(&["wait", &condition, what, &timeout])
            .map(drop)
            .with_context(|| self.describe(what))
    }

    /// What an operator on call would look at; for error messages.
    pub(crate) fn describe(&self, what: &str) -> String {
        let look = |args: &[&str]| {
            self.kubectl_code(args)
                .map_or_else(|error| error.to_string(), |(_, text)| text)
        };
        [
            look(&["get", what, "-o", "yaml"]),
            look(&["get", "pods", "-o", "wide"]),
            look(&["get", "events", "--sort-by=.lastTimestamp"]),
            look(&[
                "--namespace",
                "berth-system",
                "logs",
                "deployment/berth-operator",
                "--tail=30",
            ]),
        ]
        .join("\n---\n")
    }

    /// `GET` on a port of a pod through the API server.
    pub(crate) fn pod_get(&self, pod: &str, port: u16, path: &str) -> Result<String> {
        let raw = format!(
            "/api/v1/namespaces/{}/pods/{pod}:{port}/proxy{path}",
            self.namespace
        );
        self.kubectl(&["get", "--raw", &raw])
    }

    /// Names of the running, not ending pods with these labels, sorted.
    pub(crate) fn pods(&self, selector: &str) -> Result<Vec<Pod>> {
        let list = self.get(&["pods", "-l", selector])?;
        let mut pods: Vec<Pod> = list["items"]
            .as_array()
            .context("no items")?
            .iter()
            .filter_map(Pod::running)
            .collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pods)
    }
}

/// A pod that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    /// Name.
    pub(crate) name: String,
    /// `metadata.uid`.
    pub(crate) uid: String,
    /// Restarts of all its containers.
    pub(crate) restarts: u64,
}

impl Pod {
    fn running(pod: &Value) -> Option<Self> {
        let metadata = &pod["metadata"];
        if pod["status"]["phase"] != "Running" || !metadata["deletionTimestamp"].is_null() {
            return None;
        }
        let statuses = pod["status"]["containerStatuses"].as_array()?;
        Some(Self {
            name: metadata["name"].as_str()?.to_owned(),
            uid: metadata["uid"].as_str()?.to_owned(),
            restarts: statuses
                .iter()
                .filter_map(|status| status["restartCount"].as_u64())
                .sum(),
        })
    }
}

fn succeeded(program: &str, args: &[impl AsRef<OsStr>], output: &Output) -> Result<String> {
    if !output.status.success() {
        let args: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        bail!(
            "{program} {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
