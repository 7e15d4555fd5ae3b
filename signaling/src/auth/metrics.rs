//! What came of tokens and key sets.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use berth_dataplane::telemetry::Metrics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::AuthError;

/// Handles of the metrics.
#[derive(Debug, Default)]
pub(crate) struct AuthMetrics {
    results: Family<AuthLabel, Counter>,
    refreshes: Family<RefreshLabel, Counter>,
    keys: Gauge,
    refreshed_at: Gauge,
}

/// How a peer's token was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AuthResult {
    /// It was accepted.
    Accepted,
    /// There was none, and the peer came in as one that cannot know of match tokens.
    Legacy,
    /// The peer was refused.
    Refused(Reason),
}

/// Label values of [`AuthError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reason(&'static str);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuthLabel {
    result: AuthResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabel {
    result: &'static str,
}

impl AuthMetrics {
    /// Makes the metrics and registers them.
    pub(crate) fn register(metrics: &Metrics) -> Arc<Self> {
        let this = Self::default();
        // Shown before the first of each, so that its rise is seen.
        let results = AuthError::ALL.into_iter().map(AuthResult::from);
        for result in results.chain([AuthResult::Accepted, AuthResult::Legacy]) {
            drop(this.results.get_or_create(&AuthLabel { result }));
        }
        for result in ["ok", "failed"] {
            drop(this.refreshes.get_or_create(&RefreshLabel { result }));
        }
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("signaling");
            let help = "Peers whose token was looked at, by result";
            registry.register("auth", help, this.results.clone());
            let help = "Fetches of the issuer's key set, by result";
            registry.register("jwks_refreshes", help, this.refreshes.clone());
            let help = "Keys in the issuer's key set, as it was fetched last";
            registry.register("jwks_keys", help, this.keys.clone());
            let help = "When the issuer's key set was fetched last, Unix time in seconds";
            registry.register(
                "jwks_refreshed_timestamp_seconds",
                help,
                this.refreshed_at.clone(),
            );
        });
        Arc::new(this)
    }

    /// Counts a peer.
    pub(crate) fn judged(&self, result: AuthResult) {
        self.results.get_or_create(&AuthLabel { result }).inc();
    }

    /// Counts a fetch, and how many keys it gave; `None`: it failed.
    pub(super) fn refreshed(&self, keys: Option<usize>) {
        let result = if keys.is_some() { "ok" } else { "failed" };
        self.refreshes.get_or_create(&RefreshLabel { result }).inc();
        if let Some(keys) = keys {
            self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.refreshed_at
                .set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        }
    }
}

impl From<AuthError> for AuthResult {
    fn from(error: AuthError) -> Self {
        Self::Refused(Reason(match error {
            AuthError::Missing => "missing",
            AuthError::NoKey => "no-key",
            AuthError::UnknownKey => "unknown-key",
            AuthError::Invalid => "invalid",
            AuthError::Expired => "expired",
            AuthError::NotYetValid => "not-yet-valid",
            AuthError::OtherRoom => "other-room",
        }))
    }
}

impl EncodeLabelValue for AuthResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Accepted => "accepted",
            Self::Legacy => "legacy",
            Self::Refused(Reason(name)) => name,
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}
