//! Flags of `berth play`.

use std::time::Duration;

use clap::Args;
use url::Url;

use crate::host::options::NetworkOptions;

/// A headless player: finds a match, connects, measures and leaves. Exit codes: 0 all is well,
/// 1 other failure, 2 no host, 3 signaling refused or unreachable, 4 not connected in time,
/// 5 data channel or video failed.
#[derive(Debug, Clone, Args)]
pub struct PlayOptions {
    /// Base URL of the matchmaker.
    #[arg(long, value_name = "URL", default_value = "http://localhost:3000")]
    pub matchmaker: Url,

    /// Wanted region.
    #[arg(long)]
    pub region: Option<String>,

    /// Wanted host.
    #[arg(long)]
    pub host_id: Option<String>,

    /// Video frames to receive; 0 offers no video.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub frames: u64,

    /// Round trips to make on the data channel.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub round_trips: u64,

    /// Play this long from the connection on, and be content with one frame and one round trip.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,

    /// Stay this long after frames and round trips are reached, watching the data channel.
    #[arg(long, value_name = "SECONDS")]
    pub hold: Option<u64>,

    /// Longest silence of the data channel that is no failure.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub max_gap: u64,

    /// Time to get connected, and again time to receive frames and round trips.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,

    /// Open signaling again until another instance than this one answers.
    #[arg(long, value_name = "ID")]
    pub avoid_instance: Option<String>,

    /// How candidates are gathered.
    #[command(flatten)]
    pub network: NetworkOptions,

    /// Print the result as one JSON object instead of text.
    #[arg(long)]
    pub json: bool,

    /// Print each step as it happens, as one JSON object.
    #[arg(long)]
    pub events: bool,
}

impl PlayOptions {
    /// What the stream has to bring.
    pub fn goals(&self) -> Goals {
        let enough = |wanted: u64| {
            if self.seconds.is_some() {
                wanted.min(1)
            } else {
                wanted
            }
        };
        Goals {
            frames: enough(self.frames),
            round_trips: enough(self.round_trips),
        }
    }

    /// Whether video is offered.
    pub fn wants_video(&self) -> bool {
        self.frames > 0
    }

    /// The time limit of each phase.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// What a stream has to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goals {
    /// Video frames.
    pub frames: u64,
    /// Round trips on the data channel.
    pub round_trips: u64,
}
