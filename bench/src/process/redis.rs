//! A Redis of our own, and what it was asked to do.

use std::collections::BTreeMap;

use anyhow::bail;

use super::child::{Child, Program, ask, free_port};

/// Attempts to find a port that nobody takes between looking and starting.
const PORT_ATTEMPTS: usize = 20;
/// Commands of connections that do nothing, and of those who read the statistics.
const BACKGROUND: [&str; 6] = ["ping", "info", "quit", "hello", "client|setinfo", "subscribe"];

/// A `redis-server` on a free loopback port, without persistence.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    port: u16,
}

/// Calls of each command so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands(BTreeMap<String, u64>);

impl Redis {
    /// Starts one on a core and waits until it answers.
    pub fn start(core: Option<usize>) -> anyhow::Result<Self> {
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port()?;
            let options = format!("--bind 127.0.0.1 --port {port} --appendonly no --logfile /dev/null");
            let program = options
                .split(' ')
                .fold(Program::new("redis-server"), Program::argument)
                .argument("--save")
                .argument("");
            let mut child = program.start("redis-server (Debian package redis-server)", core, &[])?;
            // The port may have become somebody else's server: the process id tells.
            let ours = format!("process_id:{}\r\n", child.id());
            let is_ours = || ask(port, "INFO server\r\nQUIT\r\n").is_ok_and(|info| info.contains(&ours));
            if child.wait_until(is_ours).is_ok() {
                return Ok(Self { child, port });
            }
        }
        bail!("redis-server does not start; is the Debian package redis-server installed?");
    }

    /// Address for `REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Calls of each command so far.
    pub fn commands(&self) -> anyhow::Result<Commands> {
        Ok(Commands::read(&ask(self.port, "INFO commandstats\r\nQUIT\r\n")?))
    }
}

impl Commands {
    fn read(stats: &str) -> Self {
        let calls = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        Self(stats.lines().filter_map(calls).collect())
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let new = |(name, calls): (&String, &u64)| (name.clone(), calls.saturating_sub(before.of(name)));
        Self(self.0.iter().map(new).filter(|(_, calls)| *calls > 0).collect())
    }

    /// Calls of one command.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Calls of everything else that is not said on idle connections too.
    pub fn beside(&self, name: &str) -> u64 {
        let others = self
            .0
            .iter()
            .filter(|(other, _)| *other != name && !BACKGROUND.contains(&other.as_str()));
        others.map(|(_, calls)| calls).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_by_name() {
        let stats = |publish, eval| {
            Commands::read(&format!(
                "# Commandstats\r\ncmdstat_publish:calls={publish},usec=9\r\ncmdstat_evalsha:calls={eval},usec=1\r\n\
                 cmdstat_ping:calls=7,usec=1\r\n"
            ))
        };
        let since = stats(12, 3).since(&stats(2, 1));
        assert_eq!((since.of("publish"), since.beside("publish")), (10, 2));
    }
}
