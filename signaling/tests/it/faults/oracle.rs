//! Who has not heard what in a room.

use std::sync::Arc;

use super::peer::{Peer, Version};

/// Who in a room has not heard the other one in this round.
pub(super) fn silent(room: &[Arc<Peer>; 2], round: u64) -> Option<String> {
    for (listener, speaker) in pairs(room) {
        let said_by = {
            let state = speaker.state.lock();
            if !state.seated {
                return Some(format!("{}/{} has no seat", speaker.room, speaker.slot));
            }
            (speaker.slot, state.life)
        };
        let heard = listener.state.lock().heard.get(&said_by).copied();
        if heard.is_none_or(|heard| heard.round < round) {
            return Some(format!(
                "{}/{} heard {heard:?} of {said_by:?}",
                listener.room, listener.slot
            ));
        }
    }
    None
}

/// What in a room that is at rest a peer that speaks v2 has not heard, or was not told to be passed on. That nothing is missing
/// before what was heard last is seen when it is heard.
pub(super) fn unheard(room: &[Arc<Peer>; 2]) -> Vec<String> {
    let mut unheard = Vec::new();
    for (listener, speaker) in pairs(room) {
        let (said_by, sent, acked) = {
            let state = speaker.state.lock();
            ((speaker.slot, state.life), state.sent, state.acked)
        };
        if speaker.version == Version::V2 && acked != sent {
            unheard.push(format!(
                "{}/{} said {sent}, acknowledged {acked}",
                speaker.room, speaker.slot
            ));
        }
        let heard = listener.state.lock().heard.get(&said_by).copied();
        if listener.version == Version::V2 && heard.is_none_or(|heard| heard.number != sent) {
            unheard.push(format!(
                "{}/{} heard {heard:?} of {sent} of {said_by:?}",
                listener.room, listener.slot
            ));
        }
    }
    unheard
}

fn pairs(room: &[Arc<Peer>; 2]) -> [(&Arc<Peer>, &Arc<Peer>); 2] {
    let [one, other] = room;
    [(one, other), (other, one)]
}
