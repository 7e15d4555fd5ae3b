//! ICE servers of a peer that speaks v2: fresh ones before the credentials expire, and new ones when the TurnConfig changes.
//!
//! Only a connection whose credentials expire has a timer.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use berth_dataplane::ice::IceServers;
use tokio::time::Sleep;

use super::place::Place;
use super::v2::{servers, ttl_ms};
use crate::core::unix_seconds;
use crate::protocol::v2::{ServerMessage, say};

/// Share of their life after which credentials are replaced: what is left is for connections that are being made.
const RENEWAL: f64 = 0.75;
/// Shortest time between two renewals.
const SHORTEST: Duration = Duration::from_secs(1);

/// When ICE servers are to be sent again.
pub(super) struct IceRefresh(Option<Pin<Box<Sleep>>>);

impl From<IceServers> for IceRefresh {
    fn from(ice: IceServers) -> Self {
        let life = ttl_ms(&ice, unix_seconds()).map(Duration::from_millis);
        Self(life.map(|life| Box::pin(tokio::time::sleep(life.mul_f64(RENEWAL).max(SHORTEST)))))
    }
}

impl IceRefresh {
    /// Sends ICE servers if it is time.
    pub(super) fn poll(&mut self, place: &Place, context: &mut Context<'_>) {
        let expires = |timer: &mut Option<Pin<Box<Sleep>>>, context: &mut Context<'_>| {
            timer
                .as_mut()
                .is_some_and(|timer| timer.as_mut().poll(context) == Poll::Ready(()))
        };
        while place.conn.takes_ice() || expires(&mut self.0, context) {
            let now = unix_seconds();
            let ice = servers(&place.core, &place.core.settings.load(), place.member, now);
            let message = ServerMessage::IceServers {
                ice_servers: ice.servers.clone(),
                ice_ttl_ms: ttl_ms(&ice, now),
            };
            place.conn.deliver(&say::message(&message));
            *self = ice.into();
        }
    }
}
