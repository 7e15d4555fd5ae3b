//! `cargo xtask cluster`: a Kubernetes cluster on this machine.

use std::path::PathBuf;

use anyhow::{Result, bail};
use berth_e2e::cluster::{Cluster, docker_answers};
use berth_e2e::node::Node;
use berth_e2e::{images, process, workspace};

use crate::{chart, packages};

/// Folder below target/ of the cluster that people use.
const FOLDER: &str = "cluster";
/// Its name where it is kind's: that of kind-config.yaml.
const KIND: &str = "berth";

/// A Kubernetes cluster on this machine.
///
/// Where a Docker engine answers it is a kind cluster made from kind-config.yaml (this path is not covered
/// by our tests, which run without Docker). Elsewhere it is a node made of Kubernetes' own programs in
/// namespaces of their own: that needs root, and Go the first time. The machine reaches pods and Services
/// by their addresses; pods do not reach the world outside; network policies are not enforced.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// Folder of the cluster's files [default: target/cluster]
    #[arg(long, global = true)]
    state: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Start it and wait until it is ready, with DNS, metrics and the images of Redis and coturn that the chart names
    Up,
    /// End it and leave nothing but its logs
    Down,
    /// Show whether it runs, and its nodes and pods
    Status,
    /// Make the image of an archive (`docker save`, or `cargo xtask image`) known to it
    Load {
        /// The archive
        image: PathBuf,
    },
    /// Print the path of its kubeconfig
    Kubeconfig,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cluster = match &arguments.state {
        None => of_people()?,
        Some(state) => Cluster::local(state, KIND)?,
    };
    match &arguments.action {
        Action::Up => {
            up(&cluster)?;
            println!("export KUBECONFIG={}", cluster.kubeconfig().display());
        }
        Action::Down => cluster.down()?,
        Action::Status => status(&cluster)?,
        Action::Load { image } => cluster.load(image)?,
        Action::Kubeconfig => println!("{}", cluster.kubeconfig().display()),
    }
    Ok(())
}

/// The cluster that people use.
pub(crate) fn of_people() -> Result<Cluster> {
    Cluster::local(&workspace::target().join(FOLDER), KIND)
}

/// Starts it with everything that it cannot fetch by itself.
pub(crate) fn up(cluster: &Cluster) -> Result<()> {
    if cluster.node().is_some() {
        packages::require(&packages::NODE)?;
    } else if docker_answers() && !(packages::present("kind") && packages::present("kubectl")) {
        bail!(
            "Docker runs here, so the cluster is kind's: install kind (https://kind.sigs.k8s.io) and kubectl"
        );
    }
    cluster.up()?;
    if cluster.node().is_some() {
        // A node without Docker pulls nothing: the names are the chart's, what is inside is Debian's.
        cluster.load(&images::redis(&chart::redis_image()?)?)?;
        cluster.load(&images::coturn(&chart::coturn_image()?)?)?;
    }
    Ok(())
}

fn status(cluster: &Cluster) -> Result<()> {
    if let Some(failure) = cluster.node().and_then(Node::failure) {
        bail!("it has ended by itself: {failure}");
    }
    if !cluster.is_running()? {
        bail!("it does not run; `cargo xtask cluster up` starts it");
    }
    println!("kubeconfig {}", cluster.kubeconfig().display());
    if let Some(node) = cluster.node() {
        println!(
            "node {}, this machine as pods see it {}",
            node.address()?,
            node.host_address()?
        );
        println!("logs {}", node.logs().display());
    }
    process::run(cluster.kubectl()?.args(["get", "nodes,pods", "--all-namespaces"]))
}
