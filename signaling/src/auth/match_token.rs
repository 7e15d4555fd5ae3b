//! Tokens of the matchmaker: each opens one room.

use std::time::Duration;

use berth_crds::api::LegacyPeers;
use berth_crds::settings::RoomId;
use berth_dataplane::match_token::{MatchKeys, MatchTokenError};

use super::{AuthError, Identity, Pass, Token};

/// What becomes of a peer without a token.
pub(super) fn without(legacy: bool, legacy_peers: LegacyPeers) -> Result<Pass, AuthError> {
    if legacy && legacy_peers == LegacyPeers::Allow {
        return Ok(Pass {
            legacy: true,
            ..Pass::default()
        });
    }
    Err(AuthError::Missing)
}

/// Checks a token for `room`. `now`: Unix time in seconds.
///
/// Its expiry does not end the connection: a match token opens the door, within the minute or so in which a player comes
/// from the matchmaker, and the session behind the door takes hours.
pub(super) fn check(
    token: &Token,
    room: &RoomId,
    keys: Option<&MatchKeys>,
    now: f64,
) -> Result<Pass, AuthError> {
    let keys = keys.ok_or(AuthError::NoKey)?;
    let seconds = Duration::try_from_secs_f64(now).unwrap_or_default().as_secs();
    let claims = keys.verify(token.text(), seconds).map_err(|error| match error {
        MatchTokenError::Expired => AuthError::Expired,
        MatchTokenError::NotYetValid => AuthError::NotYetValid,
        MatchTokenError::Malformed
        | MatchTokenError::Algorithm
        | MatchTokenError::Signature
        | MatchTokenError::Signing => AuthError::Invalid,
    })?;
    if claims.room != room.as_str() {
        return Err(AuthError::OtherRoom);
    }
    Ok(Pass {
        ends_at: None,
        identity: Identity {
            role: Some(claims.role),
            id: Some(claims.id),
        },
        legacy: false,
    })
}

#[cfg(test)]
mod tests {
    use berth_dataplane::match_token::{MatchGrant, Role};
    use berth_dataplane::secrets::{RotatingSecret, Secret};

    use super::*;

    const NOW: f64 = 1_700_000_000.5;

    fn keys(current: &str, previous: Option<&str>) -> Option<MatchKeys> {
        let secret = |text: &str| Secret::new(text).unwrap();
        MatchKeys::new(&RotatingSecret {
            current: Some(secret(current)),
            previous: previous.map(secret),
        })
    }

    fn token(key: &str, role: Role) -> Token {
        let grant = MatchGrant {
            room: "r1",
            role,
            id: "m-1",
            pool: "default/eu",
            ttl: Duration::from_mins(1),
        };
        Token::new(keys(key, None).unwrap().issue(&grant, 1_700_000_000).unwrap())
    }

    fn room(name: &str) -> RoomId {
        RoomId::parse(name, 64).unwrap()
    }

    #[test]
    fn a_token_opens_its_room_and_tells_who_comes() {
        for role in [Role::Host, Role::Player] {
            let token = token("k", role);
            let pass = check(&token, &room("r1"), keys("k", None).as_ref(), NOW).unwrap();
            let identity = Identity {
                role: Some(role),
                id: Some("m-1".into()),
            };
            assert_eq!(
                (pass.identity, pass.ends_at, pass.legacy),
                (identity, None, false)
            );
            assert_eq!(
                check(&token, &room("r2"), keys("k", None).as_ref(), NOW),
                Err(AuthError::OtherRoom)
            );
        }
    }

    #[test]
    fn both_keys_of_a_rotation_are_accepted() {
        let (old, new) = (token("old", Role::Player), token("new", Role::Player));
        let judge = |token: &Token, keys: Option<&MatchKeys>| check(token, &room("r1"), keys, NOW);
        let during = keys("new", Some("old"));
        assert!(judge(&old, during.as_ref()).is_ok() && judge(&new, during.as_ref()).is_ok());
        assert_eq!(judge(&old, keys("new", None).as_ref()), Err(AuthError::Invalid));
        assert_eq!(judge(&old, None), Err(AuthError::NoKey));
    }

    #[test]
    fn time_and_form_are_checked() {
        let judge = |token: &Token, now| check(token, &room("r1"), keys("k", None).as_ref(), now);
        let token = token("k", Role::Player);
        assert!(judge(&token, NOW + 60.0).is_ok());
        assert_eq!(judge(&token, NOW + 65.0), Err(AuthError::Expired));
        assert_eq!(judge(&token, NOW - 10.0), Err(AuthError::NotYetValid));
        assert_eq!(judge(&token, f64::NAN), Err(AuthError::NotYetValid));
        assert_eq!(judge(&Token::new("a.b.c".into()), NOW), Err(AuthError::Invalid));
    }

    #[test]
    fn only_peers_that_cannot_know_come_in_without_and_only_if_allowed() {
        for (legacy, allowed, expected) in [
            (true, LegacyPeers::Allow, true),
            (false, LegacyPeers::Allow, false),
            (true, LegacyPeers::Refuse, false),
            (false, LegacyPeers::Refuse, false),
        ] {
            let judged = without(legacy, allowed);
            assert_eq!(judged.is_ok(), expected);
            assert!(judged.is_ok_and(|pass| pass.legacy) == expected);
        }
        assert_eq!(without(true, LegacyPeers::Refuse), Err(AuthError::Missing));
    }
}
