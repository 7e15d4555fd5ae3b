//! A server with resources in it, and the operator under test.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use berth_crds::api::{HostPoolSpec, SignalingClusterSpec};
use berth_crds::generate::definitions;
use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use berth_e2e::apiserver::{ApiServer, Options};
use berth_operator::render::{Defaults, Manifest, PullPolicy, render_manifests};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource, ResourceExt as _};
use serde_json::{Value, json};

use super::Plan;
use crate::process::{Child, Meter, Program, free_port, http_get};

pub(super) const NAMESPACE: &str = "bench";
/// Requests at a time, as many as the operator has reconciles of one kind.
pub(super) const AT_A_TIME: usize = 32;
/// Nothing was written for so long: it is stable.
const STILL: Duration = Duration::from_secs(4);
/// Longest wait for that.
const PATIENCE: Duration = Duration::from_mins(5);

/// A server with resources in it.
pub(super) struct House {
    pub(super) server: ApiServer,
    pub(super) client: Client,
    plan: Plan,
}

/// What resources became.
pub(super) struct Objects {
    /// Children, without owners.
    pub(super) children: Vec<Value>,
    /// Kind, name and status of each resource.
    pub(super) statuses: Vec<(&'static str, String, Value)>,
    /// How many objects the operator watches.
    pub(super) watched: usize,
}

/// The operator under test.
pub(super) struct Operator {
    child: Child,
    port: u16,
    began: Instant,
}

/// What the way from cold to stable took.
pub(super) struct Seen {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) requests: u64,
}

/// Requests by what they are for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) lease: u64,
    pub(super) watch: u64,
    pub(super) other: u64,
    writes: u64,
}

pub(super) fn defaults() -> Defaults {
    Defaults {
        image: "berth:bench".into(),
        redis_image: "redis:bench".into(),
        coturn_image: "coturn:bench".into(),
        image_pull_policy: PullPolicy::default(),
        image_pull_secrets: Vec::new(),
    }
}

pub(super) fn cluster(number: usize) -> SignalingCluster {
    let spec = SignalingClusterSpec::new(format!("wss://signaling-{number}.example.com"));
    let mut cluster = SignalingCluster::new(&format!("cluster-{number}"), spec);
    cluster.metadata.namespace = Some(NAMESPACE.into());
    cluster
}

pub(super) fn pool(number: usize, clusters: usize) -> HostPool {
    let spec = HostPoolSpec::new(format!("cluster-{}", number % clusters));
    let mut pool = HostPool::new(&format!("pool-{number}"), spec);
    pool.metadata.namespace = Some(NAMESPACE.into());
    pool
}

impl House {
    /// A fresh server on which somebody has applied the resources of `plan`.
    pub(super) async fn new(plan: &Plan) -> anyhow::Result<Self> {
        let server = ApiServer::start(Options::default())?;
        let kubeconfig = Kubeconfig::read_from(server.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let house = Self {
            server,
            client,
            plan: plan.clone(),
        };
        house.define().await?;
        let metadata = ObjectMeta {
            name: Some(NAMESPACE.into()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace {
            metadata,
            ..Namespace::default()
        };
        let api: Api<Namespace> = Api::all(house.client.clone());
        api.create(&PostParams::default(), &namespace).await?;
        house.create((0..plan.clusters).map(cluster)).await?;
        house
            .create((0..plan.pools).map(|number| pool(number, plan.clusters)))
            .await?;
        Ok(house)
    }

    async fn define(&self) -> anyhow::Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for definition in definitions() {
            api.create(&PostParams::default(), &definition).await?;
        }
        let end = Instant::now() + PATIENCE;
        let (clusters, pools, turns) = (
            Api::<SignalingCluster>::all(self.client.clone()),
            Api::<HostPool>::all(self.client.clone()),
            Api::<TurnConfig>::all(self.client.clone()),
        );
        let all = ListParams::default();
        while clusters.list(&all).await.is_err()
            || pools.list(&all).await.is_err()
            || turns.list(&all).await.is_err()
        {
            if Instant::now() > end {
                bail!("the definitions are not served");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn create<K>(&self, resources: impl Iterator<Item = K>) -> anyhow::Result<()>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), NAMESPACE);
        let create = |resource: K| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), &resource).await.map(drop) }
        };
        futures::stream::iter(resources.map(create))
            .buffer_unordered(AT_A_TIME)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// How many resources there are.
    pub(super) fn resources(&self) -> usize {
        self.plan.pools + self.plan.clusters
    }

    /// What the resources became, once the operator is done.
    pub(super) async fn objects(&self) -> anyhow::Result<Objects> {
        let clusters: Vec<_> = (0..self.plan.clusters).map(cluster).collect();
        let pools = (0..self.plan.pools).map(|number| pool(number, self.plan.clusters));
        let manifests: Vec<_> = clusters
            .into_iter()
            .map(|cluster| Manifest::SignalingCluster(Box::new(cluster)))
            .chain(pools.map(|pool| Manifest::HostPool(Box::new(pool))))
            .collect();
        let children = render_manifests(&manifests, &defaults())?;
        let mut statuses = Vec::new();
        let clusters: Api<SignalingCluster> = Api::namespaced(self.client.clone(), NAMESPACE);
        for found in clusters.list(&ListParams::default()).await? {
            statuses.push(("SignalingCluster", found.name_any(), json!(found.status)));
        }
        let pools: Api<HostPool> = Api::namespaced(self.client.clone(), NAMESPACE);
        for found in pools.list(&ListParams::default()).await? {
            statuses.push(("HostPool", found.name_any(), json!(found.status)));
        }
        Ok(Objects {
            watched: children.len() + statuses.len(),
            children,
            statuses,
        })
    }

    /// Starts the operator.
    pub(super) fn operator(&self, program: &Program) -> anyhow::Result<Operator> {
        let port = free_port()?;
        let defaults = defaults();
        let environment = [
            ("KUBECONFIG", self.server.kubeconfig().display().to_string()),
            ("BERTH_IMAGE", defaults.image),
            ("BERTH_REDIS_IMAGE", defaults.redis_image),
            ("BERTH_COTURN_IMAGE", defaults.coturn_image),
            ("BERTH_LEASE_NAMESPACE", NAMESPACE.into()),
            ("BERTH_LISTEN", format!("127.0.0.1:{port}")),
            ("LOG_LEVEL", "error".into()),
        ];
        let began = Instant::now();
        let child = program.start("berth-operator", None, &environment)?;
        Ok(Operator { child, port, began })
    }
}

impl Operator {
    /// Waits until nothing more is written.
    pub(super) fn settle(&mut self, house: &House) -> anyhow::Result<Seen> {
        let (processes, port) = ([self.child.id()], self.port);
        let meter = Meter::start(&processes, None)?;
        self.child
            .wait_until(|| http_get(port, "/healthz").is_ok_and(|(status, _)| status == 200))?;
        let (mut writes, mut last) = (0, Instant::now());
        let mut cpu = Duration::ZERO;
        // Each resource has a status and more than five objects.
        let enough = 6 * house.resources() as u64;
        while writes < enough || last.elapsed() < STILL {
            let now = self.asked()?.writes;
            if now != writes {
                (writes, last) = (now, Instant::now());
                cpu = meter.stop()?.servers.cpu;
            }
            if self.began.elapsed() > PATIENCE {
                bail!("the operator is not done after {PATIENCE:?}: {writes} writes");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let asked = self.asked()?;
        Ok(Seen {
            wall: last.duration_since(self.began),
            cpu,
            requests: asked.other,
        })
    }

    /// What is asked for within `time`, and the CPU time that this takes.
    pub(super) fn rest(&self, time: Duration) -> anyhow::Result<(Asked, Duration)> {
        let processes = [self.child.id()];
        let meter = Meter::start(&processes, None)?;
        let before = self.asked()?;
        std::thread::sleep(time);
        let now = self.asked()?;
        let asked = Asked {
            lease: now.lease - before.lease,
            watch: now.watch - before.watch,
            other: now.other - before.other,
            writes: now.writes - before.writes,
        };
        Ok((asked, meter.stop()?.servers.cpu))
    }

    /// Memory in bytes (`VmRSS`).
    pub(super) fn rss(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
            .context("no VmRSS in the status of the process")?;
        Ok(kib * 1024)
    }

    /// Requests since the start.
    fn asked(&self) -> anyhow::Result<Asked> {
        let (_, page) = http_get(self.port, "/metrics")?;
        let mut asked = Asked::default();
        for line in page.lines() {
            let Some(labels) = line.strip_prefix("berth_operator_api_requests_total{") else {
                continue;
            };
            let label = |name: &str| labels.split(&format!("{name}=\"")).nth(1)?.split('"').next();
            let number: u64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
            let (verb, kind) = (
                label("verb").unwrap_or_default(),
                label("kind").unwrap_or_default(),
            );
            match (verb, kind) {
                (_, "leases") => asked.lease += number,
                ("watch", _) => asked.watch += number,
                _ => asked.other += number,
            }
            if kind != "leases" && ["create", "update", "patch", "patch-status", "delete"].contains(&verb) {
                asked.writes += number;
            }
        }
        Ok(asked)
    }
}
