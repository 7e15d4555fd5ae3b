//! Status of a TurnConfig.

use berth_crds::TurnConfig;
use berth_crds::api::{ManagedTurn, ManagedTurnStatus, TurnConfigStatus, TurnNetwork, TurnWorkload};
use berth_crds::settings::MOST_ADDRESSES;
use jiff::Timestamp;
use kube::ResourceExt;

use super::conditions::{Conditions, Truth};
use super::pause;
use super::progress::{Progress, Trouble};
use super::reason::{ConditionType, Reason};
use super::rollout::Rollout;
use crate::names;
use crate::probe::Reach;
use crate::render::ChildId;
use crate::resolve::Missing;

/// What was seen of a TurnConfig.
#[derive(Clone, Debug, Default)]
pub struct TurnConfigFacts {
    /// What is named and does not exist; absent when that was not found out.
    pub missing: Option<Vec<Missing>>,
    /// SignalingClusters and HostPools that name it.
    pub consumers: usize,
    /// Whether its servers answer.
    pub reach: Reach,
    /// The servers that Berth runs.
    pub servers: ServerFacts,
    /// Children that are not what they should be, because the resource is paused.
    pub held: Vec<ChildId>,
}

/// What was seen of the servers that Berth runs.
#[derive(Clone, Debug, Default)]
pub struct ServerFacts {
    /// The Deployment.
    pub deployment: Option<Rollout>,
    /// The DaemonSet.
    pub daemon_set: Option<Rollout>,
    /// Hash of the one of both that was applied; absent when it was withheld.
    pub applied: Option<String>,
    /// Addresses of those that are ready, in order.
    pub addresses: Vec<String>,
    /// The pod security standard that the namespace enforces; only looked at for a DaemonSet that lacks pods.
    pub enforced: Option<String>,
}

impl ServerFacts {
    /// How far what makes the pods has come.
    fn rollout(&self, spec: &ManagedTurn) -> Option<&Rollout> {
        match spec.workload {
            TurnWorkload::Deployment => self.deployment.as_ref(),
            TurnWorkload::DaemonSet => self.daemon_set.as_ref(),
        }
    }

    /// Whether the namespace refuses the pods for being in the network of their node.
    ///
    /// The ReplicaSet says so in the Deployment's condition `ReplicaFailure`, whoever decided it. A DaemonSet says it in events only, which
    /// are no state; so there it is told from pods that are missing in a namespace whose label does not let them in.
    fn is_blocked(&self, spec: &ManagedTurn) -> bool {
        let Some(rollout) = self.rollout(spec) else {
            return false;
        };
        match spec.workload {
            TurnWorkload::Deployment => rollout
                .refused
                .as_ref()
                .is_some_and(|message| message.contains("violates PodSecurity")),
            TurnWorkload::DaemonSet => {
                rollout.lacks_pods()
                    && self
                        .enforced
                        .as_deref()
                        .is_some_and(|level| matches!(level, "baseline" | "restricted"))
            }
        }
    }
}

/// The status of `resource` after `previous`; `trouble` is what went wrong.
pub fn turn_config(
    resource: &TurnConfig,
    previous: &TurnConfigStatus,
    facts: &TurnConfigFacts,
    trouble: Option<&Trouble>,
    now: Timestamp,
) -> TurnConfigStatus {
    let mut conditions = Conditions::after(&previous.conditions, resource.metadata.generation, now);
    let mut progress = Progress {
        trouble,
        missing: facts.missing.as_deref(),
        ..Progress::default()
    };
    let held = pause::tell(resource.spec.paused, &facts.held, &mut conditions);
    progress.waiting.extend(held);
    let managed = if let Some(spec) = &resource.spec.managed {
        Some(tell_servers(resource, spec, facts, progress, &mut conditions))
    } else {
        progress.tell(&mut conditions);
        None
    };
    tell_reach(&facts.reach, &mut conditions);
    TurnConfigStatus {
        observed_generation: resource.metadata.generation,
        consumers: i32::try_from(facts.consumers).unwrap_or(i32::MAX),
        managed,
        conditions: conditions.finish(),
    }
}

/// Adds `PodSecurityBlocked`, `Available`, and what depends on `progress`.
fn tell_servers(
    resource: &TurnConfig,
    spec: &ManagedTurn,
    facts: &TurnConfigFacts,
    mut progress: Progress<'_>,
    conditions: &mut Conditions<'_>,
) -> ManagedTurnStatus {
    const KIND: ConditionType = ConditionType::PodSecurityBlocked;
    let servers = &facts.servers;
    if servers.is_blocked(spec) {
        let namespace = resource.namespace().unwrap_or_default();
        let label = names::POD_SECURITY;
        let message = match spec.network {
            TurnNetwork::Host => format!(
                "namespace {namespace} lets no pod into the network of its node: label it {label}: privileged, or set spec.managed.network to Pod"
            ),
            TurnNetwork::Pod => {
                format!(
                    "namespace {namespace} refuses the pods: its label {label} asks for more than they have"
                )
            }
        };
        conditions.set(KIND, Truth::True, Reason::PodSecurityBlocked, message.clone());
        progress.blocked = Some(message);
    } else {
        let message = "no pod is refused for its security";
        conditions.set(KIND, Truth::False, Reason::PodsAdmitted, message);
    }
    let rollout = progress.tell_rollout(servers.rollout(spec), servers.applied.as_deref(), conditions);
    let addresses = match spec.network {
        TurnNetwork::Host => servers.addresses.iter().take(MOST_ADDRESSES).cloned().collect(),
        TurnNetwork::Pod => Vec::new(),
    };
    ManagedTurnStatus {
        replicas: rollout.replicas,
        ready_replicas: rollout.ready,
        image: rollout.image,
        addresses,
    }
}

/// Adds `ServersReachable`.
fn tell_reach(reach: &Reach, conditions: &mut Conditions<'_>) {
    const KIND: ConditionType = ConditionType::ServersReachable;
    if *reach == Reach::default() {
        // Nobody asked since this process leads.
        let message = "no server was asked yet";
        return conditions.keep(KIND, (Truth::Unknown, Reason::ServersNotAsked, message));
    }
    let (truth, reason) = match (reach.asked(), reach.silent.is_empty()) {
        (0, _) => (Truth::Unknown, Reason::ServersNotAsked),
        (_, true) => (Truth::True, Reason::ServersAnswer),
        (_, false) => (Truth::False, Reason::ServersSilent),
    };
    conditions.set(KIND, truth, reason, reach.text());
}
