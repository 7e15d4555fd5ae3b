//! Stand-ins for the pods of the services, because none run here: they follow every version of their resources at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use berth_operator::counts::CountsError;
use berth_operator::pods::{PodReader, PodReport, ReportedConnections, ReportedSettings};
use futures::future::BoxFuture;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};

/// Answers for every address that an `EndpointSlice` of the namespace lists.
#[derive(Clone)]
pub(crate) struct Obedient {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Obedient {
    /// What a pod at this address that follows everything says.
    pub(crate) async fn report(&self, pod: SocketAddr) -> Option<PodReport> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.namespace);
        let slices = slices.list(&ListParams::default()).await.ok()?;
        let address = pod.ip().to_string();
        let slice = slices.into_iter().find(|slice| {
            slice
                .endpoints
                .iter()
                .any(|endpoint| endpoint.addresses.contains(&address))
        })?;
        let labels = slice.labels();
        let own = match labels.get("berth.dev/host-pool") {
            Some(pool) => self.get("HostPool", pool).await?,
            None => {
                self.get("SignalingCluster", labels.get("berth.dev/signaling-cluster")?)
                    .await?
            }
        };
        let kind = own.types.as_ref()?.kind.clone();
        let mut generations = BTreeMap::from([(kind.clone(), own.metadata.generation?)]);
        for (field, kind) in [
            ("signalingClusterRef", "SignalingCluster"),
            ("turnConfigRef", "TurnConfig"),
        ] {
            if let Some(name) = own.data["spec"][field]["name"].as_str() {
                let named = self.get(kind, name).await?;
                generations.insert(kind.to_owned(), named.metadata.generation?);
            }
        }
        Some(PodReport {
            settings: ReportedSettings {
                own: format!("{kind} named {} in namespace {}", own.name_any(), self.namespace),
                generations: Some(generations),
                refused: None,
            },
            connections: Some(ReportedConnections { open: 0 }),
            redis: None,
        })
    }

    async fn get(&self, kind: &str, name: &str) -> Option<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("berth.dev", "v1alpha1", kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        api.get_opt(name).await.ok()?
    }
}

impl PodReader for Obedient {
    fn read(&self, pod: SocketAddr) -> BoxFuture<'static, Result<PodReport, CountsError>> {
        let this = self.clone();
        Box::pin(async move { this.report(pod).await.ok_or(CountsError::Unreachable) })
    }
}
