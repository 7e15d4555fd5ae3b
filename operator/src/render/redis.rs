//! The managed Redis, and how pods reach whichever Redis there is.

use berth_crds::SignalingCluster;
use berth_crds::api::{ManagedRedis, Persistence, ReclaimPolicy};
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ExecAction, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSpec,
    PodTemplateSpec, Probe, Service, ServicePort, ServiceSpec, TCPSocketAction, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::pod::{
    container_security, empty_dir, mount, placement, pod_security, resources, secret_file, secret_mount,
    secret_volume, selector,
};
use super::{Child, Defaults, GeneratedSecret, Owner, RenderError, quantity};
use crate::names::{self, Component};

/// Less than this is less than an empty Redis takes.
const LEAST_MEMORY: u64 = 16 << 20;

/// Writes the password into a configuration file in memory, so that it stands neither in the pod nor in the list of
/// processes, and becomes Redis. Backslash and quotation mark are escaped as redis.conf wants it.
const START: &str = r#"set -eu
umask 077
password=$(sed 's/[\\"]/\\&/g' "$0")
printf 'requirepass "%s"\n' "$password" > /run/redis/redis.conf
exec redis-server /run/redis/redis.conf "$@""#;

/// Succeeds only on the answer PONG: an error of Redis, such as LOADING, is no failure of redis-cli.
const PING: &str = r#"[ "$(REDISCLI_AUTH=$(cat "$0") redis-cli ping)" = PONG ]"#;

/// How pods reach Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAccess {
    /// The one that Berth runs.
    Managed {
        /// Namespace of the SignalingCluster.
        namespace: String,
        /// Name of the SignalingCluster.
        cluster: String,
    },
    /// One of the team's.
    External {
        /// Secret with the URL.
        secret: String,
        /// Key of the URL.
        key: String,
        /// Secret and key of the authorities.
        authorities: Option<(String, String)>,
    },
}

impl RedisAccess {
    /// The Redis of `cluster`. A resource that names none gets the managed one, as the API server's default is.
    pub fn of(cluster: &SignalingCluster) -> Self {
        match &cluster.spec.redis.external {
            Some(external) => Self::External {
                secret: external.url_secret_ref.name.clone(),
                key: external.url_secret_ref.key.clone(),
                authorities: external
                    .ca_secret_ref
                    .as_ref()
                    .map(|reference| (reference.name.clone(), reference.key.clone())),
            },
            None => Self::Managed {
                namespace: cluster.namespace().unwrap_or_else(|| "default".into()),
                cluster: cluster.name_any(),
            },
        }
    }

    /// All Secrets that pods need to reach it.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = vec![self.secret()];
        if let Self::External {
            authorities: Some((secret, _)),
            ..
        } = self
        {
            secrets.push(secret.clone());
        }
        secrets
    }

    /// Secret with the password or the URL.
    pub fn secret(&self) -> String {
        match self {
            Self::Managed { cluster, .. } => names::redis_auth_secret(cluster),
            Self::External { secret, .. } => secret.clone(),
        }
    }
}

/// Everything that the managed Redis consists of. `options` are those of the signaling pods: Redis runs beside them.
pub(super) fn managed(
    owner: &Owner,
    redis: &ManagedRedis,
    options: &berth_crds::api::PodSpec,
    defaults: &Defaults,
) -> Result<Vec<Child>, RenderError> {
    let max_memory = quantity::bytes(&redis.max_memory)
        .filter(|bytes| (LEAST_MEMORY..1 << 50).contains(bytes))
        .ok_or_else(|| RenderError::Quantity {
            path: "spec.redis.managed.maxMemory",
            value: redis.max_memory.0.clone(),
            least: LEAST_MEMORY,
        })?;
    let stores = redis.persistence == Persistence::AppendOnly;
    if stores && quantity::bytes(&redis.storage_size).is_none_or(|bytes| bytes == 0) {
        return Err(RenderError::Quantity {
            path: "spec.redis.managed.storageSize",
            value: redis.storage_size.0.clone(),
            least: 1,
        });
    }
    Ok(vec![
        Child::Secret(GeneratedSecret {
            metadata: owner.child(Component::Redis, names::redis_auth_secret(&owner.name)),
            key: names::REDIS_PASSWORD_KEY,
        }),
        Child::Service(service(owner, Component::Redis.object_name(&owner.name), false)),
        Child::Service(service(owner, names::redis_headless(&owner.name), true)),
        Child::StatefulSet(stateful_set(owner, redis, options, defaults, max_memory)),
    ])
}

fn service(owner: &Owner, name: String, headless: bool) -> Service {
    Service {
        metadata: owner.child(Component::Redis, name),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            cluster_ip: headless.then(|| "None".into()),
            selector: Some(Component::Redis.selector(&owner.name)),
            ports: Some(vec![ServicePort {
                name: Some("redis".into()),
                port: names::REDIS_PORT,
                protocol: Some("TCP".into()),
                target_port: Some(IntOrString::String("redis".into())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn stateful_set(
    owner: &Owner,
    redis: &ManagedRedis,
    options: &berth_crds::api::PodSpec,
    defaults: &Defaults,
    max_memory: u64,
) -> StatefulSet {
    let append_only = redis.persistence == Persistence::AppendOnly;
    let when_deleted = match redis.reclaim_policy {
        ReclaimPolicy::Delete => "Delete",
        ReclaimPolicy::Retain => "Retain",
    };
    let mut metadata = owner.child(Component::Redis, Component::Redis.object_name(&owner.name));
    metadata.annotations = Some([(names::DEFAULT_IMAGE.into(), defaults.redis_image.clone())].into());
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(names::redis_headless(&owner.name)),
            selector: selector(Component::Redis, &owner.name),
            template: pod_template(owner, redis, options, defaults, max_memory),
            volume_claim_templates: append_only.then(|| vec![claim(redis)]),
            persistent_volume_claim_retention_policy: append_only.then(|| {
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some(when_deleted.into()),
                    when_scaled: Some("Retain".into()),
                }
            }),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn claim(redis: &ManagedRedis) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("data".into()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: redis.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), redis.storage_size.clone())].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn pod_template(
    owner: &Owner,
    redis: &ManagedRedis,
    options: &berth_crds::api::PodSpec,
    defaults: &Defaults,
    max_memory: u64,
) -> PodTemplateSpec {
    let secret = names::redis_auth_secret(&owner.name);
    let auth = secret_volume(&secret);
    let mounts = vec![
        mount("run", "/run/redis"),
        mount("data", "/data"),
        secret_mount(&auth.name, &secret),
    ];
    let mut volumes = vec![empty_dir("run", "1Mi", Some("Memory")), auth];
    if redis.persistence == Persistence::Ephemeral {
        volumes.push(empty_dir("data", "64Mi", None));
    }
    let image = redis.image.as_ref().unwrap_or(&defaults.redis_image);
    let megabytes = |bytes: u64| format!("{}Mi", bytes.div_ceil(1 << 20));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(Component::Redis.labels(&owner.name)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod_security()),
            termination_grace_period_seconds: Some(30),
            containers: vec![Container {
                name: "redis".into(),
                image: Some(image.clone()),
                image_pull_policy: Some(defaults.image_pull_policy.as_str().into()),
                command: Some(vec!["sh".into(), "-c".into(), START.into()]),
                args: Some(arguments(
                    &secret_file(&secret, names::REDIS_PASSWORD_KEY),
                    redis.persistence,
                    max_memory,
                )),
                ports: Some(vec![ContainerPort {
                    name: Some("redis".into()),
                    container_port: names::REDIS_PORT,
                    protocol: Some("TCP".into()),
                    ..ContainerPort::default()
                }]),
                // Loading a large append-only file takes its time.
                startup_probe: Some(ping(&secret, 1, 300)),
                readiness_probe: Some(ping(&secret, 3, 2)),
                liveness_probe: Some(Probe {
                    tcp_socket: Some(TCPSocketAction {
                        port: IntOrString::String("redis".into()),
                        host: None,
                    }),
                    period_seconds: Some(10),
                    timeout_seconds: Some(5),
                    failure_threshold: Some(3),
                    ..Probe::default()
                }),
                // Half as much again: copy on write and buffers of clients come on top of the data.
                resources: Some(resources(
                    "50m",
                    &megabytes(max_memory),
                    &megabytes(max_memory + max_memory / 2),
                )),
                security_context: Some(container_security()),
                volume_mounts: Some(mounts),
                ..Container::default()
            }],
            volumes: Some(volumes),
            ..placement(options, &defaults.image_pull_secrets)
        }),
    }
}

/// Arguments of [`START`]: the password file, then those of redis-server.
fn arguments(password_file: &str, persistence: Persistence, max_memory: u64) -> Vec<String> {
    let max_memory = max_memory.to_string();
    let append_only = match persistence {
        Persistence::Ephemeral => "no",
        Persistence::AppendOnly => "yes",
    };
    [
        password_file,
        "--dir",
        "/data",
        "--save",
        "",
        "--appendonly",
        append_only,
        "--maxmemory",
        &max_memory,
        // State must not vanish key by key: a full Redis refuses writes, and that is seen.
        "--maxmemory-policy",
        "noeviction",
        "--loglevel",
        "notice",
    ]
    .map(str::to_owned)
    .into()
}

fn ping(secret: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    let file = secret_file(secret, names::REDIS_PASSWORD_KEY);
    Probe {
        exec: Some(ExecAction {
            command: Some(vec!["sh".into(), "-c".into(), PING.into(), file]),
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(3),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}
