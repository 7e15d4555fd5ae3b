//! What the parts of a running server share, and how the effects of a room are carried out.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_dataplane::ice::IceProviders;
use berth_dataplane::occupancy::{Instance, MemberId, Seats};
use berth_dataplane::redis::{Backlog, RedisLink};
use berth_dataplane::secrets::SecretStore;
use berth_dataplane::settings::{SignalingView, Snapshot};
use berth_dataplane::shutdown::Shutdown;
use tokio_util::task::TaskTracker;

use crate::auth::{AuthMetrics, Keyring};
use crate::close::Close;
use crate::conn::{Connections, Delivery};
use crate::deadlines::{Deadlines, Due};
use crate::lane::{Lane, Origin, Outgoing};
use crate::lease::Lease;
use crate::limits::Clients;
use crate::metrics::{DropReason, Path, SignalingMetrics};
use crate::protocol::{Text, v1};
use crate::room::{Effect, Effects, Loss};
use crate::rooms::{Conns, RoomCell, RoomInner, Rooms};
use crate::seating::{Job, Seating};

/// What the parts of a running server share.
pub(crate) struct Core {
    pub(crate) own: Instance,
    pub(crate) settings: Snapshot<SignalingView>,
    pub(crate) secrets: SecretStore,
    pub(crate) ice: IceProviders,
    /// Finds the keys of tokens.
    pub(crate) keyring: Keyring,
    pub(crate) auth_metrics: Arc<AuthMetrics>,
    pub(crate) seats: Seats,
    /// `None` in one process.
    pub(crate) link: Option<RedisLink>,
    pub(crate) rooms: Rooms,
    pub(crate) connections: Arc<Connections>,
    pub(crate) clients: Clients,
    pub(crate) lane: Lane,
    /// What waits in the inbox, once there is one.
    pub(crate) inbox: OnceLock<Backlog>,
    pub(crate) seating: Seating,
    pub(crate) lease: Lease,
    pub(crate) deadlines: Deadlines,
    /// How long a peer that speaks v2 may take to say `hello`.
    pub(crate) hello_within: Duration,
    pub(crate) metrics: Arc<SignalingMetrics>,
    pub(crate) shutdown: Shutdown,
    /// Tasks of connections.
    pub(crate) sessions: TaskTracker,
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// From a socket of this instance.
    Here,
    /// The same, and that socket has said more already. What sockets get is held until [`RoomCell::flush`], which must follow at
    /// once.
    Burst,
    /// From another instance; held like a burst.
    Elsewhere,
}

impl Core {
    /// Close code of drained peers that speak v1.
    pub(crate) fn drain_close_code(&self) -> u16 {
        self.settings.load().cluster.drain_close_code
    }

    /// Whether Redis is left alone for the moment.
    pub(crate) fn circuit_open(&self) -> bool {
        self.link.as_ref().is_some_and(RedisLink::circuit_open)
    }

    /// Changes a room and carries out what follows, under its lock: so messages of one sender reach sockets and lane
    /// in their order.
    pub(crate) fn update(
        &self,
        cell: &Arc<RoomCell>,
        source: Source,
        change: impl FnOnce(&mut RoomInner) -> Effects,
    ) {
        let mut inner = cell.inner.lock();
        let effects = change(&mut inner);
        for effect in effects {
            self.carry_out(cell, &inner.conns, source, effect);
        }
        // A member that is away has no connection whose end would do it.
        let deserted = inner.room.is_deserted();
        drop(inner);
        if deserted {
            self.rooms.sweep(cell);
        }
    }

    fn carry_out(&self, cell: &Arc<RoomCell>, conns: &Conns, source: Source, effect: Effect) {
        match effect {
            Effect::Deliver { to, text } => {
                let delivery = self.deliver(conns, source, to, &text);
                if source != Source::Elsewhere && delivery == Some(Delivery::Done) {
                    self.metrics.relayed(Path::Local);
                }
            }
            Effect::Tell { to, text } => {
                self.deliver(conns, source, to, &text);
            }
            Effect::Replaced(member) => {
                if let Some((_, conn)) = conns.iter().find(|(other, _)| *other == member) {
                    conn.close(Close::Replaced);
                }
            }
            Effect::Window { member, attachment } => {
                let window = self.settings.load().cluster.resume.window;
                self.deadlines
                    .push(window, cell, Due::Window { member, attachment });
            }
            Effect::PeerDisconnected { to } => {
                self.deliver(conns, source, to, &v1::PEER_DISCONNECTED);
            }
            Effect::Publish { to, notice } => {
                self.lane.push(Outgoing {
                    to,
                    origin: Origin::Room(Arc::clone(cell)),
                    notice,
                });
            }
            Effect::Ask(view) => self.seating.push(Job::Ask {
                cell: Arc::clone(cell),
                view,
            }),
            Effect::Assert(member) => self.seating.push(Job::Assert {
                cell: Arc::clone(cell),
                member,
            }),
            Effect::Grace(member) => {
                let grace = self.deadlines.grace();
                self.deadlines.push(grace, cell, Due::Grace(member));
            }
            Effect::Lost { loss, messages } => {
                let reason = match loss {
                    Loss::EarlyFull => DropReason::EarlyFull,
                    Loss::Unreachable => DropReason::Unreachable,
                    Loss::Stranger => DropReason::Stranger,
                    Loss::Stale => DropReason::Stale,
                };
                self.metrics.dropped(reason, messages);
            }
        }
    }

    /// Gives a text to a local member. A connection that cannot take it ends by itself.
    fn deliver(&self, conns: &Conns, source: Source, to: MemberId, text: &Text) -> Option<Delivery> {
        let (_, conn) = conns.iter().find(|(member, _)| *member == to)?;
        let delivery = match source {
            Source::Here => conn.deliver(text),
            Source::Burst | Source::Elsewhere => conn.hold(text),
        };
        match delivery {
            Delivery::Done | Delivery::Overloaded => {}
            Delivery::Closing => self.metrics.dropped(DropReason::Closing, 1),
        }
        Some(delivery)
    }
}

/// Unix time in µs.
pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Unix time in seconds.
pub(crate) fn unix_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
