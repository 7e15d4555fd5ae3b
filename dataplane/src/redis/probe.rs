//! What is asked of a server while its connection stands: who it is, and whether it still answers.

use std::collections::HashMap;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, RedisResult, Value};
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
    /// It is a node of a Redis Cluster.
    pub(super) cluster: bool,
    /// It is one, and knows sharded pub/sub.
    pub(super) sharded: bool,
    replica: bool,
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

/// Whether a new connection leads to what is demanded.
pub(super) async fn greet(
    connection: &mut MultiplexedConnection,
    demand: Demand,
) -> Result<Greeting, Unusable> {
    if demand == Demand::Answers {
        ping(connection).await?;
        // What else it says is good to know and no more: what looks like one server may be a proxy.
        return Ok(hello(connection).await.unwrap_or_default());
    }
    let greeting = hello(connection).await?;
    if greeting.replica {
        return Err(Unusable::Replica);
    }
    Ok(greeting)
}

async fn ping(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    Cmd::new().arg("PING").exec_async(connection).await
}

/// Not ROLE or INFO, which many access lists refuse: every connection has to say HELLO for RESP3 anyway.
async fn hello(connection: &mut MultiplexedConnection) -> RedisResult<Greeting> {
    let hello: HashMap<String, Value> = Cmd::new().arg("HELLO").query_async(connection).await?;
    Ok(read_hello(&hello))
}

fn read_hello(hello: &HashMap<String, Value>) -> Greeting {
    let text = |field: &str| match hello.get(field) {
        Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).ok(),
        Some(Value::SimpleString(text)) => Some(text.as_str()),
        _ => None,
    };
    let cluster = text("mode") == Some("cluster");
    let version = text("version").and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    Greeting {
        cluster,
        sharded: cluster && version.is_some_and(|major| major >= SHARDED_SINCE),
        // A Sentinel has no role.
        replica: text("role").is_some_and(|role| role != "master"),
    }
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
        // One that has become a replica answers pings as well.
        let answer = match self.demand {
            Demand::Answers => ping(connection).await.map(|()| false),
            Demand::Primary => hello(connection).await.map(|greeting| greeting.replica),
        };
        match answer {
            Ok(replica) => {
                self.missed = 0;
                if replica { Pulse::Replica } else { Pulse::Answered }
            }
            Err(error) => {
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

    fn greeting(fields: &[(&str, &str)]) -> Greeting {
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
            let greeting = greeting(&[("role", "master"), ("mode", mode), ("version", version)]);
            assert_eq!(greeting.sharded, sharded, "{mode} {version}");
            assert_eq!(greeting.cluster, mode == "cluster");
        }
        assert_eq!(greeting(&[]), Greeting::default());
    }

    #[test]
    fn replicas_are_known_by_either_name() {
        for (role, replica) in [("replica", true), ("slave", true), ("master", false)] {
            assert_eq!(greeting(&[("role", role)]).replica, replica, "{role}");
        }
    }
}
