use std::sync::LazyLock;
use std::time::Duration;

use berth_crds::api::RotatingSecretRef;
use berth_crds::settings::KeySource;
use berth_dataplane::secrets::Secret;
use berth_dataplane::testing::IssuerKey;
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: f64 = 1_000_000.0;

static RSA: LazyLock<IssuerKey> = LazyLock::new(|| IssuerKey::rsa("rsa"));
static EC: LazyLock<IssuerKey> = LazyLock::new(|| IssuerKey::ec("ec"));

fn settings(algorithms: &[JwtAlgorithm]) -> JwtSettings {
    JwtSettings {
        // Only the keyring asks where keys come from.
        keys: KeySource::Secret((&RotatingSecretRef::named("jwt")).into()),
        algorithms: algorithms.to_vec(),
        issuer: None,
        audience: None,
        rooms_claim: "rooms".into(),
        leeway: Duration::from_mins(1),
    }
}

fn shared(current: &[u8], previous: Option<&[u8]>) -> IssuerKeys {
    IssuerKeys::Shared(RotatingSecret {
        current: Some(Secret::new(current).unwrap()),
        previous: previous.map(|key| Secret::new(key).unwrap()),
    })
}

fn published(keys: &[&IssuerKey]) -> IssuerKeys {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    let set = KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap();
    IssuerKeys::Published(Some(Arc::new(set)))
}

fn room() -> RoomId {
    RoomId::parse("r1", 64).unwrap()
}

fn secret_token(algorithm: Algorithm, key: &[u8], claims: &Value) -> Token {
    let key = EncodingKey::from_secret(key);
    Token::new(encode(&Header::new(algorithm), claims, &key).unwrap())
}

fn judge(token: &Token, settings: &JwtSettings, keys: &IssuerKeys) -> Result<Pass, AuthError> {
    check(token, &room(), settings, keys, NOW)
}

/// A token with these claims, signed by the shared key.
fn judge_claims(claims: &Value, settings: &JwtSettings) -> Result<Pass, AuthError> {
    let token = secret_token(Algorithm::HS256, b"key", claims);
    judge(&token, settings, &shared(b"key", None))
}

#[test]
fn both_keys_of_a_rotation_are_accepted() {
    let (settings, keys) = (settings(&[JwtAlgorithm::HS256]), shared(b"new", Some(b"old")));
    for (key, expected) in [("new", true), ("old", true), ("other", false), ("", false)] {
        let token = secret_token(Algorithm::HS256, key.as_bytes(), &json!({}));
        assert_eq!(judge(&token, &settings, &keys).is_ok(), expected, "{key}");
    }
    let token = secret_token(Algorithm::HS256, b"new", &json!({}));
    let none = IssuerKeys::Shared(RotatingSecret::default());
    assert_eq!(judge(&token, &settings, &none), Err(AuthError::NoKey));
    assert_eq!(
        judge(&Token::new("a.b.c".into()), &settings, &keys),
        Err(AuthError::Invalid)
    );
}

#[test]
fn every_algorithm_is_understood_and_pinned() {
    let all = [
        JwtAlgorithm::HS256,
        JwtAlgorithm::HS384,
        JwtAlgorithm::HS512,
        JwtAlgorithm::RS256,
        JwtAlgorithm::PS256,
        JwtAlgorithm::ES256,
    ];
    let signed = all.map(|of| {
        let (claims, name) = (json!({}), format!("{of:?}"));
        match of {
            JwtAlgorithm::RS256 | JwtAlgorithm::PS256 => (Token::new(RSA.token(&name, &claims)), of),
            JwtAlgorithm::ES256 => (Token::new(EC.token(&name, &claims)), of),
            _ => (secret_token(algorithm(of), b"key", &claims), of),
        }
    });
    for (token, signed_by) in &signed {
        let keys = if signed_by.is_symmetric() {
            shared(b"key", None)
        } else {
            published(&[&RSA, &EC])
        };
        for pinned in all {
            let judged = judge(token, &settings(&[pinned]), &keys);
            let expected = if pinned == *signed_by {
                None
            } else {
                Some(AuthError::Invalid)
            };
            assert_eq!(
                judged.err(),
                expected,
                "{signed_by:?} where {pinned:?} is asked for"
            );
        }
        assert!(
            judge(token, &settings(&all), &keys).is_ok(),
            "{signed_by:?} in a list"
        );
    }
}

/// The classic confusion: who knows a public key signs with it as if it were a secret.
#[test]
fn a_public_key_is_no_secret() {
    let rsa = settings(&[JwtAlgorithm::RS256, JwtAlgorithm::PS256, JwtAlgorithm::ES256]);
    let keys = published(&[&RSA, &EC]);
    for public in [RSA.public(), EC.public(), RSA.jwk().to_string().into_bytes()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let forged = secret_token(algorithm, &public, &json!({}));
            assert_eq!(judge(&forged, &rsa, &keys), Err(AuthError::Invalid));
            // Even if somebody pins both families, which the settings do not let through.
            let mut both = rsa.clone();
            both.algorithms
                .extend([JwtAlgorithm::HS256, JwtAlgorithm::HS384, JwtAlgorithm::HS512]);
            assert_eq!(judge(&forged, &both, &keys), Err(AuthError::UnknownKey));
        }
    }
    // And the other way round: a signature by a key pair is not checked with a secret.
    let token = Token::new(RSA.token("RS256", &json!({})));
    let keys = shared(&RSA.public(), None);
    assert_eq!(judge(&token, &rsa, &keys), Err(AuthError::Invalid));
}

#[test]
fn tokens_without_a_signature_or_with_a_strange_header_are_invalid() {
    let settings = settings(&[JwtAlgorithm::RS256]);
    let keys = published(&[&RSA]);
    let claims = json!({});
    let header = |header: Value| Token::new(RSA.sign("RS256", &header, &claims));
    for token in [
        // {"alg":"none"}, without a signature.
        Token::new("eyJhbGciOiJub25lIn0.e30.".into()),
        header(json!({"alg": "none"})),
        header(json!({"alg": "None", "kid": "rsa"})),
        header(json!({"alg": "RS256", "kid": "rsa", "crit": ["exp"], "exp": 1})),
        header(json!({"kid": "rsa"})),
        header(json!({"alg": "RS256", "kid": 1})),
        Token::new(String::new()),
        Token::new("..".into()),
        Token::new(format!("{}.", RSA.token("RS256", &claims))),
        Token::new(RSA.token("RS256", &json!({"pad": "x".repeat(16 * 1024)}))),
    ] {
        assert_eq!(judge(&token, &settings, &keys), Err(AuthError::Invalid));
    }
    assert!(judge(&header(json!({"alg": "RS256", "kid": "rsa"})), &settings, &keys).is_ok());
}

#[test]
fn the_key_is_found_by_its_id_or_tried() {
    let (old, new) = (IssuerKey::ec("old"), IssuerKey::ec("new"));
    let settings = settings(&[JwtAlgorithm::ES256]);
    let token = |key: &IssuerKey, id: Option<&str>| {
        let mut header = json!({"alg": "ES256"});
        if let Some(id) = id {
            header["kid"] = json!(id);
        }
        Token::new(key.sign("ES256", &header, &json!({})))
    };
    let both = published(&[&old, &new]);
    for (key, id, expected) in [
        (&old, Some("old"), None),
        (&new, Some("new"), None),
        (&old, None, None),
        (&new, None, None),
        (&old, Some("new"), Some(AuthError::Invalid)),
        (&old, Some("other"), Some(AuthError::UnknownKey)),
        (&old, Some(""), Some(AuthError::UnknownKey)),
        (&EC, None, Some(AuthError::Invalid)),
        (&EC, Some("old"), Some(AuthError::Invalid)),
    ] {
        assert_eq!(judge(&token(key, id), &settings, &both).err(), expected, "{id:?}");
    }
    assert_eq!(
        judge(&token(&old, None), &settings, &published(&[&RSA])),
        Err(AuthError::UnknownKey)
    );
    assert_eq!(
        judge(&token(&old, None), &settings, &IssuerKeys::Published(None)),
        Err(AuthError::NoKey)
    );
}

#[test]
fn time_has_a_leeway() {
    let minute = settings(&[JwtAlgorithm::HS256]);
    for (claims, expected) in [
        (json!({"exp": NOW + 10.0}), Ok(Some(NOW + 70.0))),
        (json!({"exp": NOW - 59.0}), Ok(Some(NOW + 1.0))),
        (json!({"exp": NOW - 60.0}), Err(AuthError::Expired)),
        (json!({"nbf": NOW + 60.0}), Ok(None)),
        (json!({"nbf": NOW + 61.0}), Err(AuthError::NotYetValid)),
        (json!({"exp": "soon"}), Err(AuthError::Invalid)),
        (json!({"exp": null}), Err(AuthError::Invalid)),
        (json!({"nbf": "now"}), Err(AuthError::Invalid)),
        (json!({}), Ok(None)),
    ] {
        let judged = judge_claims(&claims, &minute).map(|pass| pass.ends_at);
        assert_eq!(judged, expected, "{claims}");
    }
    let none = JwtSettings {
        leeway: Duration::ZERO,
        ..minute
    };
    assert_eq!(judge_claims(&json!({"exp": NOW}), &none), Err(AuthError::Expired));
    assert_eq!(
        judge_claims(&json!({"exp": NOW + 1.0}), &none).unwrap().ends_at,
        Some(NOW + 1.0)
    );
    assert_eq!(
        judge_claims(&json!({"nbf": NOW + 1.0}), &none),
        Err(AuthError::NotYetValid)
    );
}

#[test]
fn issuer_and_audience_are_required_when_set() {
    let open = settings(&[JwtAlgorithm::HS256]);
    let strict = JwtSettings {
        issuer: Some("us".into()),
        audience: Some("them".into()),
        ..open.clone()
    };
    for (claims, expected) in [
        (json!({"iss": "us", "aud": "them"}), true),
        (json!({"iss": "us", "aud": ["others", "them"]}), true),
        (json!({"iss": "us"}), false),
        (json!({"aud": "them"}), false),
        (json!({"iss": "them", "aud": "them"}), false),
        (json!({"iss": "us", "aud": "us"}), false),
        (json!({"iss": 1, "aud": "them"}), false),
        (json!({"iss": "us", "aud": {"them": 1}}), false),
    ] {
        let expected = if expected { None } else { Some(AuthError::Invalid) };
        assert_eq!(judge_claims(&claims, &strict).err(), expected, "{claims}");
        assert!(judge_claims(&claims, &open).is_ok(), "{claims}");
    }
}

#[test]
fn the_rooms_claim_restricts() {
    let rooms = settings(&[JwtAlgorithm::HS256]);
    let other = JwtSettings {
        rooms_claim: "games".into(),
        ..rooms.clone()
    };
    for (claims, settings, expected) in [
        (json!({}), &rooms, true),
        (json!({"rooms": ["r0", "r1"]}), &rooms, true),
        (json!({"rooms": ["r0"]}), &rooms, false),
        (json!({"rooms": []}), &rooms, false),
        (json!({"rooms": [1, null]}), &rooms, false),
        (json!({"rooms": "r1"}), &rooms, false),
        (json!({"rooms": {"r1": true}}), &rooms, false),
        (json!({"rooms": null}), &rooms, false),
        (json!({"games": ["r0"]}), &other, false),
        (json!({"rooms": ["r0"]}), &other, true),
    ] {
        let expected = if expected {
            None
        } else {
            Some(AuthError::OtherRoom)
        };
        assert_eq!(judge_claims(&claims, settings).err(), expected, "{claims}");
    }
}

proptest! {
    /// Nothing but what was signed is accepted, whatever is changed in a token.
    #[test]
    fn no_changed_token_is_accepted(
        which in 0usize..3, position in 0usize..2000, replacement in 0u8..94, junk in "\\PC{0,60}",
    ) {
        let all = [JwtAlgorithm::RS256, JwtAlgorithm::PS256, JwtAlgorithm::ES256];
        let (settings, keys) = (settings(&all), published(&[&RSA, &EC]));
        prop_assert!(judge(&Token::new(junk), &settings, &keys).is_err());
        let name = format!("{:?}", all[which]);
        let key = if which == 2 { &*EC } else { &*RSA };
        let claims = json!({"rooms": ["r1"], "exp": NOW + 1000.0});
        let token = key.token(&name, &claims);
        let mut bytes = token.clone().into_bytes();
        let position = position % bytes.len();
        bytes[position] = b' ' + replacement;
        let changed = String::from_utf8(bytes).unwrap();
        let judged = judge(&Token::new(changed.clone()), &settings, &keys);
        // The last character of a base64 text may carry bits that mean nothing.
        if changed != token && position != token.len() - 1 {
            prop_assert!(judged.is_err(), "{} at {}", changed, position);
        }
    }

    /// Time: a token is accepted exactly from `nbf` to `exp`, each with its leeway.
    #[test]
    fn a_token_holds_for_its_time(exp in -500i32..500, nbf in -500i32..500, leeway in 0u64..300) {
        let (exp, nbf) = (f64::from(exp), f64::from(nbf));
        let settings = JwtSettings {
            leeway: Duration::from_secs(leeway),
            ..settings(&[JwtAlgorithm::HS256])
        };
        let judged = judge_claims(&json!({"exp": NOW + exp, "nbf": NOW + nbf}), &settings);
        let leeway = settings.leeway.as_secs_f64();
        prop_assert_eq!(judged.is_ok(), exp + leeway > 0.0 && nbf - leeway <= 0.0);
    }
}
