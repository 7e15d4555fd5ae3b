//! Pods: what all of them have, and the pod template of a service.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use berth_crds::api::{PodSpec as PodOptions, TopologySpread, WhenUnsatisfiable};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction,
    LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, TopologySpreadConstraint,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::child::hex;
use super::{Defaults, Owner, RedisAccess};
use crate::names::{self, Component};

/// Folder of all Secrets in a pod; each is a folder of its own in it.
const SECRETS: &str = "/etc/berth/secrets";
/// Folder for the last good settings.
const CACHE: &str = "/var/cache/berth";
/// User and group of all pods: `nonroot` of common base images.
const USER: i64 = 65_532;
/// Names of the two ports of a service's container.
pub(super) const PUBLIC_PORT: &str = "public";
pub(super) const INTERNAL_PORT: &str = "internal";

/// A service that runs in a Deployment.
pub(super) struct Program<'a> {
    pub(super) owner: &'a Owner,
    pub(super) component: Component,
    pub(super) command: &'static str,
    /// Image that the resource names.
    pub(super) image: Option<&'a String>,
    pub(super) defaults: &'a Defaults,
    pub(super) public_port: i32,
    pub(super) internal_port: i32,
    pub(super) grace_period_seconds: i32,
    pub(super) options: &'a PodOptions,
}

/// What the references of a resource were resolved to, as far as its pods are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLinks {
    /// Redis of the SignalingCluster.
    pub redis: RedisAccess,
    /// Secrets to mount beside that of Redis.
    pub secrets: BTreeSet<String>,
}

impl Program<'_> {
    /// Name of the Deployment, its account and everything around it.
    pub(super) fn name(&self) -> String {
        self.component.object_name(&self.owner.name)
    }

    /// The pod template. It depends on nothing that can change without a restart.
    pub(super) fn pod_template(&self, links: &PodLinks) -> PodTemplateSpec {
        let mut secrets = links.secrets.clone();
        secrets.extend(links.redis.secrets());
        let mut volumes = vec![empty_dir("cache", "16Mi", None), empty_dir("tmp", "64Mi", None)];
        let mut mounts = vec![mount("cache", CACHE), mount("tmp", "/tmp")];
        for secret in &secrets {
            let volume = secret_volume(secret);
            mounts.push(secret_mount(&volume.name, secret));
            volumes.push(volume);
        }
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(self.pod_labels(&links.redis)),
                annotations: filled(self.options.annotations.clone()),
                ..ObjectMeta::default()
            }),
            spec: Some(PodSpec {
                service_account_name: Some(self.name()),
                // The settings are watched in the Kubernetes API.
                automount_service_account_token: Some(true),
                enable_service_links: Some(false),
                security_context: Some(pod_security()),
                termination_grace_period_seconds: Some(self.grace_period_seconds.into()),
                topology_spread_constraints: spread(
                    self.options.topology_spread.as_deref(),
                    &selector(self.component, &self.owner.name),
                ),
                containers: vec![self.container(&links.redis, mounts)],
                volumes: Some(volumes),
                ..placement(self.options, &self.defaults.image_pull_secrets)
            }),
        }
    }

    fn pod_labels(&self, redis: &RedisAccess) -> BTreeMap<String, String> {
        let mut labels = self.options.labels.clone();
        labels.extend(self.component.labels(&self.owner.name));
        if let RedisAccess::Managed { cluster, .. } = redis {
            labels.insert(names::REDIS_CLIENT.into(), cluster.clone());
        }
        labels
    }

    fn container(&self, redis: &RedisAccess, mounts: Vec<VolumeMount>) -> Container {
        let port = |name: &str, number| ContainerPort {
            name: Some(name.into()),
            container_port: number,
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        };
        Container {
            name: self.component.as_str().into(),
            image: Some(self.image.unwrap_or(&self.defaults.image).clone()),
            image_pull_policy: Some(self.defaults.image_pull_policy.as_str().into()),
            command: Some(vec![self.command.into()]),
            args: Some(vec!["--settings".into(), "kube".into()]),
            env: Some(self.environment(redis)),
            ports: Some(vec![
                port(PUBLIC_PORT, self.public_port),
                port(INTERNAL_PORT, self.internal_port),
            ]),
            // A process that has not come up within a minute will not.
            startup_probe: Some(http_probe("/healthz", 1, 60)),
            readiness_probe: Some(http_probe("/readyz", 3, 2)),
            liveness_probe: Some(http_probe("/healthz", 10, 3)),
            resources: Some(
                self.options
                    .resources
                    .clone()
                    .unwrap_or_else(|| resources("100m", "64Mi", "512Mi")),
            ),
            security_context: Some(container_security()),
            volume_mounts: Some(mounts),
            ..Container::default()
        }
    }

    fn environment(&self, redis: &RedisAccess) -> Vec<EnvVar> {
        let mut variables = vec![
            variable("BERTH_NAMESPACE", &self.owner.namespace),
            variable("BERTH_NAME", &self.owner.name),
            variable("BERTH_SECRETS_DIR", SECRETS),
            variable("BERTH_CACHE_FILE", &format!("{CACHE}/settings.json")),
            EnvVar {
                name: "INSTANCE_ID".into(),
                value_from: Some(EnvVarSource {
                    field_ref: Some(ObjectFieldSelector {
                        field_path: "metadata.name".into(),
                        ..ObjectFieldSelector::default()
                    }),
                    ..EnvVarSource::default()
                }),
                ..EnvVar::default()
            },
        ];
        match redis {
            RedisAccess::Managed { namespace, cluster } => variables.extend([
                variable(
                    "REDIS_URL",
                    &format!("redis://{}", names::redis_endpoint(namespace, cluster)),
                ),
                variable(
                    "BERTH_REDIS_PASSWORD_FILE",
                    &secret_file(&redis.secret(), names::REDIS_PASSWORD_KEY),
                ),
            ]),
            RedisAccess::External {
                secret,
                key,
                authorities,
            } => {
                variables.push(variable("BERTH_REDIS_URL_FILE", &secret_file(secret, key)));
                if let Some((secret, key)) = authorities {
                    variables.push(variable("BERTH_REDIS_CA_FILE", &secret_file(secret, key)));
                }
            }
        }
        variables
    }
}

/// Labels of nodes over which pods are spread when the resource says nothing.
const SPREAD_OVER: [&str; 2] = ["kubernetes.io/hostname", "topology.kubernetes.io/zone"];

/// How the pods of one version that `pods` selects are spread. Nothing for an empty list, which the API server drops.
pub(super) fn spread(
    asked: Option<&[TopologySpread]>,
    pods: &LabelSelector,
) -> Option<Vec<TopologySpreadConstraint>> {
    let constraint =
        |key: &str, skew: Option<i32>, otherwise: Option<WhenUnsatisfiable>| TopologySpreadConstraint {
            max_skew: skew.unwrap_or(1),
            topology_key: key.into(),
            when_unsatisfiable: match otherwise.unwrap_or_default() {
                WhenUnsatisfiable::ScheduleAnyway => "ScheduleAnyway",
                WhenUnsatisfiable::DoNotSchedule => "DoNotSchedule",
            }
            .into(),
            label_selector: Some(pods.clone()),
            match_label_keys: Some(vec!["pod-template-hash".into()]),
            ..TopologySpreadConstraint::default()
        };
    let constraints: Vec<_> = match asked {
        Some(asked) => asked
            .iter()
            .map(|one| constraint(&one.topology_key, one.max_skew, one.when_unsatisfiable))
            .collect(),
        None => SPREAD_OVER.map(|key| constraint(key, None, None)).into(),
    };
    (!constraints.is_empty()).then_some(constraints)
}

/// Selects the pods of `component` of the resource `instance`.
pub(super) fn selector(component: Component, instance: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(component.selector(instance)),
        match_expressions: None,
    }
}

/// Where a pod may run, and from which registry.
pub(super) fn placement(options: &PodOptions, image_pull_secrets: &[String]) -> PodSpec {
    let mut secrets = options.image_pull_secrets.clone();
    if secrets.is_empty() {
        secrets.extend(
            image_pull_secrets
                .iter()
                .map(|name| LocalObjectReference { name: name.clone() }),
        );
    }
    PodSpec {
        node_selector: filled(options.node_selector.clone()),
        tolerations: (!options.tolerations.is_empty()).then(|| options.tolerations.clone()),
        priority_class_name: options.priority_class_name.clone(),
        image_pull_secrets: (!secrets.is_empty()).then_some(secrets),
        ..PodSpec::default()
    }
}

/// `map` unless it is empty: an empty one is dropped by the API server and would look like drift.
pub(super) fn filled(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then_some(map)
}

/// The `restricted` pod security standard, and files of volumes readable for the one user.
///
/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/>
pub(super) fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".into()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".into(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

/// The container's part of the `restricted` standard, and a read-only root.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".into()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}

/// Requests of CPU and memory and a limit of memory. CPU has no limit: throttling would show as latency.
pub(super) fn resources(cpu: &str, memory: &str, limit: &str) -> ResourceRequirements {
    let entry = |name: &str, amount: &str| (name.to_owned(), Quantity(amount.to_owned()));
    ResourceRequirements {
        requests: Some([entry("cpu", cpu), entry("memory", memory)].into()),
        limits: Some([entry("memory", limit)].into()),
        claims: None,
    }
}

/// An environment variable with a plain value.
pub(super) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: Some(value.into()),
        value_from: None,
    }
}

/// A volume that lives as long as the pod.
pub(super) fn empty_dir(name: &str, size: &str, medium: Option<&str>) -> Volume {
    Volume {
        name: name.into(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(Into::into),
            size_limit: Some(Quantity(size.into())),
        }),
        ..Volume::default()
    }
}

/// The whole Secret as a volume. It must exist: pods are only made when it does.
pub(super) fn secret_volume(secret: &str) -> Volume {
    Volume {
        name: volume_name(secret),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.into()),
            default_mode: Some(0o440),
            optional: Some(false),
            items: None,
        }),
        ..Volume::default()
    }
}

/// Mounts the volume of `secret` where the services look for it.
pub(super) fn secret_mount(volume: &str, secret: &str) -> VolumeMount {
    VolumeMount {
        read_only: Some(true),
        ..mount(volume, &format!("{SECRETS}/{secret}"))
    }
}

/// Path of the file with `key` of `secret`.
pub(super) fn secret_file(secret: &str, key: &str) -> String {
    format!("{SECRETS}/{secret}/{key}")
}

/// Mounts a volume.
pub(super) fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: volume.into(),
        mount_path: path.into(),
        ..VolumeMount::default()
    }
}

/// Name of the volume of `secret`: names of volumes are shorter than those of Secrets and have no dots.
fn volume_name(secret: &str) -> String {
    let name = format!("secret-{secret}");
    if name.len() <= 63 && !name.contains('.') {
        return name;
    }
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    format!("secret-{}", hex(&digest.as_ref()[..16]))
}

fn http_probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String(INTERNAL_PORT.into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}
