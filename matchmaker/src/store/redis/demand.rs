//! Finds that were refused lately, over all replicas.

use std::sync::OnceLock;

use berth_dataplane::occupancy::LUA_ROOMS;
use berth_dataplane::redis::Script;

use super::answers::{self, Flat};
use super::{RedisStore, StoreError};
use crate::demand::ByRegion;
use crate::metrics::{MOST_REGIONS, OTHER_REGIONS};
use crate::store::demand::{SLOT, SLOTS};

impl RedisStore {
    /// Adds what was refused and gives the sums of the last slots.
    pub(super) async fn add_demand(&self, refused: ByRegion) -> Result<ByRegion, StoreError> {
        static SCRIPT: OnceLock<Script> = OnceLock::new();
        let script =
            SCRIPT.get_or_init(|| Script::new(&[LUA_ROOMS, include_str!("../lua/demand.lua")].join("\n")));
        let prefix = self.keys.pool(&self.pool);
        let keys = [format!("{prefix}demand")];
        let fixed = [
            prefix,
            self.clock.ahead_us().to_string(),
            SLOT.as_millis().to_string(),
            SLOTS.to_string(),
            MOST_REGIONS.to_string(),
            OTHER_REGIONS.to_owned(),
        ];
        let refused = refused.into_iter();
        let args: Vec<String> = fixed
            .into_iter()
            .chain(refused.flat_map(|(region, number)| [region, number.to_string()]))
            .collect();
        let sums: Flat = self.link.script(script, &keys, &args).await?;
        answers::demand(&sums)
    }
}
