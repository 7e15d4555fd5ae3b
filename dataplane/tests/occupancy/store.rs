//! Both stores behind one face, with the matchmaker's view of each.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use berth_crds::settings::{ObjectName, RoomId};
use berth_dataplane::keys::Keys;
use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{
    Claim, Departed, Instance, Join, LUA_ROOMS, MemberId, MemoryRooms, RoomMember, RoomState, Seat, Seats,
    SharedRooms, Timing, Who,
};
use berth_dataplane::redis::{LinkOptions, RedisEndpoint, RedisLink, RedisMetrics, Script, cmd};
use berth_dataplane::testing::{RedisServer, TestRedis, narrow_user};
use uuid::Uuid;

/// Rooms, as signaling and as a matchmaker see them.
pub(crate) struct Store {
    pub(crate) seats: Seats,
    redis: Option<(RedisLink, Keys)>,
}

impl Store {
    /// Rooms of one process.
    pub(crate) fn memory() -> Self {
        Self {
            seats: Seats::Memory(MemoryRooms::default()),
            redis: None,
        }
    }

    /// Rooms on `redis` that nobody else uses, whose leases are longer than any test.
    pub(crate) async fn shared(redis: &impl TestRedis) -> Self {
        Self::with_lease(redis, Duration::from_hours(1)).await
    }

    /// The same for a user who may do what Berth needs and nothing else.
    pub(crate) async fn narrow(server: &RedisServer) -> Self {
        let name = next_name();
        narrow_user([server], &name.namespace, &name.name);
        let url = server.url().replacen("://", "://berth:narrow@", 1);
        // Holding back asks for more than the rest.
        Self::named(&name, &url, Duration::from_hours(1), true).await
    }

    /// The same with leases of this length.
    pub(crate) async fn with_lease(redis: &impl TestRedis, lease: Duration) -> Self {
        Self::named(&next_name(), &redis.url(), lease, false).await
    }

    /// The same as a signaling server has it: nobody is seated while the store is blank.
    pub(crate) async fn holding_back(redis: &impl TestRedis, lease: Duration) -> Self {
        Self::named(&next_name(), &redis.url(), lease, true).await
    }

    async fn named(name: &ObjectName, url: &str, lease: Duration, holds_back: bool) -> Self {
        let link = RedisLink::start(
            RedisEndpoint::from_url(url).unwrap(),
            LinkOptions::default(),
            RedisMetrics::unregistered(),
        );
        link.wait_healthy().await;
        let keys = Keys::new(name);
        let timing = Timing {
            lease,
            room_ttl: Duration::from_hours(1),
        };
        let mut rooms = SharedRooms::new(link.clone(), keys.clone(), timing);
        if holds_back {
            rooms = rooms.hold_back_after_loss();
        }
        Self {
            seats: Seats::Shared(rooms),
            redis: Some((link, keys)),
        }
    }

    /// A key in Redis.
    pub(crate) fn key(&self, name: &str) -> String {
        let (_, keys) = self.redis.as_ref().expect("a store on Redis");
        format!("{}{name}", keys.prefix())
    }

    /// Another process on the same keys.
    pub(crate) fn another(&self, lease: Duration) -> Self {
        let (link, keys) = self.redis.clone().expect("a store on Redis");
        let timing = Timing {
            lease,
            room_ttl: Duration::from_hours(1),
        };
        Self {
            seats: Seats::Shared(SharedRooms::new(link.clone(), keys.clone(), timing).hold_back_after_loss()),
            redis: Some((link, keys)),
        }
    }

    pub(crate) async fn join(
        &self,
        room: &RoomId,
        member: MemberId,
        instance: &Instance,
        capacity: u16,
    ) -> Join {
        let claim = Claim::new(member, instance);
        self.seats.join(room, &claim, capacity).await.unwrap()
    }

    /// Join number and the others of a join that must succeed.
    pub(crate) async fn sits(
        &self,
        room: &RoomId,
        member: MemberId,
        instance: &Instance,
    ) -> (u64, Vec<MemberId>) {
        match self.join(room, member, instance, 64).await {
            Join::Joined { join, others, .. } => (join, members(&others)),
            other => panic!("no seat for {member}: {other:?}"),
        }
    }

    pub(crate) async fn leave(&self, room: &RoomId, member: MemberId, instance: &Instance) -> Vec<MemberId> {
        members(&self.seats.leave(room, member, instance).await.unwrap().seats)
    }

    pub(crate) async fn watch(&self, room: &RoomId, pool: &str) {
        match (&self.seats, &self.redis) {
            (Seats::Memory(rooms), _) => rooms.watch(room, pool),
            (_, Some((link, keys))) => {
                let args = [keys.prefix().to_owned(), room.to_string(), pool.to_owned()];
                let body = "berth_watch(ARGV[1], ARGV[2], ARGV[3])";
                self.script::<()>(link, body, &[keys.room(room)], &args).await;
                self.touch(room, pool).await;
            }
            _ => unreachable!(),
        }
    }

    pub(crate) async fn unwatch(&self, room: &RoomId, pool: &str) {
        match (&self.seats, &self.redis) {
            (Seats::Memory(rooms), _) => rooms.unwatch(room, pool),
            (_, Some((link, keys))) => {
                let args = [keys.prefix().to_owned(), room.to_string(), pool.to_owned()];
                let body = "berth_unwatch(ARGV[1], ARGV[2], ARGV[3])";
                self.script::<()>(link, body, &[keys.room(room)], &args).await;
            }
            _ => unreachable!(),
        }
    }

    /// A watch begins with a look at the room.
    async fn touch(&self, room: &RoomId, pool: &str) {
        if let Some((link, keys)) = &self.redis {
            let key = format!("{}touched", keys.pool(pool));
            let add = cmd("SADD").arg(key).arg(room.as_str()).clone();
            link.command::<()>(&add).await.unwrap();
        }
    }

    pub(crate) async fn touched(&self, pool: &str) -> BTreeSet<String> {
        match (&self.seats, &self.redis) {
            (Seats::Memory(rooms), _) => rooms
                .take_touched(pool, 1000)
                .into_iter()
                .map(|room| room.to_string())
                .collect(),
            (_, Some((link, keys))) => {
                let key = format!("{}touched", keys.pool(pool));
                let pop = cmd("SPOP").arg(key).arg(1000).clone();
                link.command(&pop).await.unwrap()
            }
            _ => unreachable!(),
        }
    }

    pub(crate) async fn state(&self, room: &RoomId) -> RoomState {
        let (link, keys) = match (&self.seats, &self.redis) {
            (Seats::Memory(rooms), _) => return rooms.room_state(room),
            (_, Some(redis)) => redis,
            _ => unreachable!(),
        };
        let body = "local last, members, departed = berth_room(ARGV[1], ARGV[2], math.floor(berth_now_us() / 1000))\n\
                    local answer = {berth_integer(last), departed}\n\
                    for _, seat in ipairs(members) do\n\
                    local role = string.match(string.lower(seat.flags), '^[hp]?')\n\
                    answer[#answer + 1] = table.concat({berth_integer(seat.join), '0', role, seat.id}, ':') end\n\
                    return answer";
        let args = [keys.prefix().to_owned(), room.to_string()];
        let answer: Vec<String> = self.script(link, body, &[keys.room(room)], &args).await;
        let (last, departed) = (answer[0].parse().unwrap(), &answer[1]);
        let entry = |text: &str| {
            let parts: Vec<&str> = text.splitn(4, ':').collect();
            let who = Who {
                role: match parts[2] {
                    "h" => Some(Role::Host),
                    "p" => Some(Role::Player),
                    _ => None,
                },
                id: Some(parts[3]).filter(|id| !id.is_empty()).map(Into::into),
            };
            (parts[0].parse().unwrap(), parts[1].parse().unwrap(), who)
        };
        let member = |text: &String| {
            let (join, _, who) = entry(text);
            RoomMember { join, who }
        };
        let mut members: Vec<RoomMember> = answer[2..].iter().map(member).collect();
        members.sort_unstable_by_key(|member| member.join);
        let departed = departed.split(';').filter(|text| !text.is_empty()).map(|text| {
            let (join, at_us, who) = entry(text);
            Departed { join, who, at_us }
        });
        let mut departed: Vec<Departed> = departed.collect();
        departed.reverse();
        RoomState {
            last,
            members,
            departed,
        }
    }

    /// Join numbers of the members.
    pub(crate) async fn numbers(&self, room: &RoomId) -> Vec<u64> {
        let state = self.state(room).await;
        state.members.into_iter().map(|member| member.join).collect()
    }

    pub(crate) async fn known(&self) -> bool {
        let (link, keys) = match (&self.seats, &self.redis) {
            (Seats::Memory(rooms), _) => return rooms.known(),
            (_, Some(redis)) => redis,
            _ => unreachable!(),
        };
        let body = "return berth_occupancy_known(ARGV[1], math.floor(berth_now_us() / 1000)) and '1' or '0'";
        let answer: Vec<String> = vec![
            self.script(link, body, &[keys.instances()], &[keys.prefix().to_owned()])
                .await,
        ];
        answer == ["1"]
    }

    async fn script<T: berth_dataplane::redis::FromRedisValue>(
        &self,
        link: &RedisLink,
        body: &str,
        keys: &[String],
        args: &[String],
    ) -> T {
        let script = Script::new(&[LUA_ROOMS, body].join("\n"));
        link.script(&script, keys, args).await.unwrap()
    }
}

/// A name that no other store has.
fn next_name() -> ObjectName {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    ObjectName::new("test", format!("store-{number}"))
}

pub(crate) fn members(seats: &[Seat]) -> Vec<MemberId> {
    let mut members: Vec<MemberId> = seats.iter().map(|seat| seat.member).collect();
    members.sort();
    members
}

pub(crate) fn member(number: u128) -> MemberId {
    MemberId(Uuid::from_u128(number))
}

pub(crate) fn instance(id: &str) -> Instance {
    Instance::new(id, 1)
}

pub(crate) fn room(name: &str) -> RoomId {
    RoomId::parse(name, 64).unwrap()
}
