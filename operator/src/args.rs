//! Flags of `berth-operator`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Parser};
use kube::Config;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::leader::{LeaderOptions, Timing};
use crate::logs::{self, Format};
use crate::names;
use crate::operator::{Operator, Options};
use crate::render::{Defaults, PullPolicy};

/// Redis that is run when neither the resource nor the installation names another.
pub const REDIS_IMAGE: &str = "docker.io/library/redis:7.4.6";

/// coturn that is run when neither the resource nor the installation names another.
pub const COTURN_IMAGE: &str = "docker.io/coturn/coturn:4.6.3";

/// Turns SignalingClusters, HostPools and TurnConfigs into running services.
#[derive(Clone, Debug, Parser)]
#[command(name = "berth-operator", version)]
pub struct Args {
    /// Namespaces to work in, separated by commas; empty: all
    #[arg(long, env = "BERTH_NAMESPACES", value_delimiter = ',', default_value = "")]
    pub namespaces: Vec<String>,
    /// Image of the signaling and matchmaker pods, where a resource names none
    #[arg(long, env = "BERTH_IMAGE")]
    pub image: String,
    /// Image of the managed Redis, where a resource names none
    #[arg(long, env = "BERTH_REDIS_IMAGE", default_value = REDIS_IMAGE)]
    pub redis_image: String,
    /// Image of the managed TURN servers, where a resource names none
    #[arg(long, env = "BERTH_COTURN_IMAGE", default_value = COTURN_IMAGE)]
    pub coturn_image: String,
    /// When nodes pull these images
    #[arg(long, env = "BERTH_IMAGE_PULL_POLICY", value_enum, default_value_t)]
    pub image_pull_policy: PullPolicy,
    /// Secret with credentials for the registry, of all pods whose resource names none; once for each. It has to be in the
    /// namespace of the resource
    #[arg(long, env = "BERTH_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    pub image_pull_secret: Vec<String>,
    /// Take part in the election of a leader: needed as soon as there may be two processes
    #[arg(long, env = "BERTH_LEADER_ELECT", default_value_t = true, action = ArgAction::Set)]
    pub leader_elect: bool,
    /// Namespace of the leader lease; absent: that of the pod
    #[arg(long, env = "BERTH_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Address of /healthz, /readyz and /metrics
    #[arg(long, env = "BERTH_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Seconds between two questions to each STUN and TURN server whether it is there; 0: none is asked
    #[arg(long, env = "BERTH_ICE_PROBE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub ice_probe_seconds: u32,
    /// trace, debug, info, warn, error, fatal or silent
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How log lines are written
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: Format,
}

impl Args {
    /// Runs the operator until SIGTERM or SIGINT.
    pub async fn run(self) -> anyhow::Result<()> {
        logs::init(&self.log_level, self.log_format);
        let kube = Config::infer()
            .await
            .context("no Kubernetes API: neither a service account nor a kubeconfig")?;
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let asked = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            asked.cancel();
        });
        Operator::new(self.options(kube)).run(stop).await?;
        Ok(())
    }

    fn options(self, kube: Config) -> Options {
        // A restarted container has the name of its pod, but is another process: so the name alone is no identity.
        let pod = std::env::var("HOSTNAME").unwrap_or_else(|_| names::OPERATOR.into());
        let identity = format!("{pod}_{:08x}", rand::random::<u32>());
        let namespace = self
            .lease_namespace
            .unwrap_or_else(|| kube.default_namespace.clone());
        let defaults = Defaults {
            image: self.image,
            redis_image: self.redis_image,
            coturn_image: self.coturn_image,
            image_pull_policy: self.image_pull_policy,
            image_pull_secrets: self.image_pull_secret,
        };
        let mut options = Options::new(kube, defaults);
        options.namespaces = self.namespaces;
        options.namespaces.retain(|namespace| !namespace.is_empty());
        options.namespaces.sort();
        options.namespaces.dedup();
        options.leader = self.leader_elect.then(|| LeaderOptions {
            namespace,
            name: names::OPERATOR.into(),
            identity,
            timing: Timing::default(),
        });
        options.intervals.probe = Duration::from_secs(self.ice_probe_seconds.into());
        options.instance = pod;
        options.listen = Some(self.listen);
        options
    }
}
