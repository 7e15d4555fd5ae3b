//! Finds the keys with which a token has to be checked.

use std::sync::Arc;

use berth_crds::settings::{AuthSettings, KeySource, SecretPair, SignalingSettings, match_key_secret};
use berth_dataplane::match_token::MatchKeys;
use berth_dataplane::secrets::{RotatingSecret, SecretStore};
use serde_json::{Value, json};

use super::jwks::{KeySetTiming, KeySets};
use super::jwt::{self, IssuerKeys};
use super::{AuthMetrics, Token};

/// Keys that were found for a token.
pub(crate) enum Keys {
    /// None are needed, or none can help.
    None,
    /// Those of an issuer.
    Issuer(IssuerKeys),
    /// The match key; `None`: its Secret is not there.
    Match(Option<MatchKeys>),
}

/// All keys of a server.
///
/// Those that are secrets are read anew each time, so that a rotation needs no restart.
pub(crate) struct Keyring {
    published: KeySets,
}

impl Keyring {
    /// Nothing is fetched yet.
    pub(crate) fn new(metrics: Arc<AuthMetrics>, timing: KeySetTiming) -> Self {
        Self {
            published: KeySets::new(metrics, timing),
        }
    }

    /// The keys for `token`. Only published keys have to be waited for, and those only for a token that they could help: whoever
    /// sends none, or one of another algorithm, has nothing fetched.
    pub(crate) async fn find(
        &self,
        secrets: &SecretStore,
        settings: &SignalingSettings,
        token: Option<&Token>,
    ) -> Keys {
        match (&settings.auth, token) {
            (AuthSettings::None, _) | (_, None) => Keys::None,
            (AuthSettings::MatchToken { .. }, Some(_)) => {
                Keys::Match(MatchKeys::from_store(secrets, settings))
            }
            (AuthSettings::Jwt(jwt), Some(token)) => Keys::Issuer(match &jwt.keys {
                KeySource::Secret(pair) => IssuerKeys::Shared(shared(secrets, pair, settings)),
                KeySource::Jwks(jwks) => match jwt::pinned(token, jwt) {
                    Ok(header) => IssuerKeys::Published(self.published.find(secrets, jwks, &header).await),
                    Err(_) => IssuerKeys::Published(None),
                },
            }),
        }
    }

    /// Has published keys fetched before a peer needs them, so that a mistake in the settings shows early.
    pub(crate) fn prepare(&self, secrets: &SecretStore, settings: &SignalingSettings) {
        if let AuthSettings::Jwt(jwt) = &settings.auth
            && let KeySource::Jwks(jwks) = &jwt.keys
        {
            self.published.prepare(secrets, jwks);
        }
    }

    /// What to do about keys in use that everybody knows.
    pub(crate) fn placeholders(secrets: &SecretStore, settings: &SignalingSettings) -> Vec<String> {
        match &settings.auth {
            AuthSettings::MatchToken { .. } => secrets.placeholders(&match_key_secret(&settings.name.name)),
            AuthSettings::Jwt(jwt) => match &jwt.keys {
                KeySource::Secret(pair) => secrets.placeholders(pair),
                KeySource::Jwks(_) => Vec::new(),
            },
            AuthSettings::None => Vec::new(),
        }
    }

    /// For `/statusz`.
    pub(crate) fn describe(&self, secrets: &SecretStore, settings: &SignalingSettings) -> Value {
        let placeholders = Self::placeholders(secrets, settings);
        match &settings.auth {
            AuthSettings::None => json!({"mode": "None"}),
            AuthSettings::MatchToken { legacy_peers } => {
                let key = MatchKeys::from_store(secrets, settings).is_some();
                json!({"mode": "MatchToken", "legacyPeers": legacy_peers, "key": key, "placeholders": placeholders})
            }
            AuthSettings::Jwt(jwt) => match &jwt.keys {
                KeySource::Secret(pair) => {
                    let key = !shared(secrets, pair, settings).is_empty();
                    json!({"mode": "Jwt", "key": key, "placeholders": placeholders})
                }
                KeySource::Jwks(_) => json!({"mode": "Jwt", "keySet": self.published.describe()}),
            },
        }
    }
}

/// The secret that is shared with an issuer, as far as it counts in the environment of the cluster.
fn shared(secrets: &SecretStore, pair: &SecretPair, settings: &SignalingSettings) -> RotatingSecret {
    secrets.rotating(pair).counting_in(settings.environment)
}
