//! Which variable sets which field.

use berth_crds::api::{ClusterEnvironment, HostPoolSpec, Jwks, Jwt, SignalingClusterSpec, TurnConfigSpec};
use serde_json::Value;

use crate::boot::Environment;

/// A variable that sets a field of a spec.
pub(super) struct Variable<S> {
    /// Spellings; the first one that is set counts.
    pub(super) names: &'static [&'static str],
    /// Path of the field, to name the variable when validation speaks of the field.
    path: &'static str,
    pub(super) set: fn(&mut S, &str) -> Result<(), String>,
}

pub(super) const SIGNALING: &[Variable<SignalingClusterSpec>] = &[
    variable(&["NODE_ENV"], "spec.environment", |spec, text| {
        // To the Node services every other word means the same.
        spec.environment = if text == "production" {
            ClusterEnvironment::Production
        } else {
            ClusterEnvironment::Development
        };
        Ok(())
    }),
    variable(&["WS_PORT"], "spec.wsPort", |spec, text| {
        number(text, &mut spec.ws_port)
    }),
    variable(&["HEALTH_PORT"], "spec.healthPort", |spec, text| {
        number(text, &mut spec.health_port)
    }),
    variable(&["SIGNALING_PUBLIC_URL"], "spec.publicUrl", |spec, text| {
        text.clone_into(&mut spec.public_url);
        Ok(())
    }),
    variable(&["ROOM_CAPACITY"], "spec.rooms.capacity", |spec, text| {
        number(text, &mut spec.rooms.capacity)
    }),
    variable(&["ROOM_TTL_SECONDS"], "spec.rooms.ttlSeconds", |spec, text| {
        number(text, &mut spec.rooms.ttl_seconds)
    }),
    variable(&["ROOM_ID_MAX_LENGTH"], "spec.rooms.idMaxLength", |spec, text| {
        number(text, &mut spec.rooms.id_max_length)
    }),
    variable(
        &["MESSAGE_MAX_BYTES"],
        "spec.websocket.maxMessageBytes",
        |spec, text| number(text, &mut spec.websocket.max_message_bytes),
    ),
    variable(
        &[
            "BACKPRESSURE_CLOSE_THRESHOLD_BYTES",
            "BACKPRESSURE_THRESHOLD_BYTES",
        ],
        "spec.websocket.backpressureCloseBytes",
        |spec, text| number(text, &mut spec.websocket.backpressure_close_bytes),
    ),
    variable(
        &["HEARTBEAT_INTERVAL_MS"],
        "spec.websocket.heartbeatIntervalMs",
        |spec, text| number(text, &mut spec.websocket.heartbeat_interval_ms),
    ),
    variable(&["SUBPROTOCOL"], "spec.websocket.subprotocol", |spec, text| {
        spec.websocket.subprotocol = Some(text.to_owned());
        Ok(())
    }),
    variable(
        &["RATE_LIMIT_CONN_PER_10S"],
        "spec.rateLimits.connectionsPerIp",
        |spec, text| number(text, &mut spec.rate_limits.connections_per_ip),
    ),
    variable(
        &["RATE_LIMIT_MESSAGES_PER_10S"],
        "spec.rateLimits.messagesPerClient",
        |spec, text| number(text, &mut spec.rate_limits.messages_per_client),
    ),
    variable(
        &["RATE_LIMIT_IP_MSGS_PER_10S"],
        "spec.rateLimits.messagesPerIp",
        |spec, text| number(text, &mut spec.rate_limits.messages_per_ip),
    ),
    variable(
        &["RATE_LIMIT_ROOM_MSGS_PER_10S"],
        "spec.rateLimits.messagesPerRoom",
        |spec, text| number(text, &mut spec.rate_limits.messages_per_room),
    ),
    variable(&["REQUIRE_WSS"], "spec.security.requireWss", |spec, text| {
        flag(text, &mut spec.security.require_wss)
    }),
    variable(
        &["ALLOWED_ORIGINS"],
        "spec.security.allowedOrigins",
        |spec, text| {
            spec.security.allowed_origins = list(text);
            Ok(())
        },
    ),
    variable(
        &["TRUSTED_PROXY_CIDRS"],
        "spec.security.trustedProxyCidrs",
        |spec, text| {
            spec.security.trusted_proxy_cidrs = list(text);
            Ok(())
        },
    ),
    variable(
        &["CB_ERROR_THRESHOLD"],
        "spec.circuitBreaker.errorThreshold",
        |spec, text| number(text, &mut spec.circuit_breaker.error_threshold),
    ),
    variable(&["CB_OPEN_MS"], "spec.circuitBreaker.openMs", |spec, text| {
        number(text, &mut spec.circuit_breaker.open_ms)
    }),
    variable(&["DRAIN_TIMEOUT_MS"], "spec.drain.timeoutSeconds", drain),
    variable(&["SHUTDOWN_CLOSE_CODE"], "spec.drain.closeCode", |spec, text| {
        number(text, &mut spec.drain.close_code)
    }),
];

/// Variables that count only with `ENABLE_AUTH=true`.
pub(super) const JWT: &[Variable<Jwt>] = &[
    // Before what else is said of it.
    variable(&JWKS_URL, "spec.auth.jwt.jwks.url", |jwt, text| {
        jwt.jwks = Some(Jwks::at(text));
        Ok(())
    }),
    variable(&["JWKS_CACHE_TTL"], "spec.auth.jwt.jwks.cacheSeconds", cache_ttl),
    variable(&["JWT_ISSUER"], "spec.auth.jwt.issuer", |jwt, text| {
        jwt.issuer = Some(text.to_owned());
        Ok(())
    }),
    variable(&["JWT_AUDIENCE"], "spec.auth.jwt.audience", |jwt, text| {
        jwt.audience = Some(text.to_owned());
        Ok(())
    }),
    variable(&["JWT_ALG"], "spec.auth.jwt.algorithm", algorithms),
    variable(
        &["ROOMS_CLAIM", "JWT_ROOMS_CLAIM"],
        "spec.auth.jwt.roomsClaim",
        |jwt, text| {
            text.clone_into(&mut jwt.rooms_claim);
            Ok(())
        },
    ),
];

pub(super) const MATCHMAKER: &[Variable<HostPoolSpec>] = &[
    variable(&["INTERNAL_PORT"], "spec.internalPort", |spec, text| {
        number(text, &mut spec.internal_port)
    }),
    variable(
        &["RATE_LIMIT_FINDS_PER_10S"],
        "spec.rateLimits.findsPerIp",
        |spec, text| number(text, &mut spec.rate_limits.finds_per_ip),
    ),
    variable(
        &["TRUSTED_PROXY_CIDRS"],
        "spec.security.trustedProxyCidrs",
        |spec, text| {
            spec.security.trusted_proxy_cidrs = list(text);
            Ok(())
        },
    ),
];

/// Variables that count only where Metered is named in full: its application and the key.
pub(super) const METERED: &[Variable<TurnConfigSpec>] = &[
    variable(
        &["METERED_DOMAIN"],
        "spec.providers[0].metered.domain",
        |spec, text| {
            for metered in spec.providers.iter_mut().filter_map(|one| one.metered.as_mut()) {
                text.clone_into(&mut metered.domain);
            }
            Ok(())
        },
    ),
    variable(
        &["TURN_EXPIRY_SECONDS"],
        "spec.credentialTtlSeconds",
        |spec, text| number(text, &mut spec.credential_ttl_seconds),
    ),
];

/// Spellings of the variable with the address of the issuer's keys.
pub(super) const JWKS_URL: [&str; 2] = ["JWKS_URL", "JWT_JWKS_URL"];

const fn variable<S>(
    names: &'static [&'static str],
    path: &'static str,
    set: fn(&mut S, &str) -> Result<(), String>,
) -> Variable<S> {
    Variable { names, path, set }
}

/// The variable behind a field: the spelling that is set, else the first one.
pub(super) fn variable_of<S>(
    variables: &[Variable<S>],
    path: &str,
    environment: &Environment,
) -> Option<&'static str> {
    let variable = variables
        .iter()
        .find(|variable| path.starts_with(variable.path))?;
    let set = variable.names.iter().find(|name| environment.get(name).is_some());
    set.or(variable.names.first()).copied()
}

fn number(text: &str, field: &mut i32) -> Result<(), String> {
    // The range is checked with the spec; what does not fit into the field is certainly out of it.
    let wide: i64 = text
        .parse()
        .map_err(|_| format!("must be a whole number, is {text:?}"))?;
    *field = i32::try_from(wide).unwrap_or(if wide < 0 { i32::MIN } else { i32::MAX });
    Ok(())
}

pub(super) fn flag(text: &str, field: &mut bool) -> Result<(), String> {
    *field = text
        .parse()
        .map_err(|_| format!("must be true or false, is {text:?}"))?;
    Ok(())
}

/// Comma-separated; `*` stands for everything, which is the empty list.
fn list(text: &str) -> Vec<String> {
    let entries: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .collect();
    if entries.contains(&"*") {
        return Vec::new();
    }
    entries.into_iter().map(str::to_owned).collect()
}

/// Longest drain, as in the resource, in ms.
const LONGEST_DRAIN: i32 = 3_600_000;

/// The resource has seconds; a part of one counts as a whole one. So the bounds are told here, in the variable's unit.
fn drain(spec: &mut SignalingClusterSpec, text: &str) -> Result<(), String> {
    let mut milliseconds = 0;
    number(text, &mut milliseconds)?;
    if !(0..=LONGEST_DRAIN).contains(&milliseconds) {
        return Err(format!("must be from 0 to {LONGEST_DRAIN}, is {text}"));
    }
    let seconds = milliseconds.saturating_add(999).div_euclid(1000);
    spec.drain.timeout_seconds = seconds;
    // Nothing but a pod template reads it, but it must fit.
    spec.drain.grace_period_seconds = spec.drain.grace_period_seconds.max(seconds.saturating_add(6));
    Ok(())
}

/// The resource has seconds; a part of one counts as a whole one.
fn cache_ttl(jwt: &mut Jwt, text: &str) -> Result<(), String> {
    let mut milliseconds = 0;
    number(text, &mut milliseconds)?;
    // The bounds of the field, in the unit of the variable.
    if !(10_000..=86_400_000).contains(&milliseconds) {
        return Err(format!(
            "must be from 10000 to 86400000 (milliseconds), is {text}"
        ));
    }
    if let Some(jwks) = &mut jwt.jwks {
        jwks.cache_seconds = milliseconds.saturating_add(999).div_euclid(1000);
    }
    Ok(())
}

/// One algorithm, or several separated by commas.
fn algorithms(jwt: &mut Jwt, text: &str) -> Result<(), String> {
    let names: Vec<Value> = list(text).into_iter().map(Value::String).collect();
    let algorithms = serde_json::from_value(Value::Array(names))
        .map_err(|_| format!("must be of HS256, HS384, HS512, RS256, PS256, ES256, is {text:?}"))?;
    jwt.algorithms = Some(algorithms);
    Ok(())
}
