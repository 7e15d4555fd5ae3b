//! Sentinels: who the master is, and the news that it is another one now.
//!
//! The master is asked for at every connect. The crate's own Sentinel client is not used: it checks a master by `ROLE` or
//! `INFO`, which a narrow access list refuses, where the connection's `HELLO` says the same; its timeouts are fixed;
//! and it always asks the first Sentinel first, which after a partition may be the one that knows an old master. One
//! command is asked here instead, each time of the next Sentinel.
//!
//! A Sentinel that demotes a server closes the connections to it. A connection that stands across a partition hears of the new
//! master through `+switch-master`, which one connection to any Sentinel waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, Value, cmd};
use berth_crds::settings::{RedisAddress, RedisKind};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::info;

use super::endpoint::{Access, EndpointError, RedisEndpoint};
use super::keeper::Keeper;
use super::probe::{LostSignal, Pings, Pulse};
use super::target::{FindError, SentinelError};

/// Channel on which Sentinels tell of a new master.
const SWITCHES: &str = "+switch-master";
/// How long Sentinels may go on naming the old master after one of them told of a new one.
const AGREEMENT: Duration = Duration::from_secs(10);

/// The Sentinels of a URL.
pub(super) struct Sentinels {
    endpoint: RedisEndpoint,
    config: AsyncConnectionConfig,
    /// Longest wait for one Sentinel, connect and answer.
    patience: Duration,
    /// Who is asked next.
    turn: AtomicUsize,
    /// Name of the master, as the URL said last.
    name: Mutex<String>,
    /// Last switch that was heard of.
    switched: watch::Sender<Option<Switch>>,
}

/// Another server is the master.
#[derive(Clone, Debug)]
pub(super) struct Switch {
    pub(super) to: RedisAddress,
    heard: Instant,
}

impl Sentinels {
    pub(super) fn new(endpoint: RedisEndpoint, config: AsyncConnectionConfig, patience: Duration) -> Self {
        Self {
            endpoint,
            config,
            patience,
            turn: AtomicUsize::new(0),
            name: Mutex::default(),
            switched: watch::Sender::new(None),
        }
    }

    pub(super) fn endpoint(&self) -> &RedisEndpoint {
        &self.endpoint
    }

    /// Follows the switches that are heard of.
    pub(super) fn watch_switches(&self) -> watch::Receiver<Option<Switch>> {
        self.switched.subscribe()
    }

    /// The master, as the first Sentinel says that answers.
    pub(super) async fn master(&self) -> Result<(Client, RedisAddress), FindError> {
        let access = self.access().await?;
        let mut last = SentinelError::UnknownName;
        for address in self.in_turn(&access) {
            let asked = timeout(self.patience, self.ask(&access, address)).await;
            match asked.unwrap_or(Err(SentinelError::Timeout)) {
                Ok(master) => return Ok((access.server(&master)?, master)),
                Err(error) => last = error,
            }
        }
        Err(FindError::Sentinels(last))
    }

    /// The next Sentinel.
    pub(super) async fn any(&self) -> Result<(Client, RedisAddress), FindError> {
        let access = self.access().await?;
        let address = self
            .in_turn(&access)
            .next()
            .cloned()
            .ok_or(FindError::Sentinels(SentinelError::UnknownName))?;
        Ok((access.sentinel(&address)?, address))
    }

    async fn access(&self) -> Result<Access, EndpointError> {
        let access = self.endpoint.access().await?;
        if let RedisKind::Sentinel { master } = &access.url().kind {
            self.name.lock().clone_from(master);
        }
        Ok(access)
    }

    fn in_turn<'a>(&self, access: &'a Access) -> impl Iterator<Item = &'a RedisAddress> + use<'a> {
        let all = access.url().addresses.as_slice();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % all.len().max(1);
        let (before, from) = all.split_at(first);
        from.iter().chain(before)
    }

    async fn ask(&self, access: &Access, sentinel: &RedisAddress) -> Result<RedisAddress, SentinelError> {
        let name = self.name.lock().clone();
        let client = access.sentinel(sentinel)?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&self.config)
            .await?;
        let answer: Option<(String, u16)> = cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(name)
            .query_async(&mut connection)
            .await?;
        let (host, port) = answer.ok_or(SentinelError::UnknownName)?;
        let master = RedisAddress { host, port };
        let switch = self.switched.borrow().clone();
        match switch {
            Some(switch) if switch.to != master && switch.heard.elapsed() < AGREEMENT => {
                Err(SentinelError::Stale)
            }
            _ => Ok(master),
        }
    }

    /// Waits for switches on a connection to any Sentinel, for ever.
    pub(super) async fn listen(self: Arc<Self>, mut keeper: Keeper) {
        loop {
            let lost = LostSignal::default();
            let mut kept = keeper.connect(self.route(lost.clone())).await;
            if kept.connection.subscribe(SWITCHES).await.is_err() {
                continue;
            }
            let mut pings = Pings::new(keeper.demand());
            loop {
                let pulse = tokio::select! {
                    () = lost.wait() => break,
                    pulse = pings.next(&mut kept.connection) => pulse,
                };
                if matches!(pulse, Pulse::Dead | Pulse::Replica) {
                    break;
                }
            }
        }
    }

    fn route(
        self: &Arc<Self>,
        lost: LostSignal,
    ) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
        let this = Arc::clone(self);
        move |push: PushInfo| {
            match push.kind {
                PushKind::Disconnection => lost.set(),
                PushKind::Message => this.heard(&push.data),
                _ => {}
            }
            Ok(())
        }
    }

    fn heard(&self, message: &[Value]) {
        let Some(Value::BulkString(payload)) = message.get(1) else {
            return;
        };
        let Some((name, to)) = read_switch(payload) else {
            return;
        };
        if *self.name.lock() == name {
            info!(master = name, %to, "the sentinels have switched to another redis server");
            let heard = Instant::now();
            self.switched.send_replace(Some(Switch { to, heard }));
        }
    }
}

/// Reads `NAME OLD-HOST OLD-PORT NEW-HOST NEW-PORT`.
fn read_switch(payload: &[u8]) -> Option<(&str, RedisAddress)> {
    let mut words = std::str::from_utf8(payload).ok()?.split_ascii_whitespace();
    let name = words.next()?;
    let host = words.nth(2)?.to_owned();
    let port = words.next()?.parse().ok()?;
    Some((name, RedisAddress { host, port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_names_the_new_master() {
        let to = |host: &str, port| RedisAddress {
            host: host.to_owned(),
            port,
        };
        assert_eq!(
            read_switch(b"main 10.0.0.1 6379 10.0.0.2 6380"),
            Some(("main", to("10.0.0.2", 6380)))
        );
        assert_eq!(
            read_switch(b"main ::1 6379 ::2 6380"),
            Some(("main", to("::2", 6380)))
        );
        for wrong in ["", "main", "main a 1 b", "main a 1 b port"] {
            assert_eq!(read_switch(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn each_time_the_next_sentinel_is_asked_first() {
        let endpoint = RedisEndpoint::from_url("redis+sentinel://a,b,c/main").unwrap();
        let sentinels = Sentinels::new(endpoint, AsyncConnectionConfig::new(), Duration::ZERO);
        let access = sentinels.access().await.unwrap();
        let order = || {
            let hosts: Vec<&str> = sentinels
                .in_turn(&access)
                .map(|address| address.host.as_str())
                .collect();
            hosts.join("")
        };
        assert_eq!([order(), order(), order(), order()], ["abc", "bca", "cab", "abc"]);
    }
}
