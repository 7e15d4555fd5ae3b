//! Secrets in use that everybody knows: where they are, and a line in the log of what that means.

use std::convert::Infallible;

use berth_crds::api::ClusterEnvironment;
use berth_crds::settings::{SecretPair, SecretRef, placeholder_cure};
use tracing::warn;

use super::SecretStore;
use crate::settings::{ENVIRONMENT_SECRET, Snapshot};

impl SecretStore {
    /// What to do about each value of `pair` that everybody knows; empty if there is none. Never holds a value.
    pub fn placeholders(&self, pair: &SecretPair) -> Vec<String> {
        [&pair.current, &pair.previous]
            .into_iter()
            .filter(|reference| self.get(reference).is_some_and(|secret| secret.is_placeholder()))
            .map(cure)
            .collect()
    }
}

fn cure(SecretRef { name, key }: &SecretRef) -> String {
    if name == ENVIRONMENT_SECRET {
        return format!(
            "the environment variable {key} is a placeholder that everybody knows: set it to a random value, such as \
             `openssl rand -base64 32` prints"
        );
    }
    placeholder_cure(name, key)
}

/// Writes a line to the log when secrets in use are ones that everybody knows, and again when they are others or the
/// environment is another one. `judge` gives the environment of the settings and what [`SecretStore::placeholders`] says.
/// Runs until it is dropped.
pub async fn warn_of_placeholders<V>(
    settings: &Snapshot<V>,
    secrets: &SecretStore,
    judge: impl Fn(&V) -> (ClusterEnvironment, Vec<String>),
) -> Infallible {
    let (mut new_settings, mut new_secrets) = (settings.watch(), secrets.watch());
    let mut warnings = Warnings::default();
    loop {
        new_settings.borrow_and_update();
        let (environment, found) = judge(&settings.load());
        warnings.tell(environment, found);
        // Both senders live as long as what was given.
        tokio::select! {
            _ = new_settings.changed() => {}
            _ = new_secrets.changed() => {}
        }
    }
}

#[derive(Debug, Default)]
struct Warnings {
    told: Option<(ClusterEnvironment, Vec<String>)>,
}

impl Warnings {
    /// Says whether there was something new.
    fn tell(&mut self, environment: ClusterEnvironment, found: Vec<String>) -> bool {
        let now = Some((environment, found));
        if self.told == now {
            return false;
        }
        self.told = now;
        let Some((environment, found)) = self.told.as_ref().filter(|(_, found)| !found.is_empty()) else {
            return false;
        };
        let what = found.join("; ");
        match environment {
            ClusterEnvironment::Production => warn!("refused, because environment is Production: {what}"),
            ClusterEnvironment::Development => {
                warn!("accepted, because environment is Development, and refused in Production: {what}");
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use berth_crds::api::RotatingSecretRef;

    use super::super::Secret;
    use super::*;

    #[test]
    fn both_keys_are_looked_at_and_named() {
        let store = SecretStore::in_memory();
        let pair = SecretPair::from(&RotatingSecretRef::named("hosts"));
        assert!(store.placeholders(&pair).is_empty());
        store.put(&pair.current, Secret::new("own").unwrap());
        store.put(&pair.previous, Secret::new("HELLO-MFS").unwrap());
        assert_eq!(store.placeholders(&pair), [placeholder_cure("hosts", "previous")]);
        store.put(&pair.current, Secret::new("to-change-in-prod").unwrap());
        assert_eq!(store.placeholders(&pair).len(), 2);
        let variable = |key: &str| SecretRef {
            name: ENVIRONMENT_SECRET.to_owned(),
            key: key.to_owned(),
        };
        let pair = SecretPair {
            current: variable("HOST_SECRET"),
            previous: variable("HOST_SECRET_PREVIOUS"),
        };
        store.put(&pair.current, Secret::new("HELLO-MFS").unwrap());
        let told = store.placeholders(&pair);
        assert!(
            told[0].starts_with("the environment variable HOST_SECRET is"),
            "{told:?}"
        );
    }

    #[test]
    fn told_once() {
        let mut warnings = Warnings::default();
        let (production, development) = (ClusterEnvironment::Production, ClusterEnvironment::Development);
        let found = || vec!["Secret hosts ...".to_owned()];
        let told = [
            (development, vec![], false),
            (development, found(), true),
            (development, found(), false),
            (production, found(), true),
            (production, vec![], false),
            (production, found(), true),
        ];
        for (environment, found, expected) in told {
            assert_eq!(
                warnings.tell(environment, found.clone()),
                expected,
                "{environment:?} {found:?}"
            );
        }
    }
}
