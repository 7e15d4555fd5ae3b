//! Rooms shared by Redis.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use berth_crds::settings::RoomId;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    Claim, Gone, Instance, Join, Leaver, Left, MemberId, OccupancyError, Reaped, Renewal, Seat, Who,
};
use crate::keys::Keys;
use crate::match_token::Role;
use crate::redis::{RedisLink, Script};

/// Lua functions that read rooms, to stand at the head of a script: `berth_room(prefix, room, now_ms)`,
/// `berth_occupancy_known(prefix, now_ms)`, `berth_now_us()`, `berth_integer(number)`.
///
/// A pool watches a room by `berth_watch(prefix, room, pool)`, until `berth_unwatch`, and finds changed rooms in the set
/// `PREFIXpool:POOL:touched`.
pub const LUA_ROOMS: &str = include_str!("rooms.lua");
const LUA_SEATS: &str = include_str!("seats.lua");

/// How long an instance is believed to live after its last renewal. It renews every third of it.
pub const LEASE: Duration = Duration::from_secs(9);
/// How often an instance asserts each of its seats, so that a room which is occupied for days never expires.
pub const REASSERT: Duration = Duration::from_mins(20);
/// How long the state of an occupied room outlives everything that could renew it; three times [`REASSERT`].
const KEEP: Duration = Duration::from_hours(1);
/// How long a seat that was given back for good stays so: longer than any call is under way.
const GONE: Duration = Duration::from_mins(2);
/// Most seats that one renewal takes away.
const MOST_REAPED: usize = 256;

/// Rooms shared by Redis; clones share the connection.
#[derive(Clone)]
pub struct SharedRooms {
    link: RedisLink,
    keys: Arc<Keys>,
    timing: Arc<ArcSwap<Timing>>,
    /// A renewal may have been done without its answer reaching us: what it said is lost.
    unheard: Arc<AtomicBool>,
    /// See [`SharedRooms::hold_back_after_loss`].
    holds_back: bool,
    /// Whose lease was renewed last, and when.
    renewed: Arc<Mutex<Option<(Instance, Instant)>>>,
    clock: Arc<Mutex<Option<StoreClock>>>,
}

/// What the clock of the store showed when it was read last.
#[derive(Clone, Copy)]
struct StoreClock {
    /// Unix time in µs.
    micros: u64,
    /// When that was heard here, a moment later.
    heard_at: Instant,
}

impl StoreClock {
    /// What it shows at `at`, or a little less: Unix time in µs.
    fn at(self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.heard_at);
        let since = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        self.micros.saturating_add(since)
    }
}

/// What a script answered to who wants a seat.
enum Answer {
    Join(Join),
    /// The store is blank for so long.
    Blank(Duration),
    /// The store got it when nobody waited any more, by its clock.
    Late(u64),
}

/// What an instance knows of its own lease.
#[derive(Clone, Copy)]
enum Held {
    /// It never had one, or gave it back.
    Never = 0,
    /// It may have lapsed.
    Once = 1,
    /// It cannot have lapsed.
    Now = 2,
}

/// How long things live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long an instance is believed to live after its last renewal.
    pub lease: Duration,
    /// How long a room outlives its last member.
    pub room_ttl: Duration,
}

struct Scripts {
    join: Script,
    leave: Script,
    note: Script,
    renew: Script,
    seats: Script,
    release: Script,
}

fn scripts() -> &'static Scripts {
    static SCRIPTS: OnceLock<Scripts> = OnceLock::new();
    let script = |body: &str| Script::new(&[LUA_ROOMS, LUA_SEATS, body].join("\n"));
    SCRIPTS.get_or_init(|| Scripts {
        join: script(include_str!("join.lua")),
        leave: script(include_str!("leave.lua")),
        note: script(include_str!("note.lua")),
        renew: script(include_str!("renew.lua")),
        seats: script(include_str!("seats_of_room.lua")),
        release: script(include_str!("release.lua")),
    })
}

impl SharedRooms {
    /// Rooms of the SignalingCluster that `keys` names.
    pub fn new(link: RedisLink, keys: Keys, timing: Timing) -> Self {
        Self {
            link,
            keys: Arc::new(keys),
            timing: Arc::new(ArcSwap::from_pointee(timing)),
            unheard: Arc::default(),
            holds_back: false,
            renewed: Arc::default(),
            clock: Arc::default(),
        }
    }

    /// Gives out no new seat for two thirds of a lease when the store turns out to have lost its keys (a flush, a restart
    /// of a Redis without persistence): the rooms that look free may be full, and instances notice only with their
    /// next renewal. A join waits so long. For whoever serves peers; one instance per `SharedRooms`.
    #[must_use]
    pub fn hold_back_after_loss(mut self) -> Self {
        self.holds_back = true;
        self
    }

    fn blank(&self) -> Duration {
        if self.holds_back {
            self.timing.load().lease * 2 / 3
        } else {
            Duration::ZERO
        }
    }

    fn held(&self, instance: &Instance) -> Held {
        match &*self.renewed.lock() {
            Some((renewed, at)) if renewed == instance => {
                if at.elapsed() < self.timing.load().lease {
                    Held::Now
                } else {
                    Held::Once
                }
            }
            _ => Held::Never,
        }
    }

    /// Changes how long things live, from the next step on.
    pub fn set_timing(&self, timing: Timing) {
        self.timing.store(Arc::new(timing));
    }

    /// See [`super::Seats::join`].
    pub async fn join(&self, room: &RoomId, claim: &Claim, capacity: u16) -> Result<Join, OccupancyError> {
        // Above every earlier number, which only the store knows.
        let seat = Seat::from(claim);
        let mut waited = Duration::ZERO;
        let mut held = self.held(&seat.instance);
        let mut was_late = false;
        loop {
            let not_after = self.not_after();
            match self.seat(room, &seat, capacity, held, not_after).await? {
                Answer::Late(micros) => {
                    self.read_clock(micros);
                    if std::mem::replace(&mut was_late, true) {
                        return Err(OccupancyError::Late);
                    }
                }
                Answer::Join(join) => return Ok(join),
                Answer::Blank(left) => {
                    waited += left;
                    if waited > self.timing.load().lease {
                        return Err(OccupancyError::Blank);
                    }
                    tokio::time::sleep(left).await;
                    // The loss is noted; who waited for it must not note it once more.
                    held = Held::Never;
                }
            }
        }
    }

    /// See [`super::Seats::assert`].
    pub async fn assert(&self, room: &RoomId, seat: &Seat, capacity: u16) -> Result<Join, OccupancyError> {
        let held = self.held(&seat.instance);
        match self.seat(room, seat, capacity, held, 0).await? {
            Answer::Join(join) => Ok(join),
            Answer::Blank(_) | Answer::Late(_) => Err(OccupancyError::Answer("no seat to an assertion")),
        }
    }

    /// Until when who asks now waits for an answer, by the clock of the store in µs; 0 while that is not known.
    fn not_after(&self) -> u64 {
        let clock = *self.clock.lock();
        clock.map_or(0, |clock| clock.at(Instant::now() + self.link.response_timeout()))
    }

    fn read_clock(&self, micros: u64) {
        *self.clock.lock() = Some(StoreClock {
            micros,
            heard_at: Instant::now(),
        });
    }

    async fn seat(
        &self,
        room: &RoomId,
        seat: &Seat,
        capacity: u16,
        held: Held,
        not_after: u64,
    ) -> Result<Answer, OccupancyError> {
        let timing = self.timing.load();
        let args = [
            self.keys.prefix().to_owned(),
            room.to_string(),
            seat.member.to_string(),
            seat.instance.to_string(),
            capacity.to_string(),
            timing.room_ttl.as_millis().to_string(),
            (KEEP + timing.room_ttl).as_millis().to_string(),
            timing.lease.as_millis().to_string(),
            seat.join.to_string(),
            role(seat).to_owned(),
            away(seat).to_owned(),
            seat.taken.to_string(),
            (held as u8).to_string(),
            self.blank().as_millis().to_string(),
            not_after.to_string(),
            self.keys.inbox(""),
            id(seat).to_owned(),
        ];
        let answer: Vec<String> = self
            .link
            .script(&scripts().join, &[self.keys.room(room)], &args)
            .await?;
        joined(&answer)
    }

    /// See [`super::Seats::note`].
    pub async fn note(&self, room: &RoomId, seat: &Seat) -> Result<(), OccupancyError> {
        let taken = seat.role.map(|_| seat.taken.to_string());
        let args = [
            self.keys.prefix().to_owned(),
            room.to_string(),
            seat.member.to_string(),
            seat.instance.to_string(),
            format!("{}{}{}", role(seat), taken.unwrap_or_default(), away(seat)),
            id(seat).to_owned(),
        ];
        self.link
            .script::<i64>(&scripts().note, &[self.keys.room(room)], &args)
            .await?;
        Ok(())
    }

    /// See [`super::Seats::give_back`].
    pub async fn give_back(&self, room: &RoomId, leaver: &Leaver<'_>) -> Result<Left, OccupancyError> {
        let gone = if leaver.for_good { GONE } else { Duration::ZERO };
        let args = [
            self.keys.prefix().to_owned(),
            room.to_string(),
            leaver.member.to_string(),
            leaver.instance.to_string(),
            self.timing.load().room_ttl.as_millis().to_string(),
            gone.as_millis().to_string(),
            leaver.taken.to_string(),
        ];
        let answer: Vec<String> = self
            .link
            .script(&scripts().leave, &[self.keys.room(room)], &args)
            .await?;
        let (had_seat, left) = answer
            .split_first()
            .ok_or(OccupancyError::Answer("nothing to a leave"))?;
        Ok(Left {
            had_seat: had_seat == "1",
            seats: seats(left)?,
        })
    }

    /// See [`super::Seats::seats`].
    pub async fn seats(&self, room: &RoomId) -> Result<Vec<Seat>, OccupancyError> {
        let args = [self.keys.prefix().to_owned(), room.to_string()];
        let answer: Vec<String> = self
            .link
            .script(&scripts().seats, &[self.keys.room(room)], &args)
            .await?;
        seats(&answer)
    }

    /// See [`super::Seats::renew`].
    pub async fn renew(&self, instance: &Instance) -> Result<Renewal, OccupancyError> {
        let timing = self.timing.load();
        let args = [
            self.keys.prefix().to_owned(),
            instance.to_string(),
            timing.lease.as_millis().to_string(),
            timing.room_ttl.as_millis().to_string(),
            (KEEP + timing.room_ttl).as_millis().to_string(),
            MOST_REAPED.to_string(),
            (self.held(instance) as u8).to_string(),
            self.blank().as_millis().to_string(),
            self.keys.inbox(""),
        ];
        let begun = Instant::now();
        let answer: Result<Vec<String>, _> = self
            .link
            .script(&scripts().renew, &[self.keys.instances()], &args)
            .await;
        if answer.as_ref().is_err_and(|error| !error.had_no_effect()) {
            self.unheard.store(true, Ordering::Relaxed);
        }
        let (now, mut renewal) = renewal(&answer?).ok_or(OccupancyError::Answer("a malformed renewal"))?;
        self.read_clock(now);
        *self.renewed.lock() = Some((instance.clone(), begun));
        renewal.lost |= self.unheard.swap(false, Ordering::Relaxed);
        Ok(renewal)
    }

    /// See [`super::Seats::release`].
    pub async fn release(&self, instance: &Instance, keep: Duration) -> Result<(), OccupancyError> {
        let args = [
            self.keys.prefix().to_owned(),
            instance.to_string(),
            keep.as_millis().to_string(),
        ];
        *self.renewed.lock() = None;
        self.link
            .script::<i64>(&scripts().release, &[self.keys.instances()], &args)
            .await?;
        Ok(())
    }
}

/// A letter: small for members that speak v2.
fn role(seat: &Seat) -> &'static str {
    match (seat.role, seat.who.role) {
        (Some(Role::Host), _) => "h",
        (Some(Role::Player), _) => "p",
        (None, Some(Role::Host)) => "H",
        (None, Some(Role::Player)) => "P",
        (None, None) => "",
    }
}

fn id(seat: &Seat) -> &str {
    seat.who.id.as_deref().unwrap_or_default()
}

fn away(seat: &Seat) -> &'static str {
    if seat.away { "a" } else { "" }
}

fn joined(answer: &[String]) -> Result<Answer, OccupancyError> {
    let (join, held, moved_from, taken, rest) = match answer {
        [full] if full == "full" => return Ok(Answer::Join(Join::Full)),
        [elsewhere] if elsewhere == "elsewhere" => return Ok(Answer::Join(Join::Elsewhere)),
        [blank, left] if blank == "blank" => {
            let left = left
                .parse()
                .map_err(|_| OccupancyError::Answer("no time to wait"))?;
            return Ok(Answer::Blank(Duration::from_millis(left)));
        }
        [late, now] if late == "late" => {
            let now = now.parse().map_err(|_| OccupancyError::Answer("no time"))?;
            return Ok(Answer::Late(now));
        }
        [join, held, moved_from, taken, rest @ ..] => (join, held, moved_from, taken, rest),
        _ => return Err(OccupancyError::Answer("nothing to a join")),
    };
    let join = join
        .parse()
        .map_err(|_| OccupancyError::Answer("no join number"))?;
    let (reaped, others) = reaped(rest).ok_or(OccupancyError::Answer("malformed members"))?;
    Ok(Answer::Join(Join::Joined {
        join,
        others: seats(others)?,
        reaped,
        held: held == "1",
        moved_from: (!moved_from.is_empty()).then(|| Instance::from_token(moved_from)),
        taken: taken
            .parse()
            .map_err(|_| OccupancyError::Answer("no number of a connection"))?,
    }))
}

fn seats(parts: &[String]) -> Result<Vec<Seat>, OccupancyError> {
    parts
        .chunks(5)
        .map(|parts| seat(parts).ok_or(OccupancyError::Answer("a malformed seat")))
        .collect()
}

/// Members behind their number, and what comes behind them.
fn reaped(parts: &[String]) -> Option<(Vec<Gone>, &[String])> {
    let (count, rest) = parts.split_first()?;
    let (reaped, rest) = rest.split_at_checked(count.parse::<usize>().ok()?.checked_mul(2)?)?;
    let reaped = reaped.chunks(2).map(|parts| {
        let [member, instance] = parts else { return None };
        Some(Gone {
            member: MemberId(Uuid::try_parse(member).ok()?),
            instance: Instance::from_token(instance),
        })
    });
    Some((reaped.collect::<Option<_>>()?, rest))
}

fn seat(parts: &[String]) -> Option<Seat> {
    let [member, join, instance, flags, id] = parts else {
        return None;
    };
    let letter = flags.chars().next().unwrap_or_default();
    let role = match letter.to_ascii_lowercase() {
        'h' => Some(Role::Host),
        'p' => Some(Role::Player),
        _ => None,
    };
    Some(Seat {
        member: MemberId(Uuid::try_parse(member).ok()?),
        join: join.parse().ok()?,
        instance: Instance::from_token(instance),
        role: role.filter(|_| letter.is_ascii_lowercase()),
        away: flags.ends_with('a'),
        taken: flags
            .trim_matches(|flag: char| flag.is_ascii_alphabetic())
            .parse()
            .unwrap_or_default(),
        who: Who {
            role,
            id: (!id.is_empty()).then(|| id.as_str().into()),
        },
    })
}

/// What the clock of the store showed in µs, and what it did.
fn renewal(answer: &[String]) -> Option<(u64, Renewal)> {
    let [lost, more, now, rest @ ..] = answer else {
        return None;
    };
    let mut rest = rest;
    let mut reaped = Vec::new();
    while let [room, member, instance, count, tail @ ..] = rest {
        let (left, next) = tail.split_at_checked(count.parse::<usize>().ok()?.checked_mul(5)?)?;
        reaped.push(Reaped {
            // The rule of this process may have become stricter than when the room began.
            room: RoomId::parse(room, usize::MAX).ok()?,
            member: MemberId(Uuid::try_parse(member).ok()?),
            instance: Instance::from_token(instance),
            left: left.chunks(5).map(seat).collect::<Option<_>>()?,
        });
        rest = next;
    }
    let renewal = Renewal {
        lost: lost == "1",
        reaped,
        more: more == "1",
    };
    Some((now.parse().ok()?, renewal)).filter(|_| rest.is_empty())
}
