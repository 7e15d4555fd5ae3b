//! `slots.lua` says the same as `slots.rs`: both run the same random histories.

use berth_dataplane::occupancy::RoomState;
use berth_dataplane::redis::{RedisLink, Script};
use berth_dataplane::testing::RedisServer;
use berth_matchmaker::host::MatchId;
use berth_matchmaker::slots::{Change, Demands, Holder, Marks, Offer, Reservation, Slots};
use berth_matchmaker::store::redis::LUA_SLOTS;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::world::connect;

/// Takes a host and steps as JSON, settles it step by step and answers what it saw after each.
const DRIVER: &str = r"
local input = cjson.decode(ARGV[1])
local host = input.host
for _, reservation in ipairs(host.reservations) do
  if reservation.holder == cjson.null then reservation.holder = nil end
end
slots_sort(host.reservations)
local seen = {}
for _, step in ipairs(input.steps) do
  local room = step.room
  if room == cjson.null then room = nil end
  local changes = {}
  slots_settle(host, room, step.now_ms, function(reservation, what)
    changes[#changes + 1] = reservation.id .. ' ' .. what
  end)
  if step.release ~= cjson.null then slots_release(host, step.release) end
  local left = {}
  for _, reservation in ipairs(host.reservations) do
    left[#left + 1] = reservation.id .. ' ' .. tostring(reservation.holder or 'nobody')
  end
  local state, free, sessions, waiting = slots_standing(host, room, step)
  seen[#seen + 1] = table.concat({
    table.concat(changes, ','), table.concat(left, ','), host.seat, host.unclear, host.taken, state, free, sessions, waiting}, ' | ')
end
return seen
";

#[derive(Clone, Debug)]
struct History {
    offer: Offer,
    reservations: Vec<Reservation>,
    marks: Marks,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    room: Option<RoomState>,
    now_ms: u64,
    demands: Demands,
    release: Option<MatchId>,
}

fn reservation() -> impl Strategy<Value = Reservation> {
    let holder = prop_oneof![
        3 => Just(Holder::Nobody),
        1 => (1u64..12).prop_map(Holder::Player),
        1 => Just(Holder::Somebody),
    ];
    (0u64..6, 0u64..10, 0u64..12, holder).prop_map(|(granted_us, deadline_ms, base, holder)| Reservation {
        id: MatchId(Uuid::nil()),
        granted_us,
        deadline_ms,
        base,
        holder,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let room = (prop::collection::btree_set(1u64..15, 0..6), 0u64..3).prop_map(|(members, gone)| RoomState {
        last: members.last().copied().unwrap_or(0) + gone,
        members: members.into_iter().collect(),
    });
    (
        prop::option::weighted(0.9, room),
        0u64..12,
        any::<[bool; 2]>(),
        prop::option::weighted(0.2, 0u128..8),
    )
        .prop_map(|(room, now_ms, [host_in_room, known_room], release)| Step {
            room,
            now_ms,
            demands: Demands {
                host_in_room,
                known_room,
            },
            release: release.map(|id| MatchId(Uuid::from_u128(id))),
        })
}

fn marks() -> impl Strategy<Value = Marks> {
    (0u64..8, 0u64..8, 0u64..8).prop_map(|(seat, unclear, taken)| Marks { seat, unclear, taken })
}

fn history() -> impl Strategy<Value = History> {
    let offer = (1u32..5, 0u32..5, 0u64..8).prop_map(|(capacity, available, at_us)| Offer {
        capacity,
        available: available.min(capacity),
        at_us,
    });
    (
        offer,
        prop::collection::vec(reservation(), 0..6),
        marks(),
        prop::collection::vec(step(), 1..6),
    )
        .prop_map(|(offer, mut reservations, marks, steps)| {
            for (number, one) in reservations.iter_mut().enumerate() {
                // Ids in another order than grants.
                one.id = MatchId(Uuid::from_u128(number as u128 * 5 % 8));
            }
            History {
                offer,
                reservations,
                marks,
                steps,
            }
        })
}

fn rust(history: &History) -> Vec<String> {
    let mut slots = Slots::restore(history.reservations.clone(), history.marks);
    let word = |change| match change {
        Change::Joined => "joined",
        Change::Left => "left",
        Change::Expired => "expired",
    };
    let mut seen = Vec::new();
    for step in &history.steps {
        let changes = slots.settle(step.room.as_ref(), step.now_ms);
        let changes: Vec<String> = changes
            .iter()
            .map(|(id, change)| format!("{id} {}", word(*change)))
            .collect();
        if let Some(id) = step.release {
            slots.release(id);
        }
        let left = slots.reservations().iter().map(|one| match one.holder {
            Holder::Nobody => format!("{} nobody", one.id),
            Holder::Player(join) => format!("{} {join}", one.id),
            Holder::Somebody => format!("{} somebody", one.id),
        });
        let left: Vec<String> = left.collect();
        let standing = slots.standing(&history.offer, step.room.as_ref(), step.demands);
        let Marks { seat, unclear, taken } = slots.marks();
        seen.push(format!(
            "{} | {} | {seat} | {unclear} | {taken} | {} | {} | {} | {}",
            changes.join(","),
            left.join(","),
            standing.state.as_str(),
            standing.free,
            standing.sessions,
            standing.waiting
        ));
    }
    seen
}

fn as_json(history: &History) -> Value {
    let reservations: Vec<Value> = history
        .reservations
        .iter()
        .map(|one| {
            json!({
                "id": one.id.to_string(),
                "granted_us": one.granted_us,
                "deadline_ms": one.deadline_ms,
                "base": one.base,
                "holder": match one.holder {
                    Holder::Nobody => Value::Null,
                    Holder::Player(join) => json!(join),
                    Holder::Somebody => json!("somebody"),
                },
            })
        })
        .collect();
    let steps: Vec<Value> = history
        .steps
        .iter()
        .map(|step| {
            let room = step.room.as_ref().map(|room| json!({"last": room.last, "members": room.members}));
            let Demands { host_in_room, known_room } = step.demands;
            json!({"room": room, "now_ms": step.now_ms, "release": step.release, "host_in_room": host_in_room, "known_room": known_room})
        })
        .collect();
    let Offer {
        capacity,
        available,
        at_us,
    } = history.offer;
    let Marks { seat, unclear, taken } = history.marks;
    json!({
        "host": {
            "capacity": capacity,
            "available": available,
            "at_us": at_us,
            "seat": seat,
            "unclear": unclear,
            "taken": taken,
            "reservations": reservations,
        },
        "steps": steps,
    })
}

async fn lua(link: &RedisLink, script: &Script, history: &History) -> Vec<String> {
    link.script(script, &["unused"], &[as_json(history).to_string()])
        .await
        .unwrap()
}

#[test]
fn lua_and_rust_settle_alike() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let link = runtime.block_on(connect(&server));
    let script = Script::new(&format!("{LUA_SLOTS}\n{DRIVER}"));
    let mut runner = TestRunner::new(Config {
        cases: 4000,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&history(), |history| {
            let seen = runtime.block_on(lua(&link, &script, &history));
            prop_assert_eq!(rust(&history), seen);
            Ok(())
        })
        .unwrap();
}
