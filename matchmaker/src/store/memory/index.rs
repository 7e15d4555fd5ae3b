//! Hosts with a free slot, and the choice among them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::classes::Class;
use super::shelf::Shelf;
use crate::host::HostId;
use crate::store::picking::Place;
use crate::store::{Request, Rules};

/// Hosts with a free slot: all together, by region and by class.
#[derive(Debug, Default)]
pub(super) struct FreeHosts {
    all: Shelf,
    /// Only regions that have one.
    regions: BTreeMap<String, Shelf>,
    /// Only classes that have one.
    classes: BTreeMap<Arc<Class>, Shelf>,
}

/// What one host is in the index by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) host: &'a HostId,
    pub(super) region: &'a str,
    pub(super) class: Option<&'a Arc<Class>>,
    pub(super) free: u32,
}

/// The shelves of hosts that fit a request.
enum Fitting<'a> {
    /// Every host does.
    All(&'a FreeHosts),
    /// Those of some classes do, by region.
    Classes(BTreeMap<&'a str, Vec<&'a Shelf>>),
}

impl FreeHosts {
    /// Adds a host that is not there; without a free slot it has no place.
    pub(super) fn insert(&mut self, entry: Entry<'_>) {
        let Entry {
            host,
            region,
            class,
            free,
        } = entry;
        if free == 0 {
            return;
        }
        self.all.insert(host, free);
        self.regions
            .entry(region.to_owned())
            .or_default()
            .insert(host, free);
        if let Some(class) = class {
            self.classes
                .entry(Arc::clone(class))
                .or_default()
                .insert(host, free);
        }
    }

    /// Removes what was inserted.
    pub(super) fn remove(&mut self, entry: Entry<'_>) {
        let Entry {
            host,
            region,
            class,
            free,
        } = entry;
        self.all.remove(host, free);
        if let Some(shelf) = self.regions.get_mut(region) {
            shelf.remove(host, free);
            if shelf.len() == 0 {
                self.regions.remove(region);
            }
        }
        if let Some((class, shelf)) = class.and_then(|class| Some((class, self.classes.get_mut(class)?))) {
            shelf.remove(host, free);
            if shelf.len() == 0 {
                self.classes.remove(class);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.len() == 0
    }

    /// Draws a host that fits; see [`crate::store::picking`].
    pub(super) fn draw(&self, request: &Request, rules: &Rules) -> Option<HostId> {
        let fitting = Fitting::of(self, request);
        let place = request.place(rules, |region| {
            let hosts: usize = fitting.shelves(region).iter().map(|shelf| shelf.len()).sum();
            u32::try_from(hosts).unwrap_or(u32::MAX)
        });
        let region = match &place {
            Place::Anywhere => None,
            Place::In(region) => Some(*region),
            Place::Outside(passed) => Some(fitting.outside(passed, request.dice.region)?),
        };
        Shelf::draw(&fitting.shelves(region), rules.strategy, request.dice.host).cloned()
    }
}

impl<'a> Fitting<'a> {
    fn of(hosts: &'a FreeHosts, request: &Request) -> Self {
        if request.labels.is_empty() {
            return Self::All(hosts);
        }
        let mut regions: BTreeMap<&str, Vec<&Shelf>> = BTreeMap::new();
        for (class, shelf) in &hosts.classes {
            if class.has(&request.labels) {
                regions.entry(&class.region).or_default().push(shelf);
            }
        }
        Self::Classes(regions)
    }

    /// Shelves of a region, or of all.
    fn shelves(&self, region: Option<&str>) -> Vec<&'a Shelf> {
        match (self, region) {
            (Self::All(hosts), None) => vec![&hosts.all],
            (Self::All(hosts), Some(region)) => hosts.regions.get(region).into_iter().collect(),
            (Self::Classes(regions), None) => regions.values().flatten().copied().collect(),
            (Self::Classes(regions), Some(region)) => regions.get(region).cloned().unwrap_or_default(),
        }
    }

    /// A region that is none of `passed`, by the number of its hosts.
    fn outside(&self, passed: &[&str], dice: u32) -> Option<&'a str> {
        let mut regions: Vec<(&'a str, usize)> = match self {
            Self::All(hosts) => hosts
                .regions
                .iter()
                .map(|(name, shelf)| (name.as_str(), shelf.len()))
                .collect(),
            Self::Classes(regions) => regions
                .iter()
                .map(|(name, shelves)| (*name, shelves.iter().map(|shelf| shelf.len()).sum()))
                .collect(),
        };
        regions.retain(|(name, _)| !passed.contains(name));
        let hosts: usize = regions.iter().map(|(_, hosts)| hosts).sum();
        let mut place = usize::try_from(dice).unwrap_or_default().checked_rem(hosts)?;
        let mut found = regions.into_iter().filter(|(_, hosts)| {
            let found = place < *hosts;
            place = place.saturating_sub(*hosts);
            found
        });
        found.next().map(|(name, _)| name)
    }
}
