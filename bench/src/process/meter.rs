//! What a stretch of time cost whom.

use std::time::{Duration, Instant};

use super::usage::{Threads, Usage};

/// Measures what processes use from now on.
#[derive(Debug)]
pub struct Meter<'a> {
    servers: &'a [u32],
    redis: Option<u32>,
    began: Instant,
    before: Snapshot,
}

/// What a stretch of time cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Its length.
    pub time: Duration,
    /// What all servers used together.
    pub servers: Usage,
    /// CPU time of Redis.
    pub redis: Duration,
    /// Of this process, which makes the load.
    pub load: Duration,
}

/// Everybody's threads at one moment.
#[derive(Debug)]
struct Snapshot {
    servers: Vec<Threads>,
    redis: Option<Threads>,
    load: Threads,
}

impl<'a> Meter<'a> {
    /// Begins to measure.
    pub fn start(servers: &'a [u32], redis: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self {
            servers,
            redis,
            before: Snapshot::take(servers, redis)?,
            began: Instant::now(),
        })
    }

    /// The cost since the start.
    pub fn stop(&self) -> anyhow::Result<Cost> {
        let time = self.began.elapsed();
        let (now, before) = (Snapshot::take(self.servers, self.redis)?, &self.before);
        let servers = now.servers.iter().zip(&before.servers);
        let redis = now.redis.iter().zip(&before.redis);
        Ok(Cost {
            time,
            servers: servers.map(|(now, before)| now.since(before)).sum(),
            redis: redis.map(|(now, before)| now.since(before).cpu).sum(),
            load: now.load.since(&before.load).cpu,
        })
    }
}

impl Snapshot {
    fn take(servers: &[u32], redis: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self {
            servers: servers
                .iter()
                .map(|process| Threads::of(*process))
                .collect::<anyhow::Result<_>>()?,
            redis: redis.map(Threads::of).transpose()?,
            load: Threads::of(std::process::id())?,
        })
    }
}

impl Cost {
    /// Share of a core that the load took: near 1, the load and not the server was the limit.
    pub fn load_share(&self) -> f64 {
        self.load.as_secs_f64() / self.time.as_secs_f64()
    }
}
