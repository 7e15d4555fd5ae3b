//! The Prometheus registry of a process.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::process::ProcessCollector;

/// Content type of [`Metrics::encode`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a process, seen from one scope. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registries: Arc<Mutex<Vec<Registry>>>,
    /// Which of the registries this handle registers in.
    scope: usize,
}

/// The lines of one metric family.
struct FamilyText<'a> {
    name: &'a str,
    head: Vec<&'a str>,
    samples: Vec<&'a str>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with `process_*` and `berth_build_info`.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector::new()));
        let build = Family::<[(&str, &str); 1], Gauge>::default();
        build
            .get_or_create(&[("version", env!("CARGO_PKG_VERSION"))])
            .set(1);
        registry.register("berth_build_info", "Version of this program", build);
        Self {
            registries: Arc::new(Mutex::new(vec![registry])),
            scope: 0,
        }
    }

    /// The same metrics for one service of several in a process: what is registered through the new handle
    /// carries the label `service`, so that equal names stay apart.
    #[must_use]
    pub fn scoped(&self, service: &'static str) -> Self {
        let label = (Cow::Borrowed("service"), Cow::Borrowed(service));
        let mut registries = self.registries.lock();
        registries.push(Registry::with_labels([label].into_iter()));
        Self {
            registries: Arc::clone(&self.registries),
            scope: registries.len() - 1,
        }
    }

    /// Registers metrics. `register` must not use this handle again: it runs under the registry's lock.
    pub fn register<R: Default>(&self, register: impl FnOnce(&mut Registry) -> R) -> R {
        self.registries
            .lock()
            .get_mut(self.scope)
            .map(register)
            .unwrap_or_default()
    }

    /// All metrics of the process in the text format of Prometheus (`OpenMetrics` 1.0).
    pub fn encode(&self) -> String {
        let registries = self.registries.lock();
        let texts: Vec<String> = registries
            .iter()
            .map(|registry| {
                let mut text = String::new();
                // Writing into a String cannot fail.
                let _ = encode(&mut text, registry);
                text
            })
            .collect();
        match texts.as_slice() {
            [only] => only.clone(),
            many => merge(many),
        }
    }
}

/// Joins expositions; families of equal name become one, as the format demands.
fn merge(texts: &[String]) -> String {
    let mut families: Vec<FamilyText<'_>> = Vec::new();
    for text in texts {
        let mut current = None;
        for line in text.lines().filter(|line| *line != "# EOF") {
            let Some(head) = line.strip_prefix("# ") else {
                if let Some(family) = current.and_then(|index: usize| families.get_mut(index)) {
                    family.samples.push(line);
                }
                continue;
            };
            let name = head.split(' ').nth(1).unwrap_or_default();
            let index = families
                .iter()
                .position(|family| family.name == name)
                .unwrap_or_else(|| {
                    families.push(FamilyText {
                        name,
                        head: Vec::new(),
                        samples: Vec::new(),
                    });
                    families.len() - 1
                });
            current = Some(index);
            if let Some(family) = families.get_mut(index)
                && !family.head.contains(&line)
            {
                family.head.push(line);
            }
        }
    }
    let lines = families
        .iter()
        .flat_map(|family| family.head.iter().chain(&family.samples));
    let mut text: String = lines.flat_map(|line| [*line, "\n"]).collect();
    text.push_str("# EOF\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    fn counter(metrics: &Metrics, value: u64) {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        metrics.register(|registry| registry.register("berth_things", "Things", counter));
    }

    #[test]
    fn process_and_build_are_there() {
        let text = Metrics::new().encode();
        for name in [
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_max_fds ",
            "process_cpu_seconds_total ",
            "process_start_time_seconds ",
            concat!("berth_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(
                text.lines().any(|line| line.starts_with(name)),
                "{name} missing in\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn one_service_has_no_extra_label() {
        let metrics = Metrics::new();
        counter(&metrics, 3);
        assert!(metrics.encode().contains("\nberth_things_total 3\n"));
    }

    #[test]
    fn services_of_one_process_share_families() {
        let metrics = Metrics::new();
        counter(&metrics.scoped("signaling"), 1);
        counter(&metrics.scoped("matchmaker"), 2);
        let text = metrics.encode();
        assert!(
            text.contains(
                "# HELP berth_things Things.\n# TYPE berth_things counter\n\
             berth_things_total{service=\"signaling\"} 1\nberth_things_total{service=\"matchmaker\"} 2\n"
            ),
            "{text}"
        );
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
