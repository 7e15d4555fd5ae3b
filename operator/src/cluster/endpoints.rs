//! Addresses of the pods of the services, from the `EndpointSlice`s of their Services: much smaller than the pods themselves, and ready
//! means there what it means for players.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use berth_crds::settings::ObjectName;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use parking_lot::RwLock;

use crate::names::{self, Component};

/// The pods of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// Signaling pods of a SignalingCluster.
    Signaling(ObjectName),
    /// Matchmaker pods of a HostPool.
    Matchmaker(ObjectName),
    /// TURN servers of a TurnConfig.
    Turn(ObjectName),
}

/// Addresses by the resource that the pods belong to.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    service_of: HashMap<ObjectName, Service>,
    slices: HashMap<Service, HashMap<ObjectName, Addresses>>,
}

#[derive(Debug, Default)]
struct Addresses {
    ready: Vec<IpAddr>,
    unready: Vec<IpAddr>,
}

impl Endpoints {
    /// The watch saw a slice. Gives whose it is.
    pub(crate) fn put(&self, name: &ObjectName, slice: &EndpointSlice) -> Option<Service> {
        let mut inner = self.inner.write();
        inner.remove(name);
        let service = service_of(&name.namespace, slice)?;
        let mut addresses = Addresses::default();
        for endpoint in &slice.endpoints {
            let Some(address) = endpoint.addresses.first().and_then(|text| text.parse().ok()) else {
                continue;
            };
            // Absent means ready (EndpointConditions in the API).
            let conditions = endpoint.conditions.as_ref();
            if conditions.and_then(|conditions| conditions.ready).unwrap_or(true) {
                addresses.ready.push(address);
            } else {
                addresses.unready.push(address);
            }
        }
        inner.service_of.insert(name.clone(), service.clone());
        inner
            .slices
            .entry(service.clone())
            .or_default()
            .insert(name.clone(), addresses);
        Some(service)
    }

    /// The watch saw a slice disappear. Gives whose it was.
    pub(crate) fn remove(&self, name: &ObjectName) -> Option<Service> {
        self.inner.write().remove(name)
    }

    /// Addresses of the ready pods of `service`, in order.
    pub(crate) fn ready(&self, service: &Service) -> BTreeSet<IpAddr> {
        self.pick(service, |addresses| &addresses.ready)
    }

    /// Addresses of the pods of `service` that are not ready, in order.
    pub(crate) fn unready(&self, service: &Service) -> BTreeSet<IpAddr> {
        self.pick(service, |addresses| &addresses.unready)
    }

    fn pick(&self, service: &Service, which: fn(&Addresses) -> &Vec<IpAddr>) -> BTreeSet<IpAddr> {
        let inner = self.inner.read();
        let slices = inner.slices.get(service).into_iter().flat_map(HashMap::values);
        slices.flat_map(which).copied().collect()
    }
}

/// Whose pods a slice lists. The managed Redis has the label of its SignalingCluster too.
fn service_of(namespace: &str, slice: &EndpointSlice) -> Option<Service> {
    let labels = slice.labels();
    if let Some(pool) = labels.get(names::HOST_POOL) {
        return Some(Service::Matchmaker(ObjectName::new(namespace, pool)));
    }
    if let Some(turn) = labels.get(names::TURN_CONFIG) {
        return Some(Service::Turn(ObjectName::new(namespace, turn)));
    }
    let is_signaling = labels.get(names::NAME).map(String::as_str) == Some(Component::Signaling.as_str());
    let cluster = labels.get(names::SIGNALING_CLUSTER).filter(|_| is_signaling)?;
    Some(Service::Signaling(ObjectName::new(namespace, cluster)))
}

impl Inner {
    fn remove(&mut self, name: &ObjectName) -> Option<Service> {
        let service = self.service_of.remove(name)?;
        if let Some(slices) = self.slices.get_mut(&service) {
            slices.remove(name);
            if slices.is_empty() {
                self.slices.remove(&service);
            }
        }
        Some(service)
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
        let (name, pool) = (
            ObjectName::new("ns", "s"),
            Service::Matchmaker(ObjectName::new("ns", "eu")),
        );
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
        assert!(endpoints.inner.read().slices.is_empty() && endpoints.inner.read().service_of.is_empty());
    }

    #[test]
    fn pods_of_signaling_are_told_from_those_of_its_redis() {
        let slice = |component: &str| -> EndpointSlice {
            serde_json::from_value(json!({
                "metadata": {"labels": {"berth.dev/signaling-cluster": "main", "app.kubernetes.io/name": component}},
                "addressType": "IPv4", "endpoints": [],
            }))
            .unwrap()
        };
        let main = Service::Signaling(ObjectName::new("ns", "main"));
        assert_eq!(service_of("ns", &slice("signaling")), Some(main));
        assert_eq!(service_of("ns", &slice("redis")), None);
    }
}
