//! Hosts by the number of their free slots, such that drawing one at random does not depend on how many there are.

use std::collections::{BTreeMap, HashMap};

use berth_crds::settings::Strategy;

use crate::host::HostId;

/// A set that a random member can be drawn from in constant time.
#[derive(Debug, Default)]
struct Urn {
    hosts: Vec<HostId>,
    places: HashMap<HostId, usize>,
}

/// Hosts with a free slot.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// By their free slots; only numbers that a host has.
    by_free: BTreeMap<u32, Urn>,
    hosts: usize,
}

impl Urn {
    fn insert(&mut self, host: &HostId) {
        self.places.insert(host.clone(), self.hosts.len());
        self.hosts.push(host.clone());
    }

    fn remove(&mut self, host: &HostId) -> bool {
        let Some(place) = self.places.remove(host) else {
            return false;
        };
        self.hosts.swap_remove(place);
        if let Some(moved) = self.hosts.get(place) {
            self.places.insert(moved.clone(), place);
        }
        true
    }
}

impl Shelf {
    /// Adds a host that is not there.
    pub(super) fn insert(&mut self, host: &HostId, free: u32) {
        self.by_free.entry(free).or_default().insert(host);
        self.hosts += 1;
    }

    /// Removes a host that was added with this number of free slots.
    pub(super) fn remove(&mut self, host: &HostId, free: u32) {
        let Some(urn) = self.by_free.get_mut(&free) else {
            return;
        };
        self.hosts -= usize::from(urn.remove(host));
        if urn.hosts.is_empty() {
            self.by_free.remove(&free);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.hosts
    }

    /// Draws a host from several shelves: one with the fewest or the most free slots of all, or any.
    pub(super) fn draw<'a>(shelves: &[&'a Self], strategy: Strategy, dice: u32) -> Option<&'a HostId> {
        let numbers = |shelf: &&'a Self| shelf.by_free.keys();
        let best = match strategy {
            Strategy::Packed => shelves.iter().filter_map(|shelf| numbers(shelf).next()).min(),
            Strategy::Spread => shelves
                .iter()
                .filter_map(|shelf| numbers(shelf).next_back())
                .max(),
            Strategy::Sample { .. } => None,
        };
        let urns: Vec<&Urn> = match best {
            Some(free) => shelves
                .iter()
                .filter_map(|shelf| shelf.by_free.get(free))
                .collect(),
            None => shelves.iter().flat_map(|shelf| shelf.by_free.values()).collect(),
        };
        let hosts = urns.iter().map(|urn| urn.hosts.len()).sum();
        let mut place = usize::try_from(dice).unwrap_or_default().checked_rem(hosts)?;
        urns.into_iter().find_map(|urn| {
            let found = urn.hosts.get(place);
            place = place.saturating_sub(urn.hosts.len());
            found
        })
    }
}
