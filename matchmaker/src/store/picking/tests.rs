use std::time::Duration;

use uuid::Uuid;

use super::*;

fn rules(strategy: Strategy, region_weight: u32) -> Rules {
    Rules {
        heartbeat_ttl: Duration::from_secs(30),
        deadline: Duration::from_secs(30),
        hold: Duration::from_secs(5),
        unreachable_grace: Duration::ZERO,
        require_host_in_room: true,
        players: 63,
        strategy,
        region_weight,
        expect_occupancy: false,
    }
}

fn request(region: Option<&str>, nearest: &[&str]) -> Request {
    Request {
        id: MatchId(Uuid::nil()),
        region: region.map(str::to_owned),
        nearest: nearest.iter().map(|&name| name.to_owned()).collect(),
        labels: BTreeMap::new(),
        host: None,
        asked: None,
        dice: Dice {
            stray: 1,
            region: 0,
            sample: 0,
            host: 0,
        },
    }
}

/// So many hosts in each region.
fn pool<'a>(regions: &'a [(&'a str, u32)]) -> impl Fn(Option<&str>) -> u32 + 'a {
    move |wanted| {
        let those = regions
            .iter()
            .filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
        those.map(|(_, hosts)| hosts).sum()
    }
}

#[test]
fn first_region_that_has_a_host() {
    let hosts = pool(&[("eu", 2), ("us", 1), ("asia", 5)]);
    for (region, nearest, place) in [
        (None, vec![], Place::Anywhere),
        (Some("eu"), vec![], Place::In("eu")),
        (Some("moon"), vec![], Place::Anywhere),
        (None, vec!["us", "eu"], Place::In("us")),
        (None, vec!["moon", "eu"], Place::In("eu")),
        (Some("asia"), vec!["us", "eu"], Place::In("asia")),
        (Some("moon"), vec!["mars", "us", "eu"], Place::In("us")),
        (Some("moon"), vec!["mars"], Place::Anywhere),
    ] {
        for strategy in [Strategy::Packed, Strategy::Spread] {
            let request = request(region, &nearest);
            assert_eq!(
                request.place(&rules(strategy, 100), &hosts),
                place,
                "{region:?} {nearest:?}"
            );
        }
    }
}

#[test]
fn straying_passes_over_the_asked_region_alone() {
    let hosts = pool(&[("eu", 2), ("us", 1)]);
    let astray = |region, nearest: &[&str], weight| {
        let mut request = request(region, nearest);
        request.dice.stray = weight + 1;
        let place = request.place(&rules(Strategy::Spread, weight), &hosts);
        format!("{place:?}")
    };
    assert_eq!(astray(Some("eu"), &[], 4), r#"Outside(["eu"])"#);
    assert_eq!(astray(Some("eu"), &["us"], 4), r#"In("us")"#);
    assert_eq!(astray(Some("eu"), &["moon"], 4), r#"Outside(["eu"])"#);
    assert_eq!(astray(None, &["eu"], 4), r#"In("eu")"#);
    assert_eq!(astray(Some("moon"), &[], 4), "Anywhere");
    assert_eq!(astray(Some("eu"), &[], 100), r#"In("eu")"#);
    let alone = pool(&[("eu", 2)]);
    let mut request = request(Some("eu"), &[]);
    request.dice.stray = 0;
    assert_eq!(
        request.place(&rules(Strategy::Spread, 1), alone),
        Place::In("eu"),
        "there is nowhere else"
    );
}

/// All samples of `size` hosts: how many have their best host in each region of the order, and elsewhere.
fn samples(order: &[&str], regions: &[(&str, u32)], size: u32) -> Vec<u32> {
    let ranks: Vec<usize> = regions
        .iter()
        .flat_map(|(name, hosts)| {
            let rank = order
                .iter()
                .position(|other| other == name)
                .unwrap_or(order.len());
            vec![rank; *hosts as usize]
        })
        .collect();
    let mut best = vec![0; order.len() + 1];
    for drawn in 0u32..1 << ranks.len() {
        if drawn.count_ones() == size.min(u32::try_from(ranks.len()).unwrap()) {
            let those = (0..ranks.len()).filter(|host| drawn & (1 << host) != 0);
            best[those.map(|host| ranks[host]).min().unwrap()] += 1;
        }
    }
    best
}

#[test]
fn a_sample_is_as_likely_in_each_region_as_if_it_were_drawn() {
    const STEPS: u32 = 1 << 14;
    let regions = [("eu", 2), ("us", 3), ("asia", 1), ("moon", 4)];
    for order in [
        vec!["eu"],
        vec!["asia", "us"],
        vec!["us", "mars", "eu", "asia"],
        vec!["mars"],
    ] {
        for size in [1, 2, 3, 7, 10, 50] {
            let mut found = vec![0; order.len() + 1];
            for step in 0..STEPS {
                let mut request = request(Some(order[0]), &order[1..]);
                request.dice.sample = step * (u32::MAX / STEPS + 1);
                let place = request.place(&rules(Strategy::Sample { size }, 100), pool(&regions));
                let rank = match place {
                    Place::In(region) => order.iter().position(|other| *other == region).unwrap(),
                    Place::Outside(passed) => {
                        assert!(order.iter().all(|name| *name == "mars" || passed.contains(name)));
                        order.len()
                    }
                    Place::Anywhere => order.len(),
                };
                found[rank] += 1;
            }
            let drawn = samples(&order, &regions, size);
            let all: u32 = drawn.iter().sum();
            for (found, drawn) in found.iter().zip(&drawn) {
                let expected = f64::from(*drawn) / f64::from(all) * f64::from(STEPS);
                assert!(
                    (f64::from(*found) - expected).abs() <= 1.0,
                    "{order:?}, {size} drawn: {found} instead of {expected}"
                );
            }
        }
    }
}

#[test]
fn a_sample_of_a_large_pool_is_bounded() {
    // A thousand hosts of a billion: 1 - (1 - 0.001)^1000.
    let missed = chance_to_miss(1_000_000, 1_000_000_000, 1000);
    assert!((missed - 0.367_7).abs() < 0.001, "{missed}");
    assert!(chance_to_miss(5, 5, 1).abs() < f64::EPSILON);
    assert!(chance_to_miss(1, 5, 9).abs() < f64::EPSILON);
}
