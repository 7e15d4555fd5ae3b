//! Finds that were refused because no host was free, by the region that was asked for. Pure.
//!
//! Players write what they like, so a region gets a name of its own only while there is room: regions with hosts may take all
//! [`MOST_REGIONS`] names, others half of them. The rest counts together. A name stays until the process ends, because
//! a metric whose labels come and go grows without bounds.

use std::collections::{BTreeMap, BTreeSet};

use berth_crds::api::RegionDemand;

use crate::metrics::{MOST_REGIONS, OTHER_REGIONS};

/// Where whoever names no region is counted.
pub const ANY_REGION: &str = "any";
/// Most names of regions that had no host when somebody asked for them.
const MOST_STRANGERS: usize = MOST_REGIONS / 2;

/// Numbers of refused finds by the name of a region.
pub type ByRegion = BTreeMap<String, u64>;

/// What this process has refused.
#[derive(Debug, Default)]
pub struct Demand {
    /// Every name there is, and those of regions without hosts.
    names: BTreeSet<String>,
    strangers: usize,
    /// What the store was not told yet.
    untold: ByRegion,
}

impl Demand {
    /// Counts a find; gives the name under which it counts. `has_hosts`: whether there are hosts in a region.
    pub fn refused(&mut self, region: Option<&str>, has_hosts: impl FnOnce(&str) -> bool) -> String {
        let name = match region {
            None => ANY_REGION,
            Some(region) if self.names.contains(region) => region,
            Some(region) => self.admit(region, has_hosts(region)),
        };
        *self.untold.entry(name.to_owned()).or_default() += 1;
        name.to_owned()
    }

    fn admit<'a>(&mut self, region: &'a str, has_hosts: bool) -> &'a str {
        if self.names.len() >= MOST_REGIONS || !has_hosts && self.strangers >= MOST_STRANGERS {
            return OTHER_REGIONS;
        }
        self.names.insert(region.to_owned());
        self.strangers += usize::from(!has_hosts);
        region
    }

    /// What the store was not told yet.
    pub fn take(&mut self) -> ByRegion {
        std::mem::take(&mut self.untold)
    }

    /// Whether the store was told everything.
    pub fn is_told(&self) -> bool {
        self.untold.is_empty()
    }

    /// The store was not told it after all.
    pub fn put_back(&mut self, untold: ByRegion) {
        for (name, number) in untold {
            *self.untold.entry(name).or_default() += number;
        }
    }
}

/// The regions with the most refused finds, at most [`MOST_REGIONS`], and all others together; most first.
pub fn largest(demand: &ByRegion) -> Vec<RegionDemand> {
    let mut regions: Vec<(&str, u64)> = demand
        .iter()
        .filter(|(_, refused)| **refused > 0)
        .map(|(name, refused)| (name.as_str(), *refused))
        .collect();
    let by_size = |(a, of_a): &(&str, u64), (b, of_b): &(&str, u64)| of_b.cmp(of_a).then(a.cmp(b));
    // What is counted together already stays so.
    let together = regions.iter().position(|(name, _)| *name == OTHER_REGIONS);
    let mut other = together.map_or(0, |place| regions.remove(place).1);
    regions.sort_by(by_size);
    let rest = regions.split_off(regions.len().min(MOST_REGIONS));
    other += rest.iter().map(|(_, refused)| refused).sum::<u64>();
    if other > 0 {
        regions.push((OTHER_REGIONS, other));
        regions.sort_by(by_size);
    }
    let region = |(name, refused): (&str, u64)| RegionDemand {
        region: name.to_owned(),
        refused: i64::try_from(refused).unwrap_or(i64::MAX),
    };
    regions.into_iter().map(region).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_for_nonsense_takes_no_name_from_regions_with_hosts() {
        let mut demand = Demand::default();
        assert_eq!(demand.refused(None, |_| panic!("nobody named one")), "any");
        for number in 0..1000 {
            let region = format!("nonsense-{number}");
            let name = demand.refused(Some(&region), |_| false);
            assert_eq!(name == region, number < 32, "{name}");
        }
        for number in 0..40 {
            let region = format!("eu-{number}");
            let name = demand.refused(Some(&region), |_| true);
            assert_eq!(name == region, number < 32, "{name}");
        }
        assert_eq!(
            demand.refused(Some("eu-3"), |_| false),
            "eu-3",
            "known, though its hosts are gone"
        );
        let told = demand.take();
        assert_eq!((told.len(), told["any"], told["eu-3"]), (66, 1, 2));
        assert_eq!(told["other"], 968 + 8);
        assert!(demand.take().is_empty());
        demand.refused(Some("eu-3"), |_| true);
        demand.put_back(told);
        assert_eq!(demand.take()["eu-3"], 3);
    }

    #[test]
    fn the_largest_are_named_and_none_is_lost() {
        let demand: ByRegion = (0..100).map(|number| (format!("r{number:02}"), number)).collect();
        let told = largest(&demand);
        let names: Vec<_> = told.iter().map(|one| one.region.as_str()).collect();
        assert_eq!(
            (told.len(), names[0], told[0].refused),
            (65, "other", (1..=35).sum())
        );
        assert_eq!((names[1], names[64]), ("r99", "r36"));
        assert_eq!(
            told.iter().map(|one| one.refused).sum::<i64>(),
            (0..100).sum::<i64>()
        );
        let with_other: ByRegion = [("other".to_owned(), 2), ("eu".to_owned(), 3)].into();
        let told = largest(&with_other);
        assert_eq!((told[0].region.as_str(), told[1].refused), ("eu", 2));
        assert!(largest(&ByRegion::new()).is_empty());
    }
}
