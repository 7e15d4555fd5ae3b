//! Messages to the members on this instance, to each in the version that it speaks.

use berth_dataplane::occupancy::MemberId;

use super::{Effect, Effects, Local, Room, Sent};
use crate::protocol::Text;
use crate::protocol::v1::{self, Verdict};
use crate::protocol::v2::say;

/// A message in both versions, each made when the first member needs it.
struct Versions<'a> {
    sent: &'a Sent,
    v1: Plain,
    v2: Option<Text>,
}

/// What v1 can say of a message that says more.
enum Plain {
    /// Nobody has asked yet.
    Unknown,
    /// Nothing.
    Nothing,
    /// This.
    Text(Text),
}

impl<'a> Versions<'a> {
    fn new(sent: &'a Sent) -> Self {
        Self {
            sent,
            v1: Plain::Unknown,
            v2: None,
        }
    }

    /// `None`: there is nothing in it that v1 can say.
    fn v1(&mut self) -> Option<Text> {
        if !self.sent.extended {
            return Some(self.sent.text.clone());
        }
        if let Plain::Unknown = self.v1 {
            self.v1 = match v1::judge(self.sent.text.as_bytes()) {
                Verdict::Relay(text) => Plain::Text(text),
                Verdict::SchemaError | Verdict::NotJson => Plain::Nothing,
            };
        }
        match &self.v1 {
            Plain::Text(text) => Some(text.clone()),
            Plain::Nothing | Plain::Unknown => None,
        }
    }

    fn v2(&mut self) -> Text {
        let sent = self.sent;
        self.v2
            .get_or_insert_with(|| say::relayed(sent.from, sent.number, &sent.text))
            .clone()
    }

    /// What a member is to be given, if it is for it and it has not heard it.
    fn for_member(&mut self, local: &mut Local) -> Option<Text> {
        if local.member == self.sent.from || !self.sent.to.concerns(local.member, local.role()) {
            return None;
        }
        match &mut local.v2 {
            Some(v2) => v2.hear(self.sent).then(|| self.v2()),
            None => self.v1(),
        }
    }
}

impl Room {
    /// Gives a message to every local member that it is for and that has not heard it; whether there was one. Members that
    /// speak v1 get it only if `v1_too`, others only if `v2_too`.
    pub(super) fn give(&mut self, sent: &Sent, v1_too: bool, v2_too: bool, effects: &mut Effects) -> bool {
        let mut versions = Versions::new(sent);
        let before = effects.len();
        for local in &mut self.locals {
            let is_meant = if local.v2.is_some() { v2_too } else { v1_too };
            if is_meant && let Some(text) = versions.for_member(local) {
                effects.push(Effect::Deliver {
                    to: local.member,
                    text,
                });
            }
        }
        effects.len() > before
    }

    /// Gives a message to one local member, if it is for it and it has not heard it.
    pub(super) fn give_to(&mut self, to: MemberId, sent: &Sent, effects: &mut Effects) {
        let Some(local) = self.local_mut(to) else { return };
        if let Some(text) = Versions::new(sent).for_member(local) {
            effects.push(Effect::Deliver { to, text });
        }
    }

    /// Keeps a message of a local member for those who may ask for it again.
    pub(super) fn record(&mut self, sent: &Sent) {
        if !self.may_be_asked_again(sent.from) {
            return;
        }
        let bounds = self.bounds;
        let others = self.joins().filter(|(member, _)| *member != sent.from);
        let known = others.map(|(_, join)| join).max().unwrap_or(0);
        if let Some(local) = self.local_mut(sent.from) {
            local
                .history
                .get_or_insert_default()
                .push(sent.clone(), known, bounds);
        }
    }
}
