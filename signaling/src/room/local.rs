//! What the members on this instance do.

use berth_dataplane::occupancy::{Instance, MemberId, Seat};

use smallvec::SmallVec;

use super::{Backlog, Departure, Effect, Effects, Given, Local, Loss, Notice, Room, Sent, View};
use crate::protocol::Text;

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
                unsettled.doubtful = false;
            }
        }
    }

    /// The store gave `member` a seat.
    pub fn seated(&mut self, view: View, member: MemberId, given: Given<'_>) -> Effects {
        let Given { join, others, reaped } = given;
        let mut effects = Effects::new();
        let doubtful = self
            .unsettled
            .as_ref()
            .is_some_and(|unsettled| unsettled.doubtful);
        self.learn(view, others, Some(member), &mut effects);
        self.bury(reaped, &mut effects);
        self.note_met(others, Some(join));
        self.note_unmet(join, others);
        self.pay_debts(member, join, &mut effects);
        self.note(member);
        self.locals.push(Local {
            member,
            join,
            sent: 0,
            early: Backlog::default(),
            told: SmallVec::new(),
        });
        self.absent.clear();
        self.flush_early(&mut effects);
        self.announce(member, others, &mut effects);
        if doubtful {
            effects.push(Effect::Assert(member));
        }
        self.settle();
        effects
    }

    /// Who joined after `member` knew of it, and sent its messages to it too, before its seat was known here.
    fn pay_debts(&mut self, member: MemberId, join: u64, effects: &mut Effects) {
        let Some(unsettled) = &self.unsettled else { return };
        for sent in unsettled.recent.iter() {
            if self.join_of(sent.from).is_some_and(|sender| sender > join) {
                effects.push(Effect::Deliver {
                    to: member,
                    text: sent.text.clone(),
                });
            }
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
        let Given { join, others, reaped } = given;
        let mut effects = Effects::new();
        let local = self.locals.iter_mut().find(|local| local.member == member);
        let present = local.map(|local| local.join = join).is_some();
        // The list is of the others; this member is not missing.
        self.note(member);
        self.learn(view, others, Some(member), &mut effects);
        self.bury(reaped, &mut effects);
        self.note_met(others, Some(join));
        self.flush_early(&mut effects);
        if present {
            self.announce(member, others, &mut effects);
        }
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

    /// A local member says something.
    pub fn message(&mut self, from: MemberId, text: Text) -> Effects {
        let mut effects = Effects::new();
        let alone = self.is_alone();
        let Some(local) = self.locals.iter_mut().find(|local| local.member == from) else {
            return effects;
        };
        local.sent += 1;
        let sent = Sent {
            from,
            number: local.sent,
            text,
        };
        if !alone {
            self.spread(&sent, &mut effects);
        } else if !local.early.push(sent) {
            effects.push(Effect::Lost {
                loss: Loss::EarlyFull,
                messages: 1,
            });
        }
        effects
    }

    /// A local member is gone. The caller gives its seat back to the store, and then tells those instances that
    /// still have seats and those that are returned here, which knew of the member.
    pub fn leave(&mut self, member: MemberId, departure: Departure) -> (Effects, SmallVec<[Instance; 1]>) {
        let mut effects = Effects::new();
        let Some(index) = self.locals.iter().position(|local| local.member == member) else {
            return (effects, SmallVec::new());
        };
        let told = self.locals.remove(index).told;
        self.note(member);
        for route in &mut self.routes {
            route.forget_sender(member);
        }
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.recent.take_from(member);
        }
        self.departed(member, departure, None, &mut effects);
        (effects, told)
    }

    /// The grace for a drained member has passed: if nobody came meanwhile, it is gone.
    pub fn grace_over(&mut self, member: MemberId) -> Effects {
        let mut effects = Effects::new();
        if let Some(index) = self.absent.iter().position(|absent| *absent == member) {
            self.absent.remove(index);
            self.tell_locals(None, &mut effects);
        }
        effects
    }

    /// Tells the local members of a departure, now or after the grace. `unmet_from`: see [`super::Remote`].
    pub(super) fn departed(
        &mut self,
        member: MemberId,
        departure: Departure,
        unmet_from: Option<u64>,
        effects: &mut Effects,
    ) {
        match departure {
            Departure::Left => self.tell_locals(unmet_from, effects),
            // Somebody has come since, before we heard that it is gone.
            Departure::Drained if unmet_from.is_some() || self.locals.is_empty() => {}
            Departure::Drained => {
                self.absent.push(member);
                effects.push(Effect::Grace(member));
            }
        }
    }

    /// Gives a message of a local member to everybody else.
    fn spread(&mut self, sent: &Sent, effects: &mut Effects) {
        for local in self.locals.iter().filter(|local| local.member != sent.from) {
            effects.push(Effect::Deliver {
                to: local.member,
                text: sent.text.clone(),
            });
        }
        for route in &mut self.routes {
            route.send(sent.clone(), effects);
        }
        self.remember(sent);
    }

    /// Keeps a message for those who are just sitting down.
    pub(super) fn remember(&mut self, sent: &Sent) {
        if let Some(unsettled) = &mut self.unsettled
            && unsettled.entering > 0
        {
            // What does not fit is missed by a third member alone, as if it had joined a moment later.
            let _ = unsettled.recent.push(sent.clone());
        }
    }

    /// Gives early messages to those who have come.
    pub(super) fn flush_early(&mut self, effects: &mut Effects) {
        if self.is_alone() {
            return;
        }
        let early: Vec<Sent> = self
            .locals
            .iter_mut()
            .flat_map(|local| local.early.take())
            .collect();
        for sent in &early {
            self.spread(sent, effects);
        }
    }

    /// Tells the other instances of a local member's seat.
    fn announce(&mut self, member: MemberId, others: &[Seat], effects: &mut Effects) {
        let Some(seat) = self.seat(member) else { return };
        let Some(local) = self.locals.iter_mut().find(|local| local.member == member) else {
            return;
        };
        for route in &self.routes {
            if !local.told.contains(&route.instance) {
                local.told.push(route.instance.clone());
            }
            let members = others.iter().chain(std::iter::once(&seat)).cloned().collect();
            let notice = Notice::Joined {
                seat: seat.clone(),
                members,
            };
            effects.push(Effect::Publish {
                to: route.instance.clone(),
                notice,
            });
        }
    }
}
