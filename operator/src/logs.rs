//! JSON lines on stdout. `LOG_LEVEL`: `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `silent`.

use tracing_subscriber::EnvFilter;

/// Starts logging for the process. Only the first call counts.
pub fn init(level: &str) {
    // Libraries tell at `info` and `warn` what is ours to judge and to tell.
    let filter = match level {
        "trace" => "trace",
        "debug" => "debug,hyper=info,hyper_util=info,rustls=info,tower=info",
        "warn" => "warn,kube=error,kube_client=off,kube_runtime=error",
        "error" | "fatal" => "error,kube_client=off",
        "silent" => "off",
        _ => "info,kube=warn,kube_client=off,kube_runtime=warn,tower=warn",
    };
    let started = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(EnvFilter::new(filter))
        .try_init();
    // In tests another one was first.
    drop(started);
}
