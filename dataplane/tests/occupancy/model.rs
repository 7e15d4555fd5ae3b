//! Both stores against a model: any sequence of steps gives the same answers.

use std::time::Duration;

use std::collections::{BTreeMap, BTreeSet};

use berth_crds::settings::RoomId;
use berth_dataplane::occupancy::{Instance, Join, MemberId, Seat};
use berth_dataplane::testing::RedisServer;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use crate::store::{Store, instance, member, room};

const ROOMS: usize = 3;
const INSTANCES: usize = 3;
const MEMBERS: usize = 8;
const POOL: &str = "eu";

#[derive(Clone, Copy, Debug)]
enum Step {
    Join {
        member: usize,
        room: usize,
        capacity: u16,
    },
    Leave {
        member: usize,
        room: usize,
    },
    Assert {
        member: usize,
        room: usize,
        capacity: u16,
    },
    Watch {
        room: usize,
    },
    Renew {
        instance: usize,
    },
    Release {
        instance: usize,
    },
}

/// What the stores should do, said simply.
#[derive(Default)]
struct Model {
    rooms: BTreeMap<usize, Room>,
    watched: BTreeSet<usize>,
    touched: BTreeSet<usize>,
    live: BTreeSet<usize>,
    /// Got a lease by a join or an assertion, and have not been told that they had lost it.
    unaware: BTreeSet<usize>,
    /// Leases that mean something: in memory there are none.
    leases: bool,
    /// Seats that were given once, for assertions.
    given: BTreeMap<(usize, usize), u64>,
}

#[derive(Default)]
struct Room {
    /// Last number, if the room did not begin anew since.
    last: Option<u64>,
    /// Highest number ever.
    highest: u64,
    seats: BTreeMap<usize, u64>,
}

/// A member has its connection at one instance for all its life.
fn home(member: usize) -> usize {
    member % INSTANCES
}

impl Model {
    fn is_live(&self, member: usize) -> bool {
        !self.leases || self.live.contains(&home(member))
    }

    fn living(&self, room: usize) -> BTreeMap<usize, u64> {
        let seats = self
            .rooms
            .get(&room)
            .map(|room| room.seats.clone())
            .unwrap_or_default();
        seats
            .into_iter()
            .filter(|(member, _)| self.is_live(*member))
            .collect()
    }

    fn touch(&mut self, room: usize) {
        if self.watched.contains(&room) {
            self.touched.insert(room);
        }
    }

    /// Members reaped; `None` when the room is full.
    fn sit(&mut self, member: usize, room: usize, capacity: u16) -> Option<BTreeSet<usize>> {
        if self.leases && self.live.insert(home(member)) {
            self.unaware.insert(home(member));
        }
        let living = self.living(room);
        let others = living.keys().filter(|other| **other != member).count();
        if !living.contains_key(&member) && others >= usize::from(capacity) {
            return None;
        }
        let seats = &mut self.rooms.entry(room).or_default().seats;
        let reaped = seats
            .keys()
            .copied()
            .filter(|member| !living.contains_key(member))
            .collect();
        seats.retain(|member, _| living.contains_key(member));
        self.touch(room);
        Some(reaped)
    }

    /// Checks the number of a seat and notes it. `earlier`: it was asserted with this number.
    fn number(&mut self, member: usize, room: usize, join: u64, earlier: Option<u64>) {
        let entry = self.rooms.entry(room).or_default();
        let expected = entry.seats.get(&member).copied().or(earlier);
        match (expected, entry.last) {
            (Some(expected), _) => assert_eq!(join, expected),
            (None, Some(last)) => assert_eq!(join, last + 1),
            (None, None) => assert!(join > entry.highest, "{join} is not above {}", entry.highest),
        }
        // Where a room began anew with an asserted seat, only the next new one shows its last number.
        if expected.is_none() || entry.last.is_some() {
            entry.last = Some(join.max(entry.last.unwrap_or(0)));
        }
        entry.highest = entry.highest.max(join);
        entry.seats.insert(member, join);
        self.given.insert((member, room), join);
    }
}

fn id(number: usize) -> MemberId {
    member(number as u128 + 1)
}

fn token(number: usize) -> Instance {
    instance(&format!("i{number}"))
}

fn name(number: usize) -> RoomId {
    room(&format!("r{number}"))
}

fn numbers(members: impl IntoIterator<Item = MemberId>) -> BTreeSet<usize> {
    members
        .into_iter()
        .map(|member| usize::try_from(member.0.as_u128() - 1).unwrap())
        .collect()
}

fn seats(seats: &[Seat]) -> BTreeMap<usize, u64> {
    seats
        .iter()
        .map(|seat| (usize::try_from(seat.member.0.as_u128() - 1).unwrap(), seat.join))
        .collect()
}

async fn run(store: &Store, leases: bool, steps: &[Step]) {
    let mut model = Model {
        leases,
        ..Model::default()
    };
    for step in steps {
        take(store, &mut model, *step).await;
        for room in 0..ROOMS {
            let seen = store.seats.seats(&name(room)).await.unwrap();
            assert_eq!(seats(&seen), model.living(room), "room {room} after {step:?}");
        }
    }
    let touched: BTreeSet<String> = model.touched.iter().map(|room| name(*room).to_string()).collect();
    assert_eq!(store.touched(POOL).await, touched);
    for room in 0..ROOMS {
        let mut members: Vec<u64> = model.living(room).into_values().collect();
        members.sort_unstable();
        assert_eq!(store.numbers(&name(room)).await, members);
    }
    assert_eq!(store.known().await, leases && !model.live.is_empty());
}

async fn take(store: &Store, model: &mut Model, step: Step) {
    match step {
        Step::Join {
            member,
            room,
            capacity,
        } => {
            let answer = store
                .join(&name(room), id(member), &token(home(member)), capacity)
                .await;
            seated(model, member, room, capacity, None, answer);
        }
        Step::Assert {
            member,
            room,
            capacity,
        } => {
            let Some(join) = model.given.get(&(member, room)).copied() else {
                return;
            };
            let seat = Seat::new(id(member), token(home(member)), join);
            let answer = store.seats.assert(&name(room), &seat, capacity).await.unwrap();
            seated(model, member, room, capacity, Some(join), answer);
        }
        Step::Leave { member, room } => {
            let left = store
                .seats
                .leave(&name(room), id(member), &token(home(member)))
                .await
                .unwrap();
            if model
                .rooms
                .get_mut(&room)
                .is_some_and(|room| room.seats.remove(&member).is_some())
            {
                model.touch(room);
            }
            assert_eq!(seats(&left.seats), model.living(room));
            // In memory a room that nobody watches begins anew at once, on Redis a while later.
            if !model.leases
                && !model.watched.contains(&room)
                && let Some(room) = model.rooms.get_mut(&room).filter(|room| room.seats.is_empty())
            {
                room.last = None;
            }
        }
        Step::Watch { room } => {
            store.watch(&name(room), POOL).await;
            model.watched.insert(room);
            model.touched.insert(room);
        }
        Step::Renew { instance } => renew(store, model, instance).await,
        Step::Release { instance } => {
            store
                .seats
                .release(&token(instance), Duration::ZERO)
                .await
                .unwrap();
            model.live.remove(&instance);
        }
    }
}

fn seated(model: &mut Model, member: usize, room: usize, capacity: u16, earlier: Option<u64>, answer: Join) {
    let expected = model.sit(member, room, capacity);
    match answer {
        Join::Full => assert_eq!(expected, None, "full"),
        Join::Elsewhere => panic!("every member has one home"),
        Join::Joined {
            join, others, reaped, ..
        } => {
            let reaped = reaped.into_iter().map(|gone| gone.member);
            assert_eq!(Some(numbers(reaped)), expected, "not full");
            let mut living = model.living(room);
            living.remove(&member);
            assert_eq!(seats(&others), living);
            model.number(member, room, join, earlier);
        }
    }
}

async fn renew(store: &Store, model: &mut Model, instance: usize) {
    let renewal = store.seats.renew(&token(instance)).await.unwrap();
    let unaware = model.unaware.remove(&instance);
    let lost = model.live.insert(instance) || unaware;
    assert_eq!(renewal.lost, lost);
    let mut reaped = BTreeSet::new();
    for room in 0..ROOMS {
        let living = model.living(room);
        let Some(entry) = model.rooms.get_mut(&room) else {
            continue;
        };
        let dead: Vec<usize> = entry
            .seats
            .keys()
            .copied()
            .filter(|member| !living.contains_key(member))
            .collect();
        entry.seats = living;
        if !dead.is_empty() {
            model.touch(room);
        }
        reaped.extend(dead.into_iter().map(|member| (name(room).to_string(), member)));
    }
    let told: BTreeSet<(String, usize)> = renewal
        .reaped
        .iter()
        .map(|reaped| {
            (
                reaped.room.to_string(),
                usize::try_from(reaped.member.0.as_u128() - 1).unwrap(),
            )
        })
        .collect();
    assert_eq!(told, reaped);
    for gone in &renewal.reaped {
        let room = (0..ROOMS).find(|room| name(*room) == gone.room).unwrap();
        assert_eq!(seats(&gone.left), model.living(room));
    }
}

fn steps(leases: bool) -> impl Strategy<Value = Vec<Step>> {
    let weight = u32::from(leases);
    let step = prop_oneof![
        8 => (0..MEMBERS, 0..ROOMS, 1u16..5).prop_map(|(member, room, capacity)| Step::Join { member, room, capacity }),
        4 => (0..MEMBERS, 0..ROOMS).prop_map(|(member, room)| Step::Leave { member, room }),
        3 => (0..MEMBERS, 0..ROOMS, 1u16..5)
            .prop_map(|(member, room, capacity)| Step::Assert { member, room, capacity }),
        1 => (0..ROOMS).prop_map(|room| Step::Watch { room }),
        2 * weight => (0..INSTANCES).prop_map(|instance| Step::Renew { instance }),
        weight => (0..INSTANCES).prop_map(|instance| Step::Release { instance }),
    ];
    prop::collection::vec(step, 1..60)
}

#[test]
fn rooms_in_memory_are_as_the_model_says() {
    let runtime = Runtime::new().unwrap();
    TestRunner::default()
        .run(&steps(false), |steps| {
            runtime.block_on(run(&Store::memory(), false, &steps));
            Ok(())
        })
        .unwrap();
}

#[test]
fn rooms_on_redis_are_as_the_model_says() {
    let server = RedisServer::start();
    let runtime = Runtime::new().unwrap();
    TestRunner::default()
        .run(&steps(true), |steps| {
            runtime.block_on(async { run(&Store::shared(&server).await, true, &steps).await });
            Ok(())
        })
        .unwrap();
}
