//! A Kubernetes API on loopback: etcd, kube-apiserver and, where asked for, kube-controller-manager, up in
//! about three seconds, without root. For suites that need the real API and no pods.
//!
//! Needs Debian's `openssl` and `util-linux`, and the programs of [`binaries::api`].

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

use crate::children::Children;
use crate::pki::Authority;
use crate::{binaries, process};

#[cfg(test)]
mod tests;

/// A slow machine under load; on an idle one it takes three seconds.
const START_LIMIT: Duration = Duration::from_mins(3);
/// Another process may take a free port between our look and the server's start.
const ATTEMPTS: usize = 3;
/// Data folders are `PREFIX PID - RANDOM`, so that those of dead processes can be told.
const FOLDER_PREFIX: &str = "berth-api-";

/// What runs beside etcd and the API server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Runs kube-controller-manager: garbage collection by owner references, `ReplicaSets`, `EndpointSlices`,
    /// the `default` service account of each namespace. Without it pods need no service account.
    pub controller_manager: bool,
    /// Writes one JSON line per request (who, what, on which object) to [`ApiServer::audit_log`].
    pub audit: bool,
    /// Answers lists only as lists, as servers before Kubernetes 1.34 do, and not as the beginning of a watch.
    pub plain_lists: bool,
}

/// A running API. Dropping it kills its processes by id and removes its data. When the process that
/// started it ends in any other way, they are killed too; the data goes with the next start.
#[derive(Debug)]
pub struct ApiServer {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    url: String,
    authority: Authority,
    // Fields are dropped in this order: processes are gone before their data is removed.
    children: Children,
    folder: TempDir,
}

impl ApiServer {
    /// Starts the API on free loopback ports and waits until it is ready.
    ///
    /// The error holds the end of the log of the part that failed.
    pub fn start(options: Options) -> Result<Self> {
        remove_left_data();
        let mut attempt = 1;
        loop {
            match Self::start_once(options) {
                Err(error)
                    if attempt < ATTEMPTS && format!("{error:#}").contains("address already in use") =>
                {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes a kubeconfig for `user` in `groups`, for example
    /// `system:serviceaccount:NAMESPACE:NAME` in `system:serviceaccounts`.
    pub fn kubeconfig_of(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        self.authority
            .kubeconfig(&user.replace(':', "-"), user, groups, &self.url)
    }

    /// `kubectl` of the same version, as an administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// One JSON object per line and request, oldest first; absent without [`Options::audit`].
    pub fn audit_log(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    /// Process ids of what runs, etcd first.
    pub fn processes(&self) -> Vec<u32> {
        self.children.ids()
    }

    fn start_once(options: Options) -> Result<Self> {
        let programs = binaries::api()?;
        let folder = tempfile::Builder::new()
            .prefix(&format!("{FOLDER_PREFIX}{}-", std::process::id()))
            .tempdir()?;
        let [etcd_port, port] = free_ports()?;
        let url = format!("https://127.0.0.1:{port}");
        let authority = Authority::create(&folder.path().join("pki"))?;
        authority.server(
            "apiserver",
            "/CN=kube-apiserver",
            &["DNS:localhost".into(), "IP:127.0.0.1".into()],
        )?;
        let kubeconfig = authority.kubeconfig("admin", "admin", &["system:masters"], &url)?;
        let mut server = Self {
            kubectl: programs.join("kubectl"),
            kubeconfig,
            url,
            authority,
            children: Children::new(programs, folder.path().to_owned()),
            folder,
        };
        let etcd = format!("http://127.0.0.1:{etcd_port}");
        server.children.start("etcd", server.etcd_arguments(&etcd))?;
        server.children.start(
            "kube-apiserver",
            server.apiserver_arguments(&etcd, port, options)?,
        )?;
        server.wait("the API server to be ready", &["get", "--raw", "/readyz"])?;
        if options.controller_manager {
            server
                .children
                .start("kube-controller-manager", server.controller_manager_arguments())?;
            server.wait("the controllers to work", &["get", "serviceaccount", "default"])?;
        }
        Ok(server)
    }

    fn wait(&mut self, what: &str, question: &[&str]) -> Result<()> {
        let mut kubectl = self.kubectl();
        kubectl.args(question);
        process::wait_for(what, START_LIMIT, || match self.children.check() {
            Ok(()) => Ok(process::succeeds(&mut kubectl).then_some(Ok(()))),
            ended => Ok(Some(ended)),
        })
        .map_err(|error| {
            anyhow!(
                "{error}; {}",
                process::log_tail(&self.folder.path().join("kube-apiserver.log"))
            )
        })?
    }

    fn etcd_arguments(&self, url: &str) -> Vec<String> {
        vec![
            format!("--data-dir={}", self.folder.path().join("etcd").display()),
            // The data outlives nobody, so nothing waits for the disk.
            "--unsafe-no-fsync".into(),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            "--listen-peer-urls=http://127.0.0.1:0".into(),
        ]
    }

    fn apiserver_arguments(&self, etcd: &str, port: u16, options: Options) -> Result<Vec<String>> {
        let file = |name: &str| self.authority.file(name).display().to_string();
        let mut arguments = vec![
            format!("--etcd-servers={etcd}"),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--authorization-mode=RBAC".into(),
            "--allow-privileged=true".into(),
        ];
        if !options.controller_manager {
            arguments.push("--disable-admission-plugins=ServiceAccount".into());
        }
        if options.plain_lists {
            arguments.push("--feature-gates=WatchList=false".into());
        }
        if options.audit {
            let policy = self.folder.path().join("audit-policy.yaml");
            fs::write(&policy, AUDIT_POLICY)?;
            arguments.push(format!("--audit-policy-file={}", policy.display()));
            arguments.push(format!("--audit-log-path={}", self.audit_log().display()));
        }
        Ok(arguments)
    }

    fn controller_manager_arguments(&self) -> Vec<String> {
        let kubeconfig = self.kubeconfig.display();
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--secure-port=0".into(),
            "--leader-elect=false".into(),
            "--use-service-account-credentials=true".into(),
            format!(
                "--service-account-private-key-file={}",
                self.authority.file("sa.key").display()
            ),
            format!("--root-ca-file={}", self.authority.file("ca.crt").display()),
        ]
    }
}

/// Who asked for what, once per request, when it is answered.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata}]
";

fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All are held until the last is found, so that they differ.
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free loopback port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Removes the data of processes that were killed. Best effort: it only saves disk space.
fn remove_left_data() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            name.strip_prefix(FOLDER_PREFIX)?
                .split('-')
                .next()?
                .parse::<u32>()
                .ok()
        });
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another process may be removing it at the same time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
