//! JSON Web Tokens of peers (RFC 7519), signed by a shared key.

use berth_crds::api::JwtAlgorithm;
use berth_crds::settings::{JwtSettings, RoomId};
use berth_dataplane::secrets::{RotatingSecret, SecretStore};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Map, Value};

/// How far clocks may differ, in seconds.
const LEEWAY: f64 = 60.0;

/// A token of a peer. It has no `Debug`, so that it reaches no log.
pub(crate) struct Token(String);

/// What a valid token allows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claims {
    /// The rooms it opens; `None` opens every room.
    rooms: Option<Vec<String>>,
    /// When the connection has to end, Unix time in seconds: the token's expiry with the leeway.
    pub(crate) ends_at: Option<f64>,
}

/// Why a token opens nothing. Peers are not told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    /// The Secret with the key is not there.
    #[error("no key to check tokens with")]
    NoKey,
    /// Wrong form, algorithm, signature, issuer or audience.
    #[error("invalid token")]
    Invalid,
    /// Its time is over.
    #[error("expired token")]
    Expired,
    /// Its time has not come.
    #[error("token that is not valid yet")]
    NotYetValid,
}

impl Token {
    /// Takes the text of a token.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

impl Claims {
    /// Whether the token opens `room`.
    pub(crate) fn opens(&self, room: &RoomId) -> bool {
        self.rooms
            .as_ref()
            .is_none_or(|rooms| rooms.iter().any(|name| name == room.as_str()))
    }
}

/// Checks a token with the keys that `settings` names. `now`: Unix time in seconds.
pub(crate) fn check(
    token: &Token,
    settings: &JwtSettings,
    secrets: &SecretStore,
    now: f64,
) -> Result<Claims, AuthError> {
    let claims = verify(token, settings, &secrets.rotating(&settings.secret))?;
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(AuthError::Invalid),
    };
    let ends_at = time("exp")?.map(|expiry| expiry + LEEWAY);
    if ends_at.is_some_and(|end| end <= now) {
        return Err(AuthError::Expired);
    }
    if time("nbf")?.is_some_and(|start| start > now + LEEWAY) {
        return Err(AuthError::NotYetValid);
    }
    Ok(Claims {
        rooms: rooms(claims.get(&settings.rooms_claim)),
        ends_at,
    })
}

/// Checks everything but time.
fn verify(
    token: &Token,
    settings: &JwtSettings,
    keys: &RotatingSecret,
) -> Result<Map<String, Value>, AuthError> {
    let mut validation = Validation::new(match settings.algorithm {
        JwtAlgorithm::HS256 => Algorithm::HS256,
        JwtAlgorithm::HS384 => Algorithm::HS384,
        JwtAlgorithm::HS512 => Algorithm::HS512,
    });
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    if let Some(issuer) = &settings.issuer {
        validation.set_issuer(&[issuer]);
        validation.required_spec_claims.insert("iss".into());
    }
    validation.validate_aud = settings.audience.is_some();
    if let Some(audience) = &settings.audience {
        validation.set_audience(&[audience]);
        validation.required_spec_claims.insert("aud".into());
    }
    if keys.is_empty() {
        return Err(AuthError::NoKey);
    }
    let claims = [&keys.current, &keys.previous]
        .into_iter()
        .flatten()
        .find_map(|key| {
            let key = DecodingKey::from_secret(key.expose());
            decode::<Map<String, Value>>(token.0.as_bytes(), &key, &validation).ok()
        });
    claims.map(|data| data.claims).ok_or(AuthError::Invalid)
}

/// An absent claim opens every room, a list those in it, and anything else none.
fn rooms(claim: Option<&Value>) -> Option<Vec<String>> {
    let list = claim?.as_array().map(Vec::as_slice).unwrap_or_default();
    Some(
        list.iter()
            .filter_map(|room| room.as_str().map(str::to_owned))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use berth_crds::api::RotatingSecretRef;
    use berth_dataplane::secrets::Secret;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    const NOW: f64 = 1_000_000.0;

    fn settings() -> JwtSettings {
        JwtSettings {
            secret: (&RotatingSecretRef::named("jwt")).into(),
            algorithm: JwtAlgorithm::HS256,
            issuer: None,
            audience: None,
            rooms_claim: "rooms".into(),
        }
    }

    fn secrets() -> SecretStore {
        let secrets = SecretStore::in_memory();
        let reference = settings().secret;
        secrets.put(&reference.current, Secret::new("new key").unwrap());
        secrets.put(&reference.previous, Secret::new("old key").unwrap());
        secrets
    }

    fn token(algorithm: Algorithm, key: &str, claims: &Value) -> Token {
        let token = encode(
            &Header::new(algorithm),
            claims,
            &EncodingKey::from_secret(key.as_bytes()),
        );
        Token::new(token.unwrap())
    }

    fn judge(claims: &Value, settings: &JwtSettings) -> Result<Claims, AuthError> {
        check(
            &token(Algorithm::HS256, "new key", claims),
            settings,
            &secrets(),
            NOW,
        )
    }

    #[test]
    fn both_keys_of_a_rotation_are_accepted() {
        for (key, expected) in [
            ("new key", true),
            ("old key", true),
            ("other key", false),
            ("", false),
        ] {
            let token = token(Algorithm::HS256, key, &json!({}));
            assert_eq!(
                check(&token, &settings(), &secrets(), NOW).is_ok(),
                expected,
                "{key}"
            );
        }
        let token = token(Algorithm::HS256, "new key", &json!({}));
        assert_eq!(
            check(&token, &settings(), &SecretStore::in_memory(), NOW),
            Err(AuthError::NoKey)
        );
        assert_eq!(
            check(&Token::new("a.b.c".into()), &settings(), &secrets(), NOW),
            Err(AuthError::Invalid)
        );
    }

    #[test]
    fn the_algorithm_is_pinned() {
        let signed = [
            (Algorithm::HS256, JwtAlgorithm::HS256),
            (Algorithm::HS384, JwtAlgorithm::HS384),
            (Algorithm::HS512, JwtAlgorithm::HS512),
        ];
        for (signed_by, _) in signed {
            for (expected_by, pinned) in signed {
                let token = token(signed_by, "new key", &json!({}));
                let settings = JwtSettings {
                    algorithm: pinned,
                    ..settings()
                };
                assert_eq!(
                    check(&token, &settings, &secrets(), NOW).is_ok(),
                    signed_by == expected_by
                );
            }
        }
        // {"alg":"none"}, without a signature.
        let unsigned = Token::new("eyJhbGciOiJub25lIn0.e30.".into());
        assert_eq!(
            check(&unsigned, &settings(), &secrets(), NOW),
            Err(AuthError::Invalid)
        );
    }

    #[test]
    fn time_has_a_leeway() {
        for (claims, expected) in [
            (json!({"exp": NOW + 10.0}), Ok(Some(NOW + 70.0))),
            (json!({"exp": NOW - 59.0}), Ok(Some(NOW + 1.0))),
            (json!({"exp": NOW - 60.0}), Err(AuthError::Expired)),
            (json!({"nbf": NOW + 60.0}), Ok(None)),
            (json!({"nbf": NOW + 61.0}), Err(AuthError::NotYetValid)),
            (json!({"exp": "soon"}), Err(AuthError::Invalid)),
            (json!({"exp": null}), Err(AuthError::Invalid)),
            (json!({}), Ok(None)),
        ] {
            assert_eq!(
                judge(&claims, &settings()).map(|claims| claims.ends_at),
                expected,
                "{claims}"
            );
        }
    }

    #[test]
    fn issuer_and_audience_are_required_when_set() {
        let strict = JwtSettings {
            issuer: Some("us".into()),
            audience: Some("them".into()),
            ..settings()
        };
        for (claims, expected) in [
            (json!({"iss": "us", "aud": "them"}), true),
            (json!({"iss": "us", "aud": ["others", "them"]}), true),
            (json!({"iss": "us"}), false),
            (json!({"aud": "them"}), false),
            (json!({"iss": "them", "aud": "them"}), false),
            (json!({"iss": "us", "aud": "us"}), false),
        ] {
            assert_eq!(judge(&claims, &strict).is_ok(), expected, "{claims}");
            assert!(judge(&claims, &settings()).is_ok(), "{claims}");
        }
    }

    #[test]
    fn the_rooms_claim_restricts() {
        let room = RoomId::parse("r1", 64).unwrap();
        for (claims, expected) in [
            (json!({}), true),
            (json!({"rooms": ["r0", "r1"]}), true),
            (json!({"rooms": ["r0"]}), false),
            (json!({"rooms": []}), false),
            (json!({"rooms": [1, null]}), false),
            (json!({"rooms": "r1"}), false),
            (json!({"rooms": null}), false),
        ] {
            assert_eq!(
                judge(&claims, &settings()).unwrap().opens(&room),
                expected,
                "{claims}"
            );
        }
        let other = JwtSettings {
            rooms_claim: "games".into(),
            ..settings()
        };
        assert!(!judge(&json!({"games": ["r0"]}), &other).unwrap().opens(&room));
        assert!(judge(&json!({"rooms": ["r0"]}), &other).unwrap().opens(&room));
    }
}
