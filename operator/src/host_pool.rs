//! Reconcile of a HostPool.

use std::sync::Arc;

use berth_crds::api::HostPoolStatus;
use berth_crds::settings::{ObjectName, PoolSettings, TurnSettings};
use berth_crds::{HostPool, SignalingCluster};
use jiff::Timestamp;

use crate::cluster::{Cluster, LiveChild, Service};
use crate::controller::{Context, Findings, Reconcile};
use crate::error::CallError;
use crate::names::Component;
use crate::pods;
use crate::render::{self, ChildId, ChildKind, Owner, Pins, PodLinks};
use crate::resolve::{self, Missing, Placeholder};
use crate::status::{self, HostPoolFacts, Trouble};

impl Reconcile for HostPool {
    type Facts = HostPoolFacts;

    async fn reconcile(
        resource: &Self,
        name: &ObjectName,
        context: &Context,
        findings: &mut Findings<HostPoolFacts>,
    ) -> Result<(), CallError> {
        findings.facts.settings.wanted = pods::of_pool(resource, &context.cluster);
        let settings = match PoolSettings::try_from(resource) {
            Ok(settings) => settings,
            Err(errors) => {
                findings.trouble = Some(Trouble::InvalidSpec(errors.to_string()));
                return Ok(());
            }
        };
        let Resolved {
            links,
            missing,
            placeholders,
        } = resolve_references(resource, &settings, context).await?;
        findings.facts.missing = Some(missing);
        findings.facts.placeholders = placeholders;
        let defaults = context
            .defaults
            .under(resource.spec.image_policy, pins(resource, name, &context.cluster));
        let desired = render::host_pool(resource, links.as_ref(), &defaults, context.cluster.offered());
        let owner = Owner::of(resource);
        findings.applied = context
            .applier()
            .bring(&owner, &desired, resource.spec.paused)
            .await;
        findings.facts.held = std::mem::take(&mut findings.applied.held);
        findings.facts.applied = findings.applied.hashes.get(&deployment(name)).cloned();
        Ok(())
    }

    fn observe(name: &ObjectName, context: &Context, facts: &mut HostPoolFacts) {
        let live = context.cluster.children.live(&name.namespace, &deployment(name));
        facts.rollout = live.and_then(|live| live.rollout.clone());
        facts.around = context
            .cluster
            .around(&name.namespace, &Component::Matchmaker.object_name(&name.name));
        let service = Service::Matchmaker(name.clone());
        facts.settings.followers = context.pods.followers(&service, facts.settings.wanted.as_ref());
        facts.occupation = context.board.get(name);
    }

    fn new_status(
        resource: &Self,
        previous: &HostPoolStatus,
        facts: &HostPoolFacts,
        trouble: Option<&Trouble>,
        now: Timestamp,
    ) -> HostPoolStatus {
        status::host_pool(resource, previous, facts, trouble, now)
    }
}

/// What came of the references of a pool.
struct Resolved {
    /// What the pods mount, when everything is there.
    links: Option<PodLinks>,
    /// What is not.
    missing: Vec<Missing>,
    /// Secrets that are accepted although everybody knows them; absent when they were not looked at.
    placeholders: Option<Vec<Placeholder>>,
}

async fn resolve_references(
    resource: &HostPool,
    settings: &PoolSettings,
    context: &Context,
) -> Result<Resolved, CallError> {
    let namespace = &settings.name.namespace;
    let (cluster, turn) = named(settings, &context.cluster);
    let mut missing = Vec::new();
    let turn = turn.and_then(|turn| turn.map_err(|gone| missing.push(gone)).ok());
    let Some(cluster) = cluster else {
        missing.insert(0, Missing::SignalingCluster(settings.signaling_cluster.clone()));
        return Ok(Resolved {
            links: None,
            missing,
            placeholders: None,
        });
    };
    let needs = resolve::pool_needs(resource, &cluster, turn.as_ref());
    let seen = context
        .cluster
        .secrets
        .look(&context.client, namespace, &needs)
        .await?;
    missing.extend(resolve::missing_secrets(&needs, &seen));
    let found = resolve::placeholders(&resolve::pool_secrets(resource), &seen);
    let (weak, placeholders) = resolve::judge_placeholders(found, cluster.spec.environment);
    missing.extend(weak);
    let links = missing
        .is_empty()
        .then(|| resolve::pool_links(settings, &cluster, turn.as_ref()));
    Ok(Resolved {
        links,
        missing,
        placeholders: Some(placeholders),
    })
}

type Named = (
    Option<Arc<SignalingCluster>>,
    Option<Result<TurnSettings, Missing>>,
);

/// The resources that the pool names.
fn named(settings: &PoolSettings, cluster: &Cluster) -> Named {
    let at = |name: &String| ObjectName::new(&settings.name.namespace, name);
    let signaling = cluster.signaling_clusters.get(&at(&settings.signaling_cluster));
    let turn = settings
        .turn_config
        .as_ref()
        .map(|name| resolve::turn_settings(name, cluster.turn_configs.get(&at(name)).as_deref()));
    (signaling, turn)
}

/// Image that the pods began with.
fn pins(resource: &HostPool, name: &ObjectName, cluster: &Cluster) -> Pins {
    let live = cluster.children.live(&name.namespace, &deployment(name));
    let last = resource.status.as_ref().and_then(|status| status.image.as_ref());
    Pins {
        service: LiveChild::running(live.as_deref(), last).pin(resource.spec.image.as_ref()),
        redis: None,
    }
}

fn deployment(name: &ObjectName) -> ChildId {
    ChildId::new(
        ChildKind::Deployment,
        Component::Matchmaker.object_name(&name.name),
    )
}
