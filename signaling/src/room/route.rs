//! The way to another instance that has members in the room.
//!
//! A message to a route goes onto the lane to Redis, whose outcome comes back later. One that reached nobody, or
//! that Redis did not take, stalls the route: it and all later messages wait here, in order, until the instance shows
//! that it lives, or the next [`Room::retry`], or until its members are gone.

use berth_dataplane::occupancy::Instance;

use super::{Backlog, Effect, Effects, Loss, Notice, PATIENCE, Room, Sent};

#[derive(Debug)]
pub(super) struct Route {
    pub(super) instance: Instance,
    /// Messages on the lane whose outcome is not known, those of an earlier route to the same instance included.
    in_lane: u32,
    stalled: bool,
    /// The instance showed that it lives while messages were on the lane.
    revived: bool,
    waiting: Backlog,
}

impl Route {
    fn new(instance: Instance, in_lane: u32) -> Self {
        Self {
            instance,
            in_lane,
            stalled: false,
            revived: false,
            waiting: Backlog::default(),
        }
    }

    /// Sends a message, or lets it wait while the instance cannot be reached; `false` if neither is possible.
    pub(super) fn send(&mut self, sent: Sent, effects: &mut Effects) -> bool {
        if self.stalled {
            let waits = self.waiting.push(sent);
            if !waits {
                effects.push(Effect::Lost {
                    loss: Loss::Unreachable,
                    messages: 1,
                });
            }
            return waits;
        }
        self.in_lane += 1;
        effects.push(Effect::Publish {
            to: self.instance.clone(),
            notice: Notice::Message(sent),
        });
        true
    }

    /// The instance lives: what waits may go.
    pub(super) fn revive(&mut self, effects: &mut Effects) {
        self.revived = self.in_lane > 0;
        self.resume(effects);
    }

    /// Sends what waits. Not while earlier messages are on the lane: those that come back belong before.
    fn resume(&mut self, effects: &mut Effects) {
        if !self.stalled || self.in_lane > 0 {
            return;
        }
        self.stalled = false;
        self.revived = false;
        for sent in self.waiting.take() {
            // It is not stalled any more, so it takes everything.
            self.send(sent, effects);
        }
    }

    fn came_back(&mut self, count: u32) {
        self.in_lane = self.in_lane.saturating_sub(count);
    }

    pub(super) fn forget_sender(&mut self, from: super::MemberId) {
        self.waiting.take_from(from);
    }

    pub(super) fn into_waiting(mut self) -> impl Iterator<Item = Sent> {
        self.waiting.take()
    }
}

/// Messages on the lane whose route was closed meanwhile, per instance. A new route to that instance counts them as its
/// own: what comes back of them belongs before what it sends.
#[derive(Debug, Default)]
pub(super) struct Stragglers(Vec<(Instance, u32)>);

impl Stragglers {
    fn put(&mut self, instance: &Instance, messages: u32) {
        if messages > 0 {
            self.0.push((instance.clone(), messages));
        }
    }

    fn take(&mut self, instance: &Instance) -> u32 {
        let index = self.0.iter().position(|(other, _)| other == instance);
        index.map_or(0, |index| self.0.swap_remove(index).1)
    }

    fn came_back(&mut self, instance: &Instance, count: u32) {
        let left = self.take(instance).saturating_sub(count);
        self.put(instance, left);
    }
}

impl Room {
    /// The route to `instance`, made if there is none.
    pub(super) fn route(&mut self, instance: &Instance) -> &mut Route {
        let index = self
            .routes
            .iter()
            .position(|route| route.instance == *instance)
            .unwrap_or_else(|| {
                let in_lane = self.stragglers.take(instance);
                self.routes.push(Route::new(instance.clone(), in_lane));
                self.routes.len() - 1
            });
        &mut self.routes[index]
    }

    fn known_route(&mut self, instance: &Instance) -> Option<&mut Route> {
        self.routes.iter_mut().find(|route| route.instance == *instance)
    }

    /// The route to an instance is of no use when nobody of this room is there; what waited in it is returned.
    pub(super) fn close_route(&mut self, instance: &Instance) -> Vec<Sent> {
        if self.remotes.iter().any(|remote| remote.instance == *instance) {
            return Vec::new();
        }
        let Some(index) = self.routes.iter().position(|route| route.instance == *instance) else {
            return Vec::new();
        };
        let route = self.routes.remove(index);
        self.stragglers.put(instance, route.in_lane);
        let waiting: Vec<Sent> = route.into_waiting().collect();
        for sent in &waiting {
            self.arrived(sent);
        }
        waiting
    }

    /// A message of a local member is not on its way any more.
    fn arrived(&mut self, sent: &Sent) {
        if let Some(local) = self.locals.iter_mut().find(|local| local.said(sent)) {
            local.arrived(sent.number);
        }
    }

    /// Whether messages to an instance have to wait. Those on the lane too: they must not overtake one that came back.
    pub fn is_stalled(&self, to: &Instance) -> bool {
        let route = self.routes.iter().find(|route| route.instance == *to);
        route.is_some_and(|route| route.stalled)
    }

    /// The lane says: this message reached `to`.
    pub fn published(&mut self, to: &Instance, sent: &Sent) -> Effects {
        let mut effects = Effects::new();
        if let Some(route) = self.known_route(to) {
            route.came_back(1);
            // Only a living instance takes messages.
            route.resume(&mut effects);
        } else {
            self.stragglers.came_back(to, 1);
        }
        self.arrived(sent);
        self.acknowledge(&mut effects);
        effects
    }

    /// The lane says: these messages did not reach `to`, because nobody listened there (`silent`) or because Redis did
    /// not take them.
    pub fn unreached(&mut self, to: &Instance, messages: Vec<Sent>, silent: bool) -> Effects {
        let mut effects = Effects::new();
        let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        let Self { routes, locals, .. } = self;
        if let Some(route) = routes.iter_mut().find(|route| route.instance == *to) {
            route.came_back(count);
            route.stalled = true;
            let mut lost = Vec::new();
            let is_worth = |sent: &Sent| locals.iter().any(|local| local.said(sent));
            for sent in messages.into_iter().filter(is_worth) {
                if !route.waiting.insert(sent.clone()) {
                    lost.push(sent);
                }
            }
            if !lost.is_empty() {
                effects.push(Effect::Lost {
                    loss: Loss::Unreachable,
                    messages: lost.len(),
                });
            }
            if std::mem::take(&mut route.revived) {
                route.resume(&mut effects);
            }
            for sent in &lost {
                self.arrived(sent);
            }
        } else {
            self.stragglers.came_back(to, count);
            for sent in &messages {
                self.arrived(sent);
            }
            self.turn_early(messages, &mut effects);
        }
        if silent {
            self.ask(&mut effects);
        }
        self.acknowledge(&mut effects);
        effects
    }

    /// Messages to an instance that is gone: early ones again if their sender is alone, else the others have them.
    pub(super) fn turn_early(&mut self, messages: Vec<Sent>, effects: &mut Effects) {
        let mut lost = [(Loss::EarlyFull, 0), (Loss::Unreachable, 0)];
        for sent in messages {
            let listener = self.has_listener(sent.from, sent.to);
            match self.locals.iter_mut().find(|local| local.said(&sent)) {
                Some(sender) if !listener => lost[0].1 += usize::from(!sender.early.insert(sent)),
                // Who was there, left and came back to another instance asks for it again.
                Some(sender) if sender.keeps(sent.number) => {}
                Some(_) => lost[1].1 += 1,
                // A message dies with its sender's connection.
                None => {}
            }
        }
        let lost = lost.into_iter().filter(|(_, messages)| *messages > 0);
        effects.extend(lost.map(|(loss, messages)| Effect::Lost { loss, messages }));
    }

    /// Sends what waits for unreachable instances once more.
    pub fn resume(&mut self) -> Effects {
        let mut effects = Effects::new();
        for route in &mut self.routes {
            route.resume(&mut effects);
        }
        effects
    }

    /// Tries again what did not work. Called every third of a lease.
    pub fn retry(&mut self) -> Effects {
        let mut effects = self.resume();
        let mut overdue = false;
        for remote in &mut self.remotes {
            if let Some(retries) = &mut remote.missing {
                *retries = retries.saturating_add(1);
                overdue |= *retries >= PATIENCE;
            }
        }
        if overdue
            || self
                .unsettled
                .as_ref()
                .is_some_and(|unsettled| unsettled.is_due())
        {
            self.ask(&mut effects);
        }
        self.ask_for_missed(None, &mut effects);
        effects
    }
}
