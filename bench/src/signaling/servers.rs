//! The servers under test: what they are started with, and when they are ready.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::load::Addresses;
use crate::process::{Child, Cores, Meter, Program, Redis, free_port, http_get};

/// Above everything that a load here can do.
const NO_LIMIT: &str = "1000000000";
/// The longest interval that is allowed: longer than any run, so that no ping mixes into the figures.
const HEARTBEAT_MS: &str = "300000";
/// Nothing published for so long: seats have been asserted.
const QUIET: Duration = Duration::from_millis(1500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Longest wait for quiet.
const PATIENCE: Duration = Duration::from_secs(10);
/// Attempts to find ports that nobody takes between looking and starting.
const ATTEMPTS: usize = 5;

/// The programs that are compared.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Berth's signaling server.
    pub signaling: Program,
    /// The bare relay.
    pub relay: Program,
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Berth,
    Bare,
}

/// A running server, or several that share a Redis.
pub(crate) struct Servers {
    instances: Vec<Instance>,
    processes: Vec<u32>,
    redis: Option<Redis>,
}

struct Instance {
    child: Child,
    address: SocketAddr,
    health_port: Option<u16>,
}

impl Programs {
    /// Both as they are built into `berth-bench`, at this path.
    pub fn of(bench: &Path) -> Self {
        Self {
            signaling: Program::new(bench).argument("serve-signaling"),
            relay: Program::new(bench).argument("relay"),
        }
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Berth => "berth-signaling",
            Self::Bare => "bare relay",
        }
    }
}

impl Servers {
    /// One server with rooms in memory.
    pub(crate) fn single(kind: Kind, programs: &Programs, cores: &Cores) -> anyhow::Result<Self> {
        let instance = start(|| match kind {
            Kind::Berth => start_berth(programs, cores, "i0", None),
            Kind::Bare => start_bare(programs, cores),
        })?;
        Ok(Self::new(vec![instance], None))
    }

    /// So many bare relays that know nothing of each other.
    pub(crate) fn bare(count: usize, programs: &Programs, cores: &Cores) -> anyhow::Result<Self> {
        let started: anyhow::Result<Vec<Instance>> = (0..count)
            .map(|_| start(|| start_bare(programs, cores)))
            .collect();
        Ok(Self::new(started?, None))
    }

    /// So many instances of Berth on a Redis of their own.
    pub(crate) fn cluster(instances: usize, programs: &Programs, cores: &Cores) -> anyhow::Result<Self> {
        let redis = Redis::start(cores.load)?;
        let started: anyhow::Result<Vec<Instance>> = (0..instances)
            .map(|number| start(|| start_berth(programs, cores, &format!("i{number}"), Some(&redis))))
            .collect();
        Ok(Self::new(started?, Some(redis)))
    }

    fn new(instances: Vec<Instance>, redis: Option<Redis>) -> Self {
        let processes = instances.iter().map(|instance| instance.child.id()).collect();
        Self {
            instances,
            processes,
            redis,
        }
    }

    /// Both sockets of a room on the same instance.
    pub(crate) fn together(&self) -> impl Addresses {
        |room: usize, _: usize| self.address(room)
    }

    /// The sockets of a room on different instances; over all rooms, every pair of instances as often as every other.
    pub(crate) fn apart(&self) -> impl Addresses {
        let count = self.instances.len();
        move |room: usize, side: usize| {
            let distance = if count > 1 {
                1 + room / count % (count - 1)
            } else {
                0
            };
            self.address(room + side * distance)
        }
    }

    fn address(&self, number: usize) -> SocketAddr {
        self.instances[number % self.instances.len()].address
    }

    /// Ids of the processes.
    pub(crate) fn processes(&self) -> &[u32] {
        &self.processes
    }

    /// The shared Redis.
    pub(crate) fn redis(&self) -> anyhow::Result<&Redis> {
        self.redis.as_ref().context("these servers have no Redis")
    }

    /// Waits until instances have nothing more to tell each other: they assert their seats once more shortly after their start.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        let published = || -> anyhow::Result<u64> { Ok(self.redis()?.commands()?.of("publish")) };
        let end = Instant::now() + PATIENCE;
        let (mut last, mut since) = (published()?, Instant::now());
        while since.elapsed() < QUIET && Instant::now() < end {
            sleep(LOOK);
            let next = published()?;
            if next != last {
                (last, since) = (next, Instant::now());
            }
        }
        Ok(())
    }

    /// Begins to measure.
    pub(crate) fn meter(&self) -> anyhow::Result<Meter<'_>> {
        Meter::start(&self.processes, self.redis.as_ref().map(Redis::id))
    }

    /// Whether so many sockets have a seat; a bare relay gives one with the handshake.
    pub(crate) fn has_seated(&self, sockets: usize) -> anyhow::Result<bool> {
        let mut seated = 0.0;
        for instance in &self.instances {
            let Some(port) = instance.health_port else {
                return Ok(true);
            };
            let (_, metrics) = http_get(port, "/metrics")?;
            let gauge = metrics
                .lines()
                .find_map(|line| line.strip_prefix("signaling_active_connections "))
                .context("no signaling_active_connections among the metrics")?;
            seated += gauge.parse::<f64>()?;
        }
        Ok(seated >= sockets as f64)
    }
}

fn start(attempt: impl Fn() -> anyhow::Result<Instance>) -> anyhow::Result<Instance> {
    // A port may be taken between looking and starting.
    for _ in 1..ATTEMPTS {
        if let Ok(instance) = attempt() {
            return Ok(instance);
        }
    }
    attempt()
}

fn start_berth(
    programs: &Programs,
    cores: &Cores,
    name: &str,
    redis: Option<&Redis>,
) -> anyhow::Result<Instance> {
    let (port, health_port) = (free_port()?, free_port()?);
    let mut environment = vec![
        ("PORT", port.to_string()),
        ("HEALTH_PORT", health_port.to_string()),
        ("INSTANCE_ID", name.to_owned()),
        ("LOG_LEVEL", "error".to_owned()),
        ("HEARTBEAT_INTERVAL_MS", HEARTBEAT_MS.to_owned()),
    ];
    for limit in [
        "RATE_LIMIT_CONN_PER_10S",
        "RATE_LIMIT_MESSAGES_PER_10S",
        "RATE_LIMIT_IP_MSGS_PER_10S",
        "RATE_LIMIT_ROOM_MSGS_PER_10S",
    ] {
        environment.push((limit, NO_LIMIT.to_owned()));
    }
    environment.extend(redis.map(|redis| ("REDIS_URL", redis.url())));
    let program = programs.signaling.clone().argument("--bind=127.0.0.1");
    let mut child = program.start("berth-signaling", cores.servers, &environment)?;
    child.wait_until(|| {
        http_get(health_port, "/readyz").is_ok_and(|answer| answer == (200, "ready".to_owned()))
            && TcpStream::connect(loopback(port)).is_ok()
    })?;
    Ok(Instance {
        child,
        address: loopback(port),
        health_port: Some(health_port),
    })
}

fn start_bare(programs: &Programs, cores: &Cores) -> anyhow::Result<Instance> {
    let address = loopback(free_port()?);
    let program = programs.relay.clone().argument(format!("--listen={address}"));
    let mut child = program.start("the bare relay", cores.servers, &[])?;
    child.wait_until(|| TcpStream::connect(address).is_ok())?;
    Ok(Instance {
        child,
        address,
        health_port: None,
    })
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// An open file for each socket, and some for everything else.
pub(crate) fn require_files(sockets: usize) -> anyhow::Result<()> {
    let (needed, limit) = (sockets as u64 + 500, crate::process::file_limit());
    if needed > limit {
        bail!(
            "{sockets} sockets need {needed} open files in a process, and {limit} are allowed: raise `ulimit -n`"
        );
    }
    Ok(())
}
