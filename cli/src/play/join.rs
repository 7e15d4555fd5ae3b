//! Getting a signaling socket, if asked at another instance than a given one.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::event::{PlayEvent, Sink};
use crate::peer::close::Close;
use crate::peer::socket::{Seat, SignalingSocket};

/// Sockets that are opened at most to find another instance.
const MAX_ATTEMPTS: u32 = 40;
/// Between two of them, so that a connection limit of 20 in 10 s is not met at once.
const SPACING: Duration = Duration::from_millis(300);
/// After a failure that may pass.
const RETRY: Duration = Duration::from_millis(500);

/// A socket with the number of sockets that it took.
pub(super) struct Joined {
    /// The open socket.
    pub(super) socket: SignalingSocket,
    /// Sockets that were opened.
    pub(super) attempts: u32,
}

/// Opens a socket until `deadline`. Failures that may pass are tried again.
///
/// # Errors
/// A sentence about what stood in the way.
pub(super) async fn join(
    seat: &Seat,
    avoid: Option<&str>,
    deadline: Instant,
    events: &Sink,
) -> Result<Joined, String> {
    let mut attempts = 0;
    let mut last: Option<Close> = None;
    while attempts < MAX_ATTEMPTS {
        attempts += 1;
        let opened = timeout_at(deadline, SignalingSocket::open(seat)).await;
        let pause = match opened {
            Err(_) => break,
            Ok(Err(close)) => {
                last = Some(close);
                RETRY
            }
            Ok(Ok(socket)) => match socket.instance() {
                Some(instance) if Some(instance) == avoid => {
                    events(PlayEvent::Avoided {
                        instance: instance.to_owned(),
                    });
                    socket.close().await;
                    SPACING
                }
                None if avoid.is_some() => {
                    socket.close().await;
                    return Err("signaling does not name its instance".to_owned());
                }
                _ => return Ok(Joined { socket, attempts }),
            },
        };
        if Instant::now() + pause >= deadline {
            break;
        }
        sleep(pause).await;
    }
    Err(match (last, avoid) {
        (Some(close), _) => format!("signaling: {close}"),
        (None, Some(avoid)) => format!("only instance {avoid} answered {attempts} times"),
        (None, None) => "signaling did not answer in time".to_owned(),
    })
}
