//! Secrets in use that everybody knows: where they are, and a line in the log of what that means.

use berth_crds::api::ClusterEnvironment;
use berth_crds::settings::{SecretPair, placeholder_cure};
use tracing::warn;

use super::SecretStore;

impl SecretStore {
    /// What to do about each value of `pair` that everybody knows; empty if there is none. Never holds a value.
    pub fn placeholders(&self, pair: &SecretPair) -> Vec<String> {
        [&pair.current, &pair.previous]
            .into_iter()
            .filter(|reference| self.get(reference).is_some_and(|secret| secret.is_placeholder()))
            .map(|reference| placeholder_cure(&reference.name, &reference.key))
            .collect()
    }
}

/// Tells of placeholders once, and again when others are found or the environment is another one.
#[derive(Debug, Default)]
pub struct PlaceholderWarnings {
    told: Option<(ClusterEnvironment, Vec<String>)>,
}

impl PlaceholderWarnings {
    /// Writes a line to the log if there is something new; says whether it did. `found`: see [`SecretStore::placeholders`].
    pub fn tell(&mut self, environment: ClusterEnvironment, found: Vec<String>) -> bool {
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
    }

    #[test]
    fn told_once() {
        let mut warnings = PlaceholderWarnings::default();
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
