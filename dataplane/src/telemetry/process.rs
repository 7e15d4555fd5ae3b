//! Metrics of the process itself, read from `/proc` when somebody asks.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Kernel clock ticks per second in `/proc/self/stat`: 100 in the Linux ABI of every supported architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// Collects `process_*`, with the names that Prometheus clients share.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    start_seconds: f64,
}

impl ProcessCollector {
    /// The process counts as started now.
    pub(super) fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            start_seconds: since_epoch.as_secs_f64(),
        }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mut gauge = |name: &str, help: &str, value: i64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        if let Some(bytes) = status_kilobytes(&status, "VmRSS:") {
            gauge("process_resident_memory_bytes", "Resident memory in bytes", bytes)?;
        }
        if let Some(threads) = status_number(&status, "Threads:") {
            gauge("process_threads", "Threads", threads)?;
        }
        if let Some(open) = open_descriptors() {
            gauge("process_open_fds", "Open file descriptors", open)?;
        }
        if let Some(limit) = descriptor_limit(&fs::read_to_string("/proc/self/limits").unwrap_or_default()) {
            gauge("process_max_fds", "Most file descriptors that may be open", limit)?;
        }
        if let Some(seconds) = cpu_seconds(&fs::read_to_string("/proc/self/stat").unwrap_or_default()) {
            let counter = ConstCounter::new(seconds);
            let help = "User and system CPU time in seconds";
            counter.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        let start = ConstGauge::new(self.start_seconds);
        let help = "Start of the process in seconds since the Unix epoch";
        start.encode(encoder.encode_descriptor(
            "process_start_time_seconds",
            help,
            None,
            start.metric_type(),
        )?)
    }
}

fn open_descriptors() -> Option<i64> {
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

fn status_number(status: &str, name: &str) -> Option<i64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn status_kilobytes(status: &str, name: &str) -> Option<i64> {
    status_number(status, name)?.checked_mul(1024)
}

/// The soft limit.
fn descriptor_limit(limits: &str) -> Option<i64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15; the name in field 2 may hold blanks and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    Some((fields.next()?.ok()? + fields.next()?.ok()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_kernel_writes() {
        assert_eq!(
            status_kilobytes("Name:\tx\nVmRSS:\t    2048 kB\n", "VmRSS:"),
            Some(2_097_152)
        );
        assert_eq!(
            descriptor_limit("Max open files            1024                 524288  files\n"),
            Some(1024)
        );
        assert_eq!(
            descriptor_limit("Max open files            unlimited  unlimited  files\n"),
            None
        );
        let stat = "1 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 4 0 100";
        assert_eq!(cpu_seconds(stat), Some(4.0));
    }
}
