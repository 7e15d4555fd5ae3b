//! A set of published keys (JWKS, RFC 7517).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::token::TokenHeader;

/// Most usable keys of a set: issuers have two or three.
const MOST_KEYS: usize = 64;

/// Public keys that tokens can be checked with.
#[derive(Debug)]
pub(crate) struct KeySet(Vec<PublishedKey>);

#[derive(Debug)]
struct PublishedKey {
    id: Option<String>,
    /// Algorithms that it may be used with: what its type allows, and of that what the issuer says.
    algorithms: &'static [Algorithm],
    key: DecodingKey,
}

/// Why an answer is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetError {
    /// Not JSON, or without a list `keys`.
    #[error("the answer is no key set")]
    Malformed,
    /// No key for any of the algorithms.
    #[error("the key set has no key for RS256, PS256 or ES256")]
    Empty,
    /// More than [`MOST_KEYS`].
    #[error("the key set has more than {MOST_KEYS} keys")]
    TooMany,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads the text of a set. Keys that are for something else or not understood are passed over (RFC 7517,
    /// section 5): secret ones, those for encryption, those of other types and curves.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let document: Document = serde_json::from_slice(text).map_err(|_| KeySetError::Malformed)?;
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .filter_map(PublishedKey::read)
            .take(MOST_KEYS + 1)
            .collect();
        match keys.len() {
            0 => Err(KeySetError::Empty),
            1..=MOST_KEYS => Ok(Self(keys)),
            _ => Err(KeySetError::TooMany),
        }
    }

    /// Keys that a token with this header may be signed with. A token that names no key may be signed with any.
    pub(super) fn fitting(&self, header: &TokenHeader) -> impl Iterator<Item = &DecodingKey> {
        self.0
            .iter()
            .filter(|key| header.key_id.is_none() || key.id == header.key_id)
            .filter(|key| key.algorithms.contains(&header.algorithm))
            .map(|key| &key.key)
    }

    /// Whether there is such a key.
    pub(super) fn fits(&self, header: &TokenHeader) -> bool {
        self.fitting(header).next().is_some()
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl PublishedKey {
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let signs = common
            .public_key_use
            .as_ref()
            .is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let verifies = common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !signs || !verifies {
            return None;
        }
        // The type of a key decides what it can be used with, so that no public key is ever taken for a secret.
        let algorithms: &[Algorithm] = match (&jwk.algorithm, common.key_algorithm) {
            (AlgorithmParameters::RSA(_), None) => &[Algorithm::RS256, Algorithm::PS256],
            (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::RS256)) => &[Algorithm::RS256],
            (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::PS256)) => &[Algorithm::PS256],
            (AlgorithmParameters::EllipticCurve(point), None | Some(KeyAlgorithm::ES256))
                if point.curve == EllipticCurve::P256 =>
            {
                &[Algorithm::ES256]
            }
            _ => return None,
        };
        Some(Self {
            key: DecodingKey::from_jwk(&jwk).ok()?,
            id: jwk.common.key_id,
            algorithms,
        })
    }
}

#[cfg(test)]
mod tests {
    use berth_dataplane::testing::IssuerKey;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(keys: &[Value]) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({"keys": keys, "other": 1}).to_string().as_bytes())
    }

    fn header(algorithm: Algorithm, key_id: Option<&str>) -> TokenHeader {
        TokenHeader {
            algorithm,
            key_id: key_id.map(str::to_owned),
        }
    }

    fn with(mut jwk: Value, field: &str, value: Value) -> Value {
        jwk[field] = value;
        jwk
    }

    #[test]
    fn a_key_is_used_with_what_its_type_and_its_issuer_allow() {
        let (rsa, ec) = (IssuerKey::rsa("r").jwk(), IssuerKey::ec("e").jwk());
        let set = parse(&[
            rsa.clone(),
            ec,
            with(rsa.clone(), "kid", json!("rs")),
            with(with(rsa.clone(), "kid", json!("ps")), "alg", json!("PS256")),
        ])
        .unwrap();
        let fits = |algorithm, id| set.fitting(&header(algorithm, id)).count();
        assert_eq!(fits(Algorithm::RS256, Some("r")), 1);
        assert_eq!(fits(Algorithm::PS256, Some("r")), 1);
        assert_eq!(fits(Algorithm::ES256, Some("r")), 0);
        assert_eq!(fits(Algorithm::ES256, Some("e")), 1);
        assert_eq!(fits(Algorithm::RS256, Some("e")), 0);
        assert_eq!(fits(Algorithm::RS256, Some("ps")), 0);
        assert_eq!(fits(Algorithm::PS256, Some("ps")), 1);
        assert_eq!(fits(Algorithm::RS256, Some("unknown")), 0);
        // Whoever names no key may have used any of the type.
        assert_eq!(fits(Algorithm::RS256, None), 2);
        assert_eq!(fits(Algorithm::ES256, None), 1);
        for secret in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert_eq!(fits(secret, None), 0);
        }
    }

    #[test]
    fn keys_for_something_else_are_passed_over() {
        let (rsa, ec) = (IssuerKey::rsa("r").jwk(), IssuerKey::ec("e").jwk());
        for useless in [
            json!({}),
            json!(1),
            json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "secret"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
            json!({"kty": "RSA", "kid": "no modulus", "e": "AQAB"}),
            json!({"kty": "RSA", "n": "not base64!", "e": "AQAB"}),
            with(rsa.clone(), "use", json!("enc")),
            with(rsa.clone(), "key_ops", json!(["sign"])),
            with(rsa.clone(), "alg", json!("RS512")),
            with(rsa.clone(), "alg", json!("HS256")),
            with(rsa.clone(), "alg", json!("RSA-OAEP")),
            with(ec.clone(), "crv", json!("P-384")),
            with(ec, "alg", json!("RS256")),
        ] {
            assert_eq!(
                parse(std::slice::from_ref(&useless)).unwrap_err(),
                KeySetError::Empty,
                "{useless}"
            );
            assert_eq!(parse(&[useless, rsa.clone()]).unwrap().len(), 1);
        }
    }

    #[test]
    fn sets_have_bounds() {
        let many = |count| vec![IssuerKey::ec("e").jwk(); count];
        assert_eq!(parse(&many(64)).unwrap().len(), 64);
        assert_eq!(parse(&many(65)).unwrap_err(), KeySetError::TooMany);
        assert_eq!(parse(&[]).unwrap_err(), KeySetError::Empty);
        for text in ["", "[]", "{}", "{\"keys\": 1}", "<html>", "\u{0}"] {
            assert_eq!(
                KeySet::parse(text.as_bytes()).unwrap_err(),
                KeySetError::Malformed,
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,100}") {
            prop_assert!(KeySet::parse(&bytes).is_err());
            let around = format!("{{\"keys\":[{{\"kty\":\"RSA\",\"n\":{},\"e\":\"AQAB\"}}]}}", json!(text));
            drop(KeySet::parse(around.as_bytes()));
        }
    }
}
