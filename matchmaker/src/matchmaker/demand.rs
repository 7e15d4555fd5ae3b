//! Demand that the pool could not serve.

use super::{Matchmaker, unavailable_or};
use crate::api::Refusal;
use crate::demand::ByRegion;
use crate::host::HostId;

/// Where a player wanted to play, if any host would have done: what one host cannot serve says nothing about a region.
pub(super) enum Wanted {
    /// On one host alone.
    Host,
    /// In this region, or anywhere.
    Region(Option<String>),
}

impl Wanted {
    pub(super) fn new(region: Option<&str>, host: Option<&HostId>) -> Self {
        match host {
            Some(_) => Self::Host,
            None => Self::Region(region.map(str::to_owned)),
        }
    }
}

impl Matchmaker {
    /// Counts a find that is refused.
    pub(super) fn refuse(&self, wanted: Wanted, refusal: Refusal) -> Refusal {
        if let Wanted::Region(region) = wanted {
            let counts = self.metrics.counts();
            let has_hosts = |region: &str| counts.regions.contains_key(region);
            let name = self.demand.lock().refused(region.as_deref(), has_hosts);
            self.metrics.find_refused(name);
        }
        refusal
    }

    /// Finds of the pool that were refused in the last 5 minutes, on all replicas.
    pub async fn demand(&self) -> Result<ByRegion, Refusal> {
        let untold = self.demand.lock().take();
        let demand = self.store.demand(untold.clone()).await;
        demand.map_err(|error| {
            // Told twice would be worse than not at all.
            if error.had_no_effect() {
                self.demand.lock().put_back(untold);
            }
            unavailable_or("demand", &error, Refusal::Internal)
        })
    }

    /// Tells the store of finds that were refused, if there are any.
    pub(crate) async fn tell_demand(&self) {
        if !self.demand.lock().is_told() {
            // A failure was logged where it happened.
            drop(self.demand().await);
        }
    }
}
