//! Every permission that the operator needs, with the reason. The chart's roles are made from this table.

use k8s_openapi::api::rbac::v1::PolicyRule;

/// Where a permission is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In every namespace that is watched: a `ClusterRole`, or a Role in each.
    Watched,
    /// Outside namespaces: a `ClusterRole`, and none where the operator is confined to some namespaces.
    Cluster,
    /// In the namespace of the leader lease.
    Lease,
}

/// Permissions on some kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where.
    pub scope: Scope,
    /// API group; empty: the core.
    pub group: &'static str,
    /// Plurals.
    pub resources: &'static [&'static str],
    /// Names of the objects; empty: all.
    pub names: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// What it is needed for.
    pub reason: &'static str,
}

const WATCH: &[&str] = &["list", "watch"];
/// A server-side apply that creates needs `create` as well as `patch`; `get` tells who owns an object that is in the way.
const KEEP: &[&str] = &["get", "list", "watch", "create", "patch"];
const KEEP_AND_PRUNE: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// The table.
pub const RULES: &[Rule] = &[
    Rule {
        scope: Scope::Watched,
        group: "berth.dev",
        resources: &["signalingclusters", "hostpools", "turnconfigs"],
        names: &[],
        // `get` is not used by the operator itself, but nobody may grant what they do not have.
        verbs: &["get", "list", "watch"],
        reason: "watch our kinds, and grant the services to do so",
    },
    Rule {
        scope: Scope::Watched,
        group: "berth.dev",
        resources: &[
            "signalingclusters/status",
            "hostpools/status",
            "turnconfigs/status",
        ],
        names: &[],
        verbs: &["patch"],
        reason: "tell what was seen",
    },
    Rule {
        scope: Scope::Watched,
        group: "",
        resources: &["serviceaccounts"],
        names: &[],
        verbs: KEEP_AND_PRUNE,
        reason: "identity of the services and of TURN servers",
    },
    Rule {
        scope: Scope::Watched,
        group: "rbac.authorization.k8s.io",
        resources: &["roles", "rolebindings"],
        names: &[],
        verbs: KEEP,
        reason: "let the services watch their settings",
    },
    Rule {
        scope: Scope::Watched,
        group: "",
        resources: &["secrets"],
        names: &[],
        verbs: &["get", "list", "watch", "create", "delete"],
        reason: "make match keys, host secrets, TURN secrets and Redis passwords; know whether Secrets that are named exist and have their keys",
    },
    Rule {
        scope: Scope::Watched,
        group: "",
        resources: &["services"],
        names: &[],
        verbs: KEEP_AND_PRUNE,
        reason: "the way to the services, to Redis and to TURN servers",
    },
    Rule {
        scope: Scope::Watched,
        group: "networking.k8s.io",
        resources: &["networkpolicies"],
        names: &[],
        verbs: KEEP_AND_PRUNE,
        reason: "who may reach the pods",
    },
    Rule {
        scope: Scope::Watched,
        group: "networking.k8s.io",
        resources: &["ingresses"],
        names: &[],
        verbs: KEEP_AND_PRUNE,
        reason: "the way in from outside the cluster",
    },
    Rule {
        scope: Scope::Watched,
        group: "gateway.networking.k8s.io",
        resources: &["httproutes"],
        names: &[],
        verbs: KEEP_AND_PRUNE,
        reason: "the way in through a Gateway, where the cluster has that kind",
    },
    Rule {
        scope: Scope::Watched,
        group: "policy",
        resources: &["poddisruptionbudgets"],
        names: &[],
        verbs: KEEP_AND_PRUNE,
        reason: "how many pods a node drain may take",
    },
    Rule {
        scope: Scope::Watched,
        group: "apps",
        resources: &["deployments"],
        names: &[],
        verbs: KEEP_AND_PRUNE,
        reason: "the services, and TURN servers",
    },
    Rule {
        scope: Scope::Watched,
        group: "apps",
        resources: &["statefulsets"],
        names: &[],
        verbs: KEEP_AND_PRUNE,
        reason: "the managed Redis",
    },
    Rule {
        scope: Scope::Watched,
        group: "apps",
        resources: &["daemonsets"],
        names: &[],
        verbs: KEEP_AND_PRUNE,
        reason: "TURN servers, one on each node",
    },
    Rule {
        scope: Scope::Watched,
        group: "",
        resources: &["namespaces"],
        names: &[],
        verbs: &["get"],
        reason: "tell why a DaemonSet has no pods: by the label of the pod security standard",
    },
    Rule {
        scope: Scope::Watched,
        group: "autoscaling",
        resources: &["horizontalpodautoscalers"],
        names: &[],
        verbs: KEEP_AND_PRUNE,
        reason: "scale the services",
    },
    Rule {
        scope: Scope::Watched,
        group: "discovery.k8s.io",
        resources: &["endpointslices"],
        names: &[],
        verbs: WATCH,
        reason: "find a ready matchmaker to read counts from, and nodes with a ready TURN server",
    },
    Rule {
        scope: Scope::Watched,
        group: "events.k8s.io",
        resources: &["events"],
        names: &[],
        verbs: &["create", "patch"],
        reason: "tell when readiness turns",
    },
    Rule {
        scope: Scope::Cluster,
        group: "apiextensions.k8s.io",
        resources: &["customresourcedefinitions"],
        names: &["httproutes.gateway.networking.k8s.io"],
        verbs: WATCH,
        reason: "know whether the cluster has HTTPRoutes",
    },
    Rule {
        scope: Scope::Cluster,
        group: "apiregistration.k8s.io",
        resources: &["apiservices"],
        names: &["v1beta1.custom.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io"],
        verbs: WATCH,
        reason: "know whether autoscalers can read custom metrics",
    },
    Rule {
        scope: Scope::Lease,
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[],
        verbs: &["get", "create", "update"],
        reason: "elect a leader",
    },
];

/// The rules of one scope as a Role or `ClusterRole` has them.
pub fn policy_rules(scope: Scope) -> Vec<PolicyRule> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    RULES
        .iter()
        .filter(|rule| rule.scope == scope)
        .map(|rule| PolicyRule {
            api_groups: Some(words(&[rule.group])),
            resources: Some(words(rule.resources)),
            verbs: words(rule.verbs),
            resource_names: (!rule.names.is_empty()).then(|| words(rule.names)),
            ..PolicyRule::default()
        })
        .collect()
}
