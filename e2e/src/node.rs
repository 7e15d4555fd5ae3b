//! A whole Kubernetes node without Docker: control plane, kubelet, containers, Service networking, DNS and
//! metrics, every part the real one, in pid, mount and network namespaces of their own (`cluster/node.sh`).
//!
//! The machine reaches pods, Services and `NodePorts` by their addresses, and some `NodePorts` by ports of its
//! own, as kind does it. Pods reach the machine, and not
//! the world outside. `NetworkPolicy` objects are accepted and nothing enforces them.
//!
//! Needs root and Debian's `containerd`, `runc`, `containernetworking-plugins`, `iptables`, `conntrack`,
//! `iproute2`, `socat`, `openssl`, `util-linux`, `procps`, `libcap2-bin`, and those of [`images`].

use std::fs::{self, File};
use std::net::{SocketAddrV4, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::{binaries, images, process};
use init::Init;
use network::Network;

mod cgroups;
mod files;
mod init;
mod network;

/// Each of the steps of a start; on an idle machine all of them together take ten seconds.
const STEP_LIMIT: Duration = Duration::from_mins(3);
/// The end of killed processes and the release of their mounts.
const END_LIMIT: Duration = Duration::from_secs(30);
/// What must be true of a node that is ready to be used, in the order in which it comes true.
const CONDITIONS: [&[&str]; 3] = [
    &["--for=condition=Ready", "node/berth-node"],
    &[
        "--for=condition=Available",
        "--namespace=kube-system",
        "deployment",
        "--all",
    ],
    &["--for=condition=Available", "apiservice/v1beta1.metrics.k8s.io"],
];

/// A port of the machine that leads to a port of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// Where the machine listens.
    pub listen: SocketAddrV4,
    /// The `NodePort` of a Service.
    pub node_port: u16,
}

/// A node whose files are in one folder, its state. Several can run side by side.
#[derive(Clone, Debug)]
pub struct Node {
    state: PathBuf,
    ports: Vec<PortMapping>,
}

impl Node {
    /// The node of the folder `state`, running or not. Its `NodePorts` can be reached by `ports` too.
    pub fn at(state: &Path, ports: Vec<PortMapping>) -> Result<Self> {
        Ok(Self {
            state: std::path::absolute(state)?,
            ports,
        })
    }

    /// Starts the node and waits until it is Ready, with DNS and metrics. A running one is only waited for.
    ///
    /// When a part fails, the error holds the end of its log and nothing keeps running.
    pub fn up(&self) -> Result<()> {
        if fs::metadata("/proc/self")?.uid() != 0 {
            bail!("a node without Docker needs root (for namespaces, containers and routes)");
        }
        let (api, node, images) = (binaries::own_api()?, binaries::node()?, images::system()?);
        let _lock = self.lock()?;
        if self.is_running() {
            return self.wait_until_ready();
        }
        self.remove()?;
        let network = Network::free()?;
        for port in &self.ports {
            TcpListener::bind(port.listen).with_context(|| {
                format!(
                    "the cluster needs {} (does another cluster run, or `berth up`?)",
                    port.listen
                )
            })?;
        }
        files::write(&self.state, network)?;
        let outcome = self.start(network, &api, &node, &images);
        if outcome.is_err() {
            self.remove()?;
        }
        outcome
    }

    /// Ends the node: processes, mounts, interfaces, routes, cgroups and data. Only logs stay in the folder.
    pub fn down(&self) -> Result<()> {
        if !self.state.exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.remove()
    }

    /// Whether it runs, which says nothing about its health.
    pub fn is_running(&self) -> bool {
        Init::read(&self.state).is_some_and(|init| init.is_alive())
    }

    /// What ended it by itself, with the end of the log; none while it runs and after `down`.
    pub fn failure(&self) -> Option<String> {
        if let Ok(part) = fs::read_to_string(self.state.join("failed")) {
            let part = part.trim();
            return Some(format!("{part} failed; {}", process::log_tail(&self.log(part))));
        }
        let killed = Init::read(&self.state).is_some_and(|init| !init.is_alive());
        killed.then(|| format!("the node was killed; {}", process::log_tail(&self.log("node"))))
    }

    /// Kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("pki/admin.kubeconfig")
    }

    /// `kubectl` of the node's version, as an administrator.
    pub fn kubectl(&self) -> Result<Command> {
        let mut command = Command::new(binaries::own_api()?.join("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig());
        Ok(command)
    }

    /// Address by which the machine reaches `NodePorts`.
    pub fn address(&self) -> Result<String> {
        Ok(self.network()?.node_address())
    }

    /// Address by which pods reach the machine.
    pub fn host_address(&self) -> Result<String> {
        Ok(self.network()?.host_address())
    }

    /// Makes the image of an OCI or Docker archive known to the node under the name that the archive carries.
    pub fn load(&self, archive: &Path) -> Result<()> {
        let init = Init::read(&self.state).filter(Init::is_alive);
        let init = init.with_context(|| format!("no cluster runs in {}", self.state.display()))?;
        let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
        let mut import = Command::new("nsenter");
        import.args(["--target", &init.id().to_string(), "--mount"]);
        import.args([
            "ctr",
            "-a",
            "/run/containerd.sock",
            "-n",
            "k8s.io",
            "images",
            "import",
            "-",
        ]);
        process::output(import.stdin(file)).map(drop)
    }

    fn network(&self) -> Result<Network> {
        files::network(&self.state).with_context(|| format!("no cluster in {}", self.state.display()))
    }

    /// Folder with one log per part; it outlives the node.
    pub fn logs(&self) -> PathBuf {
        self.state.join(files::LOGS)
    }

    fn log(&self, part: &str) -> PathBuf {
        self.logs().join(format!("{part}.log"))
    }

    fn start(&self, network: Network, api: &Path, node: &Path, images: &Path) -> Result<()> {
        let log = File::create(self.log("node"))?;
        let mut unshare = Command::new("setsid");
        unshare.args([
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
        ]);
        unshare
            .arg("bash")
            .arg(Path::new(binaries::CLUSTER).join("node.sh"));
        unshare.envs(network.variables()).env("STATE", &self.state);
        unshare.env("HOST_NETWORK", format!("/proc/{}/ns/net", std::process::id()));
        let ports = self
            .ports
            .iter()
            .map(|port| format!("{}:{}", port.listen, port.node_port));
        unshare.env("PORTS", ports.collect::<Vec<_>>().join(" "));
        unshare.envs([("API_PROGRAMS", api), ("NODE_PROGRAMS", node), ("IMAGES", images)]);
        unshare.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Where they are built into the kernel, or where that is not ours to do, this fails and is not missed.
        process::succeeds(Command::new("modprobe").args(["--all", "overlay", "br_netfilter"]));
        cgroups::create(network)?;
        let mut namespaces = unshare
            .spawn()
            .context("cannot make namespaces (Debian package util-linux)")?;
        let init = process::wait_for("the node's first process", STEP_LIMIT, || {
            if let Some(status) = namespaces.try_wait()? {
                bail!(
                    "the node's first process ended: {status}; {}",
                    process::log_tail(&self.log("node"))
                );
            }
            Ok(Init::read(&self.state))
        })?;
        network.connect(init.id())?;
        self.wait(
            "the API",
            self.kubectl()?.args(["get", "--raw", "/readyz"]),
            "kube-apiserver",
        )?;
        process::output(
            self.kubectl()?
                .args(["apply", "--server-side", "-f"])
                .arg(self.state.join("addons.yaml")),
        )?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&self) -> Result<()> {
        for condition in CONDITIONS {
            let mut wait = self.kubectl()?;
            wait.args(["wait", "--timeout=1s"]).args(condition);
            self.wait(&condition.join(" "), &mut wait, "kubelet")?;
        }
        Ok(())
    }

    /// Waits until `question` succeeds. The log of `part` tells most when it never does.
    fn wait(&self, what: &str, question: &mut Command, part: &str) -> Result<()> {
        process::wait_for(what, STEP_LIMIT, || {
            if let Some(failure) = self.failure() {
                return Ok(Some(Err(anyhow!(failure))));
            }
            Ok(process::succeeds(question).then_some(Ok(())))
        })
        .map_err(|error| anyhow!("{error}; {}", process::log_tail(&self.log(part))))?
    }

    /// One process at a time changes the node.
    fn lock(&self) -> Result<File> {
        fs::create_dir_all(&self.state)
            .with_context(|| format!("cannot make the state folder {}", self.state.display()))?;
        let lock = File::create(self.state.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    /// Ends what runs and removes everything but the logs; there may be nothing.
    fn remove(&self) -> Result<()> {
        if let Some(init) = Init::read(&self.state) {
            init.kill()?;
            process::wait_for("the node's processes to end", END_LIMIT, || {
                Ok((!init.is_alive()).then_some(()))
            })?;
        }
        if let Some(network) = files::network(&self.state) {
            network.disconnect(END_LIMIT)?;
            cgroups::remove(network, END_LIMIT)?;
        }
        files::remove(&self.state, END_LIMIT)
    }
}
