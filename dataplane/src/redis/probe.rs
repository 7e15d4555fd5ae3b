//! What is asked of a server while its connection stands: who it is, and whether it still answers.

use std::collections::HashMap;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, Value};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Between two pings.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Pings in a row without an answer after which a connection is given up. One may be a pause of the server.
const MISSED_PINGS: u32 = 2;
/// First version with sharded pub/sub.
const SHARDED_SINCE: u32 = 7;

/// Set once, when a connection is lost.
#[derive(Clone, Default)]
pub(super) struct LostSignal(CancellationToken);

/// What a server must be so that a connection to it is worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// It answers.
    Answers,
    /// It answers and is no replica.
    Primary,
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Greeting {
    /// It is a node of a Redis Cluster and knows sharded pub/sub.
    pub(super) sharded: bool,
}

/// Why a connection that was made is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the server is a replica and takes no writes")]
    Replica,
    #[error(transparent)]
    Redis(#[from] ::redis::RedisError),
}

/// Pings of one connection.
pub(super) struct Pings {
    demand: Demand,
    interval: Interval,
    missed: u32,
}

/// What a ping showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    Answered,
    Missed,
    /// The connection must be given up.
    Dead,
    /// The server has become a replica.
    Replica,
}

/// Whether a server is what is demanded: one that has just been found to be a replica answers pings as well, and
/// its name may still stand for it for a while.
pub(super) async fn greet(
    connection: &mut MultiplexedConnection,
    demand: Demand,
) -> Result<Greeting, Unusable> {
    if demand == Demand::Answers {
        Cmd::new().arg("PING").exec_async(connection).await?;
        return Ok(Greeting::default());
    }
    // HELLO and not ROLE or INFO, which many access lists refuse: every connection has to say it for RESP3 anyway.
    let hello: HashMap<String, Value> = Cmd::new().arg("HELLO").query_async(connection).await?;
    read_hello(&hello)
}

fn read_hello(hello: &HashMap<String, Value>) -> Result<Greeting, Unusable> {
    let text = |field: &str| match hello.get(field) {
        Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).ok(),
        Some(Value::SimpleString(text)) => Some(text.as_str()),
        _ => None,
    };
    if text("role").is_some_and(|role| role != "master") {
        return Err(Unusable::Replica);
    }
    let version = text("version").and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    Ok(Greeting {
        sharded: text("mode") == Some("cluster") && version.is_some_and(|major| major >= SHARDED_SINCE),
    })
}

impl Pings {
    /// The first ping is due after one interval.
    pub(super) fn new(demand: Demand) -> Self {
        let mut interval = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            demand,
            interval,
            missed: 0,
        }
    }

    /// Waits for the next ping and its answer.
    pub(super) async fn next(&mut self, connection: &mut MultiplexedConnection) -> Pulse {
        self.interval.tick().await;
        match greet(connection, self.demand).await {
            Ok(_) => {
                self.missed = 0;
                Pulse::Answered
            }
            Err(Unusable::Replica) => Pulse::Replica,
            Err(Unusable::Redis(error)) => {
                self.missed += 1;
                if self.missed < MISSED_PINGS && !error.is_unrecoverable_error() {
                    Pulse::Missed
                } else {
                    Pulse::Dead
                }
            }
        }
    }
}

impl LostSignal {
    pub(super) fn set(&self) {
        self.0.cancel();
    }

    pub(super) async fn wait(&self) {
        self.0.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(fields: &[(&str, &str)]) -> Result<Greeting, Unusable> {
        let fields = fields
            .iter()
            .map(|(field, text)| ((*field).to_owned(), Value::BulkString(text.as_bytes().to_vec())));
        read_hello(&fields.collect())
    }

    #[test]
    fn only_nodes_of_a_new_cluster_shard_channels() {
        for (mode, version, sharded) in [
            ("cluster", "7.0.15", true),
            ("cluster", "10.1", true),
            ("cluster", "6.2.14", false),
            ("standalone", "7.0.15", false),
            ("cluster", "unknown", false),
        ] {
            let greeting = hello(&[("role", "master"), ("mode", mode), ("version", version)]).unwrap();
            assert_eq!(greeting.sharded, sharded, "{mode} {version}");
        }
        assert_eq!(hello(&[]).unwrap(), Greeting::default());
    }

    #[test]
    fn replicas_are_refused() {
        assert!(matches!(hello(&[("role", "replica")]), Err(Unusable::Replica)));
        assert!(matches!(hello(&[("role", "slave")]), Err(Unusable::Replica)));
    }
}
