//! The life of one connection: admission, a seat, messages, the end.
//!
//! Nothing is read from the socket before its member has a seat, except the `hello` with which a peer that speaks v2 begins.
//! What the peer sends meanwhile waits in the kernel, so that nothing of it is lost and a bad frame can do no harm. The seat is
//! given back in one place ([`Place`]'s `Drop`), however the session ends.

mod ice;
mod place;
mod receive;
mod v2;

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use berth_dataplane::http::{ConnectionIo, ConnectionPermit};
use berth_dataplane::occupancy::{Claim, Join, OccupancyError};
use berth_dataplane::redis::RedisError;
use berth_dataplane::shutdown::Phase;
use hyper::upgrade::OnUpgrade;
use tokio::time::Sleep;
use tracing::debug;

use crate::admission::{self, Hello};
use crate::close::Close;
use crate::conn::{Conn, Event};
use crate::core::{Core, Source, unix_seconds};
use crate::limits::{Bucket, Client};
use crate::metrics::{GaugeGuard, JoinResult};
use crate::room::Given;
use ice::IceRefresh;
use place::Place;
use v2::Newcomer;

/// How long a closed peer may take to answer the close frame.
const FAREWELL: Duration = Duration::from_secs(5);

/// One connection with a seat.
struct Session {
    place: Place,
    client: Arc<Client>,
    messages: Bucket,
    /// Of the message that is dealt with.
    source: Source,
    /// When its token ends it.
    ends: Option<Pin<Box<Sleep>>>,
    /// Of a peer that speaks v2.
    ice: Option<Box<IceRefresh>>,
    _gauge: GaugeGuard,
}

/// Runs a connection from its upgrade to its end.
pub(crate) async fn run(core: Arc<Core>, upgrade: OnUpgrade, hello: Hello, permit: ConnectionPermit) {
    let _permit = permit;
    let Some(conn) = upgraded(&core, upgrade, hello.speaks_v2()).await else {
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
async fn upgraded(core: &Core, upgrade: OnUpgrade, v2: bool) -> Option<Arc<Conn>> {
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
        v2,
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
async fn enter(core: &Arc<Core>, conn: &Arc<Conn>, mut hello: Hello) -> Result<Session, Close> {
    if core.shutdown.phase() >= Phase::Draining {
        return Err(Close::Draining);
    }
    let newcomer = if hello.speaks_v2() {
        Some(v2::greet(conn, &mut hello).await?)
    } else {
        None
    };
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
    let mut place = Place::new(core, conn, &admitted.room, &settings.cluster, newcomer.as_ref());
    let claim = Claim {
        member: place.member,
        instance: core.own.clone(),
        role: newcomer.as_ref().map(|newcomer| newcomer.role),
    };
    let capacity = settings.cluster.rooms.capacity;
    let joined = core.seats.join(&admitted.room, &claim, capacity).await;
    core.metrics.join_seconds.observe(started.elapsed().as_secs_f64());
    let ice = match joined {
        Ok(Join::Joined {
            join,
            others,
            reaped,
            held,
            moved_from,
            taken,
        }) => {
            let given = Given {
                join,
                others: &others,
                reaped: &reaped,
                moved_from: moved_from.as_ref(),
                taken,
            };
            let hello = newcomer
                .as_ref()
                .map(|newcomer| newcomer.hello(core, &settings, &admitted.room, held));
            core.metrics
                .resumed(newcomer.as_ref().is_some_and(Newcomer::resumes), held);
            let (hello, ice) = hello.unzip();
            place.seated(newcomer, hello, given);
            ice.map(|ice| Box::new(IceRefresh::from(ice)))
        }
        Ok(Join::Full | Join::Elsewhere) => {
            place.refused();
            core.metrics.joined(JoinResult::Full);
            return Err(if newcomer.is_some() {
                Close::NoSeat
            } else {
                Close::RoomFull
            });
        }
        Err(error) => {
            debug!(%error, "a join failed");
            if matches!(&error, OccupancyError::Redis(error) if error.had_no_effect()) {
                place.refused();
            }
            let unavailable = matches!(error, OccupancyError::Redis(RedisError::Unavailable));
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
    };
    core.metrics.joined(JoinResult::Joined);
    let ends = admitted.ends_at.map(|end| {
        let left = Duration::try_from_secs_f64((end - unix_seconds()).max(0.0)).unwrap_or(Duration::MAX);
        Box::pin(tokio::time::sleep(left))
    });
    Ok(Session {
        place,
        client,
        messages: Bucket::new(limits.messages_per_client, started),
        source: Source::Here,
        ends,
        ice,
        _gauge: GaugeGuard::new(&core.metrics.active_connections),
    })
}

impl Session {
    async fn run(mut self) {
        let (core, cell) = (Arc::clone(&self.place.core), Arc::clone(&self.place.cell));
        let mut held = false;
        while let Event::Message(message) = self.next().await {
            self.source = if self.place.conn.has_message() {
                Source::Burst
            } else {
                Source::Here
            };
            held |= self.source == Source::Burst;
            if self.ice.is_some() {
                self.receive_v2(&core, &cell, &message);
            } else {
                self.receive(&core, &cell, &message);
            }
            // Our own message made the lane full, or would have to wait behind others: so does the next one.
            let waits = core.lane.is_full() && cell.inner.lock().room.has_remotes();
            if held && (waits || self.source == Source::Here) {
                cell.flush();
                held = false;
            }
            if waits {
                core.lane.space().await;
            }
        }
        if held {
            cell.flush();
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
            if let Some(ice) = &mut self.ice {
                ice.poll(&self.place, context);
            }
            self.place.conn.poll_next(context)
        })
        .await
    }
}
