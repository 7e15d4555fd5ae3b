//! Reconcile of a SignalingCluster.

use berth_crds::SignalingCluster;
use berth_crds::api::SignalingClusterStatus;
use berth_crds::settings::{ObjectName, SignalingSettings};
use jiff::Timestamp;

use crate::cluster::{Cluster, LiveChild, Service};
use crate::controller::{Context, Findings, Reconcile};
use crate::error::CallError;
use crate::names::{self, Component};
use crate::pods;
use crate::render::{self, ChildId, ChildKind, Owner, Pins, RedisAccess};
use crate::resolve::{self, SecretView};
use crate::status::{self, RedisFacts, SignalingClusterFacts, Trouble};

impl Reconcile for SignalingCluster {
    type Facts = SignalingClusterFacts;

    async fn reconcile(
        resource: &Self,
        name: &ObjectName,
        context: &Context,
        findings: &mut Findings<SignalingClusterFacts>,
    ) -> Result<(), CallError> {
        let facts = &mut findings.facts;
        facts.settings.wanted = pods::of_cluster(resource, &context.cluster);
        facts.redis.external = matches!(RedisAccess::of(resource), RedisAccess::External { .. });
        if let Err(errors) = SignalingSettings::try_from(resource) {
            findings.trouble = Some(Trouble::InvalidSpec(errors.to_string()));
            return Ok(());
        }

        let cluster = &context.cluster;
        let turn = resource.spec.turn_config_ref.as_ref().map(|turn| {
            let at = ObjectName::new(&name.namespace, &turn.name);
            resolve::turn_settings(&turn.name, cluster.turn_configs.get(&at).as_deref())
        });
        let mut missing = Vec::new();
        let turn = turn.and_then(|turn| turn.map_err(|gone| missing.push(gone)).ok());
        let needs = resolve::cluster_needs(resource, turn.as_ref());
        let secrets = cluster
            .secrets
            .look(&context.client, &name.namespace, &needs)
            .await?;
        missing.extend(resolve::missing_secrets(&needs, &secrets));
        let found = resolve::placeholders(&resolve::cluster_secrets(resource), &secrets);
        let (weak, placeholders) = resolve::judge_placeholders(found, resource.spec.environment);
        missing.extend(weak);
        facts.placeholders = placeholders;
        let links = missing
            .is_empty()
            .then(|| resolve::cluster_links(resource, turn.as_ref()));
        facts.missing = Some(missing);
        if let RedisAccess::External { secret, key, .. } = RedisAccess::of(resource)
            && let Some(SecretView::Keys(keys)) = secrets.get(&secret)
        {
            facts.redis.endpoint = keys.get(&key).and_then(|fact| fact.redis_endpoint.clone());
        }

        let defaults = context
            .defaults
            .under(resource.spec.image_policy, pins(resource, name, cluster));
        match render::signaling_cluster(resource, links.as_ref(), &defaults, cluster.offered()) {
            Ok(desired) => {
                let owner = Owner::of(resource);
                findings.applied = context
                    .applier()
                    .bring(&owner, &desired, resource.spec.paused)
                    .await;
                facts.held = std::mem::take(&mut findings.applied.held);
                facts.applied = findings.applied.hashes.get(&deployment(name)).cloned();
                facts.redis.applied = findings.applied.hashes.get(&redis(name)).cloned();
            }
            Err(error) => findings.trouble = Some(Trouble::InvalidSpec(error.to_string())),
        }
        Ok(())
    }

    fn observe(name: &ObjectName, context: &Context, facts: &mut SignalingClusterFacts) {
        let rollout = |id| {
            context
                .cluster
                .children
                .live(&name.namespace, &id)
                .and_then(|live| live.rollout.clone())
        };
        facts.around = context
            .cluster
            .around(&name.namespace, &Component::Signaling.object_name(&name.name));
        let service = Service::Signaling(name.clone());
        facts.settings.followers = context.pods.followers(&service, facts.settings.wanted.as_ref());
        facts.connections = context.pods.connections(&service);
        facts.rollout = rollout(deployment(name));
        if facts.redis.external {
            facts.redis.report = context.pods.redis(&service);
        } else {
            facts.redis = RedisFacts {
                endpoint: Some(names::redis_endpoint(&name.namespace, &name.name)),
                rollout: rollout(redis(name)),
                ..std::mem::take(&mut facts.redis)
            };
        }
    }

    fn new_status(
        resource: &Self,
        previous: &SignalingClusterStatus,
        facts: &SignalingClusterFacts,
        trouble: Option<&Trouble>,
        now: Timestamp,
    ) -> SignalingClusterStatus {
        status::signaling_cluster(resource, previous, facts, trouble, now)
    }
}

/// Images that the pods began with.
fn pins(resource: &SignalingCluster, name: &ObjectName, cluster: &Cluster) -> Pins {
    let live = |id| cluster.children.live(&name.namespace, &id);
    let last = resource.status.as_ref().and_then(|status| status.image.as_ref());
    let managed = resource.spec.redis.managed.as_ref();
    Pins {
        service: LiveChild::running(live(deployment(name)).as_deref(), last)
            .pin(resource.spec.image.as_ref()),
        redis: LiveChild::running(live(redis(name)).as_deref(), None)
            .pin(managed.and_then(|redis| redis.image.as_ref())),
    }
}

fn deployment(name: &ObjectName) -> ChildId {
    ChildId::new(
        ChildKind::Deployment,
        Component::Signaling.object_name(&name.name),
    )
}

fn redis(name: &ObjectName) -> ChildId {
    ChildId::new(ChildKind::StatefulSet, Component::Redis.object_name(&name.name))
}
