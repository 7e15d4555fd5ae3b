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
        // The time is that of the step's turn: it must not run backwards from one step to the next.
        let mut pool = self.pool.lock();
        let mut view = View::new(&self.rooms, &self.name, &self.clock, rules);
        let value = step(&mut pool, &mut view);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use berth_crds::HostPool;
    use berth_crds::api::HostPoolSpec;
    use berth_crds::settings::PoolSettings;

    use super::*;

    /// A find that had waited for its turn went by a time before that of the step which saw the host leave its room, and granted it.
    #[test]
    fn a_step_goes_by_the_time_of_its_turn() {
        let mut pool = HostPool::new("eu", HostPoolSpec::new("main"));
        pool.metadata.namespace = Some("games".to_owned());
        let rules = Rules::new(&PoolSettings::try_from(&pool).unwrap(), 8, false);
        let store = MemoryStore::new(MemoryRooms::default(), "eu", Clock::default());
        let turn = store.pool.lock();
        let before = store.clock.now_us();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| store.step(&rules, |_, view| view.now_us).now_or_never());
            // Whoever is not there yet passes as well; this lets the defect show.
            std::thread::sleep(Duration::from_millis(50));
            store.clock.advance(Duration::from_hours(1));
            drop(turn);
            let step = waits.join().unwrap().unwrap().unwrap();
            assert!(
                step.value >= before + 3_600_000_000,
                "{} after {before}",
                step.value
            );
        });
    }
}
