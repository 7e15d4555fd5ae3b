//! Every wrong field is named; defaults are those of the resource.

use kube::api::ObjectMeta;

use super::*;
use crate::api::*;

fn cluster(change: impl FnOnce(&mut SignalingClusterSpec)) -> Result<SignalingSettings, FieldErrors> {
    let mut spec = SignalingClusterSpec::new("wss://signaling.example.com");
    change(&mut spec);
    SignalingSettings::try_from(&SignalingCluster::new("main", spec))
}

fn paths(result: Result<impl std::fmt::Debug, FieldErrors>) -> Vec<String> {
    result
        .unwrap_err()
        .0
        .into_iter()
        .map(|error| error.path)
        .collect()
}

#[test]
fn defaults_are_valid_and_have_the_documented_values() {
    let settings = cluster(|_| ()).unwrap();
    assert_eq!(settings.rooms.capacity, 2);
    assert_eq!(settings.websocket.max_message_bytes, 262_144);
    assert_eq!(settings.rate_limits.connections_per_ip, 20);
    assert_eq!(settings.name, ObjectName::new("default", "main"));
}

#[test]
fn every_wrong_field_is_reported_at_once() {
    let result = cluster(|spec| {
        spec.rooms.capacity = 65;
        spec.websocket.backpressure_close_bytes = 2048;
        spec.security.require_wss = true;
        spec.auth.mode = AuthMode::Jwt;
        spec.drain.grace_period_seconds = 10;
    });
    let expected = [
        "spec.rooms.capacity",
        "spec.websocket.backpressureCloseBytes",
        "spec.security.trustedProxyCidrs",
        "spec.auth.jwt",
        "spec.drain.gracePeriodSeconds",
    ];
    assert_eq!(paths(result), expected);
}

#[test]
fn a_message_says_what_is_allowed() {
    let error = cluster(|spec| spec.rooms.capacity = 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.rooms.capacity: must be from 1 to 64, is 0"
    );
}

#[test]
fn public_url_takes_no_query_because_clients_append_one() {
    for wrong in [
        "http://a",
        "ws://",
        "ws://a?x=1",
        "ws://a#b",
        "a",
        "ws://a b",
        "WSS://a",
        "wss:a",
        "ws:///a",
        "ws://a:65536",
    ] {
        assert_eq!(
            paths(cluster(|spec| spec.public_url = wrong.into())),
            ["spec.publicUrl"],
            "{wrong}"
        );
    }
    for right in ["ws://localhost:3002", "wss://a.example/signaling"] {
        assert!(cluster(|spec| spec.public_url = right.into()).is_ok(), "{right}");
    }
}

#[test]
fn origins_match_whole_or_by_host() {
    let origins = AllowedOrigins::new([
        "https://a.example".into(),
        "b.example".into(),
        "c.example:8443".into(),
    ]);
    for allowed in [
        "https://a.example",
        "http://b.example:99",
        "https://c.example:8443",
        "HTTPS://A.example",
    ] {
        assert!(origins.allow(Some(allowed)), "{allowed}");
    }
    for refused in [
        "http://a.example",
        "https://c.example",
        "https://b.example.evil",
        "null",
    ] {
        assert!(!origins.allow(Some(refused)), "{refused}");
    }
    assert!(origins.allow(None), "a native host sends no Origin");
    assert!(AllowedOrigins::default().allow(Some("https://anything")));
}

#[test]
fn room_ids_follow_the_rule_of_the_wire() {
    assert!(RoomId::parse("GAME-abc_1:2.3", 64).is_ok());
    for wrong in ["", "a b", "a/b", "{a}", "ü", &"x".repeat(65)] {
        assert!(RoomId::parse(wrong, 64).is_err(), "{wrong}");
    }
}

#[test]
fn a_pool_without_host_secret_uses_the_generated_one() {
    let settings = PoolSettings::try_from(&HostPool::new("eu", HostPoolSpec::new("main"))).unwrap();
    assert_eq!(
        settings.host_secret.current,
        SecretRef {
            name: "eu-host-secret".into(),
            key: "current".into()
        }
    );
    assert_eq!(settings.heartbeat_ttl.as_secs(), 30);
    assert_eq!(settings.admin_token.current.name, "eu-admin-token");
    assert_eq!(settings.strategy, Strategy::Spread);
    assert_eq!(settings.reservation_hold.as_secs(), 5);
    assert_eq!(settings.unreachable_grace.as_secs(), 5);
    assert!(!settings.drain && settings.host_list_access == HostListAccess::Internal);
}

fn pool(change: impl FnOnce(&mut HostPoolSpec)) -> Result<PoolSettings, FieldErrors> {
    let mut spec = HostPoolSpec::new("main");
    change(&mut spec);
    PoolSettings::try_from(&HostPool::new("eu", spec))
}

#[test]
fn only_sampling_has_a_size() {
    let strategy = |strategy, sample_size| {
        pool(|spec| {
            spec.matching.strategy = strategy;
            spec.matching.sample_size = sample_size;
        })
        .map(|settings| settings.strategy)
        .map_err(|errors| errors.to_string())
    };
    assert_eq!(strategy(MatchingStrategy::Packed, None), Ok(Strategy::Packed));
    let sample = |size| Ok(Strategy::Sample { size });
    assert_eq!(strategy(MatchingStrategy::Sample, None), sample(50));
    assert_eq!(strategy(MatchingStrategy::Sample, Some(1000)), sample(1000));
    let path = "spec.matching.sampleSize";
    for other in [MatchingStrategy::Packed, MatchingStrategy::Spread] {
        assert_eq!(
            strategy(other, Some(50)),
            Err(format!("{path}: needs strategy Sample"))
        );
    }
    for (wrong, said) in [(0, "0"), (1001, "1001")] {
        assert_eq!(
            strategy(MatchingStrategy::Sample, Some(wrong)),
            Err(format!("{path}: must be from 1 to 1000, is {said}"))
        );
    }
}

#[test]
fn numbers_of_a_pool_are_bounded() {
    let result = pool(|spec| {
        spec.reservation.hold_seconds = 61;
        spec.matching.unreachable_grace_seconds = 301;
        spec.admin_token_secret_ref = Some(RotatingSecretRef::named(""));
    });
    let expected = [
        "spec.adminTokenSecretRef.name",
        "spec.matching.unreachableGraceSeconds",
        "spec.reservation.holdSeconds",
    ];
    assert_eq!(paths(result), expected);
}

#[test]
fn metered_is_named_bare_or_in_full() {
    let domain = |text: &str| -> Result<String, Vec<String>> {
        let config: TurnConfig = serde_json::from_value(serde_json::json!({
            "apiVersion": "berth.dev/v1alpha1",
            "kind": "TurnConfig",
            "metadata": {"name": "turn"},
            "spec": {"providers": [{"name": "a", "metered": {"domain": text, "apiKeySecretRef": {"name": "m"}}}]},
        }))
        .unwrap();
        match TurnSettings::try_from(&config)
            .as_ref()
            .map(|turn| &turn.providers[0])
        {
            Ok(ProviderSettings::Metered { domain, api_key, .. }) => {
                assert_eq!(api_key.key, "apiKey");
                Ok(domain.clone())
            }
            Ok(other) => panic!("{other:?}"),
            Err(errors) => Err(errors.0.iter().map(|error| error.path.clone()).collect()),
        }
    };
    for text in ["games", "Games", "games.metered.live"] {
        assert_eq!(domain(text).as_deref(), Ok("games.metered.live"), "{text}");
    }
    assert_eq!(domain("turn.example.com").as_deref(), Ok("turn.example.com"));
    let refused = Err(vec!["spec.providers[0].metered.domain".to_owned()]);
    for wrong in [
        "",
        "http://127.0.0.1:80",
        "127.0.0.1:80",
        "a/b",
        "a?b",
        "a@b",
        "-a",
        "a-",
        "a..b",
        "a.",
        "\u{fc}",
        &"x".repeat(64),
        &"x.".repeat(127),
    ] {
        assert_eq!(domain(wrong), refused, "{wrong:?}");
    }
}

#[test]
fn a_turn_config_names_the_wrong_entry() {
    let provider = TurnProvider {
        name: "a".into(),
        shared_secret: None,
        fixed: None,
        metered: None,
    };
    let spec = TurnConfigSpec {
        stun_urls: vec!["stun:a".into(), "http:b".into()],
        providers: vec![provider],
        credential_ttl_seconds: 10,
        ..TurnConfigSpec::default()
    };
    let config = TurnConfig {
        metadata: ObjectMeta::default(),
        spec,
        status: None,
    };
    let result = TurnSettings::try_from(&config);
    assert_eq!(
        paths(result),
        [
            "spec.stunUrls[1]",
            "spec.providers[0]",
            "spec.credentialTtlSeconds"
        ]
    );
}

#[test]
fn blank_origins_are_refused_and_never_mean_every_origin() {
    for blank in ["", " ", "\t"] {
        assert_eq!(
            paths(cluster(|spec| spec.security.allowed_origins = vec![blank.into()])),
            ["spec.security.allowedOrigins[0]"],
            "{blank:?}"
        );
        let origins = AllowedOrigins::new([blank.to_owned()]);
        assert!(
            !origins.allows_all() && !origins.allow(Some("https://anything")),
            "{blank:?}"
        );
        assert!(!origins.allow(Some("https://")), "{blank:?}");
    }
}

#[test]
fn what_the_schema_refuses_is_refused_in_files_as_well() {
    for wrong in ["", "a b", "a,b", "\u{fc}", &"x".repeat(65)] {
        assert_eq!(
            paths(cluster(|spec| spec.websocket.subprotocol = Some(wrong.to_owned()))),
            ["spec.websocket.subprotocol"],
            "{wrong:?}"
        );
    }
    let result = cluster(|spec| {
        spec.turn_config_ref = Some(LocalRef { name: String::new() });
        spec.public_url = format!("wss://{}", "a".repeat(507));
        spec.security.allowed_origins = vec!["x".repeat(257)];
        spec.security.trusted_proxy_cidrs = vec!["10.0.0.1".into(); 33];
        spec.auth = Auth {
            mode: AuthMode::Jwt,
            jwt: Some(Jwt {
                secret_ref: Some(RotatingSecretRef {
                    name: String::new(),
                    current_key: String::new(),
                    previous_key: "x".repeat(254),
                }),
                issuer: Some(String::new()),
                audience: Some(String::new()),
                rooms_claim: String::new(),
                leeway_seconds: 301,
                ..Jwt::default()
            }),
            legacy_peers: LegacyPeers::Refuse,
        };
    });
    let expected = [
        "spec.turnConfigRef.name",
        "spec.publicUrl",
        "spec.security.allowedOrigins[0]",
        "spec.security.trustedProxyCidrs",
        "spec.auth.jwt.secretRef.name",
        "spec.auth.jwt.secretRef.currentKey",
        "spec.auth.jwt.secretRef.previousKey",
        "spec.auth.jwt.issuer",
        "spec.auth.jwt.audience",
        "spec.auth.jwt.roomsClaim",
        "spec.auth.jwt.leewaySeconds",
    ];
    assert_eq!(paths(result), expected);
    assert!(cluster(|spec| spec.websocket.subprotocol = Some("berth.v2".into())).is_ok());
}

/// What `spec.auth` makes of this manifest, or the wrong fields.
fn auth(auth: serde_json::Value) -> Result<AuthSettings, Vec<String>> {
    cluster(|spec| spec.auth = serde_json::from_value(auth).unwrap())
        .map(|settings| settings.auth)
        .map_err(|errors| errors.0.into_iter().map(|error| error.path).collect())
}

#[test]
fn the_algorithm_fits_the_key() {
    use JwtAlgorithm::{ES256, HS256, HS384, HS512, PS256, RS256};
    let jwt = |rest: serde_json::Value| {
        let mut jwt = serde_json::json!({"mode": "Jwt", "jwt": rest});
        let source = match rest.get("jwks") {
            Some(_) => serde_json::json!({"url": "https://id.example.com/keys"}),
            None => serde_json::json!({"name": "tokens"}),
        };
        let field = if rest.get("jwks").is_some() {
            "jwks"
        } else {
            "secretRef"
        };
        jwt["jwt"][field] = source;
        match auth(jwt) {
            Ok(AuthSettings::Jwt(jwt)) => Ok(jwt.algorithms),
            Ok(other) => panic!("{other:?}"),
            Err(paths) => Err(paths.join(" ")),
        }
    };
    let wrong = |path: &str| Err(format!("spec.auth.jwt.{path}"));
    for (rest, expected) in [
        (serde_json::json!({}), Ok(vec![HS256])),
        (serde_json::json!({"algorithm": "HS384"}), Ok(vec![HS384])),
        (
            serde_json::json!({"algorithms": ["HS512", "HS256"]}),
            Ok(vec![HS512, HS256]),
        ),
        (serde_json::json!({"algorithm": "RS256"}), wrong("algorithm")),
        (
            serde_json::json!({"algorithms": ["HS256", "ES256"]}),
            wrong("algorithms"),
        ),
        (serde_json::json!({"algorithms": []}), wrong("algorithms")),
        (
            serde_json::json!({"algorithm": "HS256", "algorithms": ["HS256"]}),
            wrong("algorithms"),
        ),
        (serde_json::json!({"jwks": 1}), Ok(vec![RS256, PS256, ES256])),
        (
            serde_json::json!({"jwks": 1, "algorithm": "ES256"}),
            Ok(vec![ES256]),
        ),
        (
            serde_json::json!({"jwks": 1, "algorithms": ["RS256", "ES256"]}),
            Ok(vec![RS256, ES256]),
        ),
        (
            serde_json::json!({"jwks": 1, "algorithm": "HS256"}),
            wrong("algorithm"),
        ),
        (
            serde_json::json!({"jwks": 1, "algorithms": ["PS256", "HS512"]}),
            wrong("algorithms"),
        ),
    ] {
        assert_eq!(jwt(rest.clone()), expected, "{rest}");
    }
}

#[test]
fn tokens_are_checked_by_a_secret_or_by_published_keys() {
    let secret = serde_json::json!({"name": "tokens"});
    let jwks = serde_json::json!({"url": "https://id.example.com/keys"});
    let both = serde_json::json!({"mode": "Jwt", "jwt": {"secretRef": secret, "jwks": jwks}});
    for (wrong, path) in [
        (both, "spec.auth.jwt"),
        (serde_json::json!({"mode": "Jwt", "jwt": {}}), "spec.auth.jwt"),
        (serde_json::json!({"mode": "Jwt"}), "spec.auth.jwt"),
        (
            serde_json::json!({"mode": "MatchToken", "jwt": {"secretRef": secret}}),
            "spec.auth.jwt",
        ),
        (
            serde_json::json!({"legacyPeers": "Allow"}),
            "spec.auth.legacyPeers",
        ),
    ] {
        assert_eq!(auth(wrong.clone()), Err(vec![path.to_owned()]), "{wrong}");
    }
    assert_eq!(
        auth(serde_json::json!({"mode": "MatchToken", "legacyPeers": "Allow"})),
        Ok(AuthSettings::MatchToken {
            legacy_peers: LegacyPeers::Allow
        })
    );
    assert_eq!(
        auth(serde_json::json!({"mode": "MatchToken"})),
        Ok(AuthSettings::MatchToken {
            legacy_peers: LegacyPeers::Refuse
        })
    );
    let Ok(AuthSettings::Jwt(jwt)) = auth(serde_json::json!({"mode": "Jwt", "jwt": {"jwks": jwks}})) else {
        panic!("not accepted")
    };
    let KeySource::Jwks(jwks) = jwt.keys else {
        panic!("{:?}", jwt.keys)
    };
    assert_eq!(
        (jwt.leeway.as_secs(), jwks.cache.as_secs(), jwks.stale.as_secs()),
        (60, 300, 3600)
    );
}

#[test]
fn wrong_key_sets_are_named() {
    let at = |url: &str| auth(serde_json::json!({"mode": "Jwt", "jwt": {"jwks": {"url": url}}}));
    for wrong in [
        "",
        "ftp://a",
        "HTTPS://a/keys",
        "https:a",
        "https://",
        "https:///keys",
        "https://user@a/keys",
        "https://user:word@a/keys",
        "https://a/keys#here",
        "https://a b/keys",
        " https://a/keys",
        "https://a:65536/keys",
        &format!("https://a/{}", "x".repeat(1020)),
    ] {
        assert_eq!(
            at(wrong),
            Err(vec!["spec.auth.jwt.jwks.url".to_owned()]),
            "{wrong:?}"
        );
    }
    for right in [
        "http://a",
        "https://a:8443/keys?format=jwk",
        "https://[::1]/",
        "https://a?x=y@z",
    ] {
        assert!(at(right).is_ok(), "{right}");
    }
    let jwks = serde_json::json!({
        "url": "https://a", "cacheSeconds": 9, "staleSeconds": 86_401, "caSecretRef": {"name": "", "key": ""}
    });
    let expected = [
        "cacheSeconds",
        "staleSeconds",
        "caSecretRef.name",
        "caSecretRef.key",
    ];
    assert_eq!(
        auth(serde_json::json!({"mode": "Jwt", "jwt": {"jwks": jwks}})),
        Err(expected.map(|name| format!("spec.auth.jwt.jwks.{name}")).into())
    );
}

#[test]
fn names_of_a_pool_have_their_bounds() {
    let mut spec = HostPoolSpec::new("x".repeat(41));
    spec.turn_config_ref = Some(LocalRef { name: "x".repeat(41) });
    spec.host_auth.secret_ref = Some(RotatingSecretRef::named(""));
    let result = PoolSettings::try_from(&HostPool::new(&"x".repeat(41), spec));
    let expected = [
        "metadata.name",
        "spec.signalingClusterRef.name",
        "spec.turnConfigRef.name",
        "spec.hostAuth.secretRef.name",
    ];
    assert_eq!(paths(result), expected);
}

#[test]
fn a_turn_config_names_wrong_urls_names_and_secrets() {
    let shared = |urls: &[&str], secret: &str| SharedSecretProvider {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        secret_ref: SharedSecretRef {
            name: secret.into(),
            key: None,
        },
    };
    let provider = |name: &str, shared: SharedSecretProvider| TurnProvider {
        name: name.into(),
        shared_secret: Some(shared),
        fixed: None,
        metered: None,
    };
    let fixed = StaticProvider {
        urls: vec![],
        secret_ref: StaticSecretRef {
            name: "s".into(),
            username_key: Some(String::new()),
            credential_key: None,
        },
    };
    let spec = TurnConfigSpec {
        stun_urls: vec!["stun:a:1".into(), "stun:a?b".into(), "stun:".into()],
        providers: vec![
            provider("a", shared(&["turn:a:1?transport=udp"], "s")),
            provider("-b", shared(&[], "s")),
            provider(
                "c",
                shared(&["turn:a b", "stun:a", &format!("turn:{}", "x".repeat(252))], ""),
            ),
            TurnProvider {
                name: "d".into(),
                shared_secret: None,
                fixed: Some(fixed),
                metered: None,
            },
        ],
        credential_ttl_seconds: 300,
        ..TurnConfigSpec::default()
    };
    let expected = [
        "spec.stunUrls[2]",
        "spec.stunUrls[1]",
        "spec.providers[1].name",
        "spec.providers[1].sharedSecret.urls",
        "spec.providers[2].sharedSecret.urls[0]",
        "spec.providers[2].sharedSecret.urls[1]",
        "spec.providers[2].sharedSecret.urls[2]",
        "spec.providers[2].sharedSecret.secretRef.name",
        "spec.providers[3].static.urls",
        "spec.providers[3].static.secretRef.usernameKey",
    ];
    assert_eq!(
        paths(TurnSettings::try_from(&TurnConfig::new("turn", spec))),
        expected
    );
}
