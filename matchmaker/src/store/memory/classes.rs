//! Classes of hosts: what they say of themselves that a find can ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::MOST_CLASSES;

/// A region and the labels of hosts in it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    pub(super) region: String,
    pub(super) labels: BTreeMap<String, String>,
}

/// The classes of a pool, at most [`MOST_CLASSES`], and how many hosts each has. None is without labels.
#[derive(Debug, Default)]
pub(super) struct Classes(BTreeMap<Arc<Class>, usize>);

impl Class {
    /// Whether its hosts have all these labels.
    pub(super) fn has(&self, labels: &BTreeMap<String, String>) -> bool {
        has(&self.labels, labels)
    }
}

/// Whether `wanted` are among the labels of a host.
pub(super) fn has(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl Classes {
    /// A place for one host; `None` when it has no labels, or when there is none left.
    pub(super) fn join(&mut self, region: &str, labels: &BTreeMap<String, String>) -> Option<Arc<Class>> {
        if labels.is_empty() {
            return None;
        }
        let class = Arc::new(Class {
            region: region.to_owned(),
            labels: labels.clone(),
        });
        let known = self.0.get_key_value(&class).map(|(known, _)| Arc::clone(known));
        if known.is_none() && self.0.len() >= MOST_CLASSES {
            return None;
        }
        let class = known.unwrap_or(class);
        *self.0.entry(Arc::clone(&class)).or_default() += 1;
        Some(class)
    }

    /// Gives the place of one host up.
    pub(super) fn leave(&mut self, class: Option<&Arc<Class>>) {
        let Some((class, hosts)) = class.and_then(|class| Some((class, self.0.get_mut(class)?))) else {
            return;
        };
        *hosts -= 1;
        if *hosts == 0 {
            self.0.remove(class);
        }
    }
}
