//! How a connection that speaks v2 begins: its `hello`, and ours.

use std::time::Duration;

use berth_crds::settings::RoomId;
use berth_dataplane::ice::IceServers;
use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::MemberId;
use berth_dataplane::settings::SignalingView;
use uuid::Uuid;

use crate::admission::Hello;
use crate::auth::{Identity, Token};
use crate::close::Close;
use crate::conn::{Conn, Event};
use crate::core::{Core, unix_seconds};
use crate::protocol::Text;
use crate::protocol::v2::{self, Resume, ServerHello, ServerMessage, say};
use crate::resume_token::ResumeToken;
use crate::room::{Heard, Speech, Welcome};

/// A peer that has said `hello`.
pub(super) struct Newcomer {
    pub(super) role: Role,
    token: ResumeToken,
    /// It resumes a connection, having heard this.
    resume: Option<Heard>,
}

/// Our `hello`, but for what only the room knows.
pub(super) struct HelloDraft(ServerHello);

/// Waits for the peer's `hello`, as long as it may take. A token in it counts if there was none in the request.
pub(super) async fn greet(conn: &Conn, hello: &mut Hello, within: Duration) -> Result<Newcomer, Close> {
    let first = std::future::poll_fn(|context| conn.poll_next(context));
    let Ok(Event::Message(message)) = tokio::time::timeout(within, first).await else {
        // It may have been closed for another reason meanwhile.
        return Err(conn.closed().unwrap_or(Close::HelloExpected));
    };
    let said = match v2::read_hello(&message) {
        Ok(said) => said,
        Err(refused) => {
            conn.deliver(&say::refused(&refused, None));
            return Err(Close::HelloExpected);
        }
    };
    let said_token = said.token.filter(|token| !token.is_empty()).map(Token::new);
    hello.token = hello.token.take().or(said_token);
    let (token, resume) = match said.resume {
        None => (ResumeToken::new(rand::random()), None),
        Some(Resume { token, heard }) => {
            let token = ResumeToken::parse(&token).ok_or(Close::HelloExpected)?;
            // Ids that are none are of nobody here.
            let heard = heard
                .iter()
                .filter_map(|(id, number)| Some((MemberId(Uuid::try_parse(id).ok()?), *number)));
            (token, Some(heard.collect()))
        }
    };
    Ok(Newcomer {
        role: said.role,
        token,
        resume,
    })
}

impl Newcomer {
    pub(super) fn member(&self) -> MemberId {
        self.token.member(self.role)
    }

    /// Whether it may be what it says that it is.
    pub(super) fn must_be(&self, identity: &Identity) -> Result<(), Close> {
        match identity.role {
            Some(role) if role != self.role => Err(Close::Forbidden),
            _ => Ok(()),
        }
    }

    /// Whether it resumes a connection.
    pub(super) fn resumes(&self) -> bool {
        self.resume.is_some()
    }

    pub(super) fn into_speech(self) -> Speech {
        Speech::V2 {
            role: self.role,
            resume: self.resume,
        }
    }

    /// Our `hello`. `held`: its seat was still there.
    pub(super) fn hello(
        &self,
        core: &Core,
        settings: &SignalingView,
        room: &RoomId,
        held: bool,
    ) -> (HelloDraft, IceServers) {
        let now = unix_seconds();
        let ice = servers(core, settings, self.member(), now);
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let hello = ServerHello {
            version: 2,
            client_id: self.member().to_string(),
            room: room.to_string(),
            role: self.role,
            resume_token: self.token.text(),
            resume_window_ms: milliseconds(settings.cluster.resume.window),
            resumed: held && self.resumes(),
            seq: 0,
            peers: Vec::new(),
            ice_ttl_ms: ttl_ms(&ice, now),
            ice_servers: ice.servers.clone(),
            max_message_bytes: settings.cluster.websocket.max_message_bytes as u64,
            instance: core.own.id().to_owned(),
        };
        (HelloDraft(hello), ice)
    }
}

impl HelloDraft {
    pub(super) fn finish(self, welcome: Welcome) -> Text {
        say::message(&ServerMessage::Hello(Box::new(ServerHello {
            peers: welcome.peers,
            seq: welcome.seq,
            ..self.0
        })))
    }
}

/// ICE servers for a member: those that are there, because a connection does not wait for a provider. `now`: Unix time in seconds.
pub(super) fn servers(core: &Core, settings: &SignalingView, member: MemberId, now: f64) -> IceServers {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds since 1970"
    )]
    let now = now as u64;
    core.ice
        .servers(settings.turn.as_ref(), &core.secrets, &member.to_string(), now)
}

/// How long the credentials are valid from `now` on, in ms.
pub(super) fn ttl_ms(ice: &IceServers, now: f64) -> Option<u64> {
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
    let left = ice.expires_at? as f64 - now;
    let left = Duration::try_from_secs_f64(left.max(0.0)).unwrap_or_default();
    u64::try_from(left.as_millis()).ok()
}
