use super::*;
use crate::settings::bundle::Own;
use crate::settings::view::{MatchmakerView, SignalingView, View};

use std::time::Duration;

use berth_crds::api::JwtAlgorithm;
use berth_crds::settings::{AuthSettings, KeySource, ProviderSettings, SecretPair};
use proptest::prelude::*;

mod table;

fn read(kind: Kind, variables: &[(&str, &str)]) -> Result<EnvironmentSettings, EnvironmentError> {
    EnvironmentSettings::read(kind, &Environment::from_pairs(variables.iter().copied()))
}

fn view<V: View>(variables: &[(&str, &str)]) -> V {
    let settings = read(V::OWN, variables).unwrap();
    let own = Own::default().resolve(&settings.bundle, V::OWN).unwrap();
    V::assemble(&settings.bundle, &own).unwrap()
}

fn signaling(variables: &[(&str, &str)]) -> SignalingSettings {
    view::<SignalingView>(variables).cluster
}

fn refusals(kind: Kind, variables: &[(&str, &str)]) -> Vec<String> {
    read(kind, variables)
        .unwrap_err()
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn defaults_are_those_of_the_resource_or_of_node() {
    let mut expected = SignalingSettings::try_from(&SignalingCluster::new(
        "default",
        SignalingClusterSpec::new("ws://localhost:3002"),
    ))
    .unwrap();
    // As the Node services have it, which know nothing of production unless they are told.
    expected.environment = ClusterEnvironment::Development;
    assert_eq!(signaling(&[]), expected);
    expected.rooms.capacity = 10;
    assert_eq!(signaling(&[("ROOM_CAPACITY", "10")]), expected);
    assert_eq!(signaling(&[("ROOM_CAPACITY", " 10 "), ("WS_PORT", "")]), expected);

    let view = view::<MatchmakerView>(&[]);
    assert_eq!(view.cluster, signaling(&[]));
    assert_eq!(view.pool.heartbeat_ttl, Duration::from_secs(30));
    assert_eq!(view.turn, None);
}

#[test]
fn every_variable_reaches_its_setting() {
    let settings = signaling(&[
        ("WS_PORT", "4000"),
        ("HEALTH_PORT", "4001"),
        ("SIGNALING_PUBLIC_URL", "wss://a.example"),
        ("ROOM_CAPACITY", "10"),
        ("ROOM_TTL_SECONDS", "3600"),
        ("ROOM_ID_MAX_LENGTH", "32"),
        ("MESSAGE_MAX_BYTES", "65536"),
        ("BACKPRESSURE_THRESHOLD_BYTES", "1048576"),
        ("HEARTBEAT_INTERVAL_MS", "25000"),
        ("SUBPROTOCOL", "cloudgaming-v1"),
        ("RATE_LIMIT_CONN_PER_10S", "11"),
        ("RATE_LIMIT_MESSAGES_PER_10S", "12"),
        ("RATE_LIMIT_IP_MSGS_PER_10S", "13"),
        ("RATE_LIMIT_ROOM_MSGS_PER_10S", "14"),
        ("REQUIRE_WSS", "true"),
        ("ALLOWED_ORIGINS", "https://a.example, b.example,"),
        ("TRUSTED_PROXY_CIDRS", "10.0.0.0/8"),
        ("ENABLE_AUTH", "true"),
        ("JWT_SECRET", "s3cret"),
        ("JWT_ISSUER", "me"),
        ("JWT_AUDIENCE", "you"),
        ("JWT_ALG", "HS512"),
        ("JWT_ROOMS_CLAIM", "doors"),
        ("CB_ERROR_THRESHOLD", "7"),
        ("CB_OPEN_MS", "8000"),
        ("DRAIN_TIMEOUT_MS", "60001"),
    ]);
    assert_eq!((settings.ws_port, settings.health_port), (4000, 4001));
    assert_eq!(settings.public_url.as_str(), "wss://a.example");
    let rooms = settings.rooms;
    assert_eq!(
        (rooms.capacity, rooms.ttl.as_secs(), rooms.id_max_length),
        (10, 3600, 32)
    );
    let websocket = settings.websocket;
    assert_eq!(
        (websocket.max_message_bytes, websocket.backpressure_close_bytes),
        (65_536, 1_048_576)
    );
    assert_eq!(websocket.heartbeat_interval, Duration::from_secs(25));
    assert_eq!(websocket.subprotocol.as_deref(), Some("cloudgaming-v1"));
    let limits = settings.rate_limits;
    assert_eq!((limits.connections_per_ip, limits.messages_per_client), (11, 12));
    assert_eq!((limits.messages_per_ip, limits.messages_per_room), (13, 14));
    assert!(settings.security.require_wss);
    assert_eq!(settings.security.trusted_proxies, ["10.0.0.0/8".parse().unwrap()]);
    let origins = settings.security.allowed_origins;
    assert!(origins.allow(Some("https://b.example")) && !origins.allow(Some("https://c.example")));
    assert_eq!(settings.circuit_breaker.error_threshold, 7);
    assert_eq!(settings.circuit_breaker.open, Duration::from_secs(8));
    assert_eq!(settings.drain_timeout, Duration::from_secs(61));
    let AuthSettings::Jwt(jwt) = settings.auth else {
        panic!("no JWT")
    };
    assert_eq!(
        (jwt.algorithms.as_slice(), jwt.rooms_claim.as_str()),
        (&[JwtAlgorithm::HS512][..], "doors")
    );
    assert_eq!(
        (jwt.issuer.as_deref(), jwt.audience.as_deref()),
        (Some("me"), Some("you"))
    );
    let secret = |key: &str| SecretRef {
        name: "environment".into(),
        key: key.into(),
    };
    let pair = SecretPair {
        current: secret("JWT_SECRET"),
        previous: secret("JWT_SECRET_PREVIOUS"),
    };
    assert_eq!(jwt.keys, KeySource::Secret(pair));

    let pool = view::<MatchmakerView>(&[("INTERNAL_PORT", "4002")]).pool;
    assert_eq!(pool.internal_port, 4002);
    assert_eq!(pool.host_secret.current.key, "HOST_SECRET");
    assert_eq!(pool.admin_token.current.key, "ADMIN_TOKEN");
    assert_eq!(pool.admin_token.previous.key, "ADMIN_TOKEN_PREVIOUS");
    assert_eq!(pool.host_list_access, HostListAccess::Public);
    assert_eq!(
        (pool.finds_per_ip, pool.trusted_proxies.len()),
        (1_000_000_000, 0)
    );
    let limited = [
        ("RATE_LIMIT_FINDS_PER_10S", "30"),
        ("TRUSTED_PROXY_CIDRS", "10.0.0.0/8,::1"),
    ];
    let pool = view::<MatchmakerView>(&limited).pool;
    assert_eq!((pool.finds_per_ip, pool.trusted_proxies.len()), (30, 2));
    assert_eq!(
        refusals(Kind::HostPool, &[("RATE_LIMIT_FINDS_PER_10S", "0")]),
        ["RATE_LIMIT_FINDS_PER_10S: must be from 1 to 1000000000, is 0"]
    );
}

#[test]
fn both_spellings_and_the_first_wins() {
    for (first, second, path) in [
        (
            "BACKPRESSURE_CLOSE_THRESHOLD_BYTES",
            "BACKPRESSURE_THRESHOLD_BYTES",
            "backpressure",
        ),
        ("ROOMS_CLAIM", "JWT_ROOMS_CLAIM", "claim"),
    ] {
        let auth = [("ENABLE_AUTH", "true"), ("JWT_SECRET", "s")];
        let settings = read(
            Kind::SignalingCluster,
            &[&auth[..], &[(first, "400000"), (second, "500000")]].concat(),
        )
        .unwrap();
        assert_eq!(
            settings.notes,
            [format!("{second} has no effect beside {first}")],
            "{path}"
        );
        let text = serde_json::to_string(&settings.bundle).unwrap();
        assert!(text.contains("400000") && !text.contains("500000"), "{path}");
    }
}

#[test]
fn wrong_values_name_variable_and_range() {
    let wrong = [
        ("ROOM_CAPACITY", "65"),
        ("ROOM_TTL_SECONDS", "soon"),
        ("RATE_LIMIT_CONN_PER_10S", "99999999999"),
        ("BACKPRESSURE_THRESHOLD_BYTES", "2048"),
        ("REQUIRE_WSS", "yes"),
        ("DRAIN_TIMEOUT_MS", "-1000"),
        ("SIGNALING_PUBLIC_URL", "http://a"),
        ("TRUSTED_PROXY_CIDRS", "10.0.0.0/8,proxy"),
    ];
    assert_eq!(
        refusals(Kind::SignalingCluster, &wrong),
        [
            "ROOM_TTL_SECONDS: must be a whole number, is \"soon\"",
            "REQUIRE_WSS: must be true or false, is \"yes\"",
            "DRAIN_TIMEOUT_MS: must be from 0 to 3600000, is -1000",
            "SIGNALING_PUBLIC_URL: must be a URL such as wss://signaling.example.com, without query or fragment",
            "ROOM_CAPACITY: must be from 1 to 64, is 65",
            "BACKPRESSURE_THRESHOLD_BYTES: must be at least maxMessageBytes",
            "RATE_LIMIT_CONN_PER_10S: must be from 1 to 1000000000, is 2147483647",
            "TRUSTED_PROXY_CIDRS: must be an IP address or a CIDR such as 10.0.0.0/8",
        ]
    );
}

#[test]
fn authentication_needs_its_secret_and_known_algorithm() {
    let on = ("ENABLE_AUTH", "true");
    let (secret, url) = (("JWT_SECRET", "s"), ("JWKS_URL", "https://id.example/keys"));
    let unfit = "HS256, HS384 and HS512 need a shared secret (secretRef); RS256, PS256 and ES256 need published keys (jwks)";
    for (variables, expected) in [
        (
            &[on][..],
            "JWT_SECRET: this or JWKS_URL must be set while ENABLE_AUTH is true",
        ),
        (
            &[on, secret, url],
            "JWKS_URL: must not be set beside JWT_SECRET: tokens are checked by one of the two",
        ),
        (
            &[on, secret, ("JWT_JWKS_URL", "https://id.example/keys")],
            "JWT_JWKS_URL: must not be set beside JWT_SECRET: tokens are checked by one of the two",
        ),
        (
            &[on, ("JWT_JWKS_URL", "id.example")],
            "JWT_JWKS_URL: must be a URL such as https://id.example.com/keys, of http or https, without user, password and fragment",
        ),
        (
            &[on, url, ("JWKS_CACHE_TTL", "9999")],
            "JWKS_CACHE_TTL: must be from 10000 to 86400000 (milliseconds), is 9999",
        ),
        (
            &[on, url, ("JWKS_CACHE_TTL", "5m")],
            "JWKS_CACHE_TTL: must be a whole number, is \"5m\"",
        ),
        (
            &[on, secret, ("JWT_ALG", "none")],
            "JWT_ALG: must be of HS256, HS384, HS512, RS256, PS256, ES256, is \"none\"",
        ),
        (&[on, secret, ("JWT_ALG", "RS256")], &format!("JWT_ALG: {unfit}")),
        (&[on, url, ("JWT_ALG", "HS256")], &format!("JWT_ALG: {unfit}")),
        // Wrong values are told where no token is asked for too.
        (
            &[("JWT_ALG", "none")],
            "JWT_ALG: must be of HS256, HS384, HS512, RS256, PS256, ES256, is \"none\"",
        ),
        (
            &[("ENABLE_AUTH", "false"), ("JWKS_CACHE_TTL", "1")],
            "JWKS_CACHE_TTL: must be from 10000 to 86400000 (milliseconds), is 1",
        ),
        (
            &[("JWKS_URL", "id.example")],
            "JWKS_URL: must be a URL such as https://id.example.com/keys, of http or https, without user, password and fragment",
        ),
    ] {
        assert_eq!(
            refusals(Kind::SignalingCluster, variables),
            [expected],
            "{variables:?}"
        );
    }
    // What does not fit together matters only where it is used.
    for variables in [
        &[("ENABLE_AUTH", "false"), secret][..],
        &[url, ("JWT_ALG", "HS256")],
        &[secret, url, ("JWT_ISSUER", "me")],
    ] {
        assert_eq!(signaling(variables).auth, AuthSettings::None);
    }
}

#[test]
fn host_secret_of_everybody_is_for_laptops() {
    let secret = |variables: &[(&str, &str)]| {
        let settings = read(Kind::HostPool, variables).unwrap();
        (
            settings.secrets[0].1.expose_str().unwrap().to_owned(),
            settings.notes,
        )
    };
    assert_eq!(secret(&[("HOST_SECRET", "own")]), ("own".to_owned(), vec![]));
    let (placeholder, notes) = secret(&[]);
    assert_eq!(placeholder, "to-change-in-prod");
    assert!(notes[0].starts_with("HOST_SECRET is not set"), "{notes:?}");
    for known in ["HELLO-MFS", "to-change-in-prod"] {
        assert_eq!(secret(&[("HOST_SECRET", known)]), (known.to_owned(), vec![]));
    }
}

#[test]
fn production_asks_for_secrets_of_its_own_and_an_address() {
    let own = "must be a secret of your own while NODE_ENV is production: `openssl rand -base64 32` prints a good one";
    let known = format!("{own}; this one is a placeholder that everybody knows");
    let (production, url) = (
        ("NODE_ENV", "production"),
        ("SIGNALING_PUBLIC_URL", "wss://a.example"),
    );
    let good = [production, url, ("HOST_SECRET", "own")];
    assert!(read(Kind::HostPool, &good).is_ok());
    assert_eq!(
        refusals(Kind::HostPool, &[production]),
        [
            "SIGNALING_PUBLIC_URL: must be set while NODE_ENV is production, such as to wss://signaling.example.com: players get it with each match".to_owned(),
            format!("HOST_SECRET: {own}"),
        ]
    );
    for placeholder in ["to-change-in-prod", "HELLO-MFS"] {
        assert_eq!(
            refusals(Kind::HostPool, &[production, url, ("HOST_SECRET", placeholder)]),
            [format!("HOST_SECRET: {known}")]
        );
        for name in ["HOST_SECRET_PREVIOUS", "ADMIN_TOKEN", "ADMIN_TOKEN_PREVIOUS"] {
            let refused = refusals(Kind::HostPool, &[&good[..], &[(name, placeholder)]].concat());
            assert_eq!(refused, [format!("{name}: {known}")]);
        }
    }
    // Signaling has no hosts, and tells nobody where it is.
    assert!(read(Kind::SignalingCluster, &[production]).is_ok());
    let tokens = [
        production,
        ("ENABLE_AUTH", "true"),
        ("JWT_SECRET", "your-secret-key"),
    ];
    assert_eq!(
        refusals(Kind::SignalingCluster, &tokens),
        [format!("JWT_SECRET: {known}")]
    );
    assert!(read(Kind::SignalingCluster, &tokens[1..]).is_ok());
}

#[test]
fn published_keys_come_by_either_spelling() {
    let jwt = |variables: &[(&str, &str)]| {
        let on = [("ENABLE_AUTH", "true")];
        let AuthSettings::Jwt(jwt) = signaling(&[&on[..], variables].concat()).auth else {
            panic!("no JWT")
        };
        let KeySource::Jwks(jwks) = jwt.keys else {
            panic!("{:?}", jwt.keys)
        };
        (jwks.url.to_string(), jwks.cache.as_secs(), jwt.algorithms)
    };
    let all = vec![JwtAlgorithm::RS256, JwtAlgorithm::PS256, JwtAlgorithm::ES256];
    for name in ["JWKS_URL", "JWT_JWKS_URL"] {
        let url = "https://id.example/keys";
        assert_eq!(jwt(&[(name, url)]), (url.to_owned(), 300, all.clone()));
        let set = [
            (name, url),
            ("JWKS_CACHE_TTL", "60001"),
            ("JWT_ALG", "ES256, RS256"),
        ];
        let some = vec![JwtAlgorithm::ES256, JwtAlgorithm::RS256];
        assert_eq!(jwt(&set), (url.to_owned(), 61, some));
    }
    let notes = |variables: &[(&str, &str)]| read(Kind::SignalingCluster, variables).unwrap().notes;
    let (on, secret, ttl) = (
        ("ENABLE_AUTH", "true"),
        ("JWT_SECRET", "s"),
        ("JWKS_CACHE_TTL", "60000"),
    );
    assert_eq!(
        notes(&[on, secret, ttl]),
        ["JWKS_CACHE_TTL has no effect without JWKS_URL"]
    );
}

#[test]
fn tls_is_believed_from_platform_proxies_unless_told_otherwise() {
    let settings = signaling(&[("REQUIRE_WSS", "true")]);
    let trusts = |ip: &str| {
        settings
            .security
            .trusted_proxies
            .iter()
            .any(|net| net.contains(&ip.parse::<std::net::IpAddr>().unwrap()))
    };
    assert!(trusts("100.64.0.7") && trusts("10.1.2.3") && trusts("fd12::1"));
    assert!(!trusts("203.0.113.9") && !trusts("2001:db8::1"));
    assert!(settings.public_url.is_secure());
    assert!(signaling(&[]).security.trusted_proxies.is_empty());
    // It is told, and only where it was decided here.
    let notes = |variables: &[(&str, &str)]| read(Kind::SignalingCluster, variables).unwrap().notes;
    assert_eq!(
        notes(&[("REQUIRE_WSS", "true")]),
        ["REQUIRE_WSS without TRUSTED_PROXY_CIDRS: proxies in private networks are trusted"]
    );
    let told = [("REQUIRE_WSS", "true"), ("TRUSTED_PROXY_CIDRS", "192.0.2.7")];
    assert!(notes(&told).is_empty() && notes(&[]).is_empty());
    let proxies = signaling(&told).security.trusted_proxies;
    assert_eq!(proxies, ["192.0.2.7/32".parse().unwrap()]);
}

#[test]
fn platform_port_beside_default_health_port() {
    assert_eq!(signaling(&[("WS_PORT", "8080")]).health_port, 8081);
    let refused = refusals(
        Kind::SignalingCluster,
        &[("WS_PORT", "8080"), ("HEALTH_PORT", "8080")],
    );
    assert_eq!(refused, ["HEALTH_PORT: must differ from spec.wsPort"]);
}

#[test]
fn metered_needs_its_domain_and_key() {
    let own = ("HOST_SECRET", "own");
    let (domain, key) = (("METERED_DOMAIN", "games"), ("METERED_API_KEY", "hunter2"));
    let expiry = ("TURN_EXPIRY_SECONDS", "600");
    let notes = |variables: &[(&str, &str)]| read(Kind::HostPool, variables).unwrap().notes;
    assert_eq!(
        notes(&[own, key]),
        ["METERED_API_KEY has no effect without METERED_DOMAIN"]
    );
    assert_eq!(
        notes(&[own, domain]),
        ["METERED_DOMAIN has no effect without METERED_API_KEY"]
    );
    assert_eq!(
        notes(&[own, expiry]),
        ["TURN_EXPIRY_SECONDS has no effect without METERED_DOMAIN and METERED_API_KEY"]
    );
    assert_eq!(view::<MatchmakerView>(&[own, key, expiry]).turn, None);

    let turn = view::<MatchmakerView>(&[own, domain, key]).turn.unwrap();
    assert_eq!(turn.stun_urls, [DEFAULT_STUN]);
    assert_eq!(turn.credential_ttl, Duration::from_hours(4));
    assert_eq!(turn.failure_policy, FailurePolicy::StunOnly);
    let reference = SecretRef {
        name: ENVIRONMENT_SECRET.to_owned(),
        key: "METERED_API_KEY".to_owned(),
    };
    let metered = ProviderSettings::Metered {
        name: "metered".to_owned(),
        domain: "games.metered.live".to_owned(),
        api_key: reference.clone(),
    };
    assert_eq!(turn.providers, [metered]);
    let given = read(Kind::HostPool, &[own, domain, key]).unwrap();
    assert!(given.notes.is_empty(), "{:?}", given.notes);
    let secrets: Vec<_> = given.secrets.iter().map(|(reference, _)| reference).collect();
    assert!(secrets.contains(&&reference));

    // Signaling announces the same servers.
    let turn = view::<SignalingView>(&[domain, key, expiry]).turn.unwrap();
    assert_eq!(turn.credential_ttl, Duration::from_mins(10));
    let wrong = [
        ("METERED_DOMAIN", "https://games"),
        key,
        ("TURN_EXPIRY_SECONDS", "299"),
    ];
    assert_eq!(
        refusals(Kind::SignalingCluster, &wrong),
        [
            "METERED_DOMAIN: must be the name of an application at Metered, such as games or games.metered.live, without scheme, port and path",
            "TURN_EXPIRY_SECONDS: must be from 300 to 86400, is 299",
        ]
    );
}

proptest! {
    /// Any text in any variable gives settings or an error that names the variable, and never shows a secret.
    #[test]
    fn any_value_is_accepted_or_named(index in 0usize..SIGNALING.len(), text in "[ -~]{1,30}") {
        let name = SIGNALING[index].names[0];
        let secret = ("JWT_SECRET", "h\u{fc}nter2");
        if let Err(error) = read(Kind::SignalingCluster, &[(name, &text), ("ENABLE_AUTH", "true"), secret]) {
            prop_assert!(error.to_string().contains(name), "{} does not name {}", error, name);
            prop_assert!(!error.to_string().contains(secret.1));
        }
    }
}
