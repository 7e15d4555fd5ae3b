//! The secrets of a pool, as far as they count: in production, one that everybody knows is none.

use berth_crds::settings::{SecretPair, match_key_secret};
use berth_dataplane::match_token::MatchKeys;
use berth_dataplane::secrets::{RotatingSecret, SecretStore};
use berth_dataplane::settings::MatchmakerView;

/// What a secret of a pool is for; each is a check of readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Hosts prove by it that they belong to the pool.
    Hosts,
    /// It allows changes on the internal port.
    Admin,
    /// It signs match tokens.
    MatchKey,
}

impl Purpose {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Hosts, Self::Admin, Self::MatchKey];

    /// Its name among the checks of readiness.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hosts => "host-secret",
            Self::Admin => "admin-token",
            Self::MatchKey => "match-key",
        }
    }
}

/// The secrets of the pool of a view.
#[derive(Clone, Copy, Debug)]
pub struct PoolSecrets<'a> {
    store: &'a SecretStore,
    view: &'a MatchmakerView,
}

impl<'a> PoolSecrets<'a> {
    /// Those that `view` names, out of `store`.
    pub fn new(store: &'a SecretStore, view: &'a MatchmakerView) -> Self {
        Self { store, view }
    }

    /// What counts of the secret for `purpose`.
    pub fn get(self, purpose: Purpose) -> RotatingSecret {
        let environment = self.view.cluster.environment;
        self.store.rotating(&self.names(purpose)).counting_in(environment)
    }

    /// Keys of match tokens; `None` means that none are issued.
    pub fn match_keys(self) -> Option<MatchKeys> {
        MatchKeys::new(&self.get(Purpose::MatchKey))
    }

    /// Why the matchmaker should get no requests, as far as the secret for `purpose` is concerned: hosts need one, and where
    /// nothing but placeholders is left of another one, somebody wants it and forgot to make it.
    pub fn missing(self, purpose: Purpose) -> Option<String> {
        let names = self.names(purpose);
        let counts = self.get(purpose);
        // Match tokens are signed with the current one, whatever the previous one is.
        let serves = match purpose {
            Purpose::Hosts | Purpose::Admin => !counts.is_empty(),
            Purpose::MatchKey => counts.current.is_some(),
        };
        if serves {
            return None;
        }
        let placeholders = self.store.placeholders(&names);
        if !placeholders.is_empty() {
            return Some(format!("refused in Production: {}", placeholders.join("; ")));
        }
        let current = names.current;
        (purpose == Purpose::Hosts).then(|| format!("Secret {} has no key {}", current.name, current.key))
    }

    /// What to do about each secret in use that everybody knows.
    pub fn placeholders(self) -> Vec<String> {
        Purpose::ALL
            .iter()
            .flat_map(|purpose| self.store.placeholders(&self.names(*purpose)))
            .collect()
    }

    fn names(self, purpose: Purpose) -> SecretPair {
        match purpose {
            Purpose::Hosts => self.view.pool.host_secret.clone(),
            Purpose::Admin => self.view.pool.admin_token.clone(),
            Purpose::MatchKey => match_key_secret(&self.view.cluster.name.name),
        }
    }
}
