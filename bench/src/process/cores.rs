//! Who runs on which core.

use anyhow::{Context as _, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Who runs on which core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cores {
    /// Of all servers under test; `None`: all cores.
    pub servers: Option<usize>,
    /// Of the load and of Redis.
    pub load: Option<usize>,
}

impl Cores {
    /// Everybody shares all cores.
    pub fn shared() -> Self {
        Self::default()
    }

    /// The servers get the first core that this process may use, the load and Redis the second one; this thread moves there. A
    /// server with one core runs with one worker thread.
    pub fn apart() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot read which cores may be used")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (Some(servers), Some(load)) = (cores.next(), cores.next()) else {
            bail!("servers and load need a core each, and there is only one: use --unpinned");
        };
        let mut ours = CpuSet::new();
        ours.set(load);
        sched_setaffinity(None, &ours).context("cannot move to a core")?;
        Ok(Self {
            servers: Some(servers),
            load: Some(load),
        })
    }

    /// In words.
    pub fn describe(&self) -> String {
        match (self.servers, self.load) {
            (Some(servers), Some(load)) => {
                format!("all servers on core {servers}, load and Redis on core {load}")
            }
            _ => "servers, load and Redis share all cores".to_owned(),
        }
    }
}
