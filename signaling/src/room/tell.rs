//! What members hear of the room itself: who comes, goes and is away, and how far their own messages have come.

use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::MemberId;

use super::{Departure, Effect, Effects, Room};
use crate::protocol::v2::{self, PeerState, say};

/// What a member that speaks v2 is told first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Everybody else.
    pub peers: Vec<v2::Peer>,
    /// Number of its last message that this instance has.
    pub seq: u64,
}

impl Room {
    /// What a local member that speaks v2 is told first.
    pub fn welcome(&self, member: MemberId) -> Welcome {
        let state = |away| {
            if away {
                PeerState::Reconnecting
            } else {
                PeerState::Connected
            }
        };
        let locals = self.locals.iter().filter(|local| local.member != member);
        let locals = locals.map(|local| say::peer(local.member, local.role(), state(local.is_away())));
        let remotes = self.remotes.iter();
        let remotes = remotes.map(|remote| say::peer(remote.member, remote.role, state(remote.away)));
        Welcome {
            peers: locals.chain(remotes).collect(),
            seq: self.local(member).map_or(0, |local| local.sent),
        }
    }

    /// A member is here, or here again.
    pub(super) fn tell_joined(
        &self,
        member: MemberId,
        role: Option<Role>,
        resumed: bool,
        effects: &mut Effects,
    ) {
        self.tell_v2(member, effects, || say::joined(member, role, resumed));
    }

    /// The connection of a member is lost and may come back.
    pub(super) fn tell_away(&self, member: MemberId, role: Option<Role>, effects: &mut Effects) {
        self.tell_v2(member, effects, || say::reconnecting(member, role));
    }

    /// A member is gone for good. Members that speak v1 do not hear who it was, and those that have not met it (`unmet_from`: see
    /// [`super::Remote`]) hear nothing.
    pub(super) fn tell_left(
        &self,
        member: MemberId,
        role: Option<Role>,
        unmet_from: Option<u64>,
        effects: &mut Effects,
    ) {
        let met = |join: u64| unmet_from.is_none_or(|first| join < first);
        let v1 = self
            .locals
            .iter()
            .filter(|local| local.v2.is_none() && met(local.join));
        effects.extend(v1.map(|local| Effect::PeerDisconnected { to: local.member }));
        self.tell_v2(member, effects, || say::left(member, role));
    }

    /// Tells the local members that speak v2, except the one whom it is about.
    fn tell_v2(&self, about: MemberId, effects: &mut Effects, text: impl Fn() -> crate::protocol::Text) {
        let listeners = self
            .locals
            .iter()
            .filter(|local| local.member != about && local.v2.as_ref().is_some_and(|v2| v2.attached));
        let mut said = None;
        for local in listeners {
            let text = said.get_or_insert_with(&text).clone();
            effects.push(Effect::Tell {
                to: local.member,
                text,
            });
        }
    }

    /// Tells the local members of a departure, now or after the grace.
    pub(super) fn departed(
        &mut self,
        member: MemberId,
        role: Option<Role>,
        departure: Departure,
        unmet_from: Option<u64>,
        effects: &mut Effects,
    ) {
        match departure {
            Departure::Left => self.tell_left(member, role, unmet_from, effects),
            Departure::Away(_) => self.tell_away(member, role, effects),
            Departure::Drained if self.locals.is_empty() => {}
            // Somebody has come since, before we heard that it is gone.
            Departure::Drained if unmet_from.is_some() => {
                self.tell_v2(member, effects, || say::left(member, role));
            }
            Departure::Drained => {
                self.tell_away(member, role, effects);
                self.absent.push(member);
                effects.push(Effect::Grace(member));
            }
        }
    }

    /// Somebody has come: who was expected back counts as replaced.
    pub(super) fn nobody_is_expected(&mut self, newcomer: MemberId, effects: &mut Effects) {
        for member in std::mem::take(&mut self.absent) {
            if member != newcomer {
                self.tell_v2(member, effects, || say::left(member, None));
            }
        }
    }

    /// The grace for a drained member has passed: if nobody came meanwhile, it is gone.
    pub fn grace_over(&mut self, member: MemberId) -> Effects {
        let mut effects = Effects::new();
        if let Some(index) = self.absent.iter().position(|absent| *absent == member) {
            self.absent.remove(index);
            self.tell_left(member, None, None, &mut effects);
        }
        effects
    }

    /// Tells members that speak v2 how far their messages have come.
    pub(super) fn acknowledge(&mut self, effects: &mut Effects) {
        for local in &mut self.locals {
            let passed_on = local.passed_on();
            let Some(v2) = &mut local.v2 else { continue };
            if v2.attached && passed_on > v2.acked {
                v2.acked = passed_on;
                effects.push(Effect::Tell {
                    to: local.member,
                    text: say::ack(passed_on),
                });
            }
        }
    }
}
