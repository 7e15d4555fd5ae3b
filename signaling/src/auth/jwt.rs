//! JSON Web Tokens of an issuer (RFC 7519): pure, keys and time come as arguments.

use std::sync::Arc;

use berth_crds::api::JwtAlgorithm;
use berth_crds::settings::{JwtSettings, RoomId};
use berth_dataplane::secrets::RotatingSecret;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Map, Value};

use super::key_set::KeySet;
use super::token::TokenHeader;
use super::{AuthError, Identity, Pass, Token};

type Claims = Map<String, Value>;

/// Keys of an issuer.
pub(crate) enum IssuerKeys {
    /// A key that it shares with us.
    Shared(RotatingSecret),
    /// Keys that it publishes; `None`: they could not be had.
    Published(Option<Arc<KeySet>>),
}

/// Checks a token for `room`. `now`: Unix time in seconds.
pub(super) fn check(
    token: &Token,
    room: &RoomId,
    settings: &JwtSettings,
    keys: &IssuerKeys,
    now: f64,
) -> Result<Pass, AuthError> {
    let header = pinned(token, settings)?;
    let claims = signed(token, &header, settings, keys)?;
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(AuthError::Invalid),
    };
    let leeway = settings.leeway.as_secs_f64();
    let ends_at = time("exp")?.map(|expiry| expiry + leeway);
    if ends_at.is_some_and(|end| end <= now) {
        return Err(AuthError::Expired);
    }
    if time("nbf")?.is_some_and(|start| start > now + leeway) {
        return Err(AuthError::NotYetValid);
    }
    if !opens(claims.get(&settings.rooms_claim), room) {
        return Err(AuthError::OtherRoom);
    }
    Ok(Pass {
        ends_at,
        identity: Identity::default(),
        legacy: false,
    })
}

/// The header of a token that names one of the accepted algorithms.
pub(super) fn pinned(token: &Token, settings: &JwtSettings) -> Result<TokenHeader, AuthError> {
    let header = token.header()?;
    let mut accepted = settings.algorithms.iter().copied().map(algorithm);
    if accepted.any(|algorithm| algorithm == header.algorithm) {
        Ok(header)
    } else {
        Err(AuthError::Invalid)
    }
}

/// The claims, if one of the keys signed them, and issuer and audience are right.
fn signed(
    token: &Token,
    header: &TokenHeader,
    settings: &JwtSettings,
    keys: &IssuerKeys,
) -> Result<Claims, AuthError> {
    let validation = validation(header.algorithm, settings);
    let with = |key: &DecodingKey| {
        let decoded = decode::<Claims>(token.text(), key, &validation).ok();
        decoded.map(|data| data.claims)
    };
    match keys {
        IssuerKeys::Shared(secret) if secret.is_empty() => Err(AuthError::NoKey),
        IssuerKeys::Published(None) => Err(AuthError::NoKey),
        IssuerKeys::Shared(secret) => [&secret.current, &secret.previous]
            .into_iter()
            .flatten()
            .find_map(|key| with(&DecodingKey::from_secret(key.expose())))
            .ok_or(AuthError::Invalid),
        IssuerKeys::Published(Some(set)) if !set.fits(header) => Err(AuthError::UnknownKey),
        IssuerKeys::Published(Some(set)) => set.fitting(header).find_map(with).ok_or(AuthError::Invalid),
    }
}

/// Everything but time, which is compared with the caller's clock.
fn validation(algorithm: Algorithm, settings: &JwtSettings) -> Validation {
    let mut validation = Validation::new(algorithm);
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
    validation
}

fn algorithm(of: JwtAlgorithm) -> Algorithm {
    match of {
        JwtAlgorithm::HS256 => Algorithm::HS256,
        JwtAlgorithm::HS384 => Algorithm::HS384,
        JwtAlgorithm::HS512 => Algorithm::HS512,
        JwtAlgorithm::RS256 => Algorithm::RS256,
        JwtAlgorithm::PS256 => Algorithm::PS256,
        JwtAlgorithm::ES256 => Algorithm::ES256,
    }
}

/// An absent claim opens every room, a list those in it, and anything else none.
fn opens(claim: Option<&Value>, room: &RoomId) -> bool {
    let Some(claim) = claim else { return true };
    let mut rooms = claim.as_array().into_iter().flatten();
    rooms.any(|name| name.as_str() == Some(room.as_str()))
}

#[cfg(test)]
mod tests;
