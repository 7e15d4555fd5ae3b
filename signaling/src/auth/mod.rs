//! Who a peer is: its token, and the keys that it is checked with.
//!
//! ```text
//! token        what a peer sends, and what its header says       pure
//! jwt          tokens of an issuer                               pure
//! match_token  tokens of the matchmaker                          pure
//! key_set      published keys (RFC 7517)                         pure
//! jwks         when a key set is fetched (pure), and fetching it
//! keyring      finds the keys before a token is checked
//! metrics      what came of it
//! ```
//!
//! Finding keys may take a request to the issuer; checking a token with them takes no time and asks nobody.

mod jwks;
mod jwt;
mod key_set;
mod keyring;
mod match_token;
mod metrics;
mod token;

use berth_crds::settings::{AuthSettings, RoomId};
use berth_dataplane::match_token::Role;

pub(crate) use jwks::KeySetTiming;
pub(crate) use keyring::{Keyring, Keys};
pub(crate) use metrics::{AuthMetrics, AuthResult};
pub(crate) use token::Token;

/// What a peer asks for, as far as its token is concerned.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// Its token.
    pub(crate) token: Option<&'a Token>,
    /// The room it wants.
    pub(crate) room: &'a RoomId,
    /// It cannot know of match tokens.
    pub(crate) legacy: bool,
}

/// What a peer may, once it was checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pass {
    /// When the connection has to end, Unix time in seconds.
    pub(crate) ends_at: Option<f64>,
    /// Who it is.
    pub(crate) identity: Identity,
    /// It came in without a token, as a peer that cannot know of match tokens.
    pub(crate) legacy: bool,
}

/// Who a peer is, as far as its token says: the matchmaker knows, an issuer does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// What it is in the room.
    pub(crate) role: Option<Role>,
    /// The host's id, or the match (reservation) id of a player.
    pub(crate) id: Option<String>,
}

/// Why a peer does not come in. Peers are told [`AuthError::OtherRoom`] from the rest, and nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    /// It sent none.
    #[error("no token")]
    Missing,
    /// There is no key to check tokens with: that concerns the operator of the server, not the peer.
    #[error("no key to check tokens with")]
    NoKey,
    /// The issuer publishes no key of the token's id and algorithm.
    #[error("token of an unknown key")]
    UnknownKey,
    /// Wrong form, algorithm, signature, issuer or audience.
    #[error("invalid token")]
    Invalid,
    /// Its time is over.
    #[error("expired token")]
    Expired,
    /// Its time has not come.
    #[error("token that is not valid yet")]
    NotYetValid,
    /// It opens other rooms.
    #[error("token for another room")]
    OtherRoom,
}

impl AuthError {
    /// Every reason there is.
    pub(crate) const ALL: [Self; 7] = [
        Self::Missing,
        Self::NoKey,
        Self::UnknownKey,
        Self::Invalid,
        Self::Expired,
        Self::NotYetValid,
        Self::OtherRoom,
    ];
}

/// Checks what a peer claims with the keys that were found for it. `now`: Unix time in seconds.
pub(crate) fn check(
    claim: Claim<'_>,
    settings: &AuthSettings,
    keys: &Keys,
    now: f64,
) -> Result<Pass, AuthError> {
    match settings {
        AuthSettings::None => Ok(Pass::default()),
        AuthSettings::Jwt(jwt) => {
            let token = claim.token.ok_or(AuthError::Missing)?;
            let Keys::Issuer(keys) = keys else {
                return Err(AuthError::NoKey);
            };
            jwt::check(token, claim.room, jwt, keys, now)
        }
        AuthSettings::MatchToken { legacy_peers } => {
            let Some(token) = claim.token else {
                return match_token::without(claim.legacy, *legacy_peers);
            };
            let Keys::Match(keys) = keys else {
                return Err(AuthError::NoKey);
            };
            match_token::check(token, claim.room, keys.as_ref(), now)
        }
    }
}
