//! From the events of one watch to changes of objects.
//!
//! A watch that was interrupted lists everything anew and does not say what was deleted meanwhile. This finds out.

use std::collections::HashSet;

use berth_crds::settings::ObjectName;
use kube::Resource;
use kube::runtime::watcher::Event;

/// What happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change<K> {
    /// It is there, new, changed, or as before.
    Present(K),
    /// It is gone.
    Gone(ObjectName),
    /// Everything that existed when the watch began has been told.
    Synced,
}

/// What one watch knows to exist: names only.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    known: HashSet<ObjectName>,
    listed: HashSet<ObjectName>,
}

impl Tracker {
    /// The changes that `event` stands for.
    pub(crate) fn changes<K: Resource>(&mut self, event: Event<K>) -> Vec<Change<K>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                let name = name_of(&object);
                self.listed.insert(name.clone());
                self.known.insert(name);
                vec![Change::Present(object)]
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone: Vec<_> = self.known.difference(&listed).cloned().collect();
                self.known = listed;
                gone.into_iter()
                    .map(Change::Gone)
                    .chain([Change::Synced])
                    .collect()
            }
            Event::Apply(object) => {
                self.known.insert(name_of(&object));
                vec![Change::Present(object)]
            }
            Event::Delete(object) => {
                let name = name_of(&object);
                self.known.remove(&name);
                vec![Change::Gone(name)]
            }
        }
    }
}

/// Namespace and name of an object.
pub(crate) fn name_of<K: Resource>(object: &K) -> ObjectName {
    let metadata = object.meta();
    ObjectName::new(
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceAccount;
    use kube::api::ObjectMeta;

    use super::*;

    fn object(name: &str) -> ServiceAccount {
        ServiceAccount {
            metadata: ObjectMeta {
                namespace: Some("ns".into()),
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        }
    }

    #[test]
    fn a_new_list_reveals_what_was_deleted_meanwhile() {
        let mut tracker = Tracker::default();
        for event in [
            Event::Init,
            Event::InitApply(object("a")),
            Event::InitApply(object("b")),
            Event::InitDone,
            Event::Apply(object("c")),
            // The watch was interrupted; `a` and `c` were deleted, `d` was made.
            Event::Init,
            Event::InitApply(object("b")),
            Event::InitApply(object("d")),
        ] {
            tracker.changes(event);
        }
        let mut changes = tracker.changes(Event::<ServiceAccount>::InitDone);
        assert_eq!(changes.pop(), Some(Change::Synced));
        let gone: HashSet<_> = changes
            .into_iter()
            .map(|change| match change {
                Change::Gone(name) => name.name,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(gone, ["a".to_owned(), "c".to_owned()].into());
    }

    #[test]
    fn a_list_that_breaks_off_deletes_nothing() {
        let mut tracker = Tracker::default();
        for event in [
            Event::Init,
            Event::InitApply(object("a")),
            Event::InitDone,
            Event::Init,
            Event::Init,
            Event::InitApply(object("a")),
        ] {
            tracker.changes(event);
        }
        assert_eq!(
            tracker.changes(Event::<ServiceAccount>::InitDone),
            [Change::Synced]
        );
    }
}
