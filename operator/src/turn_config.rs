//! Reconcile of a TurnConfig. Its consumers read it; it becomes something itself only where Berth runs its servers.

use berth_crds::TurnConfig;
use berth_crds::api::{TurnConfigStatus, TurnWorkload};
use berth_crds::settings::{ObjectName, TurnSettings};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};

use crate::client::call;
use crate::cluster::{MainKind, Service};
use crate::controller::{Context, Findings, Reconcile};
use crate::error::CallError;
use crate::names::{self, Component};
use crate::render::{self, ChildId, ChildKind, Owner};
use crate::resolve;
use crate::status::{self, Rollout, Trouble, TurnConfigFacts};

impl Reconcile for TurnConfig {
    type Facts = TurnConfigFacts;

    async fn reconcile(
        resource: &Self,
        name: &ObjectName,
        context: &Context,
        findings: &mut Findings<TurnConfigFacts>,
    ) -> Result<(), CallError> {
        let settings = match TurnSettings::try_from(resource) {
            Ok(settings) => settings,
            Err(errors) => {
                findings.trouble = Some(Trouble::InvalidSpec(errors.to_string()));
                return Ok(());
            }
        };
        let (mut needs, of_servers) = resolve::turn_own_needs(resource, &settings);
        needs.extend(of_servers.clone());
        let secrets = &context.cluster.secrets;
        let seen = secrets.look(&context.client, &name.namespace, &needs).await?;
        let facts = &mut findings.facts;
        facts.missing = Some(resolve::missing_secrets(&needs, &seen));
        // Servers need nothing of the other providers.
        let resolved = resolve::missing_secrets(of_servers.as_slice(), &seen).is_empty();

        let desired = render::turn_config(resource, resolved, &context.defaults);
        let owner = Owner::of(resource);
        findings.applied = context
            .applier()
            .bring(&owner, &desired, resource.spec.paused)
            .await;
        facts.held = std::mem::take(&mut findings.applied.held);
        if let Some(managed) = &resource.spec.managed {
            let workload = render::turn_workload(&name.name, managed);
            facts.servers.applied = findings.applied.hashes.get(&workload).cloned();
            let lacks_pods =
                rollout(name, context, ChildKind::DaemonSet).is_some_and(|seen| seen.lacks_pods());
            if managed.workload == TurnWorkload::DaemonSet && lacks_pods {
                facts.servers.enforced = enforced(context, &name.namespace).await?;
            }
        }
        Ok(())
    }

    fn observe(name: &ObjectName, context: &Context, facts: &mut TurnConfigFacts) {
        facts.reach = context.reach.get(name);
        facts.consumers = context.cluster.consumers(&Self::node(name.clone()));
        facts.servers.deployment = rollout(name, context, ChildKind::Deployment);
        facts.servers.daemon_set = rollout(name, context, ChildKind::DaemonSet);
        let ready = context.cluster.endpoints.ready(&Service::Turn(name.clone()));
        facts.servers.addresses = ready.iter().map(ToString::to_string).collect();
    }

    fn new_status(
        resource: &Self,
        previous: &TurnConfigStatus,
        facts: &TurnConfigFacts,
        trouble: Option<&Trouble>,
        now: Timestamp,
    ) -> TurnConfigStatus {
        status::turn_config(resource, previous, facts, trouble, now)
    }
}

fn rollout(name: &ObjectName, context: &Context, kind: ChildKind) -> Option<Rollout> {
    let id = ChildId::new(kind, Component::Turn.object_name(&name.name));
    let live = context.cluster.children.live(&name.namespace, &id)?;
    live.rollout.clone()
}

/// The pod security standard that a namespace enforces. It is read only while pods are missing: a watch of all namespaces would
/// be a permission and a cost for something that hardly ever changes.
async fn enforced(context: &Context, namespace: &str) -> Result<Option<String>, CallError> {
    let api: Api<Namespace> = Api::all(context.client.clone());
    let found = call(
        format!("look at Namespace {namespace}"),
        api.get_metadata_opt(namespace),
    )
    .await?;
    Ok(found.and_then(|found| found.labels().get(names::POD_SECURITY).cloned()))
}
