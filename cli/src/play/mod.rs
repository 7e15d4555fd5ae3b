//! The headless player: a probe of the whole way from the matchmaker to the picture.

pub mod event;
pub mod find;
mod game;
mod join;
pub mod options;
pub mod probe;
pub mod report;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::event::{PlayEvent, Sink, silent_sink, stdout_sink};
use self::find::{FindError, Match, Wish, find, give_up};
use self::game::{Failure, Game};
use self::join::join;
use self::options::PlayOptions;
use self::report::{Outcome, Report};
use crate::peer::http::HttpClient;
use crate::peer::millis;
use crate::peer::signaling::SignalingClient;
use crate::peer::socket::Seat;

/// Runs `berth play`: the exit code tells how it went.
pub async fn command(options: PlayOptions) -> ExitCode {
    crate::logs::init();
    let events = if options.events {
        stdout_sink()
    } else {
        silent_sink()
    };
    let json = options.json;
    let report = run_with(options, events, crate::interrupt::token()).await;
    let text = if json {
        serde_json::to_string(&report).unwrap_or_default() + "\n"
    } else {
        report.to_text()
    };
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::from(report.exit_code)
}

/// Plays once, silently.
pub async fn run(options: PlayOptions) -> Report {
    run_with(options, silent_sink(), CancellationToken::new()).await
}

/// Plays once, handing steps to `events`; `shutdown` ends the game early.
pub async fn run_with(options: PlayOptions, events: Sink, shutdown: CancellationToken) -> Report {
    let mut report = Report::default();
    let ended = match HttpClient::new(options.matchmaker.clone()) {
        Ok(client) => {
            let ended = attempt(&options, &client, &events, &mut report, &shutdown).await;
            if let Some(id) = &report.match_id {
                give_up(&client, id).await;
            }
            ended
        }
        Err(error) => Err(Failure {
            outcome: Outcome::Error,
            error: error.to_string(),
        }),
    };
    match ended {
        Ok(()) => report.conclude(Outcome::Ok, None),
        Err(failure) => report.conclude(failure.outcome, Some(failure.error)),
    }
    report
}

async fn attempt(
    options: &PlayOptions,
    client: &HttpClient,
    events: &Sink,
    report: &mut Report,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let started = Instant::now();
    let connect_until = started + options.limit();

    let found = interruptible(shutdown, report, find_match(options, client)).await?;
    report.time_to_match_ms = Some(millis(started.elapsed()));
    report.room_id = Some(found.room_id.clone());
    report.match_id.clone_from(&found.match_id);
    report.signaling_url = Some(found.signaling_url.to_string());
    report.ice_servers = found.ice_servers.iter().flat_map(|s| s.urls().to_vec()).collect();
    events(PlayEvent::Matched {
        room_id: found.room_id.clone(),
    });

    let mut servers = found.ice_servers;
    servers.extend(options.network.servers());
    let connection = options.network.connection(&servers, options.limit());

    let seat = Seat {
        url: found.signaling_url,
        room: found.room_id,
        token: found.match_token,
    };
    let joining = async {
        join(
            &seat,
            options.avoid_instance.as_deref(),
            connect_until.into(),
            events,
        )
        .await
        .map_err(|error| Failure {
            outcome: Outcome::SignalingRefused,
            error,
        })
    };
    let joined = interruptible(shutdown, report, joining).await?;
    report.time_to_joined_ms = Some(millis(started.elapsed()));
    report.signaling_attempts = joined.attempts;
    report.instance = joined.socket.instance().map(str::to_owned);
    events(PlayEvent::Joined {
        instance: report.instance.clone(),
    });

    let (_, tokens) = watch::channel(seat.token.clone());
    let signaling = SignalingClient::start(seat, Some(joined.socket), tokens);
    let game = Game::new(options, events, report, started, connect_until);
    game.play(signaling, connection, shutdown).await
}

async fn find_match(options: &PlayOptions, client: &HttpClient) -> Result<Match, Failure> {
    let wish = Wish {
        region: options.region.clone(),
        host_id: options.host_id.clone(),
    };
    find(client, &wish).await.map_err(|error| Failure {
        outcome: match error {
            FindError::NoHost(_) => Outcome::NoHost,
            _ => Outcome::Error,
        },
        error: error.to_string(),
    })
}

async fn interruptible<T>(
    shutdown: &CancellationToken,
    report: &mut Report,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        result = step => result,
        () = shutdown.cancelled() => {
            report.interrupted = true;
            Err(Failure { outcome: Outcome::NotConnected, error: "interrupted".to_owned() })
        }
    }
}
