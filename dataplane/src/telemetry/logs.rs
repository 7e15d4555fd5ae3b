//! Lines on stdout (JSON) or stderr, every line passed through [`redact`].

use std::io::{self, Write};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::fmt::{MakeWriter, SubscriberBuilder};

use super::redact::redact;

/// Log level. The names of the Node services are taken: `trace`, `debug`, `info`, `warn`, `error`, `fatal` (what
/// `error` shows) and `silent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What a developer asks for.
    Debug,
    /// What an operator wants to know later.
    #[default]
    Info,
    /// What may need attention.
    Warn,
    /// What failed.
    Error,
    /// Nothing.
    Silent,
}

/// A level that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("allowed: trace, debug, info, warn, error, fatal, silent")]
pub struct UnknownLogLevel;

/// Starts logging for the process: JSON lines, or lines for people if `pretty`. Only the first call counts.
pub fn init_logs(level: LogLevel, pretty: bool) {
    let builder = lines(filter(level), Redacting(io::stdout));
    let started = if pretty {
        builder.compact().with_target(false).try_init()
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init()
    };
    // A second service of the process finds the logs already there.
    drop(started);
}

/// Starts logging for a command whose stdout holds results: lines for people on stderr. `directives` are those of
/// tracing (`warn,berth=debug`); wrong ones count as `warn`. Only the first call counts.
pub fn init_diagnostics(directives: &str) {
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("warn"));
    let started = lines(filter, Redacting(io::stderr)).try_init();
    // A second start, as in tests, changes nothing.
    drop(started);
}

/// Without colours: their codes would stand between the name of a secret and its value, and hide it from [`redact`].
fn lines<W>(filter: EnvFilter, writer: W) -> SubscriberBuilder<DefaultFields, Format, EnvFilter, W>
where
    W: for<'a> MakeWriter<'a> + 'static,
{
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter(filter)
        .with_writer(writer)
}

/// Libraries tell at `info` what is detail to us, and the Kubernetes client reports as its own errors what we report
/// with the resource that it is about.
fn filter(level: LogLevel) -> EnvFilter {
    const LIBRARIES: &str = "kube_client=off,kube_runtime=warn,tower=warn,redis=warn";
    EnvFilter::new(match level {
        LogLevel::Trace => "trace".to_owned(),
        LogLevel::Debug => "debug,h2=info,hyper=info,hyper_util=info,rustls=info,tower=info".to_owned(),
        LogLevel::Info => format!("info,{LIBRARIES}"),
        LogLevel::Warn => format!("warn,{LIBRARIES}"),
        LogLevel::Error => "error,kube_client=off".to_owned(),
        LogLevel::Silent => "off".to_owned(),
    })
}

/// Makes writers that redact what they pass on to the stream. The formatter gives a whole line per write.
#[derive(Debug, Clone, Copy)]
struct Redacting<S>(fn() -> S);

impl<S: Write> MakeWriter<'_> for Redacting<S> {
    type Writer = RedactingWriter<S>;

    fn make_writer(&self) -> Self::Writer {
        RedactingWriter(self.0())
    }
}

#[derive(Debug)]
struct RedactingWriter<W>(W);

impl<W: Write> Write for RedactingWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0
            .write_all(redact(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLogLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" | "fatal" => Self::Error,
            "silent" => Self::Silent,
            _ => return Err(UnknownLogLevel),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use parking_lot::Mutex;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of a line with three secrets.
    fn written<S>(subscriber: impl FnOnce(Captured) -> S) -> String
    where
        S: tracing::Subscriber + Send + Sync + 'static,
    {
        let captured = Captured::default();
        tracing::subscriber::with_default(subscriber(captured.clone()), || {
            tracing::info!(
                url = "redis://:hunter2@cache",
                token = "hunter3",
                room = "r1",
                "refused ?token=hunter4"
            );
        });
        String::from_utf8(captured.0.lock().clone()).unwrap()
    }

    #[test]
    fn lines_are_json_and_redacted() {
        let line = written(|captured| {
            let writer = move || RedactingWriter(captured.clone());
            lines(EnvFilter::new("info"), writer)
                .json()
                .flatten_event(true)
                .finish()
        });
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(!line.contains("hunter"), "{line}");
        assert_eq!(
            (&value["room"], &value["message"]),
            (&"r1".into(), &"refused ?token=***".into()),
            "{line}"
        );
    }

    #[test]
    fn lines_for_people_are_redacted_too() {
        let line = written(|captured| {
            let writer = move || RedactingWriter(captured.clone());
            lines(EnvFilter::new("info"), writer).compact().finish()
        });
        assert!(line.contains("room=\"r1\"") && !line.contains("hunter"), "{line}");
    }

    #[test]
    fn node_level_names() {
        assert_eq!("fatal".parse(), Ok(LogLevel::Error));
        assert_eq!("INFO".parse(), Ok(LogLevel::Info));
        assert_eq!("loud".parse::<LogLevel>(), Err(UnknownLogLevel));
    }
}
