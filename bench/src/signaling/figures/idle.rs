//! Memory of idle connections: fresh, and after a large message has passed in each direction.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::{Bench, Kind, OFFER, require_files};
use crate::process::{Memory, memory};
use crate::report::{Samples, Table};
use crate::signaling::load::{Fleet, Kind as Message};
use crate::signaling::servers::Servers;

/// What passes in each direction.
const LARGE: Message = Message::Offer(64 * 1024);
/// Rooms in which something large is said at once.
const WAVE: usize = 32;
/// Longest wait for seats and for memory to settle.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Looks without a change after which memory has settled.
const LOOKS: usize = 4;

/// Memory of a server.
struct Idle {
    sockets: usize,
    before: Memory,
    fresh: Memory,
    after: Memory,
}

impl Idle {
    /// Bytes for each socket.
    fn each(&self, now: u64, before: u64) -> f64 {
        (now as f64 - before as f64) / self.sockets as f64
    }
}

pub(in crate::signaling) fn measure(bench: &Bench<'_>) -> anyhow::Result<Vec<Table>> {
    let mut table = Table::new(
        "Memory of an idle connection",
        &[
            "fresh, RSS bytes",
            "fresh, PSS bytes",
            "after 64 KiB, RSS bytes",
            "after 64 KiB, PSS bytes",
            "server before, MiB",
            "server in the end, MiB",
        ],
    );
    for sockets in &bench.plan.idle {
        require_files(*sockets)?;
        for kind in [Kind::Berth, Kind::Bare] {
            eprintln!("{sockets} idle connections, {}", kind.name());
            let idle = hold(bench, kind, *sockets)?;
            let mib = |bytes: u64| Samples(vec![bytes as f64 / 1024.0 / 1024.0]);
            let each = |now, before| Samples(vec![idle.each(now, before)]);
            table.row(
                format!("{sockets}, {}", kind.name()),
                vec![
                    each(idle.fresh.rss, idle.before.rss),
                    each(idle.fresh.pss, idle.before.pss),
                    each(idle.after.rss, idle.before.rss),
                    each(idle.after.pss, idle.before.pss),
                    mib(idle.before.rss),
                    mib(idle.after.rss),
                ],
            );
        }
    }
    table.notes.push(
        "What the process has more than before, by the number of sockets: every socket sits in a room of two. Before: after one room \
         of two has come, talked and gone. After 64 KiB: one offer of that size has passed from each socket to its peer. Memory of the \
         kernel is not a part of it."
            .to_owned(),
    );
    Ok(vec![table])
}

fn hold(bench: &Bench<'_>, kind: Kind, sockets: usize) -> anyhow::Result<Idle> {
    let servers = Servers::single(kind, bench.programs, bench.cores)?;
    Fleet::open(1, &servers.together())?.exchange(OFFER, 1)?;
    let before = settled(&servers)?;
    let mut fleet = Fleet::open(sockets / 2, &servers.together())?;
    let end = Instant::now() + PATIENCE;
    while !servers.has_seated(sockets)? {
        if Instant::now() > end {
            bail!("not all of {sockets} sockets have a seat after {PATIENCE:?}");
        }
        sleep(LOOK);
    }
    let fresh = settled(&servers)?;
    fleet.exchange(LARGE, WAVE)?;
    let after = settled(&servers)?;
    Ok(Idle {
        sockets,
        before,
        fresh,
        after,
    })
}

/// Memory of the only server when it changes no more.
fn settled(servers: &Servers) -> anyhow::Result<Memory> {
    let now = || -> anyhow::Result<Memory> {
        let mut all = servers.processes().iter().map(|process| memory(*process));
        all.next().unwrap_or_else(|| bail!("no server"))
    };
    let end = Instant::now() + PATIENCE;
    let (mut last, mut looks) = (now()?, 0);
    while looks < LOOKS && Instant::now() < end {
        sleep(LOOK);
        let next = now()?;
        looks = if next.rss == last.rss { looks + 1 } else { 0 };
        last = next;
    }
    Ok(last)
}
