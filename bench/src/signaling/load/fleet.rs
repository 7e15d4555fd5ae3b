//! Many client sockets in one thread, with nothing between them and the kernel's readiness queue.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::script::{Kind, script};
use super::socket::{Heard, Socket};

/// Longest wait for something that must happen; only a failure reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Read at a time.
const READ_BYTES: usize = 128 * 1024;
/// From here on a wait may be a millisecond too long.
const COARSE: Duration = Duration::from_millis(5);
/// Sockets that are looked at before the caller gets its turn.
const EVENTS: usize = 256;
/// Handshakes under way at once: fewer than the backlog of a listener has room for.
const HANDSHAKES: usize = 64;
/// Addresses of this machine that sockets come from, so that ports do not get short and limits per address count many.
const SOURCES: usize = 200;

/// Many client sockets.
pub(crate) struct Fleet {
    epoll: OwnedFd,
    timer: OwnedFd,
    sockets: Vec<Option<Socket>>,
    /// Places without a socket.
    free: Vec<usize>,
    connected: usize,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

/// Where the two sockets of a room connect to.
pub(crate) trait Addresses {
    /// `side` is 0 for the host and 1 for the player.
    fn address(&self, room: usize, side: usize) -> SocketAddr;
}

impl<F: Fn(usize, usize) -> SocketAddr> Addresses for F {
    fn address(&self, room: usize, side: usize) -> SocketAddr {
        self(room, side)
    }
}

impl Fleet {
    /// No socket yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        // Edge-triggered: each alarm is an event, and need not be read. No socket has this number.
        epoll::add(
            &epoll,
            &timer,
            EventData::new_u64(u64::MAX),
            EventFlags::IN | EventFlags::ET,
        )?;
        Ok(Self {
            epoll,
            timer,
            sockets: Vec::new(),
            free: Vec::new(),
            connected: 0,
            events: Vec::with_capacity(EVENTS),
            buffer: vec![0; READ_BYTES],
            scratch: Vec::new(),
        })
    }

    /// Opens rooms of two. The sockets of room `r` have the numbers `2 * r` and `2 * r + 1`.
    pub(crate) fn open(rooms: usize, addresses: &impl Addresses) -> anyhow::Result<Self> {
        let mut fleet = Self::new()?;
        let (mut begun, mut opened) = (0, 0);
        let end = Instant::now() + DEADLINE.max(Duration::from_millis(2 * rooms as u64));
        while opened < 2 * rooms {
            while begun < 2 * rooms && begun - opened < HANDSHAKES {
                let room = begun / 2;
                fleet.connect(addresses.address(room, begun % 2), &format!("r{room}"))?;
                begun += 1;
            }
            fleet.turn(Duration::from_millis(100), |_, _, heard| {
                opened += usize::from(heard.opened);
                Ok(())
            })?;
            if Instant::now() > end {
                bail!("only {opened} of {} handshakes were answered in time", 2 * rooms);
            }
        }
        Ok(fleet)
    }

    /// Begins a handshake; the number of the socket.
    pub(crate) fn connect(&mut self, server: SocketAddr, room: &str) -> anyhow::Result<usize> {
        let last = u8::try_from(2 + self.connected % SOURCES)?;
        self.connected += 1;
        let socket = Socket::connect(server, Ipv4Addr::new(127, 0, 0, last), room)
            .with_context(|| format!("cannot connect to {server}"))?;
        let index = self.free.pop().unwrap_or(self.sockets.len());
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(
            &self.epoll,
            socket.stream(),
            EventData::new_u64(index as u64),
            flags,
        )?;
        if index == self.sockets.len() {
            self.sockets.push(None);
        }
        self.sockets[index] = Some(socket);
        Ok(index)
    }

    /// Drops a socket.
    pub(crate) fn remove(&mut self, index: usize) {
        if self
            .sockets
            .get_mut(index)
            .is_some_and(|place| place.take().is_some())
        {
            self.free.push(index);
        }
    }

    /// How many places for sockets there are; after [`Fleet::open`], all are taken.
    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// A socket.
    pub(crate) fn socket(&mut self, index: usize) -> anyhow::Result<&mut Socket> {
        let socket = self.sockets.get_mut(index).and_then(Option::as_mut);
        socket.context("there is no such socket")
    }

    /// Lets a socket say its next `count` messages.
    pub(crate) fn say(&mut self, index: usize, count: usize) -> anyhow::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let said = self.socket(index)?.say(count, &mut scratch);
        self.scratch = scratch;
        said
    }

    /// Waits at most `timeout`, and reads what has come. `heard` may use the socket that it is called for.
    pub(crate) fn turn(
        &mut self,
        timeout: Duration,
        mut heard: impl FnMut(usize, &mut Socket, Heard) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let fine = !timeout.is_zero() && timeout < COARSE;
        if fine {
            self.alarm(timeout)?;
        }
        let timeout = Timespec::try_from(if fine { COARSE } else { timeout })?;
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for sockets"),
        }
        for event in self.events.drain(..) {
            let (flags, data) = (event.flags, event.data);
            let index = usize::try_from(data.u64())?;
            let Some(socket) = self.sockets.get_mut(index).and_then(Option::as_mut) else {
                continue;
            };
            if flags.contains(EventFlags::OUT) {
                socket.flush()?;
            }
            let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            if ended || flags.contains(EventFlags::IN) {
                let what = socket.read(&mut self.buffer, ended)?;
                heard(index, socket, what)?;
            }
        }
        Ok(())
    }

    /// Ends the next wait after so long. The queue's own timeout counts milliseconds.
    fn alarm(&self, after: Duration) -> anyhow::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(after)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Gives both sockets of these rooms something to say to each other.
    pub(crate) fn talk(&mut self, rooms: std::ops::Range<usize>, kind: Kind) -> anyhow::Result<()> {
        for index in 2 * rooms.start..2 * rooms.end {
            let (speaker, listener) = script(kind, &format!("r{}{}", index / 2, index % 2));
            self.socket(index)?.speaker = Some(speaker);
            self.socket(index ^ 1)?.listener = Some(listener);
        }
        Ok(())
    }

    /// In every room the host says one message, the player hears it and answers with one of the same kind. At most `wave`
    /// rooms at once. When it is done, everybody has a seat and nothing is under way.
    pub(crate) fn exchange(&mut self, kind: Kind, wave: usize) -> anyhow::Result<()> {
        let rooms = self.len() / 2;
        let mut scratch = Vec::new();
        for start in (0..rooms).step_by(wave.max(1)) {
            let these = start..rooms.min(start + wave.max(1));
            self.talk(these.clone(), kind)?;
            for room in these.clone() {
                self.say(2 * room, 1)?;
            }
            let mut missing = 2 * these.len();
            let end = Instant::now() + DEADLINE;
            while missing > 0 {
                self.turn(Duration::from_millis(100), |index, socket, heard| {
                    missing = missing.saturating_sub(heard.messages);
                    if heard.messages > 0 && index % 2 == 1 {
                        socket.say(heard.messages, &mut scratch)?;
                    }
                    Ok(())
                })?;
                if Instant::now() > end {
                    bail!("{missing} of {} messages did not arrive in time", 2 * these.len());
                }
            }
            for index in 2 * these.start..2 * these.end {
                let socket = self.socket(index)?;
                (socket.speaker, socket.listener) = (None, None);
            }
        }
        Ok(())
    }
}
