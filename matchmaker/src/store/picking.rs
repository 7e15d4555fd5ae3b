//! Which host a find is given.
//!
//! A host *fits* if it has a free slot and all labels that are asked for. The regions come in an order: the asked one, then those
//! whose latency the player knows, nearest first, then all others.
//!
//! - [`Strategy::Packed`] and [`Strategy::Spread`] take the first region of this order that has a host which fits, and in it
//!   the one with the fewest or the most free slots. All regions that nobody named count as one.
//! - [`Strategy::Sample`] draws a few of all hosts that fit, takes those of them that are in the first region of this order, and of
//!   these any one.
//! - Under a region weight below 100, one find in `weight + 1` passes the asked region over while there is a host elsewhere. No region
//!   is near then unless its latency is known, so it goes to another one by the number of its hosts.
//! - Hosts that are equal are drawn at random.
//!
//! Pure. `store/lua/pick.lua` says the same in Lua; a test runs both against a trivial model.

use berth_crds::settings::Strategy;
use std::collections::BTreeMap;

use super::Rules;
use crate::host::{HostId, MatchId};
use crate::slots::Asked;

/// What a player asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Id of the match, if there is one.
    pub id: MatchId,
    /// The region to prefer.
    pub region: Option<String>,
    /// The regions to prefer after that one, best first, each once.
    pub nearest: Vec<String>,
    /// What the host must have.
    pub labels: BTreeMap<String, String>,
    /// Only this host, whatever its region.
    pub host: Option<HostId>,
    /// Randomness of the choice.
    pub dice: Dice,
    /// Digest of the request, if it may be a repetition: then the id is the same each time.
    pub asked: Option<Asked>,
}

/// Random numbers for one choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dice {
    /// Whether the asked region is passed over.
    pub stray: u32,
    /// Which of the regions that nobody named.
    pub region: u32,
    /// In which regions the hosts of a sample are.
    pub sample: u32,
    /// Which of the hosts that are equal.
    pub host: u32,
}

/// Where the host is drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// All hosts that fit.
    Anywhere,
    /// Those of this region.
    In(&'a str),
    /// Those of another region than these, which is drawn by the number of its hosts.
    Outside(Vec<&'a str>),
}

impl Request {
    /// Where the host is drawn from. `hosts`: how many hosts fit, in a region or in all.
    pub(super) fn place(&self, rules: &Rules, hosts: impl Fn(Option<&str>) -> u32) -> Place<'_> {
        let asked = self.region.as_deref();
        let sample = match rules.strategy {
            Strategy::Sample { size } => Some(size),
            Strategy::Packed | Strategy::Spread => None,
        };
        let strays = rules.region_weight < 100 && self.dice.stray.is_multiple_of(rules.region_weight + 1);
        let left = asked.filter(|_| strays);
        let mut passed = Vec::new();
        let mut rest = if left.is_some() || sample.is_some() {
            hosts(None)
        } else {
            0
        };
        if let Some(asked) = left {
            let there = hosts(Some(asked));
            if (1..rest).contains(&there) {
                passed.push(asked);
                rest -= there;
            }
        }
        // A sample is not drawn host by host: how likely it misses a region follows from the numbers of hosts.
        let luck = f64::from(self.dice.sample) / (f64::from(u32::MAX) + 1.0);
        let mut missed = 1.0;
        for region in asked.into_iter().chain(self.nearest.iter().map(String::as_str)) {
            let there = hosts(Some(region));
            if there == 0 || passed.contains(&region) {
                continue;
            }
            let Some(size) = sample else {
                return Place::In(region);
            };
            missed *= chance_to_miss(there, rest, size);
            if luck >= missed {
                return Place::In(region);
            }
            passed.push(region);
            rest = rest.saturating_sub(there);
        }
        if passed.is_empty() {
            Place::Anywhere
        } else {
            Place::Outside(passed)
        }
    }
}

/// How likely none of `some` hosts is among `drawn` that are drawn out of `all`.
fn chance_to_miss(some: u32, all: u32, drawn: u32) -> f64 {
    // Both sets are alike: which hosts are drawn, and which are meant. The smaller one is gone through.
    let (few, many) = (some.min(drawn), some.max(drawn));
    match all.checked_sub(many) {
        Some(others) if others >= few => (0..few)
            .map(|taken| f64::from(others - taken) / f64::from(all - taken))
            .product(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests;
