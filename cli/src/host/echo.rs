//! Data channels of a simulated host: what arrives goes back, and counts as the player's input.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::channel::ChannelId;

/// Bytes that wait to go back; a player that sends faster than it reads loses messages beyond.
const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;
/// Messages that wait to go back.
const MAX_QUEUED_MESSAGES: usize = 1024;
/// Channels that are told apart in input reports.
const MAX_CHANNELS: usize = 32;
/// Input is summed up over this time, because a mouse alone sends a thousand messages a second.
const INPUT_INTERVAL: Duration = Duration::from_secs(1);

/// A message on its way back.
#[derive(Debug, PartialEq, Eq)]
pub struct EchoMessage {
    /// The channel that it came from.
    pub channel: ChannelId,
    /// Binary, or text.
    pub binary: bool,
    /// What it holds.
    pub data: Bytes,
}

/// Input of one channel since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputReport {
    /// Label of the channel.
    pub label: String,
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The echo and the input counters of one session.
#[derive(Debug)]
pub struct Echo {
    queue: VecDeque<EchoMessage>,
    queued_bytes: usize,
    channels: HashMap<ChannelId, Input>,
    /// Earliest time of the next input report.
    next_report: Instant,
    echoed: u64,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Input {
    label: String,
    messages: u64,
    bytes: u64,
}

impl Echo {
    /// An echo without channels; the first input is reported at once.
    pub fn new(now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            channels: HashMap::new(),
            next_report: now,
            echoed: 0,
            dropped: 0,
        }
    }

    /// Takes note of a channel's label.
    pub fn opened(&mut self, channel: ChannelId, label: String) {
        if self.channels.len() < MAX_CHANNELS {
            self.channels.insert(
                channel,
                Input {
                    label,
                    ..Input::default()
                },
            );
        }
    }

    /// Forgets a channel.
    pub fn closed(&mut self, channel: ChannelId) {
        self.channels.remove(&channel);
        self.queue.retain(|message| message.channel != channel);
        self.queued_bytes = self.queue.iter().map(|message| message.data.len()).sum();
    }

    /// Queues a message for the way back.
    pub fn received(&mut self, channel: ChannelId, binary: bool, data: Vec<u8>) {
        if let Some(input) = self.channels.get_mut(&channel) {
            input.messages += 1;
            input.bytes += data.len() as u64;
        }
        let fits =
            self.queue.len() < MAX_QUEUED_MESSAGES && self.queued_bytes + data.len() <= MAX_QUEUED_BYTES;
        if fits {
            self.queued_bytes += data.len();
            self.queue.push_back(EchoMessage {
                channel,
                binary,
                data: data.into(),
            });
        } else {
            self.dropped += 1;
        }
    }

    /// The next message to send back.
    pub fn pop(&mut self) -> Option<EchoMessage> {
        let message = self.queue.pop_front()?;
        self.queued_bytes -= message.data.len();
        self.echoed += 1;
        Some(message)
    }

    /// Input to report at `now`: at once after a pause, then once per interval.
    pub fn report(&mut self, now: Instant) -> Option<InputReport> {
        if self.report_at().is_none_or(|at| now < at) {
            return None;
        }
        let input = self.channels.values_mut().find(|input| input.messages > 0)?;
        let report = InputReport {
            label: input.label.clone(),
            messages: input.messages,
            bytes: input.bytes,
        };
        input.messages = 0;
        input.bytes = 0;
        // The other channels follow in the same turn; the interval starts with the last of them.
        if self.channels.values().all(|input| input.messages == 0) {
            self.next_report = now + INPUT_INTERVAL;
        }
        Some(report)
    }

    /// When there is input to report.
    pub fn report_at(&self) -> Option<Instant> {
        self.channels
            .values()
            .any(|input| input.messages > 0)
            .then_some(self.next_report)
    }

    /// Messages that went back, and messages that did not fit.
    pub fn totals(&self) -> (u64, u64) {
        (self.echoed, self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use str0m::Rtc;

    fn channels(count: usize) -> Vec<ChannelId> {
        let mut rtc = Rtc::new(Instant::now());
        let mut change = rtc.sdp_api();
        (0..count).map(|n| change.add_channel(format!("c{n}"))).collect()
    }

    #[test]
    fn messages_return_in_order_and_kind() {
        let channel = channels(1)[0];
        let mut echo = Echo::new(Instant::now());
        echo.opened(channel, "input".into());
        echo.received(channel, false, b"text".to_vec());
        echo.received(channel, true, vec![0, 1]);
        let returned: Vec<_> = std::iter::from_fn(|| echo.pop()).collect();
        assert_eq!(returned.len(), 2);
        assert_eq!((returned[0].binary, &returned[0].data[..]), (false, &b"text"[..]));
        assert_eq!((returned[1].binary, &returned[1].data[..]), (true, &[0u8, 1][..]));
        assert_eq!(echo.totals(), (2, 0));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let channel = channels(1)[0];
        let mut echo = Echo::new(Instant::now());
        for _ in 0..MAX_QUEUED_MESSAGES + 5 {
            echo.received(channel, true, vec![0]);
        }
        assert_eq!(echo.totals().1, 5);
        while echo.pop().is_some() {}
        echo.received(channel, true, vec![0; MAX_QUEUED_BYTES + 1]);
        assert_eq!(echo.totals().1, 6);
        echo.received(channel, true, vec![0; MAX_QUEUED_BYTES]);
        assert!(echo.pop().is_some());
    }

    #[test]
    fn input_is_summed_up_per_channel_and_interval() {
        let ids = channels(2);
        let start = Instant::now();
        let mut echo = Echo::new(start);
        assert_eq!(echo.report(start), None);
        for (id, label) in ids.iter().zip(["keys", "mouse"]) {
            echo.opened(*id, label.into());
            echo.received(*id, true, vec![1, 2, 3]);
        }
        assert_eq!(echo.report_at(), Some(start));
        let mut labels: Vec<_> = std::iter::from_fn(|| echo.report(start))
            .map(|r| r.label)
            .collect();
        labels.sort();
        assert_eq!(labels, ["keys", "mouse"]);

        echo.received(ids[0], true, vec![1]);
        echo.received(ids[0], true, vec![1]);
        assert_eq!(echo.report(start), None, "within the interval");
        let later = start + INPUT_INTERVAL;
        assert_eq!(echo.report_at(), Some(later));
        let expected = InputReport {
            label: "keys".into(),
            messages: 2,
            bytes: 2,
        };
        assert_eq!(echo.report(later), Some(expected));
        assert_eq!(echo.report_at(), None);
    }

    #[test]
    fn a_closed_channel_gets_nothing_back() {
        let ids = channels(2);
        let mut echo = Echo::new(Instant::now());
        echo.received(ids[0], true, vec![1]);
        echo.received(ids[1], true, vec![2]);
        echo.closed(ids[0]);
        assert_eq!(echo.pop().map(|message| message.channel), Some(ids[1]));
        assert_eq!(echo.pop(), None);
    }
}
