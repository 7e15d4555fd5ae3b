//! What other instances tell, and what their members say.

use berth_dataplane::occupancy::MemberId;
use smallvec::SmallVec;

use super::{Backlog, Effect, Effects, Loss, Notice, Remote, Room, Sent};

impl Room {
    /// Another instance tells something. `publisher`: [`berth_dataplane::occupancy::Instance::short`] of it.
    pub fn hear(&mut self, notice: Notice, publisher: u64) -> Effects {
        match notice {
            Notice::Message(sent) => self.remote_message(sent, publisher),
            Notice::Joined {
                seat,
                members,
                resume,
            } => self.remote_joined(&seat, &members, resume.as_ref()),
            Notice::Left {
                member,
                instance,
                departure,
            } => self.remote_left(member, &instance, departure),
            Notice::Replay {
                to,
                asked,
                from,
                instance,
                taken,
                messages,
            } => self.replayed((to, asked), (from, &instance, taken), &messages),
        }
    }

    /// Another instance relays a message of one of its members. Of who is not known, or not known to have come there, it waits
    /// until the store has said where he is.
    pub(super) fn remote_message(&mut self, sent: Sent, publisher: u64) -> Effects {
        let mut effects = Effects::new();
        let remote = self.remote(sent.from);
        if remote.is_some_and(|remote| remote.may_say(&sent)) {
            self.accept(&sent, Some(publisher), &mut effects);
        } else if self.local(sent.from).is_none() {
            if !self.unsettled.get_or_insert_default().held.push(sent) {
                effects.push(Effect::Lost {
                    loss: Loss::Stranger,
                    messages: 1,
                });
            }
            self.ask(&mut effects);
        }
        effects
    }

    /// Where a member is has become known: its messages that waited for that are delivered.
    pub(super) fn release(&mut self, member: MemberId, effects: &mut Effects) {
        let held = self
            .unsettled
            .as_mut()
            .map(|unsettled| unsettled.held.take_from(member))
            .unwrap_or_default();
        for sent in held {
            self.accept(&sent, None, effects);
        }
    }

    /// The same for everybody who is known by now.
    pub(super) fn release_known(&mut self, effects: &mut Effects) {
        let Some(unsettled) = &self.unsettled else { return };
        let mut senders: SmallVec<[MemberId; 1]> = SmallVec::new();
        for sent in unsettled.held.iter() {
            let known = |remote: &Remote| remote.member == sent.from && remote.may_say(sent);
            if !senders.contains(&sent.from) && self.remotes.iter().any(known) {
                senders.push(sent.from);
            }
        }
        for sender in senders {
            self.release(sender, effects);
        }
    }

    /// Delivers a message of a known remote member. What comes late from an instance where the sender is no more may have
    /// gaps for a member that came here meanwhile; the sender says it again where he is, to those who may have missed it.
    fn accept(&mut self, sent: &Sent, publisher: Option<u64>, effects: &mut Effects) {
        let Some(remote) = self.remote(sent.from) else {
            return;
        };
        let sits_there = publisher.is_none_or(|publisher| publisher == remote.instance.short());
        let v2_too = sits_there && (remote.role.is_none() || sent.since > remote.floor);
        let is_new = sent.number > remote.heard;
        remote.heard = remote.heard.max(sent.number);
        // A member that speaks v2 may have missed what the others have heard.
        let taken = self.give(sent, is_new, v2_too, effects);
        if is_new {
            self.remember(sent);
        } else if !taken {
            effects.push(Effect::Lost {
                loss: Loss::Stale,
                messages: 1,
            });
        }
    }

    /// The store has spoken: who is unknown now does not belong here.
    pub(super) fn refuse_strangers(&mut self, effects: &mut Effects) {
        let Some(unsettled) = &mut self.unsettled else {
            return;
        };
        let messages = unsettled.held.len();
        if messages > 0 {
            unsettled.held = Backlog::default();
            effects.push(Effect::Lost {
                loss: Loss::Stranger,
                messages,
            });
        }
    }
}
