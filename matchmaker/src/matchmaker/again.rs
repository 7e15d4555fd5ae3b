//! Matches that were granted before: got again, and given up.

use std::sync::Arc;
use std::time::Duration;

use berth_dataplane::secrets::RotatingSecret;
use berth_dataplane::settings::MatchmakerView;
use serde_json::Value;
use tracing::debug;

use super::{Matchmaker, unavailable_or};
use crate::api::Refusal;
use crate::api::wire::{self, MatchAnswer};
use crate::host::MatchId;
use crate::resume_token;
use crate::secrets::Purpose;
use crate::store::{Held, Released, StoreError};

/// How often a match is given up whose find was not answered, and how long the pauses are.
const RELEASES: u32 = 5;
const RELEASE_PAUSE: Duration = Duration::from_secs(1);

impl Matchmaker {
    /// Gives a match to its player once more: the same host and room, with fresh ICE servers and match token.
    pub async fn resume(&self, id: MatchId, body: Option<&Value>) -> Result<MatchAnswer, Refusal> {
        let token = wire::resume(body).map_err(Refusal::Invalid)?;
        let view = self.settings.get();
        let secret = self.resume_secret(&view);
        if secret.is_empty() {
            // The store has not told it yet.
            return Err(Refusal::Unavailable);
        }
        if !resume_token::accepts(&secret, &view.pool.name.to_string(), id, &token) {
            return Err(Refusal::WrongResumeToken);
        }
        let held = self.take(self.store.look_up(id, self.rules(&view)).await);
        match held.map_err(|error| unavailable_or("resume", &error, Refusal::Internal))? {
            Held::Live(grant) => {
                let ice_servers = self.ice_servers(&view, id).await?;
                self.answer(&view, id, &grant, ice_servers)
            }
            Held::Over(why) => Err(Refusal::Over(why.word())),
            Held::Unknown => Err(Refusal::UnknownMatch),
        }
    }

    /// Gives a match up. One that is over was given up before, as far as its player is concerned.
    pub async fn give_up(&self, id: MatchId) -> Result<(), Refusal> {
        let view = self.settings.get();
        let released = self.take(self.store.release(id, self.rules(&view)).await);
        match released.map_err(|error| unavailable_or("release", &error, Refusal::Internal))? {
            Released::Released | Released::Stays | Released::Over(_) => Ok(()),
            Released::Unknown => Err(Refusal::UnknownMatch),
        }
    }

    /// The token with which a match is got again.
    pub(super) fn resume_token(&self, view: &MatchmakerView, id: MatchId) -> Option<String> {
        resume_token::issue(&self.resume_secret(view), &view.pool.name.to_string(), id)
    }

    /// What resume tokens are made of: the match key, or without one what only those know who share the store. Nothing that somebody
    /// may have chosen: a token and its match let everybody guess at leisure.
    fn resume_secret(&self, view: &MatchmakerView) -> RotatingSecret {
        let key = self.pool_secrets(view).get(Purpose::MatchKey);
        if !key.is_empty() {
            return key;
        }
        self.store.secret()
    }

    /// Whether a match is not over.
    pub(super) async fn is_live(&self, view: &MatchmakerView, id: MatchId) -> Result<bool, Refusal> {
        let held = self.take(self.store.look_up(id, self.rules(view)).await);
        let held = held.map_err(|error| unavailable_or("find", &error, Refusal::Internal))?;
        Ok(matches!(held, Held::Live(_)))
    }

    /// A find was not answered, and nobody will ask for its match: if a slot was granted, it is given back rather than kept until
    /// its deadline. A few times and in the background; what fails here too ends at the deadline.
    pub(super) fn give_up_later(self: &Arc<Self>, id: MatchId, error: &StoreError) {
        let Ok(permit) = Arc::clone(&self.unanswered).try_acquire_owned() else {
            return;
        };
        debug!(%error, %id, "a find was not answered: its match is given up");
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let _permit = permit;
            for _ in 0..RELEASES {
                tokio::time::sleep(RELEASE_PAUSE).await;
                let rules = this.rules(&this.settings.load());
                if this.take(this.store.release(id, rules).await).is_ok() {
                    return;
                }
            }
        });
    }
}
