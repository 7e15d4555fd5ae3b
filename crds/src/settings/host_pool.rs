//! Settings of a pool's matchmaker.

use std::time::Duration;

use ipnet::IpNet;
use kube::ResourceExt;

use super::check::{Checker, FieldErrors};
use super::public_address::http_url;
use super::signaling::trusted_proxies;
use super::values::{ObjectName, SecretPair};
use crate::api::{
    HostListAccess, HostPool, HttpRouteSpec, IngressSpec, Matching, MatchingStrategy, RotatingSecretRef,
};

/// Hosts that [`Strategy::Sample`] draws where none says how many.
const SAMPLE_SIZE: u32 = 50;

/// Settings of a pool's matchmaker, from a [`HostPool`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// The resource.
    pub name: ObjectName,
    /// `metadata.generation` of the resource; 0 outside a cluster.
    pub generation: i64,
    /// Name of the SignalingCluster, in the same namespace.
    pub signaling_cluster: String,
    /// Name of the TurnConfig, in the same namespace.
    pub turn_config: Option<String>,
    /// Port of the API.
    pub http_port: u16,
    /// Internal port.
    pub internal_port: u16,
    /// Bearer secret of the hosts.
    pub host_secret: SecretPair,
    /// Bearer token for changes on the internal port.
    pub admin_token: SecretPair,
    /// No new matches; sessions that run go on.
    pub drain: bool,
    /// Where the list of hosts is answered.
    pub host_list_access: HostListAccess,
    /// How long a host counts as alive after a heartbeat.
    pub heartbeat_ttl: Duration,
    /// Which of the hosts that fit is picked.
    pub strategy: Strategy,
    /// Weight of the asked region against each other region, 1 to 100; 100 means always.
    pub region_weight: u32,
    /// Hand out a host only while it sits in its room.
    pub require_host_in_room: bool,
    /// How long a host that is alive but not in its room is still handed out.
    pub unreachable_grace: Duration,
    /// How long a granted slot waits for its player.
    pub reservation_deadline: Duration,
    /// How long the slot of a player who has left is kept for this player.
    pub reservation_hold: Duration,
    /// Capacity of a host that does not name one, 1 to 64.
    pub default_capacity: u32,
    /// How often counts are refreshed for the status.
    pub status_interval: Duration,
    /// Matches that one client address may ask for in 10 seconds.
    pub finds_per_ip: u32,
    /// Proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// Which of the hosts that fit is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The one with the fewest free slots.
    Packed,
    /// The one with the most free slots.
    Spread,
    /// The best placed of a few that are drawn at random.
    Sample {
        /// How many are drawn, 1 to 1000.
        size: u32,
    },
}

impl TryFrom<&HostPool> for PoolSettings {
    type Error = FieldErrors;

    fn try_from(resource: &HostPool) -> Result<Self, FieldErrors> {
        let spec = &resource.spec;
        let mut check = Checker::default();
        let seconds = |value: u32| Duration::from_secs(value.into());
        check.own_name(&resource.name_any());
        check.local_ref("spec.signalingClusterRef", &spec.signaling_cluster_ref);
        if let Some(reference) = &spec.turn_config_ref {
            check.local_ref("spec.turnConfigRef", reference);
        }
        if let Some(reference) = &spec.host_auth.secret_ref {
            check.rotating_secret("spec.hostAuth.secretRef", reference);
        }
        if let Some(reference) = &spec.admin_token_secret_ref {
            check.rotating_secret("spec.adminTokenSecretRef", reference);
        }
        let http_port: u16 = check.number("spec.httpPort", spec.http_port, 1..=65_535);
        let internal_port = check.number("spec.internalPort", spec.internal_port, 1..=65_535);
        check.require(
            http_port != internal_port,
            "spec.internalPort",
            "must differ from spec.httpPort",
        );
        if let Some(url) = &spec.public_url {
            check.parse("spec.publicUrl", http_url(url));
        }
        let has_host = |ingress: &IngressSpec| ingress.host.is_some() || spec.public_url.is_some();
        check.require(
            spec.ingress.as_ref().is_none_or(has_host),
            "spec.ingress",
            "needs a host, its own or that of spec.publicUrl",
        );
        let has_host = |route: &HttpRouteSpec| route.host.is_some() || spec.public_url.is_some();
        check.require(
            spec.http_route.as_ref().is_none_or(has_host),
            "spec.httpRoute",
            "needs a host, its own or that of spec.publicUrl",
        );
        let matching = &spec.matching;
        let name = resource.name_any();
        let pair = |named: &Option<RotatingSecretRef>, generated: String| -> SecretPair {
            (&named
                .clone()
                .unwrap_or_else(|| RotatingSecretRef::named(generated)))
                .into()
        };
        let settings = Self {
            generation: resource.metadata.generation.unwrap_or_default(),
            signaling_cluster: spec.signaling_cluster_ref.name.clone(),
            turn_config: spec
                .turn_config_ref
                .as_ref()
                .map(|reference| reference.name.clone()),
            http_port,
            internal_port,
            host_secret: pair(&spec.host_auth.secret_ref, host_secret(&name)),
            admin_token: pair(&spec.admin_token_secret_ref, admin_token_secret(&name)),
            drain: spec.drain,
            host_list_access: spec.host_list_access,
            heartbeat_ttl: seconds(check.number(
                "spec.heartbeat.ttlSeconds",
                spec.heartbeat.ttl_seconds,
                10..=600,
            )),
            strategy: strategy(&mut check, matching),
            region_weight: check.number("spec.matching.regionWeight", matching.region_weight, 1..=100),
            require_host_in_room: matching.require_host_in_room,
            unreachable_grace: seconds(check.number(
                "spec.matching.unreachableGraceSeconds",
                matching.unreachable_grace_seconds,
                0..=300,
            )),
            reservation_deadline: seconds(check.number(
                "spec.reservation.deadlineSeconds",
                spec.reservation.deadline_seconds,
                5..=300,
            )),
            reservation_hold: seconds(check.number(
                "spec.reservation.holdSeconds",
                spec.reservation.hold_seconds,
                0..=60,
            )),
            default_capacity: check.number("spec.hostDefaults.capacity", spec.host_defaults.capacity, 1..=64),
            status_interval: seconds(check.number(
                "spec.statusIntervalSeconds",
                spec.status_interval_seconds,
                1..=300,
            )),
            finds_per_ip: check.number(
                "spec.rateLimits.findsPerIp",
                spec.rate_limits.finds_per_ip,
                1..=1_000_000_000,
            ),
            trusted_proxies: trusted_proxies(&mut check, &spec.security.trusted_proxy_cidrs),
            name: ObjectName::new(resource.namespace().unwrap_or_else(|| "default".into()), name),
        };
        check.finish(Some(settings))
    }
}

fn strategy(check: &mut Checker, matching: &Matching) -> Strategy {
    const SIZE: &str = "spec.matching.sampleSize";
    let size = matching
        .sample_size
        .map(|size| check.number::<u32>(SIZE, size, 1..=1000));
    check.require(
        size.is_none() || matching.strategy == MatchingStrategy::Sample,
        SIZE,
        "needs strategy Sample",
    );
    match matching.strategy {
        MatchingStrategy::Packed => Strategy::Packed,
        MatchingStrategy::Spread => Strategy::Spread,
        MatchingStrategy::Sample => Strategy::Sample {
            size: size.unwrap_or(SAMPLE_SIZE),
        },
    }
}

/// Name of the Secret with the hosts' bearer secret that the operator generates for a HostPool which names none.
pub fn host_secret(pool: &str) -> String {
    format!("{pool}-host-secret")
}

/// Name of the Secret with the token for changes that the operator generates for a HostPool which names none.
pub fn admin_token_secret(pool: &str) -> String {
    format!("{pool}-admin-token")
}

/// The Secret with the key that signs match tokens, which the operator generates for each SignalingCluster.
pub fn match_key_secret(signaling_cluster: &str) -> SecretPair {
    (&RotatingSecretRef::named(format!("{signaling_cluster}-match-key"))).into()
}
