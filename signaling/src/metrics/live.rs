//! What is looked up when somebody asks: queues, ages, and what waits for slow receivers. Nothing of it costs a message
//! anything.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::core::Core;

/// Gauges of a running server. It may be asked for longer than the server lives, and tells nothing then.
pub(crate) struct LiveCollector(Weak<Core>);

impl LiveCollector {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self(Arc::downgrade(core))
    }
}

impl fmt::Debug for LiveCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveCollector")
    }
}

impl Collector for LiveCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(core) = self.0.upgrade() else {
            return Ok(());
        };
        let mut count = |name: &str, help: &str, value: usize| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let waiting = core.connections.waiting();
        count(
            "open_sockets",
            "WebSockets, those without a seat included",
            waiting.connections,
        )?;
        let help = "Sockets for which bytes wait that their peer has not read";
        count("slow_receivers", help, waiting.slow)?;
        count(
            "buffered_bytes",
            "Bytes that wait for slow receivers",
            waiting.bytes,
        )?;
        let help = "Messages for other instances that wait to be published";
        count("lane_queue", help, core.lane.len())?;
        count("lane_queue_bytes", "Bytes in lane_queue", core.lane.bytes())?;
        let help = "Calls to the store of seats that wait or are under way";
        count("seat_queue", help, core.seating.len())?;
        if let Some(inbox) = core.inbox.get() {
            let help = "Messages of other instances that wait to be delivered";
            count("inbox_queue", help, inbox.messages())?;
        }
        let help = "Client addresses whose limits are remembered";
        count("client_addresses", help, core.clients.len())?;
        let Some(age) = core.lease.age() else {
            return Ok(());
        };
        let gauge = ConstGauge::new(age.as_secs_f64());
        let help = "Time since this instance last renewed its lease";
        gauge.encode(encoder.encode_descriptor("lease_age_seconds", help, None, gauge.metric_type())?)
    }
}
