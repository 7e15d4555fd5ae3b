//! What happens to peers, as lines of the log. Rooms and members by the names that all programs share ([`field`]); the
//! address of a client at `debug` alone.

use std::net::IpAddr;
use std::time::Duration;

use berth_crds::settings::RoomId;
use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::MemberId;
use berth_dataplane::telemetry::{Throttle, field};
use tracing::{debug, info};

use crate::auth::Identity;
use crate::close::Close;
use crate::conn::Conn;
use crate::metrics::DropReason;

/// At most one line of each kind in this time: a busy server has hundreds of joins a second, and metrics count them all.
const LOG_INTERVAL: Duration = Duration::from_millis(20);
/// The same for what one client alone can bring about, of each reason.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);
/// Longest room id that any settings allow.
const MOST_ROOM_ID: usize = 256;

/// A peer has its seat. A match token says of which match it is a player, or which host it is.
pub(crate) fn joined(room: &RoomId, member: MemberId, identity: &Identity) {
    static JOINED: Throttle = Throttle::new(LOG_INTERVAL);
    if let Some(suppressed) = JOINED.pass() {
        let id_of = |role| identity.id.as_deref().filter(|_| identity.role == Some(role));
        info!(
            { field::ROOM } = %room,
            { field::MEMBER } = %member,
            { field::MATCH } = id_of(Role::Player),
            { field::HOST } = id_of(Role::Host),
            suppressed,
            "peer joined"
        );
    }
}

/// A peer gave its seat back.
pub(crate) fn left(room: &RoomId, member: MemberId, conn: &Conn) {
    static LEFT: Throttle = Throttle::new(LOG_INTERVAL);
    if let Some(suppressed) = LEFT.pass() {
        let close = conn.closed();
        info!(
            { field::ROOM } = %room,
            { field::MEMBER } = %member,
            by = conn.ending().name(),
            code = close.map(Close::code),
            reason = close.map(Close::reason),
            suppressed,
            "peer left"
        );
    }
}

/// The connection of a peer is lost; its seat waits for it.
pub(crate) fn away(room: &RoomId, member: MemberId) {
    static AWAY: Throttle = Throttle::new(LOG_INTERVAL);
    if let Some(suppressed) = AWAY.pass() {
        info!({ field::ROOM } = %room, { field::MEMBER } = %member, suppressed, "peer lost its connection");
    }
}

/// Somebody got no seat. `room`: as asked for, whatever it is.
pub(crate) fn refused(close: Close, room: Option<&str>, client: IpAddr) {
    static REFUSED: [Throttle; Close::ALL.len()] =
        [const { Throttle::new(REFUSAL_INTERVAL) }; Close::ALL.len()];
    // Nobody writes into the log what he likes.
    let room = room.and_then(|room| RoomId::parse(room, MOST_ROOM_ID).ok());
    let room = room.as_ref().map(tracing::field::display);
    let reason = close.refusal().unwrap_or_default();
    debug!({ field::ROOM } = room, { field::CLIENT_IP } = %client, reason, "refused a peer");
    let throttle = Close::ALL
        .iter()
        .position(|other| *other == close)
        .and_then(|index| REFUSED.get(index));
    if let Some(suppressed) = throttle.and_then(Throttle::pass) {
        info!(
            { field::ROOM } = room,
            code = close.code(),
            reason,
            suppressed,
            "peer refused"
        );
    }
}

/// A client connects more often than it may; its next attempt may come after `wait`.
pub(crate) fn over_connection_limit(client: IpAddr, wait: Duration) {
    debug!({ field::CLIENT_IP } = %client, ?wait, "too many connections of one client");
}

/// A message was dropped because of a limit; the next one may come after `wait`.
pub(crate) fn over_limit(reason: DropReason, room: &RoomId, member: MemberId, wait: Duration) {
    static CLIENT: Throttle = Throttle::new(REFUSAL_INTERVAL);
    static IP: Throttle = Throttle::new(REFUSAL_INTERVAL);
    static ROOM: Throttle = Throttle::new(REFUSAL_INTERVAL);
    let throttle = match reason {
        DropReason::ClientRate => &CLIENT,
        DropReason::IpRate => &IP,
        _ => &ROOM,
    };
    if let Some(suppressed) = throttle.pass() {
        info!(
            { field::ROOM } = %room,
            { field::MEMBER } = %member,
            reason = reason.name(),
            ?wait,
            suppressed,
            "messages are dropped: over a rate limit"
        );
    }
}
