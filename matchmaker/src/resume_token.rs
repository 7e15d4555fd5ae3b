//! Resume tokens: what a player shows to get its match again, after a reload or in another tab.
//!
//! A token is derived from the match and a secret of the pool, so that it is kept nowhere and every replica can check it.
//! Pure.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_dataplane::secrets::{RotatingSecret, Secret};

use crate::host::MatchId;

/// The token for a match of the pool `pool`; `None` without a secret.
pub fn issue(secret: &RotatingSecret, pool: &str, id: MatchId) -> Option<String> {
    let key = key(secret.current.as_ref().or(secret.previous.as_ref())?);
    let tag = hmac::sign(&key, &message(pool, id));
    Some(URL_SAFE_NO_PAD.encode(tag))
}

/// Whether `token` is the one for this match, by either secret of a rotation.
pub fn accepts(secret: &RotatingSecret, pool: &str, id: MatchId, token: &str) -> bool {
    let Ok(tag) = URL_SAFE_NO_PAD.decode(token) else {
        return false;
    };
    let message = message(pool, id);
    let secrets = secret.current.iter().chain(&secret.previous);
    // Both are tried, whichever fits.
    secrets.fold(false, |fits, secret| {
        hmac::verify(&key(secret), &message, &tag).is_ok() | fits
    })
}

fn key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose())
}

fn message(pool: &str, id: MatchId) -> Vec<u8> {
    format!("berth resume token|{id}|{pool}").into_bytes()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn secret(current: &str, previous: Option<&str>) -> RotatingSecret {
        let secret = |text: &str| Secret::new(text).unwrap();
        RotatingSecret {
            current: Some(secret(current)),
            previous: previous.map(secret),
        }
    }

    #[test]
    fn a_token_is_good_for_one_match_of_one_pool() {
        let (one, two) = (MatchId(Uuid::from_u128(1)), MatchId(Uuid::from_u128(2)));
        let secret = secret("k", None);
        let token = issue(&secret, "eu", one).unwrap();
        assert!(accepts(&secret, "eu", one, &token));
        assert!(!accepts(&secret, "eu", two, &token) && !accepts(&secret, "us", one, &token));
        for other in ["", "x", &token[1..], &format!("{token}A")] {
            assert!(!accepts(&secret, "eu", one, other), "{other}");
        }
    }

    #[test]
    fn a_token_outlives_a_rotation() {
        let id = MatchId(Uuid::from_u128(1));
        let token = issue(&secret("old", None), "eu", id).unwrap();
        assert!(accepts(&secret("new", Some("old")), "eu", id, &token));
        assert!(!accepts(&secret("new", None), "eu", id, &token));
        let none = RotatingSecret {
            current: None,
            previous: None,
        };
        assert_eq!(issue(&none, "eu", id), None);
        assert!(!accepts(&none, "eu", id, &token));
    }
}
