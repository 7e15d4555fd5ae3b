//! Lines on stdout, as JSON or for people. `LOG_LEVEL`: `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `silent`.

use tracing_subscriber::EnvFilter;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Starts logging for the process. Only the first call counts.
pub fn init(level: &str, format: Format) {
    // Libraries tell at `info` and `warn` what is ours to judge and to tell.
    let filter = match level {
        "trace" => "trace",
        "debug" => "debug,hyper=info,hyper_util=info,rustls=info,tower=info",
        "warn" => "warn,kube=error,kube_client=off,kube_runtime=error",
        "error" | "fatal" => "error,kube_client=off",
        "silent" => "off",
        _ => "info,kube=warn,kube_client=off,kube_runtime=warn,tower=warn",
    };
    let lines = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter));
    let started = match format {
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
        // Colours are for terminals, and this is read from a file.
        Format::Text => lines.with_ansi(false).try_init(),
    };
    // In tests another one was first.
    drop(started);
}
