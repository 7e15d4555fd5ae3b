//! Whether an object on the server is what was rendered.
//!
//! A server adds defaults, other parties add fields of their own, and some values come back in another notation. So only
//! the fields that are rendered are looked at: [`project`] picks them out of the live object.

use serde_json::{Map, Value};

use crate::render::{ChildKind, same_quantity};

/// The part of `live` that `desired` speaks of, in the shape of `desired`.
///
/// Elements of lists with a merge key are found by it, so that what others add (an injected container) does not count;
/// all other lists and the maps of selectors count as a whole.
pub(super) fn project(kind: ChildKind, desired: &Value, live: &Value) -> Value {
    Projection { kind }.value("", desired, live)
}

/// Whether a projection is what was rendered, quantities in another notation included.
pub(super) fn matches(desired: &Value, projected: &Value) -> bool {
    match (desired, projected) {
        (Value::Object(desired), projected) => {
            let empty = Map::new();
            let projected = projected.as_object().unwrap_or(&empty);
            desired
                .keys()
                .chain(projected.keys())
                .all(|key| match (desired.get(key), projected.get(key)) {
                    (Some(left), Some(right)) => matches(left, right),
                    (left, right) => left.or(right).is_none_or(is_void),
                })
        }
        (Value::Array(desired), Value::Array(projected)) => {
            desired.len() == projected.len()
                && desired
                    .iter()
                    .zip(projected)
                    .all(|(left, right)| matches(left, right))
        }
        (Value::String(left), Value::String(right)) => left == right || same_quantity(left, right),
        (left, right) => left == right || (is_void(left) && is_void(right)),
    }
}

/// What a server may drop without a difference.
fn is_void(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_void),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

struct Projection {
    kind: ChildKind,
}

impl Projection {
    fn value(&self, field: &str, desired: &Value, live: &Value) -> Value {
        match (desired, live) {
            (Value::Object(desired), Value::Object(live)) if !is_atomic_map(field) => Value::Object(
                desired
                    .iter()
                    .filter_map(|(key, value)| {
                        let found = self.value(key, value, live.get(key)?);
                        Some((key.clone(), found))
                    })
                    .collect(),
            ),
            (Value::Array(desired), Value::Array(live)) => self.list(field, desired, live),
            (_, live) => live.clone(),
        }
    }

    fn list(&self, field: &str, desired: &[Value], live: &[Value]) -> Value {
        let key = self.merge_key(field);
        let found = |index: usize, wanted: &Value| match key {
            Some(key) => live
                .iter()
                .find(|element| key.iter().all(|part| element.get(part) == wanted.get(part))),
            None => live.get(index),
        };
        if key.is_none() && desired.len() != live.len() {
            return Value::Array(live.to_vec());
        }
        desired
            .iter()
            .enumerate()
            .filter_map(|(index, wanted)| Some(self.value("", wanted, found(index, wanted)?)))
            .collect()
    }

    /// Keys of lists that several parties may write, as the API declares them.
    fn merge_key(&self, field: &str) -> Option<&'static [&'static str]> {
        let of_pods = matches!(
            self.kind,
            ChildKind::Deployment | ChildKind::StatefulSet | ChildKind::DaemonSet
        );
        match field {
            "ownerReferences" => Some(&["uid"]),
            "containers" | "env" | "volumes" | "imagePullSecrets" if of_pods => Some(&["name"]),
            "volumeMounts" if of_pods => Some(&["mountPath"]),
            "ports" if of_pods => Some(&["containerPort", "protocol"]),
            "ports" if self.kind == ChildKind::Service => Some(&["port", "protocol"]),
            "topologySpreadConstraints" if of_pods => Some(&["topologyKey", "whenUnsatisfiable"]),
            _ => None,
        }
    }
}

/// Maps that one party writes as a whole.
fn is_atomic_map(field: &str) -> bool {
    matches!(
        field,
        "selector" | "matchLabels" | "nodeSelector" | "podSelector" | "namespaceSelector" | "labelSelector"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn same(kind: ChildKind, desired: &Value, live: &Value) -> bool {
        matches(desired, &project(kind, desired, live))
    }

    #[test]
    fn defaults_and_additions_of_others_are_no_difference() {
        let desired = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"template": {"spec": {
            "containers": [{"name": "main", "env": [{"name": "A", "value": "1"}],
                "resources": {"limits": {"memory": "1024Mi"}}}],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        }}}});
        let live = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "uid": "x"}, "spec": {"replicas": 7,
            "template": {"spec": {"dnsPolicy": "ClusterFirst",
                "containers": [
                    {"name": "injected", "image": "x"},
                    {"name": "main", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
                        "resources": {"limits": {"memory": "1Gi", "cpu": "1"}}, "terminationMessagePath": "/dev"}],
                "volumes": [{"name": "tmp"}],
        }}}});
        assert!(same(ChildKind::Deployment, &desired, &live));
    }

    #[test]
    fn a_changed_or_missing_field_is_a_difference() {
        let desired =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "a"}]}}}});
        for live in [
            json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "b"}]}}}}),
            json!({"spec": {"template": {"spec": {"containers": [{"name": "main"}]}}}}),
            json!({"spec": {"template": {"spec": {"containers": []}}}}),
            json!({"spec": {}}),
        ] {
            assert!(!same(ChildKind::Deployment, &desired, &live), "{live}");
        }
    }

    #[test]
    fn lists_and_maps_of_one_owner_count_as_a_whole() {
        let policy = json!({"spec": {"podSelector": {"matchLabels": {"a": "1"}}, "ingress": [{"ports": [{"port": 1}]}]}});
        let more_ports = json!({"spec": {"podSelector": {"matchLabels": {"a": "1"}},
            "ingress": [{"ports": [{"port": 1}, {"port": 2}]}]}});
        let narrower = json!({"spec": {"podSelector": {"matchLabels": {"a": "1", "b": "2"}},
            "ingress": [{"ports": [{"port": 1}]}]}});
        let defaulted = json!({"spec": {"podSelector": {"matchLabels": {"a": "1"}},
            "ingress": [{"ports": [{"port": 1, "protocol": "TCP"}]}], "policyTypes": ["Ingress"]}});
        assert!(!same(ChildKind::NetworkPolicy, &policy, &more_ports));
        assert!(!same(ChildKind::NetworkPolicy, &policy, &narrower));
        assert!(same(ChildKind::NetworkPolicy, &policy, &defaulted));

        let all_pods = json!({"spec": {"podSelector": {}}});
        assert!(same(
            ChildKind::NetworkPolicy,
            &all_pods,
            &json!({"spec": {"podSelector": {}}})
        ));
        assert!(!same(ChildKind::NetworkPolicy, &all_pods, &narrower));
    }
}
