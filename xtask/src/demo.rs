//! `cargo xtask demo`: from nothing to Berth with the quickstart manifests in the cluster of this machine.

use std::process::Command;

use anyhow::Result;
use berth_e2e::{process, workspace};

use crate::{chart, cluster, helm, image};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Cargo profile of the binaries in the image
    #[arg(long, default_value = "release")]
    profile: String,
}

/// Brings it up and says what to try next.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let name = chart::image()?;
    let archive = image::build(&arguments.profile, &name, None)?;
    let cluster = cluster::of_people()?;
    cluster::up(&cluster)?;
    cluster.load(&archive)?;

    let mut install = Command::new(helm::find()?);
    install.args([
        "upgrade",
        "--install",
        "berth",
        "charts/berth",
        "--wait",
        "--timeout=5m",
    ]);
    install
        .args(["--namespace=berth-system", "--create-namespace", "--kubeconfig"])
        .arg(cluster.kubeconfig());
    process::run(install.current_dir(workspace::root()))?;

    let kubectl = |arguments: &[&str]| -> Result<()> {
        process::run(cluster.kubectl()?.args(arguments).current_dir(workspace::root()))
    };
    kubectl(&["apply", "-f", "examples/quickstart/"])?;
    let kinds = "signalingclusters,turnconfigs,hostpools";
    kubectl(&["wait", "--for=condition=Ready", kinds, "--all", "--timeout=5m"])?;
    kubectl(&["get", kinds])?;
    println!("\nexport KUBECONFIG={}", cluster.kubeconfig().display());
    println!("kubectl get hostpools --watch    # in another terminal");
    println!("kubectl get services             # where signaling and matchmaker are");
    println!(
        "README.md goes on from here with `berth host` and `berth play`; `cargo xtask cluster down` ends it"
    );
    Ok(())
}
