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
use berth_dataplane::occupancy::{Claim, Join, OccupancyError, Who};
use berth_dataplane::redis::RedisError;
use berth_dataplane::settings::SignalingView;
use berth_dataplane::shutdown::Phase;
use hyper::upgrade::OnUpgrade;
use tokio::time::Sleep;
use tracing::debug;

use crate::admission::{self, Admitted, Hello};
use crate::auth::Identity;
use crate::close::Close;
use crate::conn::{Conn, Event};
use crate::core::{Core, Source, unix_seconds};
use crate::events;
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
    /// The store knows whether it is a host or a player, or is being told.
    is_known: bool,
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
    match Box::pin(seat(&core, &conn, hello)).await {
        Ok(session) => {
            session.run().await;
            core.metrics.ended(conn.ending());
        }
        Err(Close::Draining) => conn.drain(core.drain_close_code()),
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

/// Takes a seat, or tells why there is none.
async fn seat(core: &Arc<Core>, conn: &Arc<Conn>, hello: Hello) -> Result<Session, Close> {
    let (room, client) = (hello.room.clone(), hello.client.ip);
    let session = enter(core, conn, hello).await;
    match &session {
        Ok(_) => {}
        // It went away by itself before anything was decided.
        Err(Close::HelloExpected) if conn.is_gone() => debug!("a peer left before its hello"),
        Err(close) => {
            core.metrics.refused(*close);
            events::refused(*close, room.as_deref(), client);
        }
    }
    session
}

/// Decides about a connection and takes a seat for it.
async fn enter(core: &Arc<Core>, conn: &Arc<Conn>, mut hello: Hello) -> Result<Session, Close> {
    if core.shutdown.phase() >= Phase::Draining {
        return Err(Close::Draining);
    }
    let mut settings = core.settings.get();
    let limits = settings.cluster.rate_limits;
    let room = admission::qualify(&hello, &settings.cluster, core.circuit_open())?;
    let hello_ip = hello.client.ip;
    let client = core.clients.client(hello_ip, &limits, Instant::now());
    let connect = || {
        let now = Instant::now();
        if client.connect(&limits, now) {
            return Ok(());
        }
        events::over_connection_limit(hello_ip, client.connect_wait(&limits, now));
        Err(Close::RateLimited)
    };
    let mut newcomer = None;
    if hello.speaks_v2() {
        // Before anything is awaited of a peer that may never say it.
        connect()?;
        newcomer = Some(v2::greet(conn, &mut hello, core.hello_within).await?);
        // That may have taken a while.
        settings = core.settings.get();
    }
    let resumes = newcomer.as_ref().is_some_and(Newcomer::resumes);
    let admitted = admission::admit(core, &hello, &settings.cluster, room, resumes).await?;
    if let Some(newcomer) = &newcomer {
        newcomer.must_be(&admitted.identity)?;
    } else {
        connect()?;
    }
    drop(hello);
    let (place, ice) = take_seat(core, conn, &settings, newcomer, &admitted).await?;
    events::joined(&place.cell.id, place.member, &admitted.identity);
    let ends = admitted.ends_at.map(|end| {
        let left = Duration::try_from_secs_f64((end - unix_seconds()).max(0.0)).unwrap_or(Duration::MAX);
        Box::pin(tokio::time::sleep(left))
    });
    Ok(Session {
        is_known: admitted.identity.role.is_some(),
        place,
        client,
        messages: Bucket::new(limits.messages_per_client, Instant::now()),
        source: Source::Here,
        ends,
        ice,
        _gauge: GaugeGuard::new(&core.metrics.active_connections),
    })
}

/// Asks the store for a seat. Of a peer that speaks v2, also when its ICE servers are to be sent again.
async fn take_seat(
    core: &Arc<Core>,
    conn: &Arc<Conn>,
    settings: &SignalingView,
    newcomer: Option<Newcomer>,
    admitted: &Admitted,
) -> Result<(Place, Option<Box<IceRefresh>>), Close> {
    let started = Instant::now();
    let mut place = Place::new(core, conn, &admitted.room, &settings.cluster, newcomer.as_ref());
    let claim = Claim {
        member: place.member,
        instance: core.own.clone(),
        role: newcomer.as_ref().map(|newcomer| newcomer.role),
        who: who(newcomer.as_ref(), &admitted.identity),
    };
    // Whoever has a seat keeps it in a room of any capacity, and nobody else gets one in a room of none.
    let capacity = if admitted.own_seat_only {
        0
    } else {
        settings.cluster.rooms.capacity
    };
    let joined = core.seats.join(&admitted.room, &claim, capacity).await;
    core.metrics.join_seconds.observe(started.elapsed().as_secs_f64());
    match joined {
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
                .map(|newcomer| newcomer.hello(core, settings, &admitted.room, held));
            core.metrics
                .resumed(newcomer.as_ref().is_some_and(Newcomer::resumes), held);
            core.metrics.joined(JoinResult::Joined);
            let (hello, ice) = hello.unzip();
            place.seated(newcomer, hello, given, claim.who);
            Ok((place, ice.map(|ice| Box::new(IceRefresh::from(ice)))))
        }
        Ok(Join::Full | Join::Elsewhere) => {
            place.refused();
            core.metrics.joined(JoinResult::Full);
            if admitted.own_seat_only {
                core.metrics.resume_refused();
            }
            Err(match newcomer {
                _ if admitted.own_seat_only => Close::Unauthorized,
                Some(_) => Close::NoSeat,
                None => Close::RoomFull,
            })
        }
        Err(error) => {
            if had_no_effect(&error) {
                place.refused();
            } else {
                core.seating.failed(&error);
            }
            let (result, close) = match error {
                OccupancyError::Redis(RedisError::Unavailable) | OccupancyError::Blank => {
                    (JoinResult::Unavailable, Close::ServiceUnavailable)
                }
                _ => (JoinResult::Failed, Close::InternalError),
            };
            core.metrics.joined(result);
            Err(close)
        }
    }
}

/// What is known of a peer when it asks for its seat: by its token before its own word.
fn who(newcomer: Option<&Newcomer>, identity: &Identity) -> Who {
    Who {
        role: identity.role.or(newcomer.map(|newcomer| newcomer.role)),
        id: identity.id.as_deref().map(Into::into),
    }
}

/// Whether a join that failed has certainly given no seat.
fn had_no_effect(error: &OccupancyError) -> bool {
    match error {
        OccupancyError::Redis(error) => error.had_no_effect(),
        OccupancyError::Blank | OccupancyError::Late => true,
        OccupancyError::Answer(_) => false,
    }
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
