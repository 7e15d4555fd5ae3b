//! Hosts with a free slot, such that drawing one at random does not depend on how many there are.

use std::collections::{BTreeMap, HashMap};

use crate::host::HostId;
use crate::store::Dice;

/// A set that a random member can be drawn from in constant time.
#[derive(Debug, Default)]
struct Urn {
    hosts: Vec<HostId>,
    places: HashMap<HostId, usize>,
}

/// Hosts with a free slot, all together and by region.
#[derive(Debug, Default)]
pub(super) struct FreeHosts {
    all: Urn,
    /// Only regions that have one.
    regions: BTreeMap<String, Urn>,
}

impl Urn {
    fn insert(&mut self, host: &HostId) {
        if !self.places.contains_key(host) {
            self.places.insert(host.clone(), self.hosts.len());
            self.hosts.push(host.clone());
        }
    }

    fn remove(&mut self, host: &HostId) {
        let Some(place) = self.places.remove(host) else {
            return;
        };
        self.hosts.swap_remove(place);
        if let Some(moved) = self.hosts.get(place) {
            self.places.insert(moved.clone(), place);
        }
    }

    fn draw(&self, dice: u32) -> Option<&HostId> {
        let place = usize::try_from(dice)
            .unwrap_or_default()
            .checked_rem(self.hosts.len())?;
        self.hosts.get(place)
    }
}

impl FreeHosts {
    pub(super) fn insert(&mut self, host: &HostId, region: &str) {
        self.all.insert(host);
        self.regions.entry(region.to_owned()).or_default().insert(host);
    }

    pub(super) fn remove(&mut self, host: &HostId, region: &str) {
        self.all.remove(host);
        if let Some(urn) = self.regions.get_mut(region) {
            urn.remove(host);
            if urn.hosts.is_empty() {
                self.regions.remove(region);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.hosts.is_empty()
    }

    /// Draws a host: from the asked region while it has one, unless the dice leave it for another one. `weight` is
    /// the weight of the asked region against the others; 100 means always.
    pub(super) fn draw(&self, region: Option<&str>, weight: u32, dice: Dice) -> Option<HostId> {
        let urn = match region.and_then(|name| Some((name, self.regions.get(name)?))) {
            None => &self.all,
            Some((name, wanted)) => {
                let stray = weight < 100 && dice.stray.is_multiple_of(weight + 1);
                stray
                    .then(|| self.other_region(name, dice.region))
                    .flatten()
                    .unwrap_or(wanted)
            }
        };
        urn.draw(dice.host).cloned()
    }

    /// Another region than `wanted`, by the number of its free hosts.
    fn other_region(&self, wanted: &str, dice: u32) -> Option<&Urn> {
        let others = || {
            self.regions
                .iter()
                .filter(|(name, _)| *name != wanted)
                .map(|(_, urn)| urn)
        };
        let total: usize = others().map(|urn| urn.hosts.len()).sum();
        let mut place = usize::try_from(dice).unwrap_or_default().checked_rem(total)?;
        others().find(|urn| {
            let found = place < urn.hosts.len();
            place = place.saturating_sub(urn.hosts.len());
            found
        })
    }
}
