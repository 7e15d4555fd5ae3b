//! Addresses of the matchmaker pods that are ready, from the `EndpointSlice`s of the pools' Services: much smaller than the
//! pods themselves, and ready means there what it means for players.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use berth_crds::settings::ObjectName;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use parking_lot::RwLock;

use crate::names;

/// Addresses by pool.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pool_of: HashMap<ObjectName, ObjectName>,
    slices: HashMap<ObjectName, HashMap<ObjectName, Vec<IpAddr>>>,
}

impl Endpoints {
    /// The watch saw a slice.
    pub(crate) fn put(&self, name: &ObjectName, slice: &EndpointSlice) {
        let mut inner = self.inner.write();
        inner.remove(name);
        let Some(pool) = slice.labels().get(names::HOST_POOL) else {
            return;
        };
        let pool = ObjectName::new(&name.namespace, pool);
        let ready = slice.endpoints.iter().filter(|endpoint| {
            // Absent means ready (EndpointConditions in the API).
            endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready)
                .unwrap_or(true)
        });
        let addresses = ready
            .filter_map(|endpoint| endpoint.addresses.first()?.parse().ok())
            .collect();
        inner.pool_of.insert(name.clone(), pool.clone());
        inner
            .slices
            .entry(pool)
            .or_default()
            .insert(name.clone(), addresses);
    }

    /// The watch saw a slice disappear.
    pub(crate) fn remove(&self, name: &ObjectName) {
        self.inner.write().remove(name);
    }

    /// Addresses of the ready pods of `pool`, in order.
    pub(crate) fn ready(&self, pool: &ObjectName) -> BTreeSet<IpAddr> {
        self.inner
            .read()
            .slices
            .get(pool)
            .into_iter()
            .flat_map(HashMap::values)
            .flatten()
            .copied()
            .collect()
    }
}

impl Inner {
    fn remove(&mut self, name: &ObjectName) {
        let Some(pool) = self.pool_of.remove(name) else {
            return;
        };
        if let Some(slices) = self.slices.get_mut(&pool) {
            slices.remove(name);
            if slices.is_empty() {
                self.slices.remove(&pool);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(pool: &str, endpoints: &serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "ns", "labels": {"berth.dev/host-pool": pool}},
            "addressType": "IPv4", "endpoints": endpoints,
        }))
        .unwrap()
    }

    #[test]
    fn only_ready_pods_are_asked() {
        let endpoints = Endpoints::default();
        let (name, pool) = (ObjectName::new("ns", "s"), ObjectName::new("ns", "eu"));
        let seen = slice(
            "eu",
            &json!([
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.1"]},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
            ]),
        );
        endpoints.put(&name, &seen);
        let ready: Vec<_> = endpoints.ready(&pool).iter().map(ToString::to_string).collect();
        assert_eq!(ready, ["10.0.0.1", "10.0.0.2"]);

        endpoints.put(&name, &slice("us", &json!([])));
        assert!(endpoints.ready(&pool).is_empty());
        endpoints.remove(&name);
        assert!(endpoints.inner.read().slices.is_empty() && endpoints.inner.read().pool_of.is_empty());
    }
}
