//! Prepares the cluster in which the story runs, and starts it.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use berth_e2e::cluster::Cluster;
use berth_e2e::{process, workspace};

use crate::packages::cargo;
use crate::{cluster, docs, helm, image};

/// The matchmaker of the quickstart, by the port that kind-config.yaml maps to its `NodePort`.
const MATCHMAKER: &str = "http://localhost:3000";

/// Where the story runs: in a fresh cluster of its own, unless a person names another one.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Target {
    /// Run the story in this cluster instead of one made for it. Refused when it holds resources of Berth;
    /// it has to be able to pull the images that the chart names
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Where this machine reaches the matchmaker of the quickstart in that cluster
    #[arg(long, value_name = "URL", requires = "kubeconfig")]
    matchmaker: Option<String>,
}

impl Target {
    /// Whether the cluster is made, and so removed, by the tests.
    pub(crate) fn is_ours(&self) -> bool {
        self.kubeconfig.is_none()
    }

    /// Fails when a cluster was named that may not be used.
    pub(crate) fn check(&self) -> Result<()> {
        self.kubeconfig
            .as_deref()
            .map_or(Ok(()), |kubeconfig| Cluster::given(kubeconfig).map(drop))
    }

    /// Runs the story.
    pub(crate) fn run_story(&self) -> Result<()> {
        let cluster = match &self.kubeconfig {
            Some(kubeconfig) => Cluster::given(kubeconfig)?,
            None => fresh()?,
        };
        let mut story = cargo();
        story.args([
            "test",
            "--locked",
            "--package=berth-e2e",
            "--test=story",
            "--",
            "--nocapture",
        ]);
        story.env("BERTH_E2E_KUBECONFIG", cluster.kubeconfig());
        story.env("BERTH_E2E_KUBECTL", cluster.kubectl()?.get_program());
        story.env("BERTH_E2E_HELM", helm::find()?);
        story.env("BERTH_E2E_PROGRAM", program());
        story.env(
            "BERTH_E2E_MATCHMAKER",
            self.matchmaker.as_deref().unwrap_or(MATCHMAKER),
        );
        process::run(&mut story)
    }

    /// Runs the command blocks of the documentation that want a cluster, in a fresh one, with `helm`,
    /// `kubectl` and `berth` in PATH.
    pub(crate) fn run_guide() -> Result<()> {
        let cluster = fresh()?;
        let programs = [
            helm::find()?,
            PathBuf::from(cluster.kubectl()?.get_program()),
            program(),
        ];
        let folders = programs.iter().filter_map(|program| program.parent());
        // A program that was found in PATH has none.
        let mut path: Vec<_> = folders
            .filter(|folder| !folder.as_os_str().is_empty())
            .map(Path::to_owned)
            .collect();
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let kubeconfig = cluster.kubeconfig().as_os_str().to_owned();
        docs::run_suite(
            "story",
            &[("PATH", env::join_paths(path)?), ("KUBECONFIG", kubeconfig)],
        )
    }

    /// Removes the cluster that the tests made.
    pub(crate) fn remove_ours() -> Result<()> {
        of_tests()?.down()
    }
}

/// The program `berth` as the suite `image` builds it.
fn program() -> PathBuf {
    workspace::target().join("release/berth")
}

/// The cluster that tests make and remove; the one that people use is another.
fn of_tests() -> Result<Cluster> {
    Cluster::local(&workspace::target().join("test-cluster"), "berth-test")
}

fn fresh() -> Result<Cluster> {
    let image = image::archive();
    if !image.is_file() {
        bail!("there is no {}: the suite `image` makes it", image.display());
    }
    let cluster = of_tests()?;
    cluster.down()?;
    cluster::up(&cluster)?;
    cluster.load(&image)?;
    Ok(cluster)
}
