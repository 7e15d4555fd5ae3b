//! Rooms that come and go beside those that stay.

use std::net::SocketAddr;

use super::field::Field;
use crate::support::{Client, PEER_DISCONNECTED, candidate, eventually, offer};

impl Field {
    /// Rooms that come and go: two members on any two instances, ten messages each way, and some say goodbye.
    pub(crate) async fn churn(&self, turn: usize, rooms: usize) {
        let addresses: Vec<_> = self.living().map(|node| node.address).collect();
        let sessions = (0..rooms).map(|number| {
            let (one, two) = (
                addresses[number % addresses.len()],
                addresses[(number / 2) % addresses.len()],
            );
            tokio::spawn(session(
                one,
                two,
                format!("churn-{turn}-{number}"),
                number % 2 == 0,
            ))
        });
        for session in sessions.collect::<Vec<_>>() {
            session.await.expect("a session");
        }
    }
}

/// One session from its join to its end.
async fn session(one: SocketAddr, two: SocketAddr, room: String, says_goodbye: bool) {
    let mut host = eventually("a seat", || Client::try_join(one, &room)).await;
    let mut player = eventually("a seat", || Client::try_join(two, &room)).await;
    for number in 0..10 {
        player.send(offer(&number.to_string())).await;
        assert_eq!(host.hear().await, offer(&number.to_string()));
        host.send(candidate(&number.to_string())).await;
        assert_eq!(player.hear().await, candidate(&number.to_string()));
    }
    if says_goodbye {
        player.leave().await;
        assert_eq!(host.hear().await, PEER_DISCONNECTED);
        host.leave().await;
    }
}
