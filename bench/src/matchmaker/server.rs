//! The matchmaker under test, and rooms in which its hosts sit.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use berth_crds::settings::{ObjectName, RoomId};
use berth_dataplane::keys::Keys;
use berth_dataplane::occupancy::{Claim, Instance, Join, MemberId, SharedRooms, Timing};
use berth_dataplane::redis::{LinkOptions, RedisEndpoint, RedisLink, RedisMetrics};
use tokio::runtime::Builder;
use uuid::Uuid;

use crate::process::{Child, Commands, Cores, Meter, Program, Redis, free_port, http_get};

/// Bearer secret of the hosts.
pub(super) const SECRET: &str = "bench";
/// Longer than any run: neither seats nor the lease of who holds them end meanwhile.
const FOREVER: Duration = Duration::from_hours(1);
/// Attempts to find ports that nobody takes between looking and starting.
const ATTEMPTS: usize = 5;

/// A running matchmaker.
pub(super) struct Server {
    process: [u32; 1],
    _child: Child,
    address: SocketAddr,
    internal: u16,
    redis: Option<Redis>,
}

impl Server {
    /// One with hosts in memory, or, with the ids of rooms, one on a Redis in which somebody sits in each of them.
    pub(super) fn start(program: &Program, cores: &Cores, rooms: Option<&[String]>) -> anyhow::Result<Self> {
        let redis = match rooms {
            None => None,
            Some(rooms) => {
                let redis = Redis::start(cores.load)?;
                seat(&redis, rooms)?;
                Some(redis)
            }
        };
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match start(program, cores, redis.as_ref()) {
                Ok((child, port, internal)) => {
                    return Ok(Self {
                        process: [child.id()],
                        _child: child,
                        address: loopback(port),
                        internal,
                        redis,
                    });
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.context("no attempt was made")?)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to measure.
    pub(super) fn meter(&self) -> anyhow::Result<Meter<'_>> {
        Meter::start(&self.process, self.redis.as_ref().map(Redis::id))
    }

    /// What Redis was asked to do so far.
    pub(super) fn commands(&self) -> anyhow::Result<Commands> {
        self.redis
            .as_ref()
            .map_or_else(|| Ok(Commands::default()), Redis::commands)
    }

    /// Hosts that are alive, and those of them that have a free slot.
    pub(super) fn hosts(&self) -> anyhow::Result<(u64, u64)> {
        let (status, text) = http_get(self.internal, "/counts")?;
        ensure!(status == 200, "GET /counts answers {status}: {text}");
        let counts: serde_json::Value = serde_json::from_str(&text)?;
        let number = |name: &str| counts["hosts"][name].as_u64().context("no counts");
        Ok((number("total")?, number("idle")?))
    }
}

fn start(program: &Program, cores: &Cores, redis: Option<&Redis>) -> anyhow::Result<(Child, u16, u16)> {
    let (port, internal) = (free_port()?, free_port()?);
    let mut environment = vec![
        ("PORT", port.to_string()),
        ("INTERNAL_PORT", internal.to_string()),
        ("INSTANCE_ID", "bench".to_owned()),
        ("LOG_LEVEL", "error".to_owned()),
        ("HOST_SECRET", SECRET.to_owned()),
    ];
    environment.extend(redis.map(|redis| ("REDIS_URL", redis.url())));
    let program = program.clone().argument("--bind=127.0.0.1");
    let mut child = program.start("berth-matchmaker", cores.servers, &environment)?;
    child.wait_until(|| {
        http_get(internal, "/readyz").is_ok_and(|answer| answer == (200, "ready".to_owned()))
            && TcpStream::connect(loopback(port)).is_ok()
    })?;
    Ok((child, port, internal))
}

/// Somebody takes a seat in each room, as a signaling server would give it.
fn seat(redis: &Redis, rooms: &[String]) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let endpoint = RedisEndpoint::from_url(&redis.url())?;
        let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
        link.wait_healthy().await;
        let timing = Timing {
            lease: FOREVER,
            room_ttl: FOREVER,
        };
        // What a matchmaker without manifests is called.
        let keys = Keys::new(&ObjectName::new("default", "default"));
        let (seats, instance) = (SharedRooms::new(link, keys, timing), Instance::new("bench", 1));
        seats.renew(&instance).await?;
        for room in rooms {
            let claim = Claim::new(MemberId(Uuid::new_v4()), &instance);
            let joined = seats.join(&RoomId::parse(room, 64)?, &claim, 2).await?;
            ensure!(
                matches!(joined, Join::Joined { .. }),
                "no seat in {room}: {joined:?}"
            );
        }
        Ok(())
    })
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
