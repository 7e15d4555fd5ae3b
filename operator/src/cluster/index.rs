//! Who names whom: when an object changes, everything that depends on it is looked at again.

use std::collections::{BTreeSet, HashMap, VecDeque};

use berth_crds::settings::ObjectName;

/// An object that is named or names others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    /// A SignalingCluster.
    SignalingCluster(ObjectName),
    /// A HostPool.
    HostPool(ObjectName),
    /// A TurnConfig.
    TurnConfig(ObjectName),
    /// A Secret.
    Secret(ObjectName),
}

/// References in both directions. It holds what existing resources name and nothing else, so it is as large as they are.
#[derive(Debug, Default)]
pub(crate) struct ReferenceIndex {
    names: HashMap<Node, BTreeSet<Node>>,
    named_by: HashMap<Node, BTreeSet<Node>>,
}

impl ReferenceIndex {
    /// Notes that `node` names exactly `targets`, and returns those that it began or ceased to name.
    pub(crate) fn set(&mut self, node: &Node, targets: &BTreeSet<Node>) -> BTreeSet<Node> {
        let before = if targets.is_empty() {
            self.names.remove(node).unwrap_or_default()
        } else {
            self.names
                .insert(node.clone(), targets.clone())
                .unwrap_or_default()
        };
        for gone in before.difference(targets) {
            if let Some(namers) = self.named_by.get_mut(gone) {
                namers.remove(node);
                if namers.is_empty() {
                    self.named_by.remove(gone);
                }
            }
        }
        for new in targets.difference(&before) {
            self.named_by.entry(new.clone()).or_default().insert(node.clone());
        }
        before.symmetric_difference(targets).cloned().collect()
    }

    /// How many resources name `node` themselves.
    pub(crate) fn count(&self, node: &Node) -> usize {
        self.named_by.get(node).map_or(0, BTreeSet::len)
    }

    /// Everything that depends on `node`: what names it, what names that, and so on.
    pub(crate) fn dependents(&self, node: &Node) -> BTreeSet<Node> {
        let mut found = BTreeSet::new();
        let mut open = VecDeque::from([node]);
        while let Some(next) = open.pop_front() {
            for namer in self.named_by.get(next).into_iter().flatten() {
                if found.insert(namer.clone()) {
                    open.push_back(namer);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ObjectName {
        ObjectName::new("ns", text)
    }

    #[test]
    fn a_secret_reaches_the_pool_through_turn_config_and_cluster() {
        let (secret, turn) = (Node::Secret(name("turn-secret")), Node::TurnConfig(name("turn")));
        let (pool, cluster) = (Node::HostPool(name("eu")), Node::SignalingCluster(name("main")));
        let mut index = ReferenceIndex::default();
        index.set(&turn, &[secret.clone()].into());
        index.set(&pool, &[turn.clone(), cluster.clone()].into());
        index.set(&cluster, &[turn.clone()].into());

        assert_eq!(
            index.dependents(&secret),
            [turn.clone(), pool.clone(), cluster.clone()].into()
        );
        assert_eq!(index.dependents(&cluster), [pool.clone()].into());
        assert_eq!(index.count(&turn), 2);
    }

    #[test]
    fn what_is_named_no_longer_is_forgotten() {
        let pool = Node::HostPool(name("eu"));
        let (old, new) = (Node::TurnConfig(name("old")), Node::TurnConfig(name("new")));
        let mut index = ReferenceIndex::default();
        assert_eq!(index.set(&pool, &[old.clone()].into()), [old.clone()].into());
        assert_eq!(index.set(&pool, &[old.clone()].into()), [].into());
        assert_eq!(
            index.set(&pool, &[new.clone()].into()),
            [old.clone(), new.clone()].into()
        );
        assert_eq!(index.count(&old), 0);
        index.set(&pool, &BTreeSet::new());
        assert!(index.names.is_empty() && index.named_by.is_empty());
    }
}
