//! What a service tells about itself: logs, metrics; and what it must not tell.

mod causes;
mod logs;
mod metrics;
mod process;
mod redact;
mod throttle;

pub use berth_crds::field;
pub use causes::with_causes;
pub use logs::{LogLevel, UnknownLogLevel, init_diagnostics, init_logs};
pub use metrics::{METRICS_CONTENT_TYPE, Metrics};
pub use redact::{redact, redact_url};
pub use throttle::Throttle;
