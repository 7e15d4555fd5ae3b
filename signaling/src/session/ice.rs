//! ICE servers of a peer that speaks v2: fresh ones before the credentials expire, and new ones when the TurnConfig changes.
//!
//! Only a connection whose credentials expire, or for which a provider of TURN servers fails for the moment, has a timer.

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

/// Time after which a provider that failed is looked at again.
const FAILED: Duration = Duration::from_secs(15);

/// When ICE servers are to be sent again.
pub(super) struct IceRefresh(Option<Pin<Box<Sleep>>>);

impl From<IceServers> for IceRefresh {
    fn from(ice: IceServers) -> Self {
        let next = next(&ice, unix_seconds());
        Self(next.map(|next| Box::pin(tokio::time::sleep(next))))
    }
}

/// After which time these servers have to be replaced. `now`: Unix time in seconds.
fn next(ice: &IceServers, now: f64) -> Option<Duration> {
    let life = ttl_ms(ice, now).map(Duration::from_millis);
    let renewal = life.map(|life| life.mul_f64(RENEWAL).max(SHORTEST));
    let failed = (!ice.failures.is_empty()).then_some(FAILED);
    renewal.into_iter().chain(failed).min()
}

impl IceRefresh {
    /// Sends ICE servers if it is time.
    pub(super) fn poll(&mut self, place: &Place, context: &mut Context<'_>) {
        let expires = |timer: &mut Option<Pin<Box<Sleep>>>, context: &mut Context<'_>| {
            timer
                .as_mut()
                .is_some_and(|timer| timer.as_mut().poll(context) == Poll::Ready(()))
        };
        loop {
            let changed = place.conn.takes_ice();
            if !changed && !expires(&mut self.0, context) {
                return;
            }
            let now = unix_seconds();
            let ice = servers(&place.core, &place.core.settings.load(), place.member, now);
            if !changed && !ice.failures.is_empty() {
                // What the peer has is better than less.
                *self = ice.into();
                continue;
            }
            let message = ServerMessage::IceServers {
                ice_servers: ice.servers.clone(),
                ice_ttl_ms: ttl_ms(&ice, now),
            };
            place.conn.deliver(&say::message(&message));
            *self = ice.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_dataplane::ice::{FailureCause, ProviderFailure};

    use super::*;

    #[test]
    fn credentials_are_replaced_before_they_expire_and_providers_that_failed_looked_at_again() {
        let ice = |expires_at, failures: usize| IceServers {
            expires_at,
            failures: vec![
                ProviderFailure {
                    provider: "relay".into(),
                    cause: FailureCause::NotIssued,
                };
                failures
            ],
            ..IceServers::default()
        };
        let next =
            |expires_at, failures| next(&ice(expires_at, failures), 1000.0).map(|next| next.as_millis());
        assert_eq!(next(None, 0), None);
        assert_eq!(next(Some(1100), 0), Some(75_000));
        assert_eq!(next(Some(990), 0), Some(1000));
        assert_eq!(next(None, 1), Some(15_000));
        assert_eq!(next(Some(1100), 1), Some(15_000));
        assert_eq!(next(Some(1010), 1), Some(7500));
    }
}
