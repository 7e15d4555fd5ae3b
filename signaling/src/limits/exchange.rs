//! What instances tell each other of client addresses, and what follows from it: pure.
//!
//! Instances speak of time and not of tokens: what so many tokens *cost* is the time in which they come
//! ([`Taken::cost`]), and the state of a bucket is the time until it is full. So instances whose limits differ for a
//! moment, while a setting changes, understand each other.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::settings::RateLimitSettings;
use berth_dataplane::limits::{MOST_DEBT, PERIOD};

use super::Client;
use super::clients::MOST;

/// What was taken from a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) tokens: u32,
    /// Time since the first of them was taken.
    pub(super) age: Duration,
}

/// When the buckets of a client are full, as all instances together know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) connections: Duration,
    pub(super) messages: Duration,
    /// Time since the report was made.
    pub(super) flight: Duration,
}

/// What one client took since the last report.
#[derive(Debug)]
pub(crate) struct Report {
    pub(super) client: Arc<Client>,
    pub(super) address: IpAddr,
    pub(super) connections: Taken,
    pub(super) messages: Taken,
}

/// An answer that is not one number per bucket.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got} numbers to a report of {buckets} buckets")]
pub(super) struct MalformedAnswer {
    buckets: usize,
    got: usize,
}

impl Taken {
    /// The time in which so many tokens come.
    pub(super) fn cost(tokens: u32, limit: u32) -> Duration {
        PERIOD.mul_f64(f64::from(tokens) / f64::from(limit))
    }

    fn arguments(self, limit: u32) -> [String; 2] {
        [Self::cost(self.tokens, limit), self.age].map(|time| time.as_micros().to_string())
    }
}

/// Arguments of the script.
pub(super) fn arguments(reports: &[Report], limits: &RateLimitSettings) -> Vec<String> {
    let longest = PERIOD + MOST_DEBT;
    let mut arguments = Vec::with_capacity(2 + reports.len() * 5);
    arguments.extend([MOST.to_string(), longest.as_micros().to_string()]);
    for report in reports {
        arguments.push(report.address.to_string());
        arguments.extend(report.connections.arguments(limits.connections_per_ip));
        arguments.extend(report.messages.arguments(limits.messages_per_ip));
    }
    arguments
}

/// Merges the answer of the script, which was `flight` on its way there and back, into the buckets of this instance.
///
/// A merge only takes away. The time since the report is given to the client, because nobody knows how much of it passed
/// before the script looked.
pub(super) fn merge(
    reports: &[Report],
    answer: &[u64],
    flight: Duration,
    limits: &RateLimitSettings,
    now: Instant,
) -> Result<(), MalformedAnswer> {
    if answer.len() != reports.len() * 2 {
        return Err(MalformedAnswer {
            buckets: reports.len() * 2,
            got: answer.len(),
        });
    }
    let (answers, _) = answer.as_chunks::<2>();
    for (report, full_in) in reports.iter().zip(answers) {
        let [connections, messages] = full_in.map(Duration::from_micros);
        let heard = Heard {
            connections,
            messages,
            flight,
        };
        report.client.hear(heard, limits, now);
    }
    Ok(())
}
