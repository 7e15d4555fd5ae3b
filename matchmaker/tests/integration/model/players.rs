//! Players, with a match token or without: they come, show what they are, leave, come back, and give up.

use berth_dataplane::match_token::Role;
use proptest::prelude::*;

use super::Tokens;
use super::actors::{Actors, Checked, Player};

impl Actors<'_> {
    /// The player of a match comes, or comes back.
    pub(super) async fn player_joins(&mut self, choice: usize, token: bool) {
        let waiting: Vec<usize> = (0..self.matches.len())
            .filter(|index| self.waits(&self.matches[*index]))
            .collect();
        let Some(index) = waiting.get(choice % waiting.len().max(1)) else {
            return;
        };
        let one = &mut self.matches[*index];
        let room = &self.hosts[one.host].room;
        let token = token && self.tokens == Tokens::Some || self.tokens == Tokens::All;
        let member = if token {
            self.world.proves(room, Role::Player, &one.id.to_string()).await
        } else {
            self.world.join(room).await
        };
        one.left = None;
        one.player = Some(Player {
            member,
            known: token,
            turn: self.turn,
        });
    }

    /// Everybody who plays has said so by now.
    pub(super) async fn players_offer(&mut self) {
        for one in &mut self.matches {
            if let Some(player) = one.player.as_mut().filter(|player| !player.known) {
                player.known = true;
                let room = &self.hosts[one.host].room;
                self.world.says(room, player.member, Role::Player).await;
            }
        }
    }

    pub(super) async fn player_leaves(&mut self, choice: usize) {
        let playing: Vec<usize> = (0..self.matches.len())
            .filter(|index| self.matches[*index].player.is_some())
            .collect();
        let Some(index) = playing.get(choice % playing.len().max(1)) else {
            return;
        };
        let one = &mut self.matches[*index];
        if let Some(player) = one.player.take() {
            one.left = Some(self.now);
            one.known |= player.known;
            self.world.leave(&self.hosts[one.host].room, player.member).await;
        }
    }

    /// Gives up a match whose player has not come; one that is over cannot be given up any more.
    pub(super) async fn release(&mut self, choice: usize) -> Checked {
        let waiting: Vec<usize> = (0..self.matches.len())
            .filter(|index| self.matches[*index].player.is_none())
            .collect();
        let Some(index) = waiting.get(choice % waiting.len().max(1)) else {
            return Ok(());
        };
        let released = self.world.release(self.matches[*index].id).await;
        if self.matches[*index].left.is_some() && !released {
            // Whose player left is not known for certain: it is held, as if nobody had given it up.
            return Ok(());
        }
        if self.waits(&self.matches[*index])
            && !released
            && self.hosts[self.matches[*index].host].capacity > 1
        {
            // Nor is it who came instead.
            return Ok(());
        }
        let given_up = self.matches.remove(*index);
        // Which of several players on one host came first is not known to the store.
        if self.steady
            && self.hosts[given_up.host].capacity == 1
            && self.waits(&given_up)
            && self.quiet_until.is_none()
        {
            prop_assert!(released);
        }
        Ok(())
    }
}
