//! Where the commands of a link go: over one line, or in a cluster over the line to the owner of their slot.

use std::sync::Arc;

use ::redis::{FromRedisValue, Pipeline};
use tokio::sync::watch;

use super::cluster::{Lines, NodeHealth};
use super::error::RedisError;
use super::line::Line;
use super::link::Publication;
use super::request::Request;
use crate::breaker::{BreakerSettings, BreakerState};

/// The command half of a link.
pub(super) enum Commands {
    /// One server, or the master behind Sentinels.
    One(Arc<Line>),
    /// The nodes of a Redis Cluster.
    Cluster(Arc<Lines>),
}

impl Commands {
    /// One call through the breaker.
    pub(super) async fn call<T: FromRedisValue>(&self, request: &Request<'_>) -> Result<T, RedisError> {
        match self {
            Self::One(line) => line.call(request).await,
            Self::Cluster(lines) => lines.call(request).await,
        }
    }

    /// Publishes in order; `None` for a message that was not taken. An error when none was.
    pub(super) async fn publish(&self, messages: &[Publication<'_>]) -> Result<Vec<Option<u64>>, RedisError> {
        match self {
            Self::One(line) => {
                let mut pipeline = Pipeline::with_capacity(messages.len());
                for message in messages {
                    pipeline.cmd("PUBLISH").arg(message.channel).arg(message.payload);
                }
                line.call(&Request::Pipeline(&pipeline)).await
            }
            Self::Cluster(lines) => {
                let mut failure = None;
                let receivers: Vec<Option<u64>> = lines
                    .publish(messages)
                    .await
                    .into_iter()
                    .map(|outcome| match outcome {
                        Ok(receivers) => Some(receivers),
                        Err(error) => {
                            failure.get_or_insert(error);
                            None
                        }
                    })
                    .collect();
                match failure {
                    Some(error) if receivers.iter().all(Option::is_none) => Err(error),
                    _ => Ok(receivers),
                }
            }
        }
    }

    pub(super) fn is_up(&self) -> bool {
        match self {
            Self::One(line) => line.gate.is_up(),
            Self::Cluster(lines) => lines.is_up(),
        }
    }

    pub(super) fn breaker_state(&self) -> BreakerState {
        match self {
            Self::One(line) => line.gate.breaker_state(),
            Self::Cluster(lines) => lines.breaker_state(),
        }
    }

    pub(super) fn set_breaker(&self, settings: BreakerSettings) {
        match self {
            Self::One(line) => line.gate.set_breaker(settings),
            Self::Cluster(lines) => lines.set_breaker(settings),
        }
    }

    pub(super) fn watch_healthy(&self) -> watch::Receiver<bool> {
        match self {
            Self::One(line) => line.gate.watch_healthy(),
            Self::Cluster(lines) => lines.watch_healthy(),
        }
    }

    /// The nodes that are used; none outside a cluster.
    pub(super) fn nodes(&self) -> Vec<NodeHealth> {
        match self {
            Self::One(_) => Vec::new(),
            Self::Cluster(lines) => lines.nodes(),
        }
    }
}
