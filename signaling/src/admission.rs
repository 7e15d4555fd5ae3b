//! Who may connect, in the order of refusals that clients know.
//!
//! What is decided is pure. Only the keys of tokens may have to be asked for, between [`qualify`] and [`authenticate`].

use axum::http::{HeaderMap, HeaderName, Uri, header};
use berth_crds::settings::{AuthSettings, RoomId, SignalingSettings};
use berth_dataplane::http::ClientAddress;
use berth_dataplane::telemetry::Throttle;
use std::time::Duration;
use tracing::warn;
use url::form_urlencoded;

use crate::auth::{self, AuthError, AuthResult, Claim, Identity, Keys, Pass, Token};
use crate::close::Close;
use crate::core::{Core, unix_seconds};
use crate::protocol::v2;

/// What a client said about itself when it connected. Owned and small, so that nothing of the request outlives it.
pub(crate) struct Hello {
    /// There was a `Host` header.
    pub(crate) has_host: bool,
    /// Query parameter `roomId`.
    pub(crate) room: Option<String>,
    /// Header `Origin`.
    pub(crate) origin: Option<String>,
    /// Subprotocols, in the order in which they were offered.
    pub(crate) subprotocols: Vec<String>,
    /// Query parameter `token`, else the bearer token of the header `Authorization`.
    pub(crate) token: Option<Token>,
    /// Who it is.
    pub(crate) client: ClientAddress,
}

impl Hello {
    /// Whether it offers protocol v2, and so speaks it.
    pub(crate) fn speaks_v2(&self) -> bool {
        self.subprotocols.iter().any(|name| name == v2::SUBPROTOCOL)
    }
}

/// Somebody who may connect.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Admitted {
    /// The room it wants.
    pub(crate) room: RoomId,
    /// When its token ends the connection, Unix time in seconds.
    pub(crate) ends_at: Option<f64>,
    /// Who it is, if its token says so.
    pub(crate) identity: Identity,
    /// It may take the seat that it has had, and no other.
    pub(crate) own_seat_only: bool,
}

impl Hello {
    /// Reads it out of a request.
    pub(crate) fn new(uri: &Uri, headers: &HeaderMap, client: ClientAddress) -> Self {
        let parameter = |name: &str| {
            let mut pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
            pairs
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = || {
            let (scheme, token) = text(header::AUTHORIZATION)?.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| token.trim().to_owned())
        };
        Self {
            has_host: text(header::HOST).is_some_and(|host| !host.is_empty()),
            room: parameter("roomId"),
            origin: headers
                .get(header::ORIGIN)
                .map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned()),
            subprotocols: subprotocols(headers).map(str::to_owned).collect(),
            token: parameter("token")
                .filter(|token| !token.is_empty())
                .or_else(bearer)
                .map(Token::new),
            client,
        }
    }
}

/// Subprotocols that a client offers, in its order.
pub(crate) fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let names = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    names.map(str::trim).filter(|name| !name.is_empty())
}

/// Decides about a connection that may have `room`. `resumes`: it asks for a seat that it has had.
pub(crate) async fn admit(
    core: &Core,
    hello: &Hello,
    settings: &SignalingSettings,
    room: RoomId,
    resumes: bool,
) -> Result<Admitted, Close> {
    let keys = core
        .keyring
        .find(&core.secrets, settings, hello.token.as_ref())
        .await;
    let judged = authenticate(hello, settings, &room, &keys, unix_seconds());
    if settings.auth != AuthSettings::None {
        core.auth_metrics.judged(match &judged {
            Ok(pass) if pass.legacy => AuthResult::Legacy,
            Ok(_) => AuthResult::Accepted,
            Err(error) => (*error).into(),
        });
    }
    let (pass, own_seat_only) = match judged {
        Ok(pass) => (pass, false),
        Err(error) if resumes && opens_own_seat(error, &settings.auth) => (Pass::default(), true),
        Err(error) => return Err(refusal(error)),
    };
    Ok(Admitted {
        room,
        ends_at: pass.ends_at,
        identity: pass.identity,
        own_seat_only,
    })
}

/// A match token lives for about a minute and has opened the door already: who loses the connection an hour later comes back by
/// the secret of his seat, as long as the seat is there.
fn opens_own_seat(error: AuthError, settings: &AuthSettings) -> bool {
    matches!(settings, AuthSettings::MatchToken { .. })
        && matches!(error, AuthError::Missing | AuthError::Expired)
}

/// Everything that can be said without keys. `circuit_open`: Redis is left alone for the moment.
pub(crate) fn qualify(
    hello: &Hello,
    settings: &SignalingSettings,
    circuit_open: bool,
) -> Result<RoomId, Close> {
    if circuit_open {
        return Err(Close::ServiceUnavailable);
    }
    if !hello.has_host {
        return Err(Close::MalformedRequest);
    }
    let room = hello.room.as_deref().unwrap_or_default();
    let room = RoomId::parse(room, settings.rooms.id_max_length).map_err(|_| Close::InvalidRoomId)?;
    if settings.security.require_wss && !hello.client.https {
        return Err(Close::WssRequired);
    }
    if !settings.security.allowed_origins.allow(hello.origin.as_deref()) {
        return Err(Close::OriginNotAllowed);
    }
    let required = settings.websocket.subprotocol.as_ref();
    if required.is_some_and(|required| !hello.subprotocols.contains(required)) {
        return Err(Close::SubprotocolRequired);
    }
    Ok(room)
}

/// Checks the token for `room` with the keys that were found. `now`: Unix time in seconds.
fn authenticate(
    hello: &Hello,
    settings: &SignalingSettings,
    room: &RoomId,
    keys: &Keys,
    now: f64,
) -> Result<Pass, AuthError> {
    let claim = Claim {
        token: hello.token.as_ref(),
        room,
        legacy: !hello.speaks_v2(),
    };
    auth::check(claim, &settings.auth, keys, now)
}

/// What is wrong with a token concerns its owner; that there is no key concerns the operator of the server.
fn refusal(error: AuthError) -> Close {
    static NO_KEY: Throttle = Throttle::new(Duration::from_secs(30));
    if error == AuthError::NoKey
        && let Some(suppressed) = NO_KEY.pass()
    {
        warn!(
            suppressed,
            "every peer with a token is refused: {error}; /statusz tells more under auth"
        );
    }
    match error {
        AuthError::OtherRoom => Close::Forbidden,
        AuthError::Missing
        | AuthError::NoKey
        | AuthError::UnknownKey
        | AuthError::Invalid
        | AuthError::Expired
        | AuthError::NotYetValid => Close::Unauthorized,
    }
}

#[cfg(test)]
mod tests;
