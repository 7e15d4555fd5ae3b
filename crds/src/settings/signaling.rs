//! Settings of the signaling server.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use kube::ResourceExt;

use super::auth::AuthSettings;
use super::check::{Checker, FieldErrors};
use super::values::{AllowedOrigins, ObjectName, PublicUrl};
use crate::api::{ClusterEnvironment, RateLimits, Resume, Rooms, Security, SignalingCluster, WebSocket};

/// Registered close codes with which a drain may close connections.
const DRAIN_CLOSE_CODES: [u16; 4] = [1000, 1001, 1012, 1013];

/// Settings of the signaling server, from a [`SignalingCluster`].
#[derive(Clone, Debug, PartialEq)]
pub struct SignalingSettings {
    /// The resource.
    pub name: ObjectName,
    /// `metadata.generation` of the resource; 0 outside a cluster.
    pub generation: i64,
    /// Address by which peers reach signaling.
    pub public_url: PublicUrl,
    /// Whether secrets that everybody knows are refused.
    pub environment: ClusterEnvironment,
    /// Port of the WebSocket listener.
    pub ws_port: u16,
    /// Internal port.
    pub health_port: u16,
    /// Rooms.
    pub rooms: RoomSettings,
    /// How a lost connection is resumed.
    pub resume: ResumeSettings,
    /// WebSocket connections.
    pub websocket: WebSocketSettings,
    /// Rate limits.
    pub rate_limits: RateLimitSettings,
    /// Who may connect, and from where.
    pub security: SecuritySettings,
    /// How peers prove who they are.
    pub auth: AuthSettings,
    /// When Redis counts as down.
    pub circuit_breaker: BreakerSettings,
    /// Window over which the connections of an ending process are closed.
    pub drain_timeout: Duration,
    /// Close code of a drained peer that speaks v1.
    pub drain_close_code: u16,
    /// Name of the TurnConfig whose servers are announced.
    pub turn_config: Option<String>,
}

/// Rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomSettings {
    /// Most members, 1 to 64.
    pub capacity: u16,
    /// How long the state of a room outlives its last member.
    pub ttl: Duration,
    /// Most characters of a room id.
    pub id_max_length: usize,
}

/// How a peer that speaks protocol v2 resumes a lost connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeSettings {
    /// How long a seat waits for its lost connection; zero: it does not.
    pub window: Duration,
    /// Most messages of one sender that are kept for others.
    pub max_messages: usize,
    /// Most bytes of them.
    pub max_bytes: usize,
}

/// WebSocket connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketSettings {
    /// Largest message of a peer, in bytes.
    pub max_message_bytes: usize,
    /// Most bytes that may wait for a slow receiver; at least `max_message_bytes`.
    pub backpressure_close_bytes: usize,
    /// How often a connection is pinged.
    pub heartbeat_interval: Duration,
    /// Subprotocol that peers must offer.
    pub subprotocol: Option<String>,
}

/// Rate limits, each a number per 10 seconds and at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitSettings {
    /// New connections of one client address.
    pub connections_per_ip: u32,
    /// Messages of one connection.
    pub messages_per_client: u32,
    /// Messages of one client address.
    pub messages_per_ip: u32,
    /// Messages in one room.
    pub messages_per_room: u32,
}

/// Who may connect, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecuritySettings {
    /// Refuse connections that did not come by TLS.
    pub require_wss: bool,
    /// Origins that browsers may connect from.
    pub allowed_origins: AllowedOrigins,
    /// Proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// When Redis counts as down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open the circuit.
    pub error_threshold: u32,
    /// How long it then stays open.
    pub open: Duration,
}

impl TryFrom<&SignalingCluster> for SignalingSettings {
    type Error = FieldErrors;

    fn try_from(resource: &SignalingCluster) -> Result<Self, FieldErrors> {
        let spec = &resource.spec;
        let mut check = Checker::default();
        check.own_name(&resource.name_any());
        if let Some(reference) = &spec.turn_config_ref {
            check.local_ref("spec.turnConfigRef", reference);
        }
        let public_url = check.parse("spec.publicUrl", PublicUrl::parse(&spec.public_url));
        let ws_port: u16 = check.number("spec.wsPort", spec.ws_port, 1..=65_535);
        let health_port = check.number("spec.healthPort", spec.health_port, 1..=65_535);
        check.require(
            ws_port != health_port,
            "spec.healthPort",
            "must differ from spec.wsPort",
        );
        let rooms = rooms(&mut check, &spec.rooms);
        let resume = resume(&mut check, &spec.resume);
        let websocket = websocket(&mut check, &spec.websocket);
        let rate_limits = rate_limits(&mut check, &spec.rate_limits);
        let security = security(&mut check, &spec.security);
        if let Some(url) = &public_url {
            let insecure = security.require_wss && !url.is_secure();
            check.require(
                !insecure,
                "spec.publicUrl",
                "must start with wss:// while security.requireWss is true",
            );
        }
        let auth = AuthSettings::read(&mut check, &spec.auth);
        let breaker = &spec.circuit_breaker;
        let circuit_breaker = BreakerSettings {
            error_threshold: check.number(
                "spec.circuitBreaker.errorThreshold",
                breaker.error_threshold,
                1..=1000,
            ),
            open: milliseconds(check.number("spec.circuitBreaker.openMs", breaker.open_ms, 100..=300_000)),
        };
        let drain_timeout =
            seconds(check.number("spec.drain.timeoutSeconds", spec.drain.timeout_seconds, 0..=3600));
        let drain_close_code = check.number("spec.drain.closeCode", spec.drain.close_code, 1000..=4999);
        check.require(
            drain_close_code >= 3000 || DRAIN_CLOSE_CODES.contains(&drain_close_code),
            "spec.drain.closeCode",
            "must be 1000, 1001, 1012, 1013 or 3000 to 4999",
        );
        check.require(
            spec.drain.grace_period_seconds > spec.drain.timeout_seconds.saturating_add(5),
            "spec.drain.gracePeriodSeconds",
            "must be greater than timeoutSeconds + 5",
        );
        let settings = public_url.map(|public_url| Self {
            name: ObjectName::new(
                resource.namespace().unwrap_or_else(|| "default".into()),
                resource.name_any(),
            ),
            generation: resource.metadata.generation.unwrap_or_default(),
            public_url,
            environment: spec.environment,
            ws_port,
            health_port,
            rooms,
            resume,
            websocket,
            rate_limits,
            security,
            auth,
            circuit_breaker,
            drain_timeout,
            drain_close_code,
            turn_config: spec
                .turn_config_ref
                .as_ref()
                .map(|reference| reference.name.clone()),
        });
        check.finish(settings)
    }
}

fn rooms(check: &mut Checker, spec: &Rooms) -> RoomSettings {
    RoomSettings {
        capacity: check.number("spec.rooms.capacity", spec.capacity, 1..=64),
        ttl: seconds(check.number("spec.rooms.ttlSeconds", spec.ttl_seconds, 1..=86_400)),
        id_max_length: usize::from(check.number::<u16>(
            "spec.rooms.idMaxLength",
            spec.id_max_length,
            8..=256,
        )),
    }
}

fn resume(check: &mut Checker, spec: &Resume) -> ResumeSettings {
    ResumeSettings {
        window: seconds(check.number("spec.resume.windowSeconds", spec.window_seconds, 0..=300)),
        max_messages: check.number("spec.resume.maxMessages", spec.max_messages, 1..=1024),
        max_bytes: check.number("spec.resume.maxBytes", spec.max_bytes, 1024..=16_777_216),
    }
}

fn websocket(check: &mut Checker, spec: &WebSocket) -> WebSocketSettings {
    let max_message = check.number::<usize>(
        "spec.websocket.maxMessageBytes",
        spec.max_message_bytes,
        1024..=4_194_304,
    );
    let backpressure = "spec.websocket.backpressureCloseBytes";
    let backpressure_close =
        check.number::<usize>(backpressure, spec.backpressure_close_bytes, 1024..=67_108_864);
    check.require(
        backpressure_close >= max_message,
        backpressure,
        "must be at least maxMessageBytes",
    );
    let interval = check.number(
        "spec.websocket.heartbeatIntervalMs",
        spec.heartbeat_interval_ms,
        1000..=300_000,
    );
    if let Some(subprotocol) = &spec.subprotocol {
        check.require(
            is_token(subprotocol),
            "spec.websocket.subprotocol",
            "must have 1 to 64 characters out of A-Z a-z 0-9 ! # $ % & ' * + - . ^ _ ` | ~",
        );
    }
    WebSocketSettings {
        max_message_bytes: max_message,
        backpressure_close_bytes: backpressure_close,
        heartbeat_interval: milliseconds(interval),
        subprotocol: spec.subprotocol.clone(),
    }
}

/// A token of RFC 9110, section 5.6.2, of at most 64 characters.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Reads `spec.security.trustedProxyCidrs`, of a SignalingCluster or a HostPool.
pub(super) fn trusted_proxies(check: &mut Checker, cidrs: &[String]) -> Vec<IpNet> {
    check.entries("spec.security.trustedProxyCidrs", cidrs.len(), 0..=32);
    let mut networks = Vec::with_capacity(cidrs.len());
    for (index, text) in cidrs.iter().enumerate() {
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| "must be an IP address or a CIDR such as 10.0.0.0/8");
        networks.extend(check.parse(&format!("spec.security.trustedProxyCidrs[{index}]"), network));
    }
    networks
}

fn rate_limits(check: &mut Checker, spec: &RateLimits) -> RateLimitSettings {
    let mut limit =
        |name: &str, value| check.number(&format!("spec.rateLimits.{name}"), value, 1..=1_000_000_000);
    RateLimitSettings {
        connections_per_ip: limit("connectionsPerIp", spec.connections_per_ip),
        messages_per_client: limit("messagesPerClient", spec.messages_per_client),
        messages_per_ip: limit("messagesPerIp", spec.messages_per_ip),
        messages_per_room: limit("messagesPerRoom", spec.messages_per_room),
    }
}

fn security(check: &mut Checker, spec: &Security) -> SecuritySettings {
    check.entries("spec.security.allowedOrigins", spec.allowed_origins.len(), 0..=64);
    for (index, origin) in spec.allowed_origins.iter().enumerate() {
        let path = format!("spec.security.allowedOrigins[{index}]");
        check.length(&path, origin, 1..=256);
        // An entry that names nobody is a mistake, and never means everybody.
        check.require(
            origin.is_empty() || !origin.trim().is_empty(),
            &path,
            "must not be blank",
        );
    }
    let trusted_proxies = trusted_proxies(check, &spec.trusted_proxy_cidrs);
    check.require(
        !spec.require_wss || !spec.trusted_proxy_cidrs.is_empty(),
        "spec.security.trustedProxyCidrs",
        "must not be empty while requireWss is true: only a trusted proxy can say that a connection came by TLS",
    );
    SecuritySettings {
        require_wss: spec.require_wss,
        allowed_origins: AllowedOrigins::new(spec.allowed_origins.iter().cloned()),
        trusted_proxies,
    }
}

fn seconds(value: u32) -> Duration {
    Duration::from_secs(value.into())
}

fn milliseconds(value: u32) -> Duration {
    Duration::from_millis(value.into())
}
