//! What is allowed and should not stay so: `SecurityWarnings`. It says nothing about readiness.

use berth_crds::api::{Auth, LegacyPeers};

use super::conditions::{Conditions, Truth};
use super::reason::{ConditionType, Reason};

/// Adds `SecurityWarnings`: true while there is something to warn of, with the first as its reason and all in its message.
pub(super) fn tell(auth: &Auth, conditions: &mut Conditions<'_>) {
    let warnings = warnings(auth);
    let Some((reason, _)) = warnings.first() else {
        return conditions.set(
            ConditionType::SecurityWarnings,
            Truth::False,
            Reason::NoWarnings,
            "nothing to warn of",
        );
    };
    let messages: Vec<_> = warnings.iter().map(|(_, message)| *message).collect();
    conditions.set(
        ConditionType::SecurityWarnings,
        Truth::True,
        *reason,
        messages.join("; "),
    );
}

fn warnings(auth: &Auth) -> Vec<(Reason, &'static str)> {
    let mut warnings = Vec::new();
    if auth.legacy_peers == LegacyPeers::Allow {
        warnings.push((
            Reason::LegacyPeersAllowed,
            "spec.auth.legacyPeers is Allow: peers without a token are let in, and then a room id is all they need to know",
        ));
    }
    let jwks = auth.jwt.as_ref().and_then(|jwt| jwt.jwks.as_ref());
    if jwks.is_some_and(|jwks| jwks.url.starts_with("http://")) {
        warnings.push((
            Reason::KeySetUnprotected,
            "spec.auth.jwt.jwks.url is http://: whoever can change the answer on its way can make tokens",
        ));
    }
    warnings
}
