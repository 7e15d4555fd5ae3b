//! What the members on this instance do.

use berth_dataplane::occupancy::{Instance, MemberId, Seat};

use smallvec::SmallVec;

use super::{
    Backlog, Departure, Effect, Effects, Given, Loss, Notice, Parting, Room, Sent, Speech, To, View,
};
use crate::protocol::Text;
use crate::protocol::v2::{ErrorCode, Refused, Relay, say};

impl Room {
    /// A local member asks the store for a seat. [`Room::seated`] or [`Room::turned_away`] follows.
    pub fn enter(&mut self) -> View {
        let unsettled = self.unsettled.get_or_insert_default();
        unsettled.entering += 1;
        unsettled.open()
    }

    /// The store gave no seat, or did not answer.
    pub fn turned_away(&mut self, view: View) {
        self.entered();
        self.not_asserted(view);
    }

    /// One member fewer is sitting down.
    fn entered(&mut self) {
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.entering = unsettled.entering.saturating_sub(1);
            if unsettled.entering == 0 {
                unsettled.recent = Backlog::default();
                unsettled.unheard = Backlog::default();
                unsettled.doubtful = false;
            }
        }
    }

    /// The store gave `member` a seat. Ask [`Room::welcome`] what it is to hear before these effects.
    pub fn seated(&mut self, view: View, member: MemberId, speech: Speech, given: Given<'_>) -> Effects {
        let mut effects = Effects::new();
        let doubtful = self
            .unsettled
            .as_ref()
            .is_some_and(|unsettled| unsettled.doubtful);
        let resumes = matches!(speech, Speech::V2 { resume: Some(_), .. });
        // What the list says is of the others; this member is not missing.
        self.note(member);
        let elsewhere = self.take_out_remote(member);
        self.learn(view, given.others, Some(member), &mut effects);
        self.bury(given.reaped, &mut effects);
        self.note_met(given.others, Some(given.join));
        self.note_unmet(given.join, given.others);
        self.note(member);
        let moved = given.moved_from.is_some();
        let before = self.take_out_local(member, moved).unwrap_or(elsewhere);
        let was_known = before.is_known() || self.absent.contains(&member);
        let local = self.sit_down(member, speech, given, before);
        let role = local.role();
        self.locals.push(local);
        if resumes {
            self.entered();
        } else {
            self.pay_debts(member, given.join, &mut effects);
        }
        // Somebody who knew of this seat before we did may have said something.
        self.release_known(&mut effects);
        self.nobody_is_expected(member, &mut effects);
        self.tell_joined(member, role, was_known, &mut effects);
        self.replay_here(member, &mut effects);
        self.flush_early(&mut effects);
        self.announce(member, given.others, given.moved_from, &mut effects);
        if doubtful {
            effects.push(Effect::Assert(member));
        }
        self.acknowledge(&mut effects);
        self.settle();
        effects
    }

    /// Who joined after `member` knew of it, and sent its messages to it too, before its seat was known here; and so may have
    /// done who joined earlier, if the store told its instance of the seat.
    fn pay_debts(&mut self, member: MemberId, join: u64, effects: &mut Effects) {
        let Some(unsettled) = &self.unsettled else { return };
        let recent = unsettled
            .recent
            .iter()
            .filter(|sent| self.join_of(sent.from).is_some_and(|sender| sender > join));
        let mut owed: Vec<Sent> = unsettled.unheard.iter().chain(recent).cloned().collect();
        // Each sender's in their order.
        owed.sort_by_key(|sent| sent.number);
        for sent in &owed {
            self.give_to(member, sent, effects);
        }
        self.entered();
    }

    /// The store may have lost its seats: all of them are to be asserted.
    pub fn reassert(&mut self) -> Effects {
        if let Some(unsettled) = self.unsettled.as_mut().filter(|unsettled| unsettled.entering > 0) {
            unsettled.doubtful = true;
        }
        self.locals().map(Effect::Assert).collect()
    }

    /// The seat of a local member is being asserted. [`Room::asserted`],
    /// [`Room::not_asserted`] or [`Room::assert_failed`] follows.
    pub fn asserting(&mut self) -> View {
        self.unsettled.get_or_insert_default().open()
    }

    /// The store has the seat of `member`. `false` when the member left meanwhile, and its seat must be given back once
    /// more.
    pub fn asserted(&mut self, view: View, member: MemberId, given: Given<'_>) -> (Effects, bool) {
        let mut effects = Effects::new();
        let present = self.local_mut(member).map(|local| {
            local.join = given.join;
            // A later connection took the seat, without an answer: ours is as good as that one.
            let rose = local.v2.is_some() && given.taken > local.taken;
            if rose {
                local.taken = given.taken;
            }
            rose && local.is_away()
        });
        if present == Some(true) {
            // The store does not know that it is away.
            effects.push(Effect::Assert(member));
        }
        let present = present.is_some();
        // The list is of the others; this member is not missing.
        self.note(member);
        self.learn(view, given.others, Some(member), &mut effects);
        self.bury(given.reaped, &mut effects);
        self.note_met(given.others, Some(given.join));
        self.release_known(&mut effects);
        self.flush_early(&mut effects);
        if present {
            self.announce(member, given.others, None, &mut effects);
        }
        self.acknowledge(&mut effects);
        self.settle();
        (effects, present)
    }

    /// The store did not answer: it is asked again at the next [`Room::retry`].
    pub fn assert_failed(&mut self, view: View) {
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.ask_later();
        }
        self.not_asserted(view);
    }

    /// Somebody else has the seat.
    pub fn not_asserted(&mut self, view: View) {
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.close(view);
        }
        self.settle();
    }

    /// The store says that the member has its seat at another instance by now; who it is follows from the answer.
    pub fn asserted_elsewhere(&mut self, view: View) -> Effects {
        let mut effects = Effects::new();
        self.not_asserted(view);
        self.ask(&mut effects);
        effects
    }

    /// A local member that speaks v1 says something.
    pub fn message(&mut self, from: MemberId, text: Text) -> Effects {
        let mut effects = Effects::new();
        if let Some(number) = self.local(from).map(|local| local.sent + 1) {
            self.say(Sent::new(from, number, text), &mut effects);
        }
        effects
    }

    /// A local member that speaks v2 says something.
    pub fn relay(&mut self, from: MemberId, relay: Relay) -> Effects {
        let mut effects = Effects::new();
        let Some(local) = self.local(from) else {
            return effects;
        };
        if relay.seq <= local.sent {
            // It had sent this before it lost a connection, and has not heard of the acknowledgement.
            let acked = local.v2.as_ref().map_or(0, |v2| v2.acked);
            effects.push(Effect::Tell {
                to: from,
                text: say::ack(acked),
            });
            return effects;
        }
        if matches!(relay.to, To::Member(_)) && !self.has_listener(from, relay.to) {
            let refused = Refused {
                code: ErrorCode::UnknownPeer,
                seq: Some(relay.seq),
                message: "to: there is no such peer in the room",
            };
            let text = say::refused(&refused, None);
            effects.push(Effect::Tell { to: from, text });
            return effects;
        }
        let sent = Sent {
            from,
            number: relay.seq,
            since: local.since(),
            to: relay.to,
            text: relay.text,
            extended: relay.extended,
        };
        self.say(sent, &mut effects);
        effects
    }

    fn say(&mut self, sent: Sent, effects: &mut Effects) {
        let listener = self.has_listener(sent.from, sent.to);
        let (from, number) = (sent.from, sent.number);
        let Some(local) = self.local_mut(from) else { return };
        local.sent = number;
        if listener {
            self.spread(&sent, effects);
        } else if !local.early.push(sent) {
            effects.push(Effect::Lost {
                loss: Loss::EarlyFull,
                messages: 1,
            });
            if local.v2.is_some() {
                let refused = Refused {
                    code: ErrorCode::BufferFull,
                    seq: Some(number),
                    message: "more waits for a peer that has not come than is kept",
                };
                let text = say::refused(&refused, None);
                effects.push(Effect::Tell { to: from, text });
            }
        }
        self.acknowledge(effects);
    }

    /// A local member is gone. The caller gives its seat back to the store, and then tells those instances that
    /// still have seats and those that are returned here.
    pub fn leave(&mut self, member: MemberId, departure: Departure) -> Option<(Effects, Parting)> {
        let mut effects = Effects::new();
        let local = self.remove_local(member)?;
        self.departed(member, local.role(), departure, None, &mut effects);
        let taken = if local.v2.is_some() { local.taken } else { u64::MAX };
        let parting = Parting {
            told: local.told,
            taken,
        };
        Some((effects, parting))
    }

    /// Gives a message of a local member to everybody whom it is for.
    fn spread(&mut self, sent: &Sent, effects: &mut Effects) {
        self.record(sent);
        let repeated = self.local(sent.from).and_then(|local| local.v2.as_ref());
        let v1_too = repeated.is_none_or(|v2| sent.number > v2.repeated);
        self.give(sent, v1_too, true, effects);
        let Self {
            routes,
            remotes,
            locals,
            ..
        } = self;
        let mut sender = locals.iter_mut().find(|local| local.member == sent.from);
        for route in routes {
            let is_for = remotes.iter().any(|remote| {
                remote.instance == route.instance && sent.to.concerns(remote.member, remote.role)
            });
            if !is_for {
                continue;
            }
            if let Some(sender) = &mut sender {
                sender.sets_out(sent.number);
                if !route.send(sent.clone(), effects) {
                    sender.arrived(sent.number);
                }
            }
        }
        self.remember(sent);
    }

    /// Keeps a message for those who are just sitting down.
    pub(super) fn remember(&mut self, sent: &Sent) {
        if let Some(unsettled) = &mut self.unsettled
            && unsettled.entering > 0
        {
            let backlog = if self.locals.is_empty() {
                &mut unsettled.unheard
            } else {
                &mut unsettled.recent
            };
            // What does not fit is missed by a third member alone, as if it had joined a moment later.
            let _ = backlog.push(sent.clone());
        }
    }

    /// Gives early messages to those who have come.
    pub(super) fn flush_early(&mut self, effects: &mut Effects) {
        for index in 0..self.locals.len() {
            let early = self.locals.get_mut(index).map(|local| local.early.take());
            for sent in early.into_iter().flatten().collect::<Vec<_>>() {
                if self.has_listener(sent.from, sent.to) {
                    self.spread(&sent, effects);
                } else if let Some(local) = self.locals.get_mut(index) {
                    // It was there before, so it fits.
                    let _ = local.early.push(sent);
                }
            }
        }
    }

    /// Tells the other instances, and `also`, of a local member's seat.
    fn announce(
        &mut self,
        member: MemberId,
        others: &[Seat],
        also: Option<&Instance>,
        effects: &mut Effects,
    ) {
        let Some(seat) = self.seat(member) else { return };
        let members: Vec<Seat> = others.iter().chain(std::iter::once(&seat)).cloned().collect();
        let resume = self.missed(member);
        let also = also.filter(|also| !self.routes.iter().any(|route| route.instance == **also));
        let instances: SmallVec<[Instance; 2]> = self
            .routes
            .iter()
            .map(|route| &route.instance)
            .chain(also)
            .cloned()
            .collect();
        let Some(local) = self.local_mut(member) else {
            return;
        };
        for to in instances {
            if !local.told.contains(&to) {
                local.told.push(to.clone());
            }
            let notice = Notice::Joined {
                seat: seat.clone(),
                members: members.clone(),
                resume: resume.clone(),
            };
            effects.push(Effect::Publish { to, notice });
        }
    }
}
