//! What a service has around its pods: Deployment, Service, autoscaler, disruption budget, and access to its settings.

use std::collections::BTreeSet;

use berth_crds::api::{
    Autoscaling, DisruptionBudget, HttpRouteSpec, IngressSpec, NetworkPolicySpec,
    ServiceSpec as ServiceOptions,
};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec, MetricTarget,
    PodsMetricSource, ResourceMetricSource,
};
use k8s_openapi::api::core::v1::{Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::pod::{PUBLIC_PORT, PodLinks, Program, filled, selector};
use super::{Child, ChildId, ChildKind, Desired, Offered, network, way_in};
use crate::names;

/// A pod must stay ready this long before the next is replaced: long enough for endpoints to follow.
const MIN_READY_SECONDS: i32 = 5;

/// What is said about the objects around the pods.
pub(super) struct Surroundings<'a> {
    pub(super) replicas: i32,
    pub(super) autoscaling: Option<&'a Autoscaling>,
    /// Metric of pods that is scaled by besides the CPU use, and its average for which the autoscaler aims.
    pub(super) pods_metric: Option<(&'static str, i32)>,
    pub(super) offered: Offered,
    pub(super) pdb: &'a DisruptionBudget,
    pub(super) network_policy: &'a NetworkPolicySpec,
    pub(super) service: &'a ServiceOptions,
    /// Name of the port in the Service.
    pub(super) port_name: &'static str,
    pub(super) ingress: Option<&'a IngressSpec>,
    pub(super) http_route: Option<&'a HttpRouteSpec>,
    pub(super) public_url: Option<&'a str>,
}

impl Program<'_> {
    /// What every service becomes; a kind adds what only it has. Without `links` the Deployment is withheld.
    pub(super) fn desired(&self, around: &Surroundings<'_>, links: Option<&PodLinks>) -> Desired {
        let mut desired = Desired {
            children: self.surroundings(around),
            autoscaled_floor: around.autoscaling.map(|scaling| scaling.min_replicas),
            ..Desired::default()
        };
        match links {
            Some(links) => desired.children.extend(self.workload(around, links)),
            None => desired.withheld = withheld(&self.name()),
        }
        desired
    }

    /// Identity, Role and binding, Service, Ingress, HTTPRoute, disruption budget and network policy: all that needs no reference.
    fn surroundings(&self, around: &Surroundings<'_>) -> Vec<Child> {
        let mut children = vec![
            Child::ServiceAccount(self.service_account()),
            Child::Role(self.role()),
            Child::RoleBinding(self.role_binding()),
            Child::Service(self.service(around)),
        ];
        if let Some(options) = around.ingress {
            children.push(Child::Ingress(way_in::ingress(
                self.owner.child(self.component, self.name()),
                options,
                around.public_url,
                &self.name(),
                around.port_name,
            )));
        }
        if let Some(options) = around.http_route.filter(|_| around.offered.routes) {
            children.push(Child::HTTPRoute(way_in::http_route(
                self.owner.child(self.component, self.name()),
                options,
                around.public_url,
                &self.name(),
                self.public_port,
            )));
        }
        if around.pdb.enabled {
            children.push(Child::PodDisruptionBudget(disruption_budget(
                self.owner.child(self.component, self.name()),
                selector(self.component, &self.owner.name),
                around.pdb,
            )));
        }
        if around.network_policy.enabled {
            children.push(Child::NetworkPolicy(network::service(
                self.owner,
                self.component,
                self.public_port,
                self.internal_port,
            )));
        }
        children
    }

    /// Deployment and autoscaler.
    fn workload(&self, around: &Surroundings<'_>, links: &PodLinks) -> Vec<Child> {
        let mut children = vec![Child::Deployment(self.deployment(around, links))];
        children.extend(
            around
                .autoscaling
                .map(|scaling| Child::HorizontalPodAutoscaler(self.autoscaler(around, scaling))),
        );
        children
    }

    fn service_account(&self) -> ServiceAccount {
        ServiceAccount {
            metadata: self.owner.child(self.component, self.name()),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        }
    }

    /// Reading the three kinds in its namespace is all that a service needs of the API.
    fn role(&self) -> Role {
        let all = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Role {
            metadata: self.owner.child(self.component, self.name()),
            rules: Some(vec![PolicyRule {
                api_groups: Some(all(&[berth_crds::GROUP])),
                resources: Some(all(&["signalingclusters", "hostpools", "turnconfigs"])),
                verbs: all(&["get", "list", "watch"]),
                ..PolicyRule::default()
            }]),
        }
    }

    fn role_binding(&self) -> RoleBinding {
        RoleBinding {
            metadata: self.owner.child(self.component, self.name()),
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".into(),
                kind: "Role".into(),
                name: self.name(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".into(),
                name: self.name(),
                namespace: Some(self.owner.namespace.clone()),
                api_group: None,
            }]),
        }
    }

    fn service(&self, around: &Surroundings<'_>) -> Service {
        let options = around.service;
        let mut metadata = self.owner.child(self.component, self.name());
        metadata.annotations = filled(options.annotations.clone());
        Service {
            metadata,
            spec: Some(ServiceSpec {
                type_: Some(options.type_.as_str().into()),
                selector: Some(self.component.selector(&self.owner.name)),
                ports: Some(vec![ServicePort {
                    name: Some(around.port_name.into()),
                    port: self.public_port,
                    protocol: Some("TCP".into()),
                    target_port: Some(IntOrString::String(PUBLIC_PORT.into())),
                    node_port: options.node_port,
                    app_protocol: None,
                }]),
                ..ServiceSpec::default()
            }),
            status: None,
        }
    }

    fn deployment(&self, around: &Surroundings<'_>, links: &PodLinks) -> Deployment {
        let fixed = around.autoscaling.is_none();
        let mut metadata = self.owner.child(self.component, self.name());
        let replicas_owner = if fixed {
            names::REPLICAS_FIXED
        } else {
            names::REPLICAS_AUTOSCALED
        };
        metadata.annotations = Some(
            [
                (names::REPLICAS.into(), replicas_owner.into()),
                (names::DEFAULT_IMAGE.into(), self.defaults.image.clone()),
            ]
            .into(),
        );
        Deployment {
            metadata,
            spec: Some(DeploymentSpec {
                replicas: fixed.then_some(around.replicas),
                selector: selector(self.component, &self.owner.name),
                min_ready_seconds: Some(MIN_READY_SECONDS),
                revision_history_limit: Some(3),
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".into()),
                    rolling_update: Some(RollingUpdateDeployment {
                        max_unavailable: Some(IntOrString::Int(0)),
                        max_surge: Some(IntOrString::String("25%".into())),
                    }),
                }),
                template: self.pod_template(links),
                ..DeploymentSpec::default()
            }),
            status: None,
        }
    }

    fn autoscaler(&self, around: &Surroundings<'_>, scaling: &Autoscaling) -> HorizontalPodAutoscaler {
        let mut metrics = vec![cpu_use(scaling.target_cpu_percent)];
        // An autoscaler that cannot read one of its metrics removes no pod.
        let offered = around.pods_metric.filter(|_| around.offered.custom_metrics);
        metrics.extend(offered.map(|(name, average)| average_of_pods(name, average)));
        HorizontalPodAutoscaler {
            metadata: self.owner.child(self.component, self.name()),
            spec: Some(HorizontalPodAutoscalerSpec {
                scale_target_ref: CrossVersionObjectReference {
                    api_version: Some("apps/v1".into()),
                    kind: "Deployment".into(),
                    name: self.name(),
                },
                min_replicas: Some(scaling.min_replicas),
                max_replicas: scaling.max_replicas,
                metrics: Some(metrics),
                behavior: Some(HorizontalPodAutoscalerBehavior {
                    scale_down: Some(HPAScalingRules {
                        stabilization_window_seconds: Some(scaling.scale_down_stabilization_seconds),
                        policies: Some(vec![HPAScalingPolicy {
                            type_: "Percent".into(),
                            value: scaling.scale_down_percent_per_minute,
                            period_seconds: 60,
                        }]),
                        ..HPAScalingRules::default()
                    }),
                    scale_up: None,
                }),
            }),
            status: None,
        }
    }
}

/// How many of `pods` a node drain may take.
pub(super) fn disruption_budget(
    metadata: ObjectMeta,
    pods: LabelSelector,
    budget: &DisruptionBudget,
) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata,
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(budget.max_unavailable)),
            selector: Some(pods),
            // A pod that is not ready serves nobody and must not hold up a node drain.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

/// The CPU use of the pods, in per cent of their request.
fn cpu_use(percent: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".into(),
        resource: Some(ResourceMetricSource {
            name: "cpu".into(),
            target: MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(percent),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

/// The average of the metric `name` over the pods.
fn average_of_pods(name: &str, average: i32) -> MetricSpec {
    MetricSpec {
        type_: "Pods".into(),
        pods: Some(PodsMetricSource {
            metric: MetricIdentifier {
                name: name.into(),
                selector: None,
            },
            target: MetricTarget {
                type_: "AverageValue".into(),
                average_value: Some(Quantity(average.to_string())),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

/// Ids of what [`Program::workload`] may make, for a service whose references are not resolved.
fn withheld(name: &str) -> BTreeSet<ChildId> {
    [ChildKind::Deployment, ChildKind::HorizontalPodAutoscaler]
        .map(|kind| ChildId::new(kind, name))
        .into()
}

impl Desired {
    /// Puts the children into the order in which they are applied.
    pub(super) fn in_order(mut self) -> Self {
        self.children.sort_by_cached_key(Child::id);
        self
    }
}
