//! What this instance tells the store of seats, except for joins: seats given back, seats asserted, questions.
//!
//! A seat that could not be given back would be a ghost for as long as this instance lives. So it is tried
//! until the store took it; a connection that ends costs one entry here and nothing else. A join or an assertion that was
//! not answered may still be on its way, and must not take the seat again: after any failure seats are given back *for
//! good* for a while.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::settings::RoomId;
use berth_dataplane::occupancy::{Instance, Join, Leaver, MemberId, OccupancyError, Seat};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tracing::debug;

use crate::close::Close;
use crate::core::{Core, Source};
use crate::lane::{Origin, Outgoing};
use crate::resume_token::may_come_back;
use crate::room::{Departure, Given, Notice, Parting, View};
use crate::rooms::RoomCell;

/// Calls to the store at a time: they share writes, and a storm of them leaves room for joins.
const AT_ONCE: usize = 64;
/// Pause before a seat is given back again.
const RETRY: Duration = Duration::from_millis(500);
/// How long after a failure calls from before it may still be on their way.
const DOUBT: Duration = Duration::from_mins(1);

/// What is still to be told. There is at most one entry per seat given back, one per seat asserted and one per
/// question, so it is bounded by the connections.
#[derive(Default)]
pub(crate) struct Seating {
    queue: Mutex<Queue>,
    pushed: Notify,
    done: Notify,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Members in `jobs` whose seats are to be asserted.
    asserting: HashSet<(RoomId, MemberId)>,
    running: usize,
    /// When a call failed last.
    failed_at: Option<Instant>,
}

pub(crate) enum Job {
    /// Give a seat back and tell other instances.
    Leave(Leave),
    /// Assert the seat of a local member.
    Assert { cell: Arc<RoomCell>, member: MemberId },
    /// Note what became known of a local member: that its connection is lost, or who it is.
    Note { cell: Arc<RoomCell>, member: MemberId },
    /// Ask who sits in a room.
    Ask { cell: Arc<RoomCell>, view: View },
}

/// A seat to be given back.
pub(crate) struct Leave {
    room: RoomId,
    member: MemberId,
    departure: Departure,
    /// Instances that knew of the member.
    told: SmallVec<[Instance; 1]>,
    taken: Taken,
}

/// When the connection that leaves took its seat.
#[derive(Clone, Copy)]
enum Taken {
    /// Then; `u64::MAX` for a member that has no other connection.
    At(u64),
    /// It was not answered. The member may come back by its secret, and for so long finds the seat, if it was given.
    Unanswered { window: Duration },
}

impl Seating {
    pub(crate) fn push(&self, job: Job) {
        let mut queue = self.queue.lock();
        if let Job::Assert { cell, member } = &job
            && !queue.asserting.insert((cell.id.clone(), *member))
        {
            return;
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.pushed.notify_one();
    }

    /// How many calls are waiting or under way.
    pub(crate) fn len(&self) -> usize {
        let queue = self.queue.lock();
        queue.jobs.len() + queue.running
    }

    /// Waits until there is nothing more to tell.
    pub(crate) async fn idle(&self) {
        loop {
            let done = self.done.notified();
            if self.len() == 0 {
                return;
            }
            done.await;
        }
    }

    /// A call for a seat failed: it may have been done, and may yet be.
    pub(crate) fn failed(&self, error: &OccupancyError) {
        // The link itself warns of an outage; a single failure is a detail.
        debug!(%error, "the store of seats did not answer");
        self.queue.lock().failed_at = Some(Instant::now());
    }

    fn is_in_doubt(&self) -> bool {
        self.queue.lock().failed_at.is_some_and(|at| at.elapsed() < DOUBT)
    }

    fn take(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        let job = queue.jobs.pop_front()?;
        if let Job::Assert { cell, member } = &job {
            queue.asserting.remove(&(cell.id.clone(), *member));
        }
        queue.running += 1;
        Some(job)
    }

    fn finished(&self) {
        self.queue.lock().running -= 1;
        self.done.notify_waiters();
    }
}

/// Tells the store for ever.
pub(crate) async fn run(core: Arc<Core>) {
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(job) = core.seating.take()
        {
            running.push(perform(&core, job));
        }
        tokio::select! {
            Some(()) = running.next() => core.seating.finished(),
            () = core.seating.pushed.notified() => {}
        }
    }
}

async fn perform(core: &Core, job: Job) {
    match job {
        Job::Leave(leave) => give_back(core, leave).await,
        Job::Assert { cell, member } => assert(core, &cell, member).await,
        Job::Note { cell, member } => note(core, cell, member).await,
        Job::Ask { cell, view } => {
            let seats = core
                .seats
                .seats(&cell.id)
                .await
                .map_err(|error| core.seating.failed(&error))
                .ok();
            core.update(&cell, Source::Here, |inner| {
                inner.room.answer(view, seats.as_deref())
            });
        }
    }
}

/// Whether the member has a connection here by now, or a seat that waits for one: that gives the seat back in its time.
fn sits_here(core: &Core, leave: &Leave) -> bool {
    let cell = core.rooms.find(&leave.room);
    cell.is_some_and(|cell| cell.inner.lock().room.seat(leave.member).is_some())
}

async fn give_back(core: &Core, leave: Leave) {
    if sits_here(core, &leave) {
        return;
    }
    let taken = match leave.taken {
        Taken::At(taken) => taken,
        Taken::Unanswered { window } => return give_back_later(core, leave, window).await,
    };
    let leaver = Leaver {
        taken,
        // A member that may come back by its secret must not be refused then.
        for_good: core.seating.is_in_doubt() && !may_come_back(leave.member),
        ..Leaver::new(leave.member, &core.own)
    };
    match core.seats.give_back(&leave.room, &leaver).await {
        // It sits at another instance by now, or here again, and has not left.
        Ok(left) if !left.had_seat && left.seats.iter().any(|seat| seat.member == leave.member) => {}
        Ok(left) => {
            let mut told = leave.told;
            told.extend(left.seats.into_iter().map(|seat| seat.instance));
            let cell = core.rooms.find(&leave.room);
            // Who has come back is announced under this lock: either before, or after these words.
            let inner = cell.as_ref().map(|cell| cell.inner.lock());
            if inner.is_none_or(|inner| inner.room.seat(leave.member).is_none()) {
                farewell(core, &leave.room, leave.member, &core.own, leave.departure, told);
            }
        }
        Err(error) => try_again(core, leave, &error).await,
    }
}

/// The seat of a member that resumes, if a join that was not answered brought it here, is given back when nobody has come for
/// it.
async fn give_back_later(core: &Core, leave: Leave, window: Duration) {
    match core.seats.seats(&leave.room).await {
        Ok(seats) => {
            let seat = seats.into_iter().find(|seat| seat.member == leave.member);
            let seat = seat.filter(|seat| seat.instance == core.own && !sits_here(core, &leave));
            if let Some(seat) = seat {
                let taken = Taken::At(seat.taken);
                core.deadlines.push_leave(window, Leave { taken, ..leave });
            }
        }
        Err(error) => try_again(core, leave, &error).await,
    }
}

async fn try_again(core: &Core, leave: Leave, error: &OccupancyError) {
    core.seating.failed(error);
    tokio::time::sleep(RETRY).await;
    core.seating.push(Job::Leave(leave));
}

/// Whoever needs the seat of a member that is away may have it; if the store does not hear of it, he has to wait. Who a member is
/// decides whether its host is handed out: that is said until the store has heard it.
async fn note(core: &Core, cell: Arc<RoomCell>, member: MemberId) {
    let seat = cell.inner.lock().room.seat(member);
    if let Some(seat) = seat.filter(|seat| seat.away || seat.role.is_none())
        && let Err(error) = core.seats.note(&cell.id, &seat).await
    {
        core.seating.failed(&error);
        if seat.role.is_none() {
            tokio::time::sleep(RETRY).await;
            core.seating.push(Job::Note { cell, member });
        }
    }
}

/// Tells other instances that a member, whose seat was at `instance`, is gone.
pub(crate) fn farewell(
    core: &Core,
    room: &RoomId,
    member: MemberId,
    instance: &Instance,
    departure: Departure,
    mut told: SmallVec<[Instance; 1]>,
) {
    told.sort();
    told.dedup();
    for to in told.into_iter().filter(|instance| *instance != core.own) {
        let notice = Notice::Left {
            member,
            instance: instance.clone(),
            departure,
        };
        core.lane.push(Outgoing {
            to,
            origin: Origin::Named(room.clone()),
            notice,
        });
    }
}

async fn assert(core: &Core, cell: &Arc<RoomCell>, member: MemberId) {
    let Some((seat, view)) = begin_assert(cell, member) else {
        return;
    };
    let capacity = core.settings.load().cluster.rooms.capacity;
    match core.seats.assert(&cell.id, &seat, capacity).await {
        Ok(Join::Joined {
            join,
            others,
            reaped,
            taken,
            ..
        }) => {
            let mut present = true;
            core.update(cell, Source::Here, |inner| {
                let given = Given {
                    join,
                    others: &others,
                    reaped: &reaped,
                    moved_from: None,
                    taken,
                };
                let (effects, is_present) = inner.room.asserted(view, member, given);
                present = is_present;
                effects
            });
            if !present {
                core.seating.push(Job::give_back_again(cell, &seat));
            }
        }
        Ok(Join::Elsewhere) => {
            core.update(cell, Source::Here, |inner| inner.room.asserted_elsewhere(view));
        }
        Ok(Join::Full) => {
            let mut inner = cell.inner.lock();
            inner.room.not_asserted(view);
            if let Some((_, conn)) = inner.conns.iter().find(|(other, _)| *other == member) {
                conn.close(if conn.speaks_v2() {
                    Close::NoSeat
                } else {
                    Close::RoomFull
                });
            }
        }
        Err(error) => {
            core.seating.failed(&error);
            let present = {
                let room = &mut cell.inner.lock().room;
                room.assert_failed(view);
                room.seat(member).is_some()
            };
            if !present {
                core.seating.push(Job::give_back_again(cell, &seat));
            }
        }
    }
}

impl Job {
    /// A member has left its room.
    pub(crate) fn leave(cell: &RoomCell, member: MemberId, departure: Departure, parting: Parting) -> Self {
        Self::Leave(Leave {
            room: cell.id.clone(),
            member,
            departure,
            told: parting.told,
            taken: Taken::At(parting.taken),
        })
    }

    /// A seat that was asked for may have been given, and nobody takes it. `window`: how long a member that resumes may come
    /// for it; `None` of one that does not.
    pub(crate) fn undo(cell: &RoomCell, member: MemberId, window: Option<Duration>) -> Self {
        let taken = window.map_or(Taken::At(u64::MAX), |window| Taken::Unanswered { window });
        Self::Leave(Leave {
            room: cell.id.clone(),
            member,
            departure: Departure::Left,
            told: SmallVec::new(),
            taken,
        })
    }

    /// A member that has left may have been given its seat once more.
    fn give_back_again(cell: &RoomCell, seat: &Seat) -> Self {
        let parting = Parting {
            told: SmallVec::new(),
            taken: seat.role.map_or(u64::MAX, |_| seat.taken),
        };
        Self::leave(cell, seat.member, Departure::Left, parting)
    }
}

fn begin_assert(cell: &RoomCell, member: MemberId) -> Option<(Seat, View)> {
    let mut inner = cell.inner.lock();
    let seat = inner.room.seat(member)?;
    Some((seat, inner.room.asserting()))
}

#[cfg(test)]
mod tests {
    use berth_dataplane::occupancy::MemberId;
    use uuid::Uuid;

    use super::*;
    use crate::room::Bounds;
    use crate::rooms::Rooms;

    /// One secret gives one id, in whichever rooms it is used.
    #[test]
    fn a_seat_is_asserted_once_in_each_room() {
        let (seating, rooms) = (
            Seating::default(),
            Rooms::new(
                Instance::new("i1", 1),
                prometheus_client::metrics::gauge::Gauge::default(),
            ),
        );
        let member = MemberId(Uuid::from_u128(1));
        for name in ["r1", "r2", "r1"] {
            let id = RoomId::parse(name, 64).unwrap();
            let (cell, _) = rooms.enter(&id, 1, Bounds::default(), Instant::now());
            seating.push(Job::Assert { cell, member });
        }
        assert_eq!(seating.len(), 2);
        while seating.take().is_some() {}
        let id = RoomId::parse("r1", 64).unwrap();
        let (cell, _) = rooms.enter(&id, 1, Bounds::default(), Instant::now());
        seating.push(Job::Assert { cell, member });
        assert!(
            seating.take().is_some(),
            "once it is under way, it may be asked for again"
        );
    }
}
