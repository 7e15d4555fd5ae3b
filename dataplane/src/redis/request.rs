//! What can be sent over a line.

use ::redis::cluster_routing::Slot;
use ::redis::{Arg, Cmd, FromRedisValue, Pipeline, RedisResult, ScriptInvocation, Value, from_redis_value};

use super::cluster::slot_of;
use super::keeper::Kept;
use super::link::Publication;

/// One call. It may be sent more than once.
pub(super) enum Request<'a> {
    Command(&'a Cmd),
    Pipeline(&'a Pipeline),
    Script {
        invocation: &'a ScriptInvocation<'a>,
        first_key: Option<Vec<u8>>,
    },
    /// Some of these messages, at a node of a cluster. The answer has an answer or an error for each.
    Publications {
        messages: &'a [Publication<'a>],
        indices: &'a [usize],
    },
}

impl Request<'_> {
    /// The slot of its first key; `None`: any node will do.
    pub(super) fn slot(&self) -> Option<Slot> {
        match self {
            Self::Command(command) => slot_of_command(command),
            Self::Pipeline(pipeline) => slot_of_command(pipeline.cmd_iter().next()?),
            Self::Script { first_key, .. } => first_key.as_ref().map(slot_of),
            Self::Publications { messages, indices } => {
                Some(slot_of(messages.get(*indices.first()?)?.channel))
            }
        }
    }

    pub(super) async fn send<T: FromRedisValue>(&self, kept: Kept) -> RedisResult<T> {
        let mut connection = kept.connection;
        match self {
            Self::Command(command) => command.query_async(&mut connection).await,
            Self::Pipeline(pipeline) => pipeline.query_async(&mut connection).await,
            Self::Script { invocation, .. } => invocation.invoke_async(&mut connection).await,
            Self::Publications { messages, indices } => {
                // Before Redis 7 a cluster has no sharded channels: it takes PUBLISH and passes it on to all of its
                // nodes. Receivers are counted where it is published, so both sides go to the owner all the same.
                let command = if kept.sharded { "SPUBLISH" } else { "PUBLISH" };
                let mut pipeline = Pipeline::with_capacity(indices.len());
                pipeline.ignore_errors();
                for message in indices.iter().filter_map(|index| messages.get(*index)) {
                    pipeline.cmd(command).arg(message.channel).arg(message.payload);
                }
                let answers: Vec<Value> = pipeline.query_async(&mut connection).await?;
                if let Some(error) = failure_of_all(&answers) {
                    return Err(error);
                }
                Ok(from_redis_value(Value::Array(answers))?)
            }
        }
    }
}

/// A node that takes none of them is ill, unless it knows who does.
fn failure_of_all(answers: &[Value]) -> Option<::redis::RedisError> {
    let error = |answer: &Value| match answer {
        Value::ServerError(error) => Some(::redis::RedisError::from(error.clone())),
        _ => None,
    };
    if !answers.iter().all(|answer| error(answer).is_some()) {
        return None;
    }
    error(answers.first()?).filter(|error| error.redirect_node().is_none())
}

/// The slot of a command's first argument, which is a key in all commands that have one and no subcommand.
fn slot_of_command(command: &Cmd) -> Option<Slot> {
    match command.args_iter().nth(1)? {
        Arg::Simple(key) => Some(slot_of(key)),
        _ => None,
    }
}
