//! The way in from outside the Kubernetes cluster: to the public port of a service, and to no other.

use berth_crds::api::IngressSpec as Options;
use berth_crds::settings::PublicAddress;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use kube::api::ObjectMeta;

use super::pod::filled;

/// The Ingress with `metadata` to the port `port_name` of the Service `service`. What `options` leave out is that of `public_url`.
pub(super) fn ingress(
    mut metadata: ObjectMeta,
    options: &Options,
    public_url: Option<&str>,
    service: &str,
    port_name: &str,
) -> Ingress {
    let address = public_url.and_then(PublicAddress::of);
    let host = options
        .host
        .clone()
        .or_else(|| address.as_ref().and_then(|address| address.host.clone()));
    let path = options
        .path
        .clone()
        .or_else(|| address.map(|address| address.path))
        .unwrap_or_else(|| "/".into());
    metadata.annotations = filled(options.annotations.clone());
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: options.class_name.clone(),
            rules: Some(vec![IngressRule {
                host: host.clone(),
                http: Some(HTTPIngressRuleValue {
                    paths: vec![HTTPIngressPath {
                        path: Some(path),
                        path_type: options.path_type.as_str().into(),
                        backend: IngressBackend {
                            service: Some(IngressServiceBackend {
                                name: service.into(),
                                // By name, so that another number of the port changes nothing here.
                                port: Some(ServiceBackendPort {
                                    name: Some(port_name.into()),
                                    number: None,
                                }),
                            }),
                            resource: None,
                        },
                    }],
                }),
            }]),
            tls: options.tls.as_ref().map(|tls| {
                vec![IngressTLS {
                    hosts: host.map(|host| vec![host]),
                    secret_name: tls.secret_name.clone(),
                }]
            }),
            default_backend: None,
        }),
        status: None,
    }
}
