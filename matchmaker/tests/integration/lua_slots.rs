//! `slots.lua` says the same as `slots.rs`: both run the same random histories.

use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{Departed, RoomMember, RoomState, Who};
use berth_dataplane::redis::{RedisLink, Script};
use berth_dataplane::testing::RedisServer;
use berth_matchmaker::host::MatchId;
use berth_matchmaker::slots::{Change, Holder, Look, Marks, Offer, Reservation, Slots, Terms};
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
  local function change(reservation, what) changes[#changes + 1] = reservation.id .. ' ' .. what end
  if step.names ~= cjson.null then
    local names = {}
    for _, id in ipairs(step.names) do names[id] = true end
    slots_name(host, names, step.now_us, change)
  end
  slots_settle(host, room, step.terms, step.now_us, change)
  if step.release ~= cjson.null then slots_release(host, step.release) end
  local left = {}
  for _, one in ipairs(host.reservations) do
    left[#left + 1] = table.concat({one.id, one.holder or 'nobody', tostring(one.known), tostring(one.clear), one.joined_us, one.left_ms}, ' ')
  end
  local marks = table.concat({host.seat, host.floor, host.taken, host.doubt, host.doubt_ms, host.absent_ms}, ' ')
  local state, free, sessions, waiting = slots_standing(host, room, step.terms, step.now_us)
  seen[#seen + 1] = table.concat({
    table.concat(changes, ','), table.concat(left, ','), marks, state, free, sessions, waiting,
    slots_due_ms(host, room, step.terms, step.now_us) or 'never'}, ' | ')
end
return seen
";

/// Name of the host.
const HOST: &str = "pc";

#[derive(Clone, Debug)]
struct History {
    offer: Offer,
    reservations: Vec<Reservation>,
    marks: Marks,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    names: Option<Vec<MatchId>>,
    room: Option<RoomState>,
    now_us: u64,
    terms: Terms,
    release: Option<MatchId>,
}

fn match_id(number: u128) -> MatchId {
    MatchId(Uuid::from_u128(number))
}

fn reservation() -> impl Strategy<Value = Reservation> {
    let holder = prop_oneof![
        3 => Just(Holder::Nobody),
        1 => Just(Holder::Unclear),
        1 => Just(Holder::Named),
        3 => (1u64..12, any::<[bool; 2]>()).prop_map(|(join, [known, clear])| Holder::Player { join, known, clear }),
    ];
    let times = (
        0u64..6,
        0u64..20,
        0u64..9000,
        prop_oneof![2 => Just(0u64), 1 => 1u64..12],
    );
    (times, 0u64..12, holder).prop_map(|((granted_us, deadline_ms, joined_us, left_ms), base, holder)| {
        Reservation {
            id: match_id(0),
            asked: None,
            granted_us,
            deadline_ms,
            base,
            joined_us: if matches!(holder, Holder::Nobody | Holder::Unclear) {
                0
            } else {
                joined_us
            },
            left_ms: if matches!(holder, Holder::Nobody | Holder::Unclear) {
                0
            } else {
                left_ms
            },
            holder,
        }
    })
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![
        4 => Just(Who::default()),
        3 => Just(Who::is(Role::Player)),
        1 => Just(Who::is(Role::Host)),
        3 => (0u128..8).prop_map(|id| Who::proven(Role::Player, &match_id(id).to_string())),
        1 => Just(Who::proven(Role::Host, HOST)),
        1 => Just(Who::proven(Role::Host, "another")),
    ]
}

fn room() -> impl Strategy<Value = RoomState> {
    let members =
        prop::collection::btree_map(1u64..15, (who(), prop::option::weighted(0.3, 0u64..20_000)), 0..8);
    (members, 0u64..3).prop_map(|(members, gone)| {
        let mut room = RoomState {
            last: members.keys().last().copied().unwrap_or(0) + gone,
            ..RoomState::default()
        };
        for (join, (who, left)) in members {
            match left {
                None => room.members.push(RoomMember { join, who }),
                Some(at_us) => room.departed.push(Departed { join, who, at_us }),
            }
        }
        room
    })
}

fn terms() -> impl Strategy<Value = Terms> {
    (0u64..6, 0u64..4, 0u64..6, 0u32..5, any::<[bool; 2]>()).prop_map(
        |(hold_ms, grace_ms, doubt_ms, players, [host_in_room, known_room])| Terms {
            hold_ms,
            grace_ms,
            doubt_ms,
            players,
            host_in_room,
            known_room,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let names = prop::collection::vec((0u128..8).prop_map(match_id), 0..3);
    (
        prop::option::weighted(0.2, names),
        prop::option::weighted(0.9, room()),
        0u64..20_000,
        terms(),
        prop::option::weighted(0.2, (0u128..8).prop_map(match_id)),
    )
        .prop_map(|(names, room, now_us, terms, release)| Step {
            names,
            room,
            now_us,
            terms,
            release,
        })
}

fn marks() -> impl Strategy<Value = Marks> {
    (0u64..8, 0u64..8, 0u64..8, 0u64..12, 0u64..12, 0u64..12).prop_map(
        |(seat, floor, taken, doubt, doubt_ms, absent_ms)| Marks {
            seat,
            floor,
            taken,
            doubt,
            doubt_ms,
            absent_ms,
        },
    )
}

fn history() -> impl Strategy<Value = History> {
    let offer = (1u32..5, 0u32..5, 0u64..8000).prop_map(|(capacity, available, at_us)| Offer {
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
                one.id = match_id(number as u128 * 5 % 8);
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
        let look = Look {
            host: HOST,
            room: step.room.as_ref(),
            now_us: step.now_us,
            terms: step.terms,
        };
        let mut changes = Vec::new();
        if let Some(names) = &step.names {
            changes.extend(slots.name(names, step.now_us));
        }
        changes.extend(slots.settle(&look));
        let changes: Vec<String> = changes
            .iter()
            .map(|(id, change)| format!("{id} {}", word(*change)))
            .collect();
        if let Some(id) = step.release {
            slots.release(id);
        }
        let left = slots.reservations().iter().map(|one| {
            let (holder, [known, clear]) = match one.holder {
                Holder::Nobody => ("nobody".to_owned(), [false; 2]),
                Holder::Unclear => ("unclear".to_owned(), [false; 2]),
                Holder::Named => ("named".to_owned(), [false; 2]),
                Holder::Player { join, known, clear } => (join.to_string(), [known, clear]),
            };
            format!(
                "{} {holder} {known} {clear} {} {}",
                one.id, one.joined_us, one.left_ms
            )
        });
        let left: Vec<String> = left.collect();
        let standing = slots.standing(&history.offer, &look);
        let due = slots
            .due_ms(&look)
            .map_or_else(|| "never".to_owned(), |at| at.to_string());
        let Marks {
            seat,
            floor,
            taken,
            doubt,
            doubt_ms,
            absent_ms,
        } = slots.marks();
        seen.push(format!(
            "{} | {} | {seat} {floor} {taken} {doubt} {doubt_ms} {absent_ms} | {} | {} | {} | {} | {due}",
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

fn member(join: u64, who: &Who) -> Value {
    let role = match who.role {
        Some(Role::Host) => "h",
        Some(Role::Player) => "p",
        None => "",
    };
    json!({"join": join, "role": role, "id": who.id.as_deref().unwrap_or_default()})
}

fn room_as_json(room: &RoomState) -> Value {
    let members = room.members.iter().map(|one| member(one.join, &one.who));
    let departed = room.departed.iter().map(|one| {
        let mut departed = member(one.join, &one.who);
        departed["at_ms"] = json!(one.at_us / 1000);
        departed
    });
    json!({
        "last": room.last,
        "members": members.collect::<Vec<_>>(),
        "departed": departed.collect::<Vec<_>>(),
    })
}

fn as_json(history: &History) -> Value {
    let reservations: Vec<Value> = history
        .reservations
        .iter()
        .map(|one| {
            let (holder, [known, clear]) = match one.holder {
                Holder::Nobody => (Value::Null, [false; 2]),
                Holder::Unclear => (json!("unclear"), [false; 2]),
                Holder::Named => (json!("named"), [false; 2]),
                Holder::Player { join, known, clear } => (json!(join), [known, clear]),
            };
            json!({
                "id": one.id.to_string(),
                "granted_us": one.granted_us,
                "deadline_ms": one.deadline_ms,
                "base": one.base,
                "holder": holder,
                "known": known,
                "clear": clear,
                "joined_us": one.joined_us,
                "left_ms": one.left_ms,
            })
        })
        .collect();
    let steps: Vec<Value> = history
        .steps
        .iter()
        .map(|step| {
            let Terms {
                hold_ms,
                grace_ms,
                doubt_ms,
                players,
                host_in_room,
                known_room,
            } = step.terms;
            json!({
                "names": step.names,
                "room": step.room.as_ref().map(room_as_json),
                "now_us": step.now_us,
                "release": step.release,
                "terms": {
                    "hold_ms": hold_ms,
                    "grace_ms": grace_ms,
                    "doubt_ms": doubt_ms,
                    "players": players,
                    "host_in_room": host_in_room,
                    "known_room": known_room,
                },
            })
        })
        .collect();
    let Offer {
        capacity,
        available,
        at_us,
    } = history.offer;
    let Marks {
        seat,
        floor,
        taken,
        doubt,
        doubt_ms,
        absent_ms,
    } = history.marks;
    json!({
        "host": {
            "id": HOST,
            "capacity": capacity,
            "available": available,
            "at_us": at_us,
            "seat": seat,
            "floor": floor,
            "taken": taken,
            "doubt": doubt,
            "doubt_ms": doubt_ms,
            "absent_ms": absent_ms,
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
