//! The heartbeats of a simulated host.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::event::{HostEvent, Reporter};
use super::options::Identity;
use crate::peer::backoff::{Backoff, jittered};
use crate::peer::http::HttpClient;
use crate::peer::secret::Secret;

/// Path of the matchmaker's call.
const PATH: &str = "/api/host/heartbeat";
/// The first heartbeat waits for a seat in the room, but a host that needs a token to get one has
/// to ask for it first.
const FIRST_WAIT: Duration = Duration::from_secs(3);
/// First delay after a heartbeat that failed.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Share of the interval by which each heartbeat is moved.
const JITTER: f64 = 0.1;
/// Taking leave must not hold up the exit.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// How a host stands, as its heartbeats tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Its place in its room.
    pub presence: Presence,
    /// Sessions that it serves.
    pub sessions: u32,
}

/// A host's place in its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// Not answered yet.
    #[default]
    Trying,
    /// It sits there.
    Joined,
    /// It was refused or lost.
    Away,
}

/// What one host sends.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Who it is.
    pub identity: Identity,
    /// Region.
    pub region: String,
    /// Players that it serves at once.
    pub capacity: u32,
    /// Whether it always claims a free slot.
    pub constant: bool,
    /// Time between heartbeats.
    pub interval: Duration,
    /// Bearer secret.
    pub secret: Secret,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    host_id: &'a str,
    room_id: &'a str,
    region: &'a str,
    status: &'static str,
    capacity: u32,
    available_slots: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    ttl: Option<u64>,
    match_token: Option<Secret>,
    error: Option<String>,
}

/// Keeps one host registered.
pub struct HeartbeatTask {
    heartbeat: Heartbeat,
    client: HttpClient,
    standing: watch::Receiver<Standing>,
    tokens: watch::Sender<Option<Secret>>,
    reporter: Reporter,
    /// What was last told, `None` while the matchmaker does not answer.
    told: Option<(&'static str, u32)>,
    failing: bool,
}

impl HeartbeatTask {
    /// A task that has not sent anything yet. `tokens` receives the match token of each answer.
    pub fn new(
        heartbeat: Heartbeat,
        client: HttpClient,
        standing: watch::Receiver<Standing>,
        tokens: watch::Sender<Option<Secret>>,
        reporter: Reporter,
    ) -> Self {
        Self {
            heartbeat,
            client,
            standing,
            tokens,
            reporter,
            told: None,
            failing: false,
        }
    }

    /// Sends heartbeats until `shutdown`, then takes leave.
    pub async fn run(mut self, shutdown: CancellationToken) {
        tokio::select! {
            () = self.wait_for_seat() => {}
            () = shutdown.cancelled() => return,
        }
        let mut retry = Backoff::new(FIRST_RETRY, self.heartbeat.interval);
        loop {
            let standing = *self.standing.borrow_and_update();
            let sent = tokio::select! {
                sent = self.beat(standing) => sent,
                () = shutdown.cancelled() => break,
            };
            let delay = if sent {
                retry.reset();
                jittered(self.heartbeat.interval, JITTER, rand::random())
            } else {
                retry.next(rand::random())
            };
            let next = Instant::now() + delay;
            tokio::select! {
                () = self.until_urgent(standing, next) => {}
                () = shutdown.cancelled() => break,
            }
        }
        // A host of the field just falls silent.
        if !self.heartbeat.constant {
            let _ = timeout(FAREWELL_TIMEOUT, self.take_leave()).await;
        }
    }

    /// Tells the matchmaker that the host leaves. One that does not know what that is hears that there is no slot.
    async fn take_leave(&mut self) {
        // A path has parts; an id has none.
        let id = self
            .heartbeat
            .identity
            .host
            .replace('%', "%25")
            .replace('/', "%2F");
        let path = format!("/api/host/{id}");
        let left = self.client.delete(&path, Some(&self.heartbeat.secret)).await;
        if left.is_ok_and(|answer| answer.status.is_success()) {
            self.reporter.report(HostEvent::Left);
            return;
        }
        let gone = Standing {
            presence: Presence::Away,
            sessions: 0,
        };
        self.beat(gone).await;
    }

    async fn wait_for_seat(&mut self) {
        let answered = self
            .standing
            .wait_for(|standing| standing.presence != Presence::Trying);
        let _ = timeout(FIRST_WAIT, answered).await;
    }

    /// Waits until `next`, or until the host stands so differently that it has to be told now.
    async fn until_urgent(&mut self, told: Standing, next: Instant) {
        loop {
            tokio::select! {
                () = sleep_until(next) => return,
                changed = self.standing.changed() => {
                    let now = *self.standing.borrow_and_update();
                    if changed.is_err() {
                        sleep_until(next).await;
                        return;
                    }
                    if is_urgent(told, now) && !self.heartbeat.constant {
                        return;
                    }
                }
            }
        }
    }

    /// Sends one heartbeat. Whether it was taken.
    async fn beat(&mut self, standing: Standing) -> bool {
        let body = self.heartbeat.body(standing);
        let told = (body.status, body.available_slots);
        match self.exchange(&body).await {
            Ok(answer) => {
                if let Some(token) = answer.match_token {
                    self.tokens.send_if_modified(|known| {
                        let new = known.as_ref() != Some(&token);
                        *known = Some(token);
                        new
                    });
                }
                if self.told != Some(told) {
                    self.told = Some(told);
                    self.reporter.report(HostEvent::Registered {
                        status: told.0,
                        available_slots: told.1,
                        ttl: answer.ttl,
                    });
                }
                self.failing = false;
                true
            }
            Err(error) => {
                self.told = None;
                if !std::mem::replace(&mut self.failing, true) {
                    self.reporter.report(HostEvent::HeartbeatFailed { error });
                }
                false
            }
        }
    }

    async fn exchange(&self, body: &Body<'_>) -> Result<Answer, String> {
        let answer = self
            .client
            .post(PATH, Some(&self.heartbeat.secret), body)
            .await
            .map_err(|error| error.to_string())?;
        let parsed: Answer = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status.is_success() {
            return Ok(parsed);
        }
        let detail = parsed.error.map(|error| format!(": {error}")).unwrap_or_default();
        Err(format!("the matchmaker answered {}{detail}", answer.status))
    }
}

// === impl Heartbeat ===

impl Heartbeat {
    fn body(&self, standing: Standing) -> Body<'_> {
        let free = self.capacity.saturating_sub(standing.sessions);
        let (status, available_slots) = match standing.presence {
            _ if self.constant => ("idle", 1),
            // A host that is not in its room cannot be reached there.
            Presence::Trying | Presence::Away => ("idle", 0),
            Presence::Joined if free == 0 => ("busy", 0),
            Presence::Joined => ("idle", free),
        };
        Body {
            host_id: &self.identity.host,
            room_id: &self.identity.room,
            region: &self.region,
            status,
            capacity: self.capacity,
            available_slots,
        }
    }
}

/// Whether a change has to be told before the next heartbeat is due: a session that began or
/// ended, and a seat that was regained. A seat that was lost is usually back a moment later.
fn is_urgent(told: Standing, now: Standing) -> bool {
    told.sessions != now.sessions || (told.presence != Presence::Joined && now.presence == Presence::Joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(capacity: u32, constant: bool) -> Heartbeat {
        Heartbeat {
            identity: Identity {
                host: "h".into(),
                room: "r".into(),
            },
            region: "eu".into(),
            capacity,
            constant,
            interval: Duration::from_secs(20),
            secret: Secret::new("s"),
        }
    }

    fn standing(presence: Presence, sessions: u32) -> Standing {
        Standing { presence, sessions }
    }

    fn says(heartbeat: &Heartbeat, standing: Standing) -> (&'static str, u32) {
        let body = heartbeat.body(standing);
        (body.status, body.available_slots)
    }

    #[test]
    fn the_body_is_that_of_the_reference() {
        let heartbeat = heartbeat(1, false);
        let body = serde_json::to_value(heartbeat.body(standing(Presence::Joined, 0))).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"hostId": "h", "roomId": "r", "region": "eu", "status": "idle",
                               "capacity": 1, "availableSlots": 1})
        );
    }

    #[test]
    fn a_truthful_host_offers_what_it_has() {
        let one = heartbeat(1, false);
        assert_eq!(says(&one, standing(Presence::Joined, 0)), ("idle", 1));
        assert_eq!(says(&one, standing(Presence::Joined, 1)), ("busy", 0));
        assert_eq!(says(&one, standing(Presence::Away, 0)), ("idle", 0));
        let two = heartbeat(2, false);
        assert_eq!(says(&two, standing(Presence::Joined, 1)), ("idle", 1));
    }

    #[test]
    fn a_present_host_always_says_the_same() {
        let present = heartbeat(1, true);
        for standing in [standing(Presence::Away, 0), standing(Presence::Joined, 1)] {
            assert_eq!(says(&present, standing), ("idle", 1));
        }
    }

    #[test]
    fn sessions_and_a_regained_seat_are_urgent() {
        let joined = standing(Presence::Joined, 0);
        assert!(is_urgent(joined, standing(Presence::Joined, 1)));
        assert!(is_urgent(standing(Presence::Joined, 1), joined));
        assert!(is_urgent(standing(Presence::Away, 0), joined));
        assert!(!is_urgent(joined, standing(Presence::Away, 0)));
        assert!(!is_urgent(joined, joined));
    }
}
