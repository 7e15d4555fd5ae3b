//! The way in from outside the Kubernetes cluster: to the public port of a service, and to no other.

use berth_crds::api::{HttpRouteSpec, IngressSpec as Options, ParentRef};
use berth_crds::settings::PublicAddress;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::pod::filled;
use crate::gateway::{self, HttpRoute};

/// Host name and path of a way in: the named ones, or else those of `public_url`.
fn place(host: Option<&String>, path: Option<&String>, public_url: Option<&str>) -> (Option<String>, String) {
    let address = public_url.and_then(PublicAddress::of);
    let host = host
        .cloned()
        .or_else(|| address.as_ref().and_then(|address| address.host.clone()));
    let path = path
        .cloned()
        .or_else(|| address.map(|address| address.path))
        .unwrap_or_else(|| "/".into());
    (host, path)
}

/// The Ingress with `metadata` to the port `port_name` of the Service `service`. What `options` leave out is that of `public_url`.
pub(super) fn ingress(
    mut metadata: ObjectMeta,
    options: &Options,
    public_url: Option<&str>,
    service: &str,
    port_name: &str,
) -> Ingress {
    let (host, path) = place(options.host.as_ref(), options.path.as_ref(), public_url);
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

/// The HTTPRoute with `metadata` to `port` of the Service `service`. What `options` leave out is that of `public_url`.
///
/// It says what the API server would fill in, so that a look at the live object finds no difference.
pub(super) fn http_route(
    mut metadata: ObjectMeta,
    options: &HttpRouteSpec,
    public_url: Option<&str>,
    service: &str,
    port: i32,
) -> HttpRoute {
    let (host, path) = place(options.host.as_ref(), options.path.as_ref(), public_url);
    metadata.annotations = filled(options.annotations.clone());
    let mut rule = json!({
        "matches": [{"path": {"type": options.path_type.as_str(), "value": path}}],
        "backendRefs": [{"group": "", "kind": "Service", "name": service, "port": port, "weight": 1}],
    });
    if let Some(prefix) = &options.replace_prefix {
        rule["filters"] = json!([{
            "type": "URLRewrite",
            "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": prefix}},
        }]);
    }
    let parents: Vec<_> = options.parent_refs.iter().map(parent).collect();
    let mut spec = json!({"parentRefs": parents, "rules": [rule]});
    if let Some(host) = host {
        spec["hostnames"] = json!([host]);
    }
    HttpRoute::new(metadata, spec)
}

fn parent(reference: &ParentRef) -> Value {
    let ParentRef {
        name,
        namespace,
        section_name,
        port,
    } = reference;
    let mut parent = json!({"group": gateway::GROUP, "kind": "Gateway", "name": name});
    if let Some(namespace) = namespace {
        parent["namespace"] = json!(namespace);
    }
    if let Some(section) = section_name {
        parent["sectionName"] = json!(section);
    }
    if let Some(port) = port {
        parent["port"] = json!(port);
    }
    parent
}
