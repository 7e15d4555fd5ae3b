//! What the scripts answer, read into the types of the store.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use berth_crds::settings::RoomId;
use berth_dataplane::redis::{FromRedisValue, Value};
use uuid::Uuid;

use super::epoch::Granted;
use crate::demand::ByRegion;
use crate::host::{HostId, HostState, HostStatus, MatchId};
use crate::slots::{Asked, Holder, Reservation};
use crate::store::{
    Counts, Event, EventKind, Found, Grant, Held, HostRecord, Offline, RegionCounts, Registered, Released,
    StoreError, Tick,
};

/// A flat list of texts.
pub(super) type Flat = Vec<String>;

type Answer<T> = Result<T, StoreError>;

fn malformed<T>(what: &'static str) -> impl FnOnce() -> Answer<T> {
    move || Err(StoreError::Answer(what))
}

pub(super) fn registered(answer: &[String]) -> Answer<Registered> {
    match answer {
        [word] if word == "new" => Ok(Registered::New),
        [word, ..] if word == "renewed" => Ok(Registered::Renewed),
        [word, other] if word == "room-taken" => Ok(Registered::RoomTaken(HostId::new(other))),
        _ => Err(StoreError::Answer("a malformed registration")),
    }
}

/// How long a host that is renewed had been silent, if that was told.
pub(super) fn silent_ms(answer: &[String]) -> Option<u64> {
    match answer {
        [word, silent_ms] if word == "renewed" => silent_ms.parse().ok(),
        _ => None,
    }
}

/// What a find gives, and how it is stored. `None`: the script gave up before it had tried all hosts.
pub(super) fn found(answer: &[String], id: MatchId) -> Answer<(Option<Found>, Option<Granted>)> {
    let found = match answer {
        [word, host, room, region, text] if word == "granted" => {
            let stored = reservation(&id.to_string(), text);
            let stored = stored.map_or_else(malformed("a malformed reservation"), Ok)?;
            let granted = Granted {
                id,
                host: host.clone(),
                room: room.clone(),
                text: text.clone(),
                deadline_ms: stored.deadline_ms,
            };
            let found = Found::Granted(grant(host, room, region)?);
            return Ok((Some(found), Some(granted)));
        }
        [word] if word == "conflict" => Ok(Some(Found::Conflict)),
        [word, why] if word == "over" => Ok(Some(Found::Over(reason(why)?))),
        [word] if word == "no-hosts" => Ok(Some(Found::NoHosts)),
        [word] if word == "none-matching" => Ok(Some(Found::NoneMatching)),
        [word] if word == "not-now" => Ok(Some(Found::NotNow)),
        [word] if word == "again" => Ok(None),
        _ => Err(StoreError::Answer("a malformed find")),
    };
    Ok((found?, None))
}

pub(super) fn held(answer: &[String]) -> Answer<Held> {
    match answer {
        [word, host, room, region] if word == "live" => Ok(Held::Live(grant(host, room, region)?)),
        [word, why] if word == "over" => Ok(Held::Over(reason(why)?)),
        [word] if word == "unknown" => Ok(Held::Unknown),
        _ => Err(StoreError::Answer("a malformed match")),
    }
}

pub(super) fn released(answer: &[String]) -> Answer<Released> {
    match answer {
        [word] if word == "released" => Ok(Released::Released),
        [word] if word == "stays" => Ok(Released::Stays),
        [word, why] if word == "over" => Ok(Released::Over(reason(why)?)),
        [word] if word == "unknown" => Ok(Released::Unknown),
        _ => Err(StoreError::Answer("a malformed release")),
    }
}

/// Yes or no.
pub(super) fn flag(answer: &[String]) -> Answer<bool> {
    match answer {
        [word] if word == "1" || word == "0" => Ok(word == "1"),
        _ => Err(StoreError::Answer("neither yes nor no")),
    }
}

fn grant(host: &str, room: &str, region: &str) -> Answer<Grant> {
    Ok(Grant {
        host: HostId::new(host),
        room: stored_room(room)?,
        region: region.to_owned(),
    })
}

fn reason(why: &str) -> Answer<EventKind> {
    EventKind::from_word(why).map_or_else(malformed("an end without a reason"), Ok)
}

/// Reservations as match, text, match, ...
pub(super) fn reservations(answer: &[String]) -> Answer<Vec<Reservation>> {
    pairs(answer)
        .map(|(id, text)| reservation(id, text).map_or_else(malformed("a malformed reservation"), Ok))
        .collect()
}

/// A digest as it is stored.
pub(super) fn asked_text(asked: Option<Asked>) -> String {
    asked.map_or_else(String::new, |Asked(digest)| format!("{digest:x}"))
}

pub(super) fn events(answer: &[String]) -> Answer<Vec<Event>> {
    let event = |parts: &[String]| match parts {
        [kind, host, room, id] => Some(Event {
            kind: EventKind::from_word(kind)?,
            host: HostId::new(host),
            room: room.clone(),
            id: if id.is_empty() { None } else { Some(match_id(id)?) },
        }),
        _ => None,
    };
    answer
        .chunks(4)
        .map(|parts| event(parts).map_or_else(malformed("a malformed event"), Ok))
        .collect()
}

/// Counts as a tick answers them, each as name, number, ...
pub(super) struct Counted {
    /// Of the pool.
    pub(super) pool: Flat,
    /// Hosts by state and region.
    pub(super) hosts: Flat,
    /// Slots by region.
    pub(super) slots: Flat,
    /// Free slots by region.
    pub(super) free: Flat,
}

pub(super) fn tick(answer: &[String], counted: &Counted) -> Answer<Tick> {
    let [more, known, _, created, quiet, known_ms, ..] = answer else {
        return Err(StoreError::Answer("a malformed tick"));
    };
    let counts = numbers(&counted.pool)?;
    let number = |name: &str| counts.get(name).copied().unwrap_or_default();
    let mut regions: BTreeMap<String, RegionCounts> = BTreeMap::new();
    for (name, hosts) in numbers(&counted.hosts)? {
        let host = name.split_once(':');
        let known = host.and_then(|(state, region)| Some((HostState::from_name(state)?, region)));
        let (state, region) = known.map_or_else(malformed("hosts of no state"), Ok)?;
        let region = regions.entry(region.to_owned()).or_default();
        region.hosts += hosts;
        region.states.insert(state.as_str(), hosts);
    }
    for (region, slots) in numbers(&counted.slots)? {
        regions.entry(region.to_owned()).or_default().slots = slots;
    }
    for (region, slots) in numbers(&counted.free)? {
        regions.entry(region.to_owned()).or_default().available_slots = slots;
    }
    let counts = Counts {
        hosts: HostState::ALL
            .map(|state| (state.as_str(), number(state.as_str())))
            .into(),
        capacity: number("capacity"),
        free: number("free"),
        taken: number("taken"),
        regions,
        occupancy_known: known == "1",
        quiet: quiet == "1",
    };
    Ok(Tick {
        more: more == "1",
        is_new: created == "1",
        known_ago: known_ms.parse().ok().map(Duration::from_millis),
        counts,
    })
}

/// Hosts that are gone, by their ids.
pub(super) fn offline(answer: &[String]) -> Answer<Vec<Offline>> {
    let host = |(host, text): (&str, &str)| {
        let mut parts = text.splitn(4, ' ');
        Some(Offline {
            host: HostId::new(host),
            since_ms: parts.next()?.parse::<u64>().ok()? / 1000,
            left: EventKind::from_word(parts.next()?)? == EventKind::HostLeft,
            room: parts.next()?.to_owned(),
            region: parts.next()?.to_owned(),
        })
    };
    let hosts =
        pairs(answer).map(|pair| host(pair).map_or_else(malformed("a malformed host that is gone"), Ok));
    let mut hosts: Vec<Offline> = hosts.collect::<Answer<_>>()?;
    hosts.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(hosts)
}

pub(super) fn page(answer: Vec<Value>) -> Answer<Vec<HostRecord>> {
    let mut answer = answer.into_iter();
    let now = answer.next().and_then(|value| u64::from_redis_value(value).ok());
    let now_ms = now.map_or_else(malformed("a page without its time"), Ok)?;
    answer
        .filter_map(|value| {
            let fields = Flat::from_redis_value(value)
                .ok()
                .filter(|fields| fields.len() > 2);
            // A record that Redis evicted is an id without fields.
            fields.map(|fields| record(&fields, now_ms).map_or_else(malformed("a malformed host"), Ok))
        })
        .collect()
}

fn record(answer: &[String], now_ms: u64) -> Option<HostRecord> {
    let [host, info, rest @ ..] = answer else {
        return None;
    };
    let fields: HashMap<&str, &str> = pairs(rest).collect();
    let text = |name: &str| fields.get(name).copied();
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    let small = |name: &str| text(name)?.parse::<u32>().ok();
    let mut reservations: Vec<Reservation> = fields
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("r:")?, value)))
        .map(|(id, value)| reservation(id, value))
        .collect::<Option<_>>()?;
    reservations.sort_by_key(|reservation| reservation.granted_us);
    Some(HostRecord {
        host: HostId::new(host),
        room: stored_room(text("room")?).ok()?,
        region: text("region")?.to_owned(),
        labels: match text("labels") {
            None => BTreeMap::new(),
            Some(labels) => serde_json::from_str(labels).ok()?,
        },
        status: HostStatus::from_name(text("status")?)?,
        capacity: small("capacity")?,
        offered: small("available")?,
        state: HostState::from_name(text("state")?)?,
        free: small("free")?,
        // A record of an earlier version does not say.
        taken: small("taken").unwrap_or_default(),
        heartbeat_ms: number("at_us")? / 1000,
        ttl_ms: number("alive_ms")?.saturating_sub(now_ms),
        reservations,
        drained: fields.contains_key("drain"),
        info: info.clone(),
    })
}

fn reservation(id: &str, text: &str) -> Option<Reservation> {
    let mut parts = text.split('|');
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (granted_us, deadline_ms, base) = (number()?, number()?, number()?);
    let holder = match parts.next()? {
        "" => Holder::Nobody,
        "u" => Holder::Unclear,
        "n" => Holder::Named,
        join => Holder::Player {
            join: join.trim_end_matches(['p', 'c']).parse().ok()?,
            known: join.contains('p'),
            clear: join.contains('c'),
        },
    };
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (joined_us, left_ms) = (number()?, number()?);
    let asked = match parts.next()? {
        "" => None,
        digest => Some(Asked(u64::from_str_radix(digest, 16).ok()?)),
    };
    Some(Reservation {
        id: match_id(id)?,
        granted_us,
        deadline_ms,
        base,
        holder,
        joined_us,
        left_ms,
        asked,
    })
}

/// Refused finds as region, number, region, ...
pub(super) fn demand(answer: &[String]) -> Answer<ByRegion> {
    let numbers = numbers(answer)?.into_iter();
    Ok(numbers
        .map(|(region, number)| (region.to_owned(), number))
        .collect())
}

fn numbers(answer: &[String]) -> Answer<HashMap<&str, u64>> {
    // What Redis evicted may count below nothing.
    let number = |(name, value): (_, &str)| {
        let value: i64 = value.parse().ok()?;
        Some((name, u64::try_from(value).unwrap_or_default()))
    };
    pairs(answer)
        .map(|pair| number(pair).map_or_else(malformed("a count that is no number"), Ok))
        .collect()
}

fn pairs(flat: &[String]) -> impl Iterator<Item = (&str, &str)> {
    flat.chunks(2).filter_map(|pair| match pair {
        [name, value] => Some((name.as_str(), value.as_str())),
        _ => None,
    })
}

fn match_id(text: &str) -> Option<MatchId> {
    Uuid::try_parse(text).ok().map(MatchId)
}

/// The rule for room ids may have become stricter since the room was stored.
fn stored_room(text: &str) -> Answer<RoomId> {
    RoomId::parse(text, usize::MAX).map_err(|_| StoreError::Answer("a room that is none"))
}
