//! What stands around the pods of a service and is told of by others: its autoscaler, and its way in through a Gateway.

use berth_crds::api::{Autoscaling, HttpRouteSpec};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::Value;

use super::conditions::{Conditions, Truth};
use super::reason::{ConditionType, Reason};
use crate::gateway::HttpRoute;
use crate::render::Offered;

/// What was seen around the pods of a service.
#[derive(Clone, Debug, Default)]
pub struct AroundFacts {
    /// What the Kubernetes cluster offers.
    pub offered: Offered,
    /// The autoscaler.
    pub autoscaler: Option<Autoscaler>,
    /// The HTTPRoute.
    pub route: Option<Route>,
}

/// What an autoscaler tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Autoscaler {
    /// Whether it scales; absent: it has not said so yet.
    pub active: Option<bool>,
    /// Why it does not.
    pub message: String,
}

impl Autoscaler {
    /// By its condition `ScalingActive`: false while metrics that it needs cannot be read.
    pub fn of(object: &HorizontalPodAutoscaler) -> Self {
        let status = object.status.as_ref();
        let mut conditions = status
            .into_iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let active = conditions.find(|condition| condition.type_ == "ScalingActive");
        Self {
            active: active.map(|condition| condition.status == "True"),
            message: active
                .and_then(|condition| condition.message.clone())
                .unwrap_or_default(),
        }
    }
}

/// What the controllers of Gateways tell of an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Gateways, or listeners of them, that should take it.
    pub asked: usize,
    /// Those that did, for its newest version.
    pub accepted: usize,
    /// Why one did not.
    pub refused: Option<String>,
}

impl Route {
    /// By the conditions `Accepted` and `ResolvedRefs` of each parent.
    pub fn of(object: &HttpRoute) -> Self {
        let list = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
        let mut route = Self {
            asked: list(&object.spec, "parentRefs").len(),
            ..Self::default()
        };
        for parent in list(&object.status, "parents") {
            let conditions = list(&parent, "conditions");
            let find = |kind: &str| {
                conditions.iter().find(|condition| {
                    condition["type"] == kind
                        && condition["observedGeneration"].as_i64() >= object.metadata.generation
                })
            };
            let told = [find("Accepted"), find("ResolvedRefs")];
            if let Some(refusal) = told
                .into_iter()
                .flatten()
                .find(|condition| condition["status"] == "False")
            {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                route.refused = Some(format!(
                    "Gateway {}: {}: {}",
                    text(&parent["parentRef"]["name"]),
                    text(&refusal["reason"]),
                    text(&refusal["message"]),
                ));
            } else if told[0].is_some() {
                route.accepted += 1;
            }
        }
        route
    }
}

/// Adds `AutoscalingOwnsReplicas` and `AutoscalingLimited`. `replicas` is that of the spec, `connections` whether it asks to scale by
/// connections.
pub(super) fn tell_autoscaling(
    scaling: Option<&Autoscaling>,
    replicas: i32,
    connections: bool,
    facts: &AroundFacts,
    conditions: &mut Conditions<'_>,
) {
    const OWNS: ConditionType = ConditionType::AutoscalingOwnsReplicas;
    const LIMITED: ConditionType = ConditionType::AutoscalingLimited;
    let Some(scaling) = scaling else {
        let message = "spec.replicas says how many pods there are";
        conditions.set(OWNS, Truth::False, Reason::FixedReplicas, message);
        conditions.set(LIMITED, Truth::False, Reason::FixedReplicas, message);
        return;
    };
    let (least, most) = (scaling.min_replicas, scaling.max_replicas);
    conditions.set(
        OWNS,
        Truth::True,
        Reason::Autoscaled,
        format!("the autoscaler decides on {least} to {most} pods; spec.replicas ({replicas}) has no effect"),
    );
    match &facts.autoscaler {
        _ if connections && !facts.offered.custom_metrics => conditions.set(
            LIMITED,
            Truth::True,
            Reason::CustomMetricsMissing,
            "no adapter offers custom metrics (custom.metrics.k8s.io): scaled by CPU use alone",
        ),
        Some(Autoscaler {
            active: Some(false),
            message,
        }) => conditions.set(LIMITED, Truth::True, Reason::AutoscalerBlind, message.clone()),
        Some(Autoscaler {
            active: Some(true), ..
        }) => conditions.set(
            LIMITED,
            Truth::False,
            Reason::Autoscaled,
            "the autoscaler reads its metrics",
        ),
        _ => conditions.set(
            LIMITED,
            Truth::Unknown,
            Reason::AutoscalerSilent,
            "the autoscaler has not said yet whether it reads its metrics",
        ),
    }
}

/// Adds `RouteAccepted` where the spec asks for a route, and gives what the resource waits for.
pub(super) fn tell_route(
    asked: Option<&HttpRouteSpec>,
    facts: &AroundFacts,
    conditions: &mut Conditions<'_>,
) -> Option<(Reason, String)> {
    const KIND: ConditionType = ConditionType::RouteAccepted;
    asked?;
    let (truth, reason, message) = match &facts.route {
        _ if !facts.offered.routes => (
            Truth::False,
            Reason::GatewayApiMissing,
            "this Kubernetes cluster has no HTTPRoute (gateway.networking.k8s.io/v1): install the Gateway API".to_owned(),
        ),
        Some(Route {
            refused: Some(refusal),
            ..
        }) => (Truth::False, Reason::RouteRefused, refusal.clone()),
        Some(route) if route.accepted >= route.asked => (
            Truth::True,
            Reason::RouteAccepted,
            "every Gateway that is named takes the HTTPRoute".to_owned(),
        ),
        _ => (
            Truth::Unknown,
            Reason::RoutePending,
            "not every Gateway that is named has said that it takes the HTTPRoute".to_owned(),
        ),
    };
    conditions.set(KIND, truth, reason, message.clone());
    // A Gateway without a controller never says anything: what is not known holds nobody up.
    (truth == Truth::False).then_some((reason, message))
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;
    use serde_json::json;

    use super::*;

    fn route(status: Value) -> Route {
        let metadata = ObjectMeta {
            generation: Some(3),
            ..ObjectMeta::default()
        };
        let mut object = HttpRoute::new(metadata, json!({"parentRefs": [{"name": "a"}, {"name": "b"}]}));
        object.status = status;
        Route::of(&object)
    }

    #[test]
    fn a_route_is_taken_when_every_parent_says_so_of_its_newest_version() {
        let parent = |name: &str, generation: i64, accepted: &str| {
            json!({"parentRef": {"name": name}, "conditions": [
                {"type": "Accepted", "status": accepted, "observedGeneration": generation,
                    "reason": "NotAllowedByListeners", "message": "no"},
                {"type": "ResolvedRefs", "status": "True", "observedGeneration": generation},
            ]})
        };
        let of = |parents: Value| {
            let Route {
                accepted, refused, ..
            } = route(json!({"parents": parents}));
            (accepted, refused)
        };
        assert_eq!(of(json!([])), (0, None));
        assert_eq!(of(json!([parent("a", 3, "True")])), (1, None));
        assert_eq!(
            of(json!([parent("a", 3, "True"), parent("b", 3, "True")])),
            (2, None)
        );
        assert_eq!(
            of(json!([parent("a", 3, "True"), parent("b", 2, "True")])),
            (1, None)
        );
        let refusal = "Gateway b: NotAllowedByListeners: no".to_owned();
        assert_eq!(
            of(json!([parent("a", 3, "True"), parent("b", 3, "False")])),
            (1, Some(refusal))
        );
        assert_eq!(route(Value::Null).asked, 2);
    }

    /// Status and reason of the conditions that `tell` adds.
    fn told(tell: impl FnOnce(&mut Conditions<'_>)) -> Vec<String> {
        let mut conditions = Conditions::after(&[], None, jiff::Timestamp::UNIX_EPOCH);
        tell(&mut conditions);
        let built = conditions.finish();
        built
            .iter()
            .map(|condition| format!("{} {}", condition.status, condition.reason))
            .collect()
    }

    #[test]
    fn an_autoscaler_owns_the_count_and_says_what_it_cannot_see() {
        let tell = |scaling: Option<&Autoscaling>, connections, active: Option<bool>, custom_metrics| {
            let facts = AroundFacts {
                offered: Offered {
                    routes: false,
                    custom_metrics,
                },
                autoscaler: active.map(|active| Autoscaler {
                    active: Some(active),
                    message: "no metrics".into(),
                }),
                route: None,
            };
            told(|conditions| tell_autoscaling(scaling, 2, connections, &facts, conditions))
        };
        assert_eq!(
            tell(None, false, None, false),
            ["False FixedReplicas", "False FixedReplicas"]
        );
        let scaling = Autoscaling::default();
        for (connections, active, offered, limited) in [
            (false, None, false, "Unknown AutoscalerSilent"),
            (false, Some(true), false, "False Autoscaled"),
            (false, Some(false), false, "True AutoscalerBlind"),
            (true, Some(true), false, "True CustomMetricsMissing"),
            (true, Some(true), true, "False Autoscaled"),
        ] {
            assert_eq!(
                tell(Some(&scaling), connections, active, offered),
                ["True Autoscaled", limited]
            );
        }
    }

    #[test]
    fn a_route_that_is_refused_is_waited_for_and_one_that_nobody_speaks_of_is_not() {
        let asked = HttpRouteSpec {
            parent_refs: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
            host: None,
            path: None,
            path_type: berth_crds::api::RoutePathType::default(),
            replace_prefix: None,
        };
        let route = |accepted, refused: Option<&str>| {
            Some(Route {
                asked: 1,
                accepted,
                refused: refused.map(str::to_owned),
            })
        };
        for (routes, seen, truth, waits) in [
            (false, None, "False GatewayApiMissing", true),
            (true, None, "Unknown RoutePending", false),
            (true, route(0, None), "Unknown RoutePending", false),
            (true, route(1, None), "True RouteAccepted", false),
            (true, route(0, Some("no")), "False RouteRefused", true),
        ] {
            let facts = AroundFacts {
                offered: Offered {
                    routes,
                    custom_metrics: false,
                },
                autoscaler: None,
                route: seen,
            };
            let mut waited = false;
            let conditions = told(|conditions| {
                waited = tell_route(Some(&asked), &facts, conditions).is_some();
                assert!(tell_route(None, &facts, conditions).is_none());
            });
            assert_eq!((conditions, waited), (vec![truth.to_owned()], waits));
        }
    }
}
