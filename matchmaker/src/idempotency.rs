//! Requests that may be repeated (draft-ietf-httpapi-idempotency-key-header): the key that a client chose is the match, so that a
//! repetition finds what the first one was granted.

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::Value;
use uuid::{Builder, Uuid};

use crate::api::Issue;
use crate::host::MatchId;
use crate::slots::Asked;

/// Name of the header, and of the field in what is answered to a wrong one.
pub const HEADER: &str = "Idempotency-Key";
/// Shortest key, in characters: a key that somebody else chooses too would give his match away.
pub(crate) const SHORTEST: usize = 16;
/// Longest key, in characters.
pub(crate) const LONGEST: usize = 255;

/// A request that may be a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeatable {
    /// The match of whoever knows the key.
    pub id: MatchId,
    /// What is asked for with it.
    pub asked: Asked,
}

impl Repeatable {
    /// A request with this key and body in the pool `pool`. `None` in place of a key is one that is no text.
    pub fn new(pool: &str, key: Option<&str>, body: Option<&Value>) -> Result<Self, Issue> {
        let printable = |key: &&str| key.bytes().all(|byte| (0x21..0x7f).contains(&byte));
        let fits = |key: &&str| (SHORTEST..=LONGEST).contains(&key.len());
        let key = key.filter(printable).filter(fits).ok_or_else(|| {
            let message = format!(
                "Invalid key: expected {SHORTEST} to {LONGEST} visible ASCII characters, random ones"
            );
            Issue::header(HEADER, message)
        })?;
        // An absent body asks for the same as an empty object. Objects have their keys in order.
        let body = body.map_or_else(|| "{}".to_owned(), Value::to_string);
        Ok(Self {
            id: MatchId(id(pool, key)),
            asked: Asked(number(&hash(&[body.as_bytes()]))),
        })
    }
}

/// The id that a key stands for.
fn id(pool: &str, key: &str) -> Uuid {
    let hash = hash(&[b"match", pool.as_bytes(), key.as_bytes()]);
    let mut bytes = [0; 16];
    for (byte, hash) in bytes.iter_mut().zip(&hash) {
        *byte = *hash;
    }
    Builder::from_random_bytes(bytes).into_uuid()
}

/// Parts that cannot run into one another.
fn hash(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

fn number(hash: &[u8]) -> u64 {
    hash.iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "2f0f2c1e-9d7b-4d0c-8a53-3c6f9f3a7b11";

    #[test]
    fn a_key_is_one_match_of_its_pool() {
        let one = |pool, key| Repeatable::new(pool, Some(key), None).unwrap();
        assert_eq!(one("eu", KEY), one("eu", KEY));
        assert_ne!(one("eu", KEY).id, one("us", KEY).id);
        assert_ne!(one("eu", KEY).id, one("eu", "another-key-of-somebody").id);
        assert_ne!(
            id("eu", "xkey"),
            id("eux", "key"),
            "parts do not run into one another"
        );
    }

    #[test]
    fn what_is_asked_is_told_apart() {
        let asked = |body: Option<Value>| Repeatable::new("eu", Some(KEY), body.as_ref()).unwrap().asked;
        assert_eq!(asked(None), asked(Some(json!({}))));
        assert_eq!(
            asked(serde_json::from_str(r#"{"region": "eu", "hostId": "a"}"#).unwrap()),
            asked(serde_json::from_str(r#"{"hostId":"a","region":"eu"}"#).unwrap())
        );
        assert_ne!(asked(None), asked(Some(json!({"region": "eu"}))));
    }

    #[test]
    fn keys_that_others_may_choose_are_refused() {
        for key in [
            None,
            Some("1"),
            Some("with blanks, long enough"),
            Some("\u{fc}".repeat(20).as_str()),
        ] {
            let issue = Repeatable::new("eu", key, None).unwrap_err();
            assert_eq!((issue.path.as_str(), issue.code), (HEADER, "invalid_format"));
        }
        assert!(Repeatable::new("eu", Some(&"x".repeat(255)), None).is_ok());
        assert!(Repeatable::new("eu", Some(&"x".repeat(256)), None).is_err());
    }
}
