//! Hosts of one process.

mod classes;
mod hosts;
mod index;
mod offline;
mod over;
mod pool;
mod shelf;
mod timers;
mod view;

use berth_dataplane::occupancy::MemoryRooms;
use berth_dataplane::secrets::{RotatingSecret, Secret};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;
use uuid::Uuid;

use super::demand::Window;
use super::{
    Beaten, Clock, Found, Held, HostRecord, HostStore, Offline, Released, Request, Rules, Step, Stepping,
    StoreError, Tick,
};
use crate::demand::ByRegion;
use crate::host::{Heartbeat, HostId, HostStatus, MatchId};
use pool::Pool;
use view::View;

/// The hosts of one pool in one process.
pub struct MemoryStore {
    rooms: MemoryRooms,
    clock: Clock,
    name: String,
    secret: RotatingSecret,
    pool: Mutex<Pool>,
    demand: Mutex<Window>,
}

impl MemoryStore {
    /// The hosts of the pool `pool`, whose rooms are `rooms`.
    pub fn new(rooms: MemoryRooms, pool: impl Into<String>, clock: Clock) -> Self {
        Self {
            rooms,
            clock,
            name: pool.into(),
            secret: RotatingSecret {
                current: Secret::new(Uuid::new_v4().to_string()).ok(),
                previous: None,
            },
            pool: Mutex::default(),
            demand: Mutex::default(),
        }
    }

    /// One step under the lock, at one time.
    fn step<T>(&self, rules: &Rules, step: impl FnOnce(&mut Pool, &mut View<'_>) -> T) -> Stepping<'static, T>
    where
        T: Send + 'static,
    {
        let mut view = View::new(&self.rooms, &self.name, &self.clock, rules);
        let value = step(&mut self.pool.lock(), &mut view);
        ready(Ok(Step {
            value,
            events: view.events,
        }))
        .boxed()
    }
}

impl HostStore for MemoryStore {
    fn heartbeat(&self, heartbeat: Heartbeat, rules: Rules) -> Stepping<'_, Beaten> {
        self.step(&rules, |pool, view| pool.heartbeat(view, heartbeat))
    }

    fn find(&self, request: Request, rules: Rules) -> Stepping<'_, Found> {
        self.step(&rules, |pool, view| pool.find(view, &request, Clock::system_us()))
    }

    fn look_up(&self, id: MatchId, rules: Rules) -> Stepping<'_, Held> {
        self.step(&rules, |pool, view| pool.look_up(view, id))
    }

    fn release(&self, id: MatchId, rules: Rules) -> Stepping<'_, Released> {
        self.step(&rules, |pool, view| pool.release(view, id))
    }

    fn set_status(&self, host: HostId, status: HostStatus, rules: Rules) -> Stepping<'_, bool> {
        self.step(&rules, |pool, view| pool.set_status(view, &host, status))
    }

    fn leave(&self, host: HostId, rules: Rules) -> Stepping<'_, bool> {
        self.step(&rules, |pool, view| pool.leave(view, &host))
    }

    fn drain(&self, host: HostId, drain: bool, rules: Rules) -> Stepping<'_, bool> {
        self.step(&rules, |pool, view| pool.drain_host(view, &host, drain))
    }

    fn tick(&self, rules: Rules) -> Stepping<'_, Tick> {
        self.step(&rules, Pool::tick)
    }

    fn secret(&self) -> RotatingSecret {
        self.secret.clone()
    }

    fn offline(&self) -> BoxFuture<'_, Result<Vec<Offline>, StoreError>> {
        let now_ms = self.clock.now_us() / 1000;
        ready(Ok(self.pool.lock().gone.list(now_ms))).boxed()
    }

    fn demand(&self, refused: ByRegion) -> BoxFuture<'_, Result<ByRegion, StoreError>> {
        let now_ms = self.clock.now_us() / 1000;
        ready(Ok(self.demand.lock().add(refused, now_ms))).boxed()
    }

    fn page(&self, after: Option<HostId>) -> BoxFuture<'_, Result<Vec<HostRecord>, StoreError>> {
        let now_ms = self.clock.now_us() / 1000;
        ready(Ok(self.pool.lock().page(after.as_ref(), now_ms))).boxed()
    }
}
