//! Publications to the owners of their channels' slots.

use std::collections::HashMap;

use ::redis::RedisResult;
use berth_crds::settings::RedisAddress;
use futures::future::join_all;

use super::lines::Lines;
use super::slots::slot_of;
use crate::redis::error::RedisError;
use crate::redis::link::Publication;
use crate::redis::request::Request;

/// A publication whose slot has moved is sent once more, to the new owner.
const ROUNDS: u32 = 2;

/// What became of one publication: how many received it, or why it was not taken.
type Outcome = Result<u64, RedisError>;

impl Lines {
    /// Publishes each message at the owner of its channel's slot: those of one node in one write, in order. The
    /// messages of one channel stay in order, also when its slot moves between two of them.
    pub(in crate::redis) async fn publish(&self, messages: &[Publication<'_>]) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = messages.iter().map(|_| Err(RedisError::Disconnected)).collect();
        let mut left: Vec<usize> = (0..messages.len()).collect();
        for _ in 0..ROUNDS {
            let groups = self.by_owner(messages, &left).await;
            let published = groups
                .iter()
                .map(|(address, indices)| self.publish_at(address, messages, indices));
            let published = join_all(published).await;
            left.clear();
            for ((_, indices), answers) in groups.iter().zip(published) {
                for (index, answer) in indices.iter().zip(answers) {
                    if answer.as_ref().is_err_and(RedisError::is_redirect) {
                        left.push(*index);
                    }
                    if let Some(outcome) = outcomes.get_mut(*index) {
                        *outcome = answer;
                    }
                }
            }
            if left.is_empty() {
                break;
            }
            left.sort_unstable();
        }
        outcomes
    }

    /// Indices of messages by the owners of their slots. Left out are those whose slot has no known owner.
    async fn by_owner(
        &self,
        messages: &[Publication<'_>],
        indices: &[usize],
    ) -> HashMap<RedisAddress, Vec<usize>> {
        let mut groups: HashMap<RedisAddress, Vec<usize>> = HashMap::new();
        for index in indices {
            let Some(message) = messages.get(*index) else {
                continue;
            };
            if let Ok(address) = self.address(Some(slot_of(message.channel))).await {
                groups.entry(address).or_default().push(*index);
            }
        }
        groups
    }

    async fn publish_at(
        &self,
        address: &RedisAddress,
        messages: &[Publication<'_>],
        indices: &[usize],
    ) -> Vec<Outcome> {
        let request = Request::Publications { messages, indices };
        let answers: Result<Vec<RedisResult<u64>>, RedisError> = self.line(address).call(&request).await;
        match answers {
            Ok(answers) => {
                let outcomes = answers.into_iter().map(|answer| answer.map_err(RedisError::from));
                let outcomes: Vec<Outcome> = outcomes.collect();
                for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
                    self.learn(error, address);
                }
                outcomes
            }
            Err(error) => {
                self.learn(&error, address);
                let again = || indices.iter().skip(1).map(|_| Err(RedisError::Disconnected));
                std::iter::once_with(|| Err(error)).chain(again()).collect()
            }
        }
    }
}
