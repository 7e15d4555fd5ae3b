//! What counts and index of a pool must be, by its hosts.

use std::collections::{BTreeMap, BTreeSet};

use berth_dataplane::redis::{RedisLink, cmd};
use berth_matchmaker::host::HostState;
use berth_matchmaker::store::{Counts, HostRecord, MOST_CLASSES, RegionCounts};

use super::world::keys;

/// On Redis the index must be exactly that of these hosts, and the classes exactly theirs.
pub(super) async fn assert_index(link: &RedisLink, hosts: &[HostRecord]) {
    let at = keys().pool("eu");
    let key = |name: &str| format!("{at}{name}");
    let index: BTreeSet<String> = link
        .command(cmd("ZRANGE").arg(key("index")).arg(0).arg(-1))
        .await
        .unwrap();
    let classes: BTreeMap<String, Vec<u8>> = link.command(cmd("HGETALL").arg(key("classes"))).await.unwrap();
    let sizes: BTreeMap<String, u32> = link
        .command(cmd("HGETALL").arg(key("class:hosts")))
        .await
        .unwrap();
    let (mut expected, mut expected_sizes) = (BTreeSet::new(), BTreeMap::new());
    for record in hosts {
        let mut text = [record.region.as_bytes(), b"\xff"].concat();
        for (key, value) in &record.labels {
            text.extend([key.as_bytes(), b"\xfe", value.as_bytes(), b"\xff"].concat());
        }
        let of_host = classes.iter().find(|(_, class)| **class == text);
        let class = of_host
            .map(|(name, _)| name)
            .filter(|_| !record.labels.is_empty());
        assert!(
            class.is_some() || record.labels.is_empty() || classes.len() >= MOST_CLASSES,
            "{record:?} has no class"
        );
        if let Some(class) = class {
            *expected_sizes.entry(class.clone()).or_default() += 1;
        }
        if record.free > 0 {
            let rest = format!("{:010}:{}", record.free, record.host);
            expected.insert(format!("a:{rest}"));
            expected.insert(format!("r{}:{}:{rest}", record.region.len(), record.region));
            expected.extend(class.map(|class| format!("c{class}:{rest}")));
        }
    }
    assert_eq!(index, expected);
    assert_eq!(sizes, expected_sizes);
    assert!(classes.keys().eq(sizes.keys()), "{classes:?} {sizes:?}");
}

/// What the counts of these hosts are.
pub(super) fn counted(hosts: &[HostRecord], said: &Counts) -> Counts {
    let mut by_state = BTreeMap::from(HostState::ALL.map(|state| (state.as_str(), 0)));
    let mut regions: BTreeMap<String, RegionCounts> = BTreeMap::new();
    for record in hosts {
        *by_state.get_mut(record.state.as_str()).unwrap() += 1;
        let region = regions.entry(record.region.clone()).or_default();
        region.hosts += 1;
        *region.states.entry(record.state.as_str()).or_default() += 1;
        region.slots += u64::from(record.capacity);
        region.available_slots += u64::from(record.free);
    }
    Counts {
        hosts: by_state,
        capacity: hosts.iter().map(|record| u64::from(record.capacity)).sum(),
        free: hosts.iter().map(|record| u64::from(record.free)).sum(),
        taken: hosts.iter().map(|record| u64::from(record.taken)).sum(),
        regions,
        occupancy_known: said.occupancy_known,
        quiet: said.quiet,
    }
}
