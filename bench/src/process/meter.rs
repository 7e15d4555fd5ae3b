//! What a stretch of time cost whom.

use std::time::{Duration, Instant};

use super::proc::cpu;

/// Measures the CPU time of processes from now on.
#[derive(Debug)]
pub struct Meter<'a> {
    servers: &'a [u32],
    redis: Option<u32>,
    began: Instant,
    before: [Duration; 3],
}

/// What a stretch of time cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Its length.
    pub time: Duration,
    /// CPU time of all servers together.
    pub servers: Duration,
    /// Of Redis.
    pub redis: Duration,
    /// Of this process, which makes the load.
    pub load: Duration,
}

impl<'a> Meter<'a> {
    /// Begins to measure.
    pub fn start(servers: &'a [u32], redis: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self {
            servers,
            redis,
            before: now(servers, redis)?,
            began: Instant::now(),
        })
    }

    /// The cost since the start.
    pub fn stop(&self) -> anyhow::Result<Cost> {
        let time = self.began.elapsed();
        let now = now(self.servers, self.redis)?;
        let [servers, redis, load] =
            std::array::from_fn(|index| now[index].saturating_sub(self.before[index]));
        Ok(Cost {
            time,
            servers,
            redis,
            load,
        })
    }
}

impl Cost {
    /// Share of a core that the load took: near 1, the load and not the server was the limit.
    pub fn load_share(&self) -> f64 {
        self.load.as_secs_f64() / self.time.as_secs_f64()
    }
}

fn now(servers: &[u32], redis: Option<u32>) -> anyhow::Result<[Duration; 3]> {
    let servers = servers
        .iter()
        .map(|process| cpu(*process))
        .sum::<anyhow::Result<_>>()?;
    let redis = redis.map(cpu).transpose()?.unwrap_or_default();
    Ok([servers, redis, cpu(std::process::id())?])
}
