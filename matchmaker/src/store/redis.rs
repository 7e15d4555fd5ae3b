//! Hosts shared by Redis: every step is one script call.

mod answers;
mod demand;
mod epoch;
mod gather;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use berth_crds::settings::Strategy;
use berth_dataplane::keys::Keys;
use berth_dataplane::occupancy::LUA_ROOMS;
use berth_dataplane::redis::{FromRedisValue, RedisLink, Script, Value};
use berth_dataplane::secrets::RotatingSecret;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tracing::debug;

use super::{
    Beaten, Clock, Dice, Event, Found, Held, HostRecord, HostStore, MOST_CLASSES, MOST_DRAINED, Offline,
    PAGE, Released, Request, Rules, Step, Stepping, StoreError, Tick,
};
use crate::demand::ByRegion;
use crate::host::{Heartbeat, HostId, HostStatus, MatchId};
use crate::slots::Terms;
use answers::{Counted, Flat};
use epoch::{Epoch, Granted};
use gather::Gather;

/// The Lua half of [`crate::slots`].
pub const LUA_SLOTS: &str = include_str!("lua/slots.lua");

/// Most rooms, silent hosts and deadlines that a find looks after.
const DRAINED_BY_FIND: u32 = 64;
/// The same for a tick.
const DRAINED_BY_TICK: u32 = 256;
/// Hosts that one call of the find script tries. Each failed one makes the index truer.
const TRIES: u32 = 256;
/// Calls of the find script for one find, when signaling has just lost many rooms at once.
const CALLS: u32 = 16;
/// Most grants that one call writes back.
const RESTORED: usize = 256;
/// How long a heartbeat waits at most for others to be sent with it, and how many do not wait.
const GATHER: Duration = Duration::from_millis(20);
const GATHERED: usize = 16;
/// How long the keys of a pool outlive the last process that looked after it.
const KEEP: Duration = Duration::from_hours(1);

/// The hosts of one pool, shared by Redis.
pub struct RedisStore {
    link: RedisLink,
    keys: Keys,
    pool: String,
    clock: Clock,
    epoch: Epoch,
    heartbeats: Gather,
}

struct Scripts {
    heartbeat: Script,
    find: Script,
    look_up: Script,
    release: Script,
    restore: Script,
    status: Script,
    leave: Script,
    drain: Script,
    tick: Script,
    page: Script,
    offline: Script,
}

fn scripts() -> &'static Scripts {
    static SCRIPTS: OnceLock<Scripts> = OnceLock::new();
    let index = include_str!("lua/index.lua");
    let script = |body: &str| {
        Script::new(&[LUA_ROOMS, LUA_SLOTS, index, include_str!("lua/hosts.lua"), body].join("\n"))
    };
    SCRIPTS.get_or_init(|| Scripts {
        heartbeat: script(include_str!("lua/heartbeat.lua")),
        find: script(concat!(
            include_str!("lua/pick.lua"),
            include_str!("lua/find.lua")
        )),
        look_up: script(include_str!("lua/look_up.lua")),
        release: script(include_str!("lua/release.lua")),
        restore: script(include_str!("lua/restore.lua")),
        status: script(include_str!("lua/status.lua")),
        leave: script(include_str!("lua/leave.lua")),
        drain: script(include_str!("lua/drain.lua")),
        tick: script(include_str!("lua/tick.lua")),
        page: script(include_str!("lua/page.lua")),
        offline: script(include_str!("lua/offline.lua")),
    })
}

impl RedisStore {
    /// The hosts of the pool `pool`, whose rooms are those of the `SignalingCluster` that `keys` names.
    pub fn new(link: RedisLink, keys: Keys, pool: impl Into<String>, clock: Clock) -> Self {
        Self {
            link,
            keys,
            pool: pool.into(),
            clock,
            epoch: Epoch::default(),
            heartbeats: Gather::new(Duration::ZERO, GATHERED),
        }
    }

    /// Heartbeats wait up to 20 ms for others that are then sent with them: a fraction of the work where hosts come one by one.
    #[must_use]
    pub fn gathering(mut self) -> Self {
        self.heartbeats = Gather::new(GATHER, GATHERED);
        self
    }

    /// Calls a script with what every script needs, and `args` behind it.
    async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        key: &str,
        terms: &str,
        args: impl IntoIterator<Item = String>,
    ) -> Result<T, StoreError> {
        let common = [
            self.keys.prefix().to_owned(),
            self.pool.clone(),
            self.clock.ahead_us().to_string(),
            terms.to_owned(),
        ];
        let args: Vec<String> = common.into_iter().chain(args).collect();
        let keys = [format!("{}{key}", self.keys.pool(&self.pool))];
        Ok(self.link.script(script, &keys, &args).await?)
    }

    /// Calls a script that answers yes or no.
    async fn ask(
        &self,
        script: &Script,
        key: &str,
        rules: &Rules,
        args: impl IntoIterator<Item = String>,
    ) -> Result<Step<bool>, StoreError> {
        let (answer, events): (Flat, Flat) = self.call(script, key, &terms(rules), args).await?;
        Ok(Step {
            value: answers::flag(&answer)?,
            events: answers::events(&events)?,
        })
    }

    async fn find_once(&self, request: &Request, rules: &Rules) -> Result<Step<Option<Found>>, StoreError> {
        let Dice {
            stray,
            region,
            sample,
            host,
        } = request.dice;
        let (strategy, size) = match rules.strategy {
            Strategy::Packed => ("packed", 0),
            Strategy::Spread => ("spread", 0),
            Strategy::Sample { size } => ("sample", size),
        };
        let args = [
            request.id.to_string(),
            rules.deadline.as_millis().to_string(),
            request.host.as_ref().map(ToString::to_string).unwrap_or_default(),
            DRAINED_BY_FIND.to_string(),
            TRIES.to_string(),
            strategy.to_owned(),
            size.to_string(),
            rules.region_weight.to_string(),
            stray.to_string(),
            region.to_string(),
            sample.to_string(),
            host.to_string(),
            request.region.clone().unwrap_or_default(),
            answers::asked_text(request.asked),
            // Right after an interruption somebody may have been granted a slot that the store does not know of any more. Who
            // asks again because of it gets what is there.
            if self.epoch.may_grant(self.link.interruptions(), Instant::now()) {
                self.epoch.known()
            } else {
                GRANT_NOTHING_NEW.to_owned()
            },
            request.nearest.len().to_string(),
        ];
        let args = args
            .into_iter()
            .chain(request.nearest.iter().cloned())
            .chain(flat(&request.labels));
        let (answer, events): (Flat, Flat) = self.call(&scripts().find, "hosts", &terms(rules), args).await?;
        let (value, granted) = answers::found(&answer, request.id)?;
        if let Some(granted) = granted {
            self.epoch.granted(granted);
        }
        Ok(Step {
            value,
            events: answers::events(&events)?,
        })
    }

    /// Writes grants back that the store may have lost.
    async fn restore(&self, granted: &[Granted], rules: &Rules) -> Result<Vec<Event>, StoreError> {
        let mut all = Vec::new();
        for some in granted.chunks(RESTORED) {
            let keep = quiet(rules).as_millis().to_string();
            let args = some.iter().flat_map(|one| {
                let Granted {
                    id, host, room, text, ..
                } = one;
                [host.clone(), room.clone(), id.to_string(), text.clone()]
            });
            let args = std::iter::once(keep).chain(args);
            let (events,): (Flat,) = self
                .call(&scripts().restore, "matches", &terms(rules), args)
                .await?;
            all.extend(answers::events(&events)?);
        }
        Ok(all)
    }
}

/// How long nobody is handed out of a store that lost what was granted: by then it is over, or seen in a room.
fn quiet(rules: &Rules) -> Duration {
    rules.deadline.max(rules.hold)
}

/// Keys and values, by ascending keys.
fn flat(labels: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    labels
        .iter()
        .flat_map(|(key, value)| [key.clone(), value.clone()])
}

/// In place of an epoch.
const GRANT_NOTHING_NEW: &str = "-";
/// Rules that nobody asks for.
const NO_TERMS: &str = "0|0|0|0|0|";

/// The rules of slots as the scripts read them.
fn terms(rules: &Rules) -> String {
    let Terms {
        hold_ms,
        grace_ms,
        doubt_ms,
        players,
        host_in_room,
        known_room,
    } = rules.terms();
    let host = if host_in_room { "host" } else { "" };
    let room = if known_room { "room" } else { "" };
    let ttl_ms = rules.heartbeat_ttl.as_millis();
    format!("{hold_ms}|{grace_ms}|{doubt_ms}|{players}|{ttl_ms}|{host} {room}")
}

/// Tells whether a text is another one; empty for none. Where two versions of this program differ, a text is written once more.
fn digest(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    format!("{:x}", hasher.finish())
}

impl HostStore for RedisStore {
    fn heartbeat(&self, heartbeat: Heartbeat, rules: Rules) -> Stepping<'_, Beaten> {
        async move {
            let heard = Instant::now();
            self.heartbeats.pass().await;
            let age = heartbeat.age + heard.elapsed();
            let serves = heartbeat.serves.map_or_else(
                || "-".to_owned(),
                |matches| {
                    matches
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(",")
                },
            );
            let info = heartbeat.info.to_text();
            let args = [
                heartbeat.host.to_string(),
                heartbeat.room.to_string(),
                heartbeat.region,
                heartbeat.status.as_str().to_owned(),
                heartbeat.capacity.to_string(),
                heartbeat.available.to_string(),
                rules.heartbeat_ttl.as_millis().to_string(),
                (rules.heartbeat_ttl + KEEP).as_millis().to_string(),
                MOST_CLASSES.to_string(),
                if heartbeat.labels.is_empty() {
                    String::new()
                } else {
                    json!(heartbeat.labels).to_string()
                },
                serves,
                age.as_millis().to_string(),
                digest(&info),
                info,
            ];
            let args = args.into_iter().chain(flat(&heartbeat.labels));
            let (answer, events, reservations): (Flat, Flat, Flat) = self
                .call(&scripts().heartbeat, "hosts", &terms(&rules), args)
                .await?;
            Ok(Step {
                value: Beaten {
                    registered: answers::registered(&answer)?,
                    silent_ms: answers::silent_ms(&answer),
                    reservations: answers::reservations(&reservations)?,
                },
                events: answers::events(&events)?,
            })
        }
        .boxed()
    }

    fn find(&self, request: Request, rules: Rules) -> Stepping<'_, Found> {
        async move {
            let mut events = Vec::new();
            for _ in 0..CALLS {
                let step = self.find_once(&request, &rules).await?;
                events.extend(step.events);
                if let Some(value) = step.value {
                    return Ok(Step { value, events });
                }
            }
            Ok(Step {
                value: Found::NoHosts,
                events,
            })
        }
        .boxed()
    }

    fn look_up(&self, id: MatchId, rules: Rules) -> Stepping<'_, Held> {
        async move {
            let (answer, events): (Flat, Flat) = self
                .call(&scripts().look_up, "matches", &terms(&rules), [id.to_string()])
                .await?;
            Ok(Step {
                value: answers::held(&answer)?,
                events: answers::events(&events)?,
            })
        }
        .boxed()
    }

    fn release(&self, id: MatchId, rules: Rules) -> Stepping<'_, Released> {
        async move {
            let (answer, events): (Flat, Flat) = self
                .call(&scripts().release, "matches", &terms(&rules), [id.to_string()])
                .await?;
            let value = answers::released(&answer)?;
            // One that stays must be written back if the store loses it.
            if value != Released::Stays {
                self.epoch.released(id);
            }
            Ok(Step {
                value,
                events: answers::events(&events)?,
            })
        }
        .boxed()
    }

    fn set_status(&self, host: HostId, status: HostStatus, rules: Rules) -> Stepping<'_, bool> {
        async move {
            let args = [host.to_string(), status.as_str().to_owned()];
            self.ask(&scripts().status, "hosts", &rules, args).await
        }
        .boxed()
    }

    fn leave(&self, host: HostId, rules: Rules) -> Stepping<'_, bool> {
        async move {
            self.ask(&scripts().leave, "hosts", &rules, [host.to_string()])
                .await
        }
        .boxed()
    }

    fn drain(&self, host: HostId, drain: bool, rules: Rules) -> Stepping<'_, bool> {
        async move {
            let word = if drain { "1" } else { "0" };
            let args = [host.to_string(), word.to_owned(), MOST_DRAINED.to_string()];
            self.ask(&scripts().drain, "drained", &rules, args).await
        }
        .boxed()
    }

    fn tick(&self, rules: Rules) -> Stepping<'_, Tick> {
        async move {
            let args = [
                DRAINED_BY_TICK.to_string(),
                KEEP.as_millis().to_string(),
                self.epoch.known(),
                Epoch::fresh(),
                quiet(&rules).as_millis().to_string(),
                self.epoch.secret(),
                Epoch::fresh(),
            ];
            let (answer, events, pool, hosts, slots, free): (Flat, Flat, Flat, Flat, Flat, Flat) =
                self.call(&scripts().tick, "hosts", &terms(&rules), args).await?;
            let counted = Counted {
                pool,
                hosts,
                slots,
                free,
            };
            let value = answers::tick(&answer, &counted)?;
            let mut events = answers::events(&events)?;
            let answered = |place: usize| answer.get(place).map(String::as_str).unwrap_or_default();
            let epoch = answered(2);
            self.epoch.learn(answered(6), answered(7));
            self.epoch.may_grant(self.link.interruptions(), Instant::now());
            let owed = self.epoch.owed(epoch, self.clock.now_us() / 1000);
            // What fails here is owed until the next tick; what this one found must not be lost by it.
            match self.restore(&owed, &rules).await {
                Ok(more) => {
                    self.epoch.paid();
                    events.extend(more);
                }
                Err(error) => debug!(%error, "grants are not written back yet"),
            }
            Ok(Step { value, events })
        }
        .boxed()
    }

    fn secret(&self) -> RotatingSecret {
        self.epoch.secrets()
    }

    fn offline(&self) -> BoxFuture<'_, Result<Vec<Offline>, StoreError>> {
        async move {
            let answer: Flat = self.call(&scripts().offline, "offline", NO_TERMS, []).await?;
            answers::offline(&answer)
        }
        .boxed()
    }

    fn demand(&self, refused: ByRegion) -> BoxFuture<'_, Result<ByRegion, StoreError>> {
        self.add_demand(refused).boxed()
    }

    fn page(&self, after: Option<HostId>) -> BoxFuture<'_, Result<Vec<HostRecord>, StoreError>> {
        async move {
            let from = after.map_or_else(|| "-".to_owned(), |host| format!("({host}"));
            let args = [from, PAGE.to_string()];
            let answer: Vec<Value> = self.call(&scripts().page, "ids", NO_TERMS, args).await?;
            answers::page(answer)
        }
        .boxed()
    }
}
