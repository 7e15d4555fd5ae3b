//! The life of one connection: admission, a seat, messages, the end.
//!
//! Nothing is read from the socket before its member has a seat. What the peer sends meanwhile waits in the
//! kernel, so that nothing of it is lost and a bad frame can do no harm. The seat is given back in one place
//! ([`Place`]'s `Drop`), however the session ends.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use berth_crds::settings::RoomId;
use berth_dataplane::http::{ConnectionIo, ConnectionPermit};
use berth_dataplane::occupancy::OccupancyError;
use berth_dataplane::occupancy::{Join, MemberId};
use berth_dataplane::redis::RedisError;
use berth_dataplane::shutdown::Phase;
use hyper::upgrade::OnUpgrade;
use smallvec::SmallVec;
use tokio::time::Sleep;
use tracing::debug;
use uuid::Uuid;

use crate::admission::{self, Hello};
use crate::close::Close;
use crate::conn::{Conn, Event};
use crate::core::{Core, Source, unix_seconds};
use crate::limits::{Bucket, Client};
use crate::metrics::{DropReason, GaugeGuard, JoinResult};
use crate::protocol::v1::{self, Verdict};
use crate::room::{Departure, Given, View};
use crate::rooms::RoomCell;
use crate::seating::Job;

/// How long a closed peer may take to answer the close frame.
const FAREWELL: Duration = Duration::from_secs(5);

/// One connection with a seat.
struct Session {
    place: Place,
    client: Arc<Client>,
    messages: Bucket,
    /// When its token ends it.
    ends: Option<Pin<Box<Sleep>>>,
    _gauge: GaugeGuard,
}

/// A place in a room, from asking for a seat on. Dropping it leaves the room and gives the seat back.
struct Place {
    core: Arc<Core>,
    conn: Arc<Conn>,
    cell: Arc<RoomCell>,
    member: MemberId,
    stage: Stage,
}

enum Stage {
    /// The store was asked; it may have given a seat even if it does not answer.
    Entering(View),
    Seated,
    /// The store gave no seat.
    Refused,
}

/// Runs a connection from its upgrade to its end.
pub(crate) async fn run(core: Arc<Core>, upgrade: OnUpgrade, hello: Hello, permit: ConnectionPermit) {
    let _permit = permit;
    let Some(conn) = upgraded(&core, upgrade).await else {
        return;
    };
    let registration = core.connections.register(&conn);
    // What only the beginning and the end need is not kept while the connection lives.
    match Box::pin(enter(&core, &conn, hello)).await {
        Ok(session) => session.run().await,
        Err(close) => conn.close(close),
    }
    if let Some(close) = conn.closed() {
        debug!(
            code = close.code(),
            reason = close.reason(),
            "closed a connection"
        );
        core.metrics.closed(close);
        Box::pin(conn.finish(patience(&core))).await;
    }
    drop(registration);
}

/// The socket behind an upgraded request.
async fn upgraded(core: &Core, upgrade: OnUpgrade) -> Option<Arc<Conn>> {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            debug!(%error, "the client went away during the upgrade");
            return None;
        }
    };
    // Our own listener serves nothing else.
    let parts = upgraded.downcast::<ConnectionIo>().ok()?;
    let settings = core.settings.load();
    Some(Arc::new(Conn::new(
        parts.io.into_inner(),
        &parts.read_buf,
        &settings.cluster.websocket,
    )))
}

/// How long the end of a connection may take now: in a drain, less than what is left of it.
fn patience(core: &Core) -> Duration {
    let left = core
        .shutdown
        .deadline()
        .map(|deadline| deadline.saturating_duration_since(tokio::time::Instant::now()));
    left.map_or(FAREWELL, |left| left.mul_f64(0.8).min(FAREWELL))
}

/// Decides about a connection and takes a seat for it.
async fn enter(core: &Arc<Core>, conn: &Arc<Conn>, hello: Hello) -> Result<Session, Close> {
    if core.shutdown.phase() >= Phase::Draining {
        return Err(Close::Draining);
    }
    let settings = core.settings.get();
    let limits = &settings.cluster.rate_limits;
    let admitted = admission::admit(
        &hello,
        &settings.cluster,
        &core.secrets,
        core.circuit_open(),
        unix_seconds(),
    )?;
    let started = Instant::now();
    let client = core.clients.client(hello.client.ip, limits, started);
    if !client.connect(limits, started) {
        return Err(Close::RateLimited);
    }
    drop(hello);
    let mut place = Place::new(core, conn, &admitted.room, limits.messages_per_room);
    let joined = core
        .seats
        .join(
            &admitted.room,
            place.member,
            &core.own,
            settings.cluster.rooms.capacity,
        )
        .await;
    core.metrics.join_seconds.observe(started.elapsed().as_secs_f64());
    match joined {
        Ok(Join::Joined { join, others, reaped }) => {
            place.seated(Given {
                join,
                others: &others,
                reaped: &reaped,
            });
        }
        Ok(Join::Full) => {
            place.refused();
            core.metrics.joined(JoinResult::Full);
            return Err(Close::RoomFull);
        }
        Err(error) => {
            let had_no_effect = match &error {
                OccupancyError::Redis(error) => error.had_no_effect(),
                OccupancyError::Blank => true,
                OccupancyError::Answer(_) => false,
            };
            if had_no_effect {
                place.refused();
            } else {
                core.seating.failed(&error);
            }
            let unavailable = matches!(
                error,
                OccupancyError::Redis(RedisError::Unavailable) | OccupancyError::Blank
            );
            core.metrics.joined(if unavailable {
                JoinResult::Unavailable
            } else {
                JoinResult::Failed
            });
            return Err(if unavailable {
                Close::ServiceUnavailable
            } else {
                Close::InternalError
            });
        }
    }
    core.metrics.joined(JoinResult::Joined);
    let ends = admitted.ends_at.map(|end| {
        let left = Duration::try_from_secs_f64((end - unix_seconds()).max(0.0)).unwrap_or(Duration::MAX);
        Box::pin(tokio::time::sleep(left))
    });
    Ok(Session {
        place,
        client,
        messages: Bucket::new(limits.messages_per_client, started),
        ends,
        _gauge: GaugeGuard::new(&core.metrics.active_connections),
    })
}

impl Session {
    async fn run(mut self) {
        while let Event::Message(message) = self.next().await {
            let Place { core, cell, .. } = &self.place;
            let (core, cell) = (Arc::clone(core), Arc::clone(cell));
            self.receive(&core, &cell, &message);
            // Our own message made the lane full, or would have to wait behind others: so does the next one.
            if core.lane.is_full() && cell.inner.lock().room.has_remotes() {
                core.lane.space().await;
            }
        }
    }

    /// The next message; closes the connection when its token ends.
    async fn next(&mut self) -> Event {
        poll_fn(|context| {
            if let Some(ends) = &mut self.ends
                && let Poll::Ready(()) = ends.as_mut().poll(context)
            {
                self.place.conn.close(Close::Unauthorized);
                self.ends = None;
            }
            self.place.conn.poll_next(context)
        })
        .await
    }

    /// One message, in the order of checks that clients know.
    fn receive(&mut self, core: &Core, cell: &Arc<RoomCell>, message: &[u8]) {
        let now = Instant::now();
        let settings = core.settings.load();
        let limits = &settings.cluster.rate_limits;
        if !self.messages.take(limits.messages_per_client, now) {
            return core.metrics.dropped(DropReason::ClientRate, 1);
        }
        let text = match v1::judge(message) {
            Verdict::Relay(text) => text,
            Verdict::NotJson => return core.metrics.dropped(DropReason::NotJson, 1),
            Verdict::SchemaError => {
                core.metrics.schema_rejections.inc();
                self.place.conn.deliver(&v1::SCHEMA_ERROR);
                return core.metrics.dropped(DropReason::Schema, 1);
            }
        };
        if !self.client.message(limits, now) {
            return core.metrics.dropped(DropReason::IpRate, 1);
        }
        core.update(cell, Source::Here, |inner| {
            if !inner.messages.take(limits.messages_per_room, now) {
                core.metrics.dropped(DropReason::RoomRate, 1);
                return SmallVec::new();
            }
            core.metrics.messages_forwarded.inc();
            let early = inner.room.early();
            let effects = inner.room.message(self.place.member, text);
            if inner.room.early() > early {
                core.metrics.early_buffered.inc();
            }
            effects
        });
        core.metrics.fanout_seconds.observe(now.elapsed().as_secs_f64());
    }
}

impl Place {
    /// Enters a room. `limit`: messages in a room.
    fn new(core: &Arc<Core>, conn: &Arc<Conn>, room: &RoomId, limit: u32) -> Self {
        let (cell, view) = core.rooms.enter(room, limit, Instant::now());
        Self {
            core: Arc::clone(core),
            conn: Arc::clone(conn),
            cell,
            member: MemberId(Uuid::new_v4()),
            stage: Stage::Entering(view),
        }
    }

    /// The store gave a seat.
    fn seated(&mut self, given: Given<'_>) {
        let Stage::Entering(view) = std::mem::replace(&mut self.stage, Stage::Seated) else {
            return;
        };
        self.core.update(&self.cell, Source::Here, |inner| {
            inner.conns.push((self.member, Arc::clone(&self.conn)));
            inner.room.seated(view, self.member, given)
        });
    }

    /// The store gave no seat.
    fn refused(&mut self) {
        if let Stage::Entering(view) = std::mem::replace(&mut self.stage, Stage::Refused) {
            self.cell.inner.lock().room.turned_away(view);
        }
    }

    /// Leaves the room and gives the seat back.
    fn leave(&mut self) {
        let drained = self.conn.closed() == Some(Close::Draining);
        let departure = if drained {
            Departure::Drained
        } else {
            Departure::Left
        };
        let mut told = SmallVec::new();
        match self.stage {
            Stage::Refused => return,
            Stage::Entering(_) => self.refused(),
            Stage::Seated => self.core.update(&self.cell, Source::Here, |inner| {
                inner.conns.retain(|(member, _)| *member != self.member);
                let (effects, knew) = inner.room.leave(self.member, departure);
                told = knew;
                effects
            }),
        }
        let room = self.cell.id.clone();
        self.core.seating.push(Job::Leave {
            room,
            member: self.member,
            departure,
            told,
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
        self.core.rooms.sweep(&self.cell);
    }
}
