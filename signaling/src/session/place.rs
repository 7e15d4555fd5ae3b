//! A place in a room: taken, kept while a connection that speaks v2 is lost, and given back.

use std::sync::Arc;
use std::time::Instant;

use berth_crds::settings::{RoomId, SignalingSettings};
use berth_dataplane::occupancy::{MemberId, Who};
use uuid::Uuid;

use super::v2::{HelloDraft, Newcomer};
use crate::close::Close;
use crate::conn::Conn;
use crate::core::{Core, Source};
use crate::events;
use crate::room::{Bounds, Departure, Effects, Given, Speech, View};
use crate::rooms::RoomCell;
use crate::seating::Job;

/// One connection's place in a room, from asking for a seat on. Dropping it leaves the room and gives the seat back, or keeps it for
/// a peer that may resume.
pub(super) struct Place {
    pub(super) core: Arc<Core>,
    pub(super) conn: Arc<Conn>,
    pub(super) cell: Arc<RoomCell>,
    pub(super) member: MemberId,
    /// It speaks v2.
    v2: bool,
    /// It asked for the seat of an earlier connection.
    resumes: bool,
    stage: Stage,
}

enum Stage {
    /// The store was asked; it may have given a seat even if it does not answer.
    Entering(View),
    Seated,
    /// The store gave no seat.
    Refused,
}

impl Place {
    /// Enters a room.
    pub(super) fn new(
        core: &Arc<Core>,
        conn: &Arc<Conn>,
        room: &RoomId,
        settings: &SignalingSettings,
        newcomer: Option<&Newcomer>,
    ) -> Self {
        let bounds = Bounds {
            messages: settings.resume.max_messages,
            bytes: settings.resume.max_bytes,
        };
        let limit = settings.rate_limits.messages_per_room;
        let (cell, view) = core.rooms.enter(room, limit, bounds, Instant::now());
        Self {
            core: Arc::clone(core),
            conn: Arc::clone(conn),
            cell,
            member: newcomer.map_or_else(|| MemberId(Uuid::new_v4()), Newcomer::member),
            v2: newcomer.is_some(),
            resumes: newcomer.is_some_and(Newcomer::resumes),
            stage: Stage::Entering(view),
        }
    }

    /// The store gave a seat. `hello`: what a peer that speaks v2 hears first.
    pub(super) fn seated(
        &mut self,
        newcomer: Option<Newcomer>,
        hello: Option<HelloDraft>,
        given: Given<'_>,
        who: Who,
    ) {
        let Stage::Entering(view) = std::mem::replace(&mut self.stage, Stage::Seated) else {
            return;
        };
        let speech = newcomer.map_or(Speech::V1, Newcomer::into_speech);
        self.core.update(&self.cell, Source::Here, |inner| {
            if let Some(index) = inner.conns.iter().position(|(member, _)| *member == self.member) {
                // The earlier connection of the same member, which nobody needs any more.
                let (_, earlier) = inner.conns.remove(index);
                earlier.close(Close::Replaced);
            }
            inner.conns.push((self.member, Arc::clone(&self.conn)));
            let effects = inner.room.seated(view, self.member, speech, given);
            inner.room.introduce(self.member, who);
            if let Some(hello) = hello {
                self.conn.deliver(&hello.finish(inner.room.welcome(self.member)));
            }
            effects
        });
    }

    /// The store gave no seat.
    pub(super) fn refused(&mut self) {
        if let Stage::Entering(view) = std::mem::replace(&mut self.stage, Stage::Refused) {
            self.cell.inner.lock().room.turned_away(view);
        }
    }

    /// Whether the peer may come back to this seat.
    fn may_resume(&self) -> bool {
        let lost = match self.conn.closed() {
            Some(close) => close.keeps_seat(),
            None => !self.conn.said_goodbye(),
        };
        let window = self.core.settings.load().cluster.resume.window;
        self.v2 && lost && !window.is_zero() && self.core.deadlines.has_space()
    }

    /// Leaves the room and gives the seat back.
    fn leave(&mut self) {
        match self.stage {
            Stage::Refused => {}
            Stage::Entering(_) => {
                self.refused();
                self.unanswered();
            }
            Stage::Seated if self.may_resume() => self.keep(),
            Stage::Seated => {
                let drained = self.conn.closed() == Some(Close::Draining);
                let departure = if drained {
                    Departure::Drained
                } else {
                    Departure::Left
                };
                let mut left = None;
                self.while_ours(|room, member| {
                    let (effects, parting) = room.leave(member, departure).unzip();
                    left = parting;
                    effects.unwrap_or_default()
                });
                if let Some(parting) = left {
                    events::left(&self.cell.id, self.member, &self.conn);
                    let job = Job::leave(&self.cell, self.member, departure, parting);
                    self.core.seating.push(job);
                }
            }
        }
    }

    /// Keeps the seat for a while.
    fn keep(&self) {
        let mut kept = false;
        self.while_ours(|room, member| {
            kept = true;
            room.detach(member)
        });
        if kept {
            events::away(&self.cell.id, self.member);
            self.core.seating.push(Job::Note {
                cell: Arc::clone(&self.cell),
                member: self.member,
            });
        }
    }

    /// Takes the connection out of the room, and changes the room unless another connection has taken the seat.
    fn while_ours(&self, change: impl FnOnce(&mut crate::room::Room, MemberId) -> Effects) {
        self.core.update(&self.cell, Source::Here, |inner| {
            let ours = inner
                .conns
                .iter()
                .position(|(_, conn)| Arc::ptr_eq(conn, &self.conn));
            let Some(index) = ours else {
                return Effects::new();
            };
            inner.conns.remove(index);
            if inner.room.seat(self.member).is_none() {
                return Effects::new();
            }
            change(&mut inner.room, self.member)
        });
    }

    /// The store did not answer: whether it gave the seat is not known.
    fn unanswered(&self) {
        let job = if self.cell.inner.lock().room.seat(self.member).is_some() {
            // An earlier connection has it, and the peer may still come back to it.
            Job::Assert {
                cell: Arc::clone(&self.cell),
                member: self.member,
            }
        } else {
            let window = self.core.settings.load().cluster.resume.window;
            let waits = self.resumes && self.core.deadlines.has_space();
            Job::undo(&self.cell, self.member, waits.then_some(window))
        };
        self.core.seating.push(job);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
        self.core.rooms.sweep(&self.cell);
    }
}
