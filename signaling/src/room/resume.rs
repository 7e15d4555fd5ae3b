//! Members that speak v2 lose their connections and come back, here or at another instance.

use berth_dataplane::occupancy::{Instance, MemberId, Seat, Who};
use smallvec::SmallVec;

use super::member::{Former, Heard, Local, V2};
use super::{Backlog, Departure, Effect, Effects, Given, Notice, Parting, Room, Sent, Speech};

/// What a member was here before it took its seat.
pub(super) enum Before {
    /// It was not here.
    Unknown {
        /// Number of its last message that was taken here, if it had been given up.
        heard: u64,
    },
    /// Its connection was here.
    Here(Box<Local>),
    /// Its connection was at another instance.
    Elsewhere {
        /// Number of its last message that was taken here.
        heard: u64,
    },
}

impl Before {
    pub(super) fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }
}

impl Room {
    /// Takes out a member of another instance that takes a seat here.
    pub(super) fn take_out_remote(&mut self, member: MemberId) -> Before {
        let Some(index) = self.remotes.iter().position(|remote| remote.member == member) else {
            return Before::Unknown {
                heard: self.former(member).map_or(0, |former| former.heard),
            };
        };
        let remote = self.remotes.remove(index);
        self.close_route(&remote.instance);
        // It is here now, and sends again what it has sent lately.
        self.await_no_more(member);
        Before::Elsewhere { heard: remote.heard }
    }

    /// Takes out a local member that takes its seat again. `moved`: it was at another instance meanwhile, of which nothing was
    /// heard here: what it said here is old, and others may have ignored it.
    pub(super) fn take_out_local(&mut self, member: MemberId, moved: bool) -> Option<Before> {
        let index = self.locals.iter().position(|local| local.member == member)?;
        let local = self.locals.remove(index);
        if !moved {
            return Some(Before::Here(Box::new(local)));
        }
        for route in &mut self.routes {
            route.forget_sender(member);
        }
        Some(Before::Elsewhere { heard: local.sent })
    }

    /// The member as it sits here from now on.
    pub(super) fn sit_down(
        &self,
        member: MemberId,
        speech: Speech,
        given: Given<'_>,
        before: Before,
    ) -> Local {
        let mut local = Local {
            member,
            join: given.join,
            // Only who speaks v2 comes back, so only then is there an order.
            taken: 0,
            sent: 0,
            early: Backlog::default(),
            told: SmallVec::new(),
            history: None,
            v2: None,
            who: Who::default(),
        };
        let Speech::V2 { role, resume } = speech else {
            return local;
        };
        local.taken = given.taken;
        let mut v2 = Box::new(V2::new(role, given.taken));
        match before {
            Before::Here(earlier) => {
                local = Local {
                    join: given.join,
                    taken: given.taken,
                    ..*earlier
                };
                if let Some(earlier) = local.v2.take() {
                    v2 = earlier;
                    v2.role = role;
                    v2.attached = true;
                    // The acknowledgement may not have reached the lost connection.
                    v2.acked = 0;
                    v2.attachment = v2.attachment.wrapping_add(1);
                }
            }
            Before::Elsewhere { heard } | Before::Unknown { heard } => v2.repeated = heard,
        }
        v2.may_lack = resume.is_some();
        if let Some(heard) = resume {
            v2.set_heard(heard);
            v2.awaits = self.remotes.iter().map(|remote| remote.member).collect();
        }
        local.v2 = Some(v2);
        local
    }

    /// Gives a member that resumes what it missed of those whose connections are here. Whoever sits down for the first time
    /// missed nothing: what waited for it is early.
    pub(super) fn replay_here(&mut self, member: MemberId, effects: &mut Effects) {
        let Some(hearer) = self.local(member) else { return };
        let Some(v2) = hearer.v2.as_ref().filter(|v2| v2.may_lack) else {
            return;
        };
        let missed: Vec<Sent> = self
            .locals
            .iter()
            .filter(|local| local.member != member)
            .flat_map(|local| {
                let history = local.history.iter();
                history.flat_map(|history| history.missed(v2.heard_of(local.member), hearer.join))
            })
            .cloned()
            .collect();
        for sent in &missed {
            self.give_to(member, sent, effects);
        }
    }

    /// The connection of a local member is lost: it keeps its seat for a while.
    pub fn detach(&mut self, member: MemberId) -> Effects {
        let mut effects = Effects::new();
        let own = self.own.clone();
        let Some(local) = self.local_mut(member) else {
            return effects;
        };
        let (role, taken) = (local.role(), local.taken);
        let Some(v2) = local.v2.as_mut().filter(|v2| v2.attached) else {
            return effects;
        };
        v2.attached = false;
        v2.awaits.clear();
        let attachment = v2.attachment;
        self.tell_away(member, role, &mut effects);
        for route in &self.routes {
            effects.push(Effect::Publish {
                to: route.instance.clone(),
                notice: Notice::Left {
                    member,
                    instance: own.clone(),
                    departure: Departure::Away(taken),
                },
            });
        }
        effects.push(Effect::Window { member, attachment });
        effects
    }

    /// The time to resume has passed. If the member is still away, it has left, as in [`Room::leave`].
    pub fn window_over(&mut self, member: MemberId, attachment: u32) -> Option<(Effects, Parting)> {
        let v2 = self.local(member)?.v2.as_ref()?;
        let over = !v2.attached && v2.attachment == attachment;
        over.then(|| self.leave(member, Departure::Left))?
    }

    /// The seat of a local member was taken at another instance.
    pub(super) fn moved_away(&mut self, member: MemberId, effects: &mut Effects) {
        let Some(local) = self.remove_local(member) else {
            return;
        };
        self.remember_former(Former {
            member,
            heard: local.sent,
            instance: self.own.clone(),
            taken: local.taken,
        });
        effects.push(Effect::Replaced(member));
    }

    /// What a member that resumes at another instance has missed of those whose connections are here.
    pub(super) fn replay_for(&self, seat: &Seat, heard: &Heard, effects: &mut Effects) {
        for local in self.locals.iter().filter(|local| local.member != seat.member) {
            let number = heard
                .iter()
                .find(|(sender, _)| *sender == local.member)
                .map_or(0, |(_, number)| *number);
            let history = local.history.iter();
            let messages: Vec<Sent> = history
                .flat_map(|history| history.missed(number, seat.join))
                .filter(|sent| sent.to.concerns(seat.member, seat.role))
                .cloned()
                .collect();
            effects.push(Effect::Publish {
                to: seat.instance.clone(),
                notice: Notice::Replay {
                    to: seat.member,
                    asked: seat.taken,
                    from: local.member,
                    instance: self.own.clone(),
                    taken: local.taken,
                    messages,
                },
            });
        }
    }

    /// Another instance repeats what a local member missed of one of its own.
    pub fn replayed(
        &mut self,
        (to, asked): (MemberId, u64),
        (from, instance, taken): (MemberId, &Instance, u64),
        messages: &[Sent],
    ) -> Effects {
        let mut effects = Effects::new();
        // What an instance has of him where he is no more may have gaps.
        let sits_there = |remote: &super::Remote| {
            remote.member == from && remote.instance == *instance && remote.taken <= taken
        };
        if !self.remotes.iter().any(sits_there) {
            return effects;
        }
        let resumes = self.local_mut(to).filter(|local| local.taken == asked);
        let Some(v2) = resumes.and_then(|local| local.v2.as_mut()) else {
            return effects;
        };
        v2.awaits.retain(|sender| *sender != from);
        for sent in messages.iter().filter(|sent| sent.from == from) {
            self.give_to(to, sent, &mut effects);
        }
        effects
    }

    /// What a local member has heard, if there is anything that it still awaits.
    pub(super) fn missed(&self, member: MemberId) -> Option<Heard> {
        let v2 = self.local(member)?.v2.as_ref()?;
        (v2.attached && !v2.awaits.is_empty()).then(|| v2.heard().clone())
    }

    /// A member is at an instance where it was not known to be: those here that may lack something ask for what they missed of it.
    pub(super) fn await_replay(&mut self, sender: MemberId) {
        for local in self.locals.iter_mut().filter(|local| local.member != sender) {
            if let Some(v2) = local.v2.as_mut().filter(|v2| v2.attached && v2.may_lack)
                && !v2.awaits.contains(&sender)
            {
                v2.awaits.push(sender);
            }
        }
    }

    /// What other instances said may be lost, though they believe that it was heard: the members here ask for it, as after a loss of
    /// their own connections. [`Room::reassert`] follows and carries the question; until it is answered, nothing later overtakes
    /// what is missing.
    pub fn lost_track(&mut self) {
        let remotes: SmallVec<[MemberId; 1]> = self.remotes.iter().map(|remote| remote.member).collect();
        let locals = self.locals.iter_mut().filter_map(|local| local.v2.as_mut());
        for v2 in locals.filter(|v2| v2.attached) {
            v2.awaits.clone_from(&remotes);
            // Nor is it known who has come to another instance meanwhile.
            v2.may_lack = true;
        }
    }

    /// Asks `instance`, or all, again for what local members have missed.
    pub(super) fn ask_for_missed(&self, instance: Option<&Instance>, effects: &mut Effects) {
        for local in &self.locals {
            let (Some(resume), Some(seat)) = (self.missed(local.member), self.seat(local.member)) else {
                continue;
            };
            let awaited = |route: &Instance| {
                let mut there = self.remotes.iter().filter(|remote| remote.instance == *route);
                let awaits = local.v2.iter().flat_map(|v2| v2.awaits.iter());
                there.any(|remote| awaits.clone().any(|sender| *sender == remote.member))
            };
            for route in &self.routes {
                if instance.is_some_and(|instance| *instance != route.instance) || !awaited(&route.instance) {
                    continue;
                }
                effects.push(Effect::Publish {
                    to: route.instance.clone(),
                    notice: Notice::Joined {
                        seat: seat.clone(),
                        members: self.known_seats(),
                        resume: Some(resume.clone()),
                    },
                });
            }
        }
    }

    /// A sender that is gone repeats nothing.
    pub(super) fn await_no_more(&mut self, sender: MemberId) {
        for local in &mut self.locals {
            if let Some(v2) = &mut local.v2 {
                v2.awaits.retain(|awaited| *awaited != sender);
            }
        }
    }

    /// Tells an instance that has just become known which members here are away.
    pub(super) fn tell_away_to(&self, instance: &Instance, effects: &mut Effects) {
        for local in self.locals.iter().filter(|local| local.is_away()) {
            effects.push(Effect::Publish {
                to: instance.clone(),
                notice: Notice::Left {
                    member: local.member,
                    instance: self.own.clone(),
                    departure: Departure::Away(local.taken),
                },
            });
        }
    }

    /// Forgets what has become too old to be asked for again. Called `AGES - 1` times in the time to resume.
    pub fn age(&mut self) {
        for local in &mut self.locals {
            local.history.take_if(|history| !history.age());
        }
    }

    /// Everybody, as known here.
    fn known_seats(&self) -> Vec<Seat> {
        let locals = self.locals.iter().filter_map(|local| self.seat(local.member));
        let remotes = self.remotes.iter().map(|remote| Seat {
            role: remote.role,
            away: remote.away,
            taken: remote.taken,
            ..Seat::new(remote.member, remote.instance.clone(), remote.join)
        });
        locals.chain(remotes).collect()
    }
}
