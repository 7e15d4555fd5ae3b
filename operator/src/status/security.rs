//! What is allowed and should not stay so: `SecurityWarnings`. It says nothing about readiness.

use berth_crds::api::{Auth, AuthMode, ClusterEnvironment, LegacyPeers, SignalingClusterSpec};
use berth_crds::settings::placeholder_cure;

use super::conditions::{Conditions, Truth};
use super::progress::weak;
use super::reason::{ConditionType, Reason};
use crate::resolve::Placeholder;

type Warning = (Reason, String);

/// Adds `SecurityWarnings`: true while there is something to warn of, with the first as its reason and all in its message.
/// `None`: nobody knows, and what was told stays.
pub(super) fn tell(warnings: Option<Vec<Warning>>, conditions: &mut Conditions<'_>) {
    const KIND: ConditionType = ConditionType::SecurityWarnings;
    let Some(warnings) = warnings else {
        let unknown = (Truth::Unknown, Reason::NotLookedAt, "secrets were not looked at");
        return conditions.keep(KIND, unknown);
    };
    let Some((reason, _)) = warnings.first() else {
        return conditions.set(KIND, Truth::False, Reason::NoWarnings, "nothing to warn of");
    };
    let messages: Vec<_> = warnings.iter().map(|(_, message)| message.as_str()).collect();
    conditions.set(KIND, Truth::True, *reason, messages.join("; "));
}

/// What a SignalingCluster allows.
pub(super) fn of_auth(auth: &Auth) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if auth.legacy_peers == LegacyPeers::Allow {
        warnings.push((
            Reason::LegacyPeersAllowed,
            "spec.auth.legacyPeers is Allow: peers without a token are let in, and then a room id is all they need to know"
                .to_owned(),
        ));
    }
    let jwks = auth.jwt.as_ref().and_then(|jwt| jwt.jwks.as_ref());
    if jwks.is_some_and(|jwks| jwks.url.starts_with("http://")) {
        warnings.push((
            Reason::KeySetUnprotected,
            "spec.auth.jwt.jwks.url is http://: whoever can change the answer on its way can make tokens"
                .to_owned(),
        ));
    }
    warnings
}

/// What a SignalingCluster of players lets in. In `Development` all of it is as it should be.
pub(super) fn of_access(spec: &SignalingClusterSpec) -> Vec<Warning> {
    let off = [
        (
            spec.security.allowed_origins.is_empty(),
            Reason::OriginsOpen,
            "spec.security.allowedOrigins is empty: pages of any site can connect",
        ),
        (
            spec.auth.mode == AuthMode::None,
            Reason::AuthOff,
            "spec.auth.mode is None: a room id is all that a peer needs to know",
        ),
        (
            !spec.security.require_wss,
            Reason::WssOff,
            "spec.security.requireWss is false: connections without TLS are let in, and can be read and changed on their way",
        ),
    ];
    off.into_iter()
        .filter(|(is_off, ..)| *is_off && spec.environment == ClusterEnvironment::Production)
        .map(|(_, reason, message)| (reason, message.to_owned()))
        .collect()
}

/// Secrets that everybody knows and that are accepted.
pub(super) fn of_placeholders(placeholders: &[Placeholder]) -> Vec<Warning> {
    placeholders
        .iter()
        .map(|one| (weak(one.purpose), placeholder_cure(&one.key.secret, &one.key.key)))
        .collect()
}
