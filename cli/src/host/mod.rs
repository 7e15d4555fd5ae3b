//! The simulated streaming host.
//!
//! ```text
//!   Member ── room messages ──▶ Session ──▶ Connection<HostStream>
//!     │                                        echo, test pattern
//!     └─ Standing ──▶ HeartbeatTask ── match token ──▶ SignalingClient
//! ```
//!
//! A host joins its room first and stays there; only then does its heartbeat offer a slot.

pub mod echo;
pub mod event;
pub mod heartbeat;
pub mod member;
pub mod options;
pub mod session;
pub mod stream;
pub mod video;

use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::event::{Reporter, Sink, stdout_sink};
use self::heartbeat::{Heartbeat, HeartbeatTask, Standing};
use self::member::Member;
use self::options::{HostOptions, Identity};
use crate::peer::http::{HttpClient, HttpError};
use crate::peer::signaling::SignalingClient;
use crate::peer::socket::Seat;

/// Hosts of one process start this far apart, so that they do not meet a connection limit at once.
const START_SPACING: Duration = Duration::from_millis(20);

/// Why hosts cannot be simulated at all. What happens later is reported and retried.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The matchmaker's URL cannot be used.
    #[error("--matchmaker cannot be used")]
    Matchmaker(#[source] HttpError),
    /// The signaling URL cannot be used.
    #[error("--signaling must be a ws: or wss: URL, not {0}:")]
    Signaling(String),
}

/// Runs `berth host` until it is interrupted.
pub async fn command(options: HostOptions) -> ExitCode {
    crate::logs::init();
    let shutdown = crate::interrupt::token();
    match run(options, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::failure::report(&error),
    }
}

/// Simulates hosts until `shutdown`, printing events to standard output.
///
/// # Errors
/// When the options cannot be used.
pub async fn run(options: HostOptions, shutdown: CancellationToken) -> Result<(), HostError> {
    let sink = stdout_sink(options.json);
    run_with(options, sink, shutdown).await
}

/// Simulates hosts until `shutdown`, handing events to `sink`.
///
/// # Errors
/// When the options cannot be used.
pub async fn run_with(
    options: HostOptions,
    sink: Sink,
    shutdown: CancellationToken,
) -> Result<(), HostError> {
    if !matches!(options.signaling.scheme(), "ws" | "wss") {
        return Err(HostError::Signaling(options.signaling.scheme().to_owned()));
    }
    let client = HttpClient::new(options.matchmaker.clone()).map_err(HostError::Matchmaker)?;
    let mut hosts = JoinSet::new();
    for (identity, delay) in options.identities().into_iter().zip(0..) {
        let one = host(
            identity,
            options.clone(),
            client.clone(),
            sink.clone(),
            shutdown.clone(),
        );
        hosts.spawn(async move {
            tokio::time::sleep(START_SPACING * delay).await;
            one.await;
        });
    }
    while hosts.join_next().await.is_some() {}
    Ok(())
}

async fn host(
    identity: Identity,
    options: HostOptions,
    client: HttpClient,
    sink: Sink,
    shutdown: CancellationToken,
) {
    let reporter = Reporter::new(&identity.host, &identity.room, sink);
    let (standing, standing_seen) = watch::channel(Standing::default());
    let (tokens, tokens_seen) = watch::channel(None);
    let seat = Seat {
        url: options.signaling,
        room: identity.room.clone(),
        token: None,
    };
    let heartbeat = Heartbeat {
        identity: identity.clone(),
        region: options.region,
        capacity: options.capacity,
        constant: options.present_host,
        interval: Duration::from_secs(options.heartbeat_interval),
        secret: options.secret,
    };
    let member = Member::new(
        identity.host,
        options.network.host_connection(),
        reporter.clone(),
        standing,
    );
    let signaling = SignalingClient::start(seat, None, tokens_seen);
    let beats = HeartbeatTask::new(heartbeat, client, standing_seen, tokens, reporter);
    tokio::join!(member.run(signaling, shutdown.clone()), beats.run(shutdown));
}
