//! The whole story of Berth, in the order in which a newcomer lives it, on a real Kubernetes node with real containers, a
//! real Redis and real WebRTC peers.
//!
//! `cargo xtask test` prepares the cluster and names it in the environment; nothing is taken from the user's own
//! configuration. The steps build on each other, so they are one test.

mod install;
mod kubectl;
mod leave;
mod peers;
mod play;
mod relay;
mod resilience;
mod settings;
mod wait;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kubectl::Cluster;
use peers::Peers;

/// Long enough for everything that Kubernetes does on a slow machine.
const SLOW: Duration = Duration::from_mins(3);

/// What the steps share.
struct Story {
    cluster: Cluster,
    peers: Peers,
    root: PathBuf,
}

impl Story {
    fn from_runner() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("no workspace")?
            .to_owned();
        let matchmaker = std::env::var("BERTH_E2E_MATCHMAKER").context("BERTH_E2E_MATCHMAKER is not set")?;
        Ok(Self {
            cluster: Cluster::from_runner("games")?,
            peers: Peers::from_runner(&matchmaker)?,
            root,
        })
    }

    fn path(&self, relative: &str) -> Result<String> {
        let path = self.root.join(relative);
        Ok(path.to_str().context("a path that is no text")?.to_owned())
    }
}

fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("-- {name}");
    let started = Instant::now();
    run().with_context(|| name.to_owned())?;
    println!("   {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

#[test]
fn the_story_of_a_newcomer() -> Result<()> {
    let story = Story::from_runner()?;
    step("install the chart", || install::chart(&story))?;
    step("apply the quickstart", || install::quickstart(&story))?;
    let mut hosts = None;
    step("two hosts register", || {
        hosts = Some(play::hosts(&story)?);
        Ok(())
    })?;
    let mut hosts = hosts.context("no hosts")?;
    step("a player on another instance", || {
        play::across_instances(&story, &mut hosts)
    })?;
    step("settings follow without a restart", || settings::follow(&story))?;
    step("a bad value is refused", || settings::refused(&story))?;
    step("scale the pool", || resilience::scale(&story))?;
    step("the autoscaler reads CPU", || resilience::autoscaler(&story))?;
    step("lose a signaling pod in a session", || {
        resilience::lose_signaling(&story, &mut hosts)
    })?;
    step("lose Redis", || resilience::lose_redis(&story, &mut hosts))?;
    step("apply again, and restart the operator", || {
        resilience::nothing_changes(&story)
    })?;
    drop(hosts);
    step("relays in pods", || relay::in_pods(&story))?;
    step("relays on nodes", relay::on_nodes)?;
    step("delete the resources", || leave::resources(&story))?;
    step("uninstall the chart", || leave::chart(&story))
}
