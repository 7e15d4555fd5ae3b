//! Keeps one connection: finds the server, connects with backoff, tells of losses.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ::redis::AsyncConnectionConfig;
use ::redis::aio::{AsyncPushSender, MultiplexedConnection};
use berth_crds::settings::RedisAddress;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::backoff;
use super::link::LinkOptions;
use super::news::News;
use super::probe::{Demand, Unusable, greet};
use super::target::{FindError, Follower, Target};
use crate::telemetry::with_causes;

/// A connection that lasted this long was a good one: the next loss starts with the shortest wait again.
const LASTING: Duration = Duration::from_secs(5);
/// Commands that wait in front of the socket's writer before callers wait.
const WRITE_QUEUE: usize = 1024;
/// Bytes of commands that are gathered before a write.
const WRITE_BATCH_BYTES: usize = 64 * 1024;

/// Keeps one connection of a link.
pub(super) struct Keeper {
    /// What the connection is for, for the log.
    purpose: &'static str,
    target: Target,
    config: AsyncConnectionConfig,
    news: Arc<News>,
    demotions: watch::Receiver<u64>,
    /// The last server turned out to be a replica: the next one must be none.
    demoted: bool,
    /// Follows whether the present connection is at the right server.
    follower: Follower,
    /// When the last connection was made.
    connected_at: Option<Instant>,
    /// Attempts since the last connection that lasted.
    attempts: u32,
    /// Whether an attempt failed since [`Keeper::was_refused`] was asked last.
    refused: bool,
}

/// A connection that was made.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) connection: MultiplexedConnection,
    /// Where it leads.
    pub(super) address: RedisAddress,
    /// Channels are sharded there.
    pub(super) sharded: bool,
}

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    Redis(#[from] ::redis::RedisError),
}

/// How connections of a link are made.
pub(super) fn connection_config(options: &LinkOptions) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(Some(options.response_timeout))
        .set_pipeline_buffer_size(WRITE_QUEUE)
        .set_write_backpressure_boundary(WRITE_BATCH_BYTES)
}

impl Keeper {
    pub(super) fn new(purpose: &'static str, target: Target, options: &LinkOptions, news: Arc<News>) -> Self {
        Self {
            purpose,
            follower: target.follow(),
            target,
            config: connection_config(options),
            demotions: news.watch_demotions(),
            news,
            demoted: false,
            connected_at: None,
            attempts: 0,
            refused: false,
        }
    }

    /// Connects, however long it takes.
    pub(super) async fn connect(&mut self, push: impl AsyncPushSender) -> Kept {
        let push = Arc::new(push);
        if self.connected_at.is_some_and(|since| since.elapsed() >= LASTING) {
            self.attempts = 0;
        }
        // A server that accepts connections and drops them again is as bad as one that refuses them.
        if self.connected_at.is_some() {
            self.wait().await;
        }
        loop {
            let push = Arc::clone(&push);
            match self.try_connect(move |info| push.send(info)).await {
                Ok(kept) => {
                    self.connected(&kept);
                    return kept;
                }
                Err(error) => self.failed(&error),
            }
            self.wait().await;
        }
    }

    async fn wait(&mut self) {
        tokio::time::sleep(backoff::delay(self.attempts, rand::random())).await;
        self.attempts = self.attempts.saturating_add(1);
    }

    async fn try_connect(&mut self, push: impl AsyncPushSender) -> Result<Kept, ConnectError> {
        self.follower = self.target.follow();
        let (client, address) = self.target.find().await?;
        let config = self.config.clone().set_push_sender(push);
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        self.demoted |= self.demotions.has_changed().unwrap_or_default();
        self.demotions.mark_unchanged();
        let greeting = greet(&mut connection, self.demand()).await?;
        let by_slots = matches!(self.target, Target::Node(..) | Target::Owner(..));
        if greeting.cluster && !by_slots {
            warn!(
                server = %address,
                "the server is a node of a Redis Cluster, and only its slots are reached: use redis+cluster:// or \
                 rediss+cluster://"
            );
        }
        if by_slots {
            self.news.shards(greeting.sharded);
        }
        Ok(Kept {
            connection,
            address,
            sharded: by_slots && greeting.sharded,
        })
    }

    /// What is demanded of the server now.
    pub(super) fn demand(&self) -> Demand {
        if self.demoted {
            Demand::Primary
        } else {
            self.target.demand()
        }
    }

    fn connected(&mut self, kept: &Kept) {
        self.demoted = false;
        self.news
            .connected(self.connected_at.replace(Instant::now()).is_some());
        info!(
            purpose = self.purpose,
            endpoint = %self.target,
            server = %kept.address,
            "connected to redis"
        );
    }

    /// Warns about the first failure and then each time the number of attempts has doubled.
    fn failed(&mut self, error: &(dyn Error + 'static)) {
        self.refused = true;
        self.target.doubt();
        let text = with_causes(error);
        let attempts = self.attempts;
        if attempts == 0 || attempts.is_power_of_two() {
            warn!(
                purpose = self.purpose,
                endpoint = %self.target,
                attempts,
                error = text,
                "cannot connect to redis"
            );
        }
        self.news.failed(text);
    }

    /// The connection was made, and then something without which it is of no use was refused.
    pub(super) fn unusable(&mut self, error: &(dyn Error + 'static)) {
        self.failed(error);
    }

    /// Whether the server was seen to be away since this was asked last.
    pub(super) fn was_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// The present server has become a replica.
    pub(super) fn tell_demotion(&mut self) {
        match &self.target {
            Target::Url(_) | Target::Master(_) | Target::Sentinel(_) => self.news.demoted(),
            // Other nodes have not become replicas with it.
            Target::Node(..) | Target::Owner(..) => self.target.doubt(),
        }
    }

    /// Commands go over this connection. In a cluster the home of the link decides which server is told as the master.
    pub(super) fn tell_master(&self, address: &RedisAddress) {
        if let Target::Url(_) | Target::Master(_) = &self.target {
            self.news.commands_go_to(address);
        }
    }

    /// What the connection leads to.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Waits until the connection to `address` should be left: its server is a replica, or another one is the right one.
    pub(super) async fn superseded(&mut self, address: &RedisAddress) {
        let Self {
            follower, demotions, ..
        } = self;
        tokio::select! {
            // Seen again by the next attempt to connect, which must know of it. The link's own news live as long as
            // this task.
            _ = demotions.changed() => self.demoted = true,
            () = follower.left(address) => {}
        }
    }
}
