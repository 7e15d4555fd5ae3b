//! Hosts beside their heartbeats: what they say, that they leave, that somebody drains them, the list of them.

use std::time::Duration;

use berth_crds::api::HostListAccess;
use berth_crds::settings::SecretRef;
use berth_dataplane::settings::ENVIRONMENT_SECRET;
use berth_dataplane::telemetry::{Throttle, field};
use serde_json::Value;
use tracing::{info, warn};

use super::{Matchmaker, unavailable_or};
use crate::api::Refusal;
use crate::api::wire::list::Part;
use crate::api::wire::{self, Word};
use crate::host::{HostId, HostStatus};
use crate::secrets::Purpose;
use crate::store::{HostRecord, Offline};

/// Most hosts that one call for a list looks at, and so most in a list.
const MOST_LOOKED_AT: usize = 10_000;
/// Bytes of what hosts tell of themselves after which a part of a list ends early.
const MOST_INFO: usize = 4 << 20;

/// A part of the list of hosts.
pub struct Listed {
    /// The hosts, by their ids.
    pub hosts: Vec<HostRecord>,
    /// Behind which host the list goes on; `None`: it ends here. A part may be short, or empty, although it goes on.
    pub next: Option<HostId>,
}

impl Matchmaker {
    /// Takes over what a host says of itself between heartbeats.
    pub async fn say(&self, body: Option<&Value>) -> Result<(), Refusal> {
        let (host, word) = wire::status(body).map_err(Refusal::Invalid)?;
        let status = match word {
            Word::Offline => return self.leave(host).await,
            Word::Status(status) => status,
        };
        let rules = self.rules(&self.settings.load());
        let known = self.take(self.store.set_status(host.clone(), status, rules).await);
        let known = known.map_err(|error| unavailable_or("status of a host", &error, Refusal::Internal))?;
        // What it said before must not be written back over it.
        self.waiting.forget(&host);
        if known && status == HostStatus::Draining {
            static DRAINS: Throttle = Throttle::new(Duration::from_secs(1));
            if let Some(suppressed) = DRAINS.pass() {
                info!({ field::HOST } = %host, suppressed, "host drains itself");
            }
        }
        known.then_some(()).ok_or(Refusal::UnknownHost)
    }

    /// Forgets a host that leaves, and ends its reservations.
    pub async fn leave(&self, host: HostId) -> Result<(), Refusal> {
        let rules = self.rules(&self.settings.load());
        let known = self.take(self.store.leave(host.clone(), rules).await);
        let known = known.map_err(|error| unavailable_or("leave of a host", &error, Refusal::Internal))?;
        self.waiting.forget(&host);
        known.then_some(()).ok_or(Refusal::UnknownHost)
    }

    /// Hosts that are gone and did not come back, for ten minutes.
    pub async fn offline(&self) -> Result<Vec<Offline>, Refusal> {
        // Who has fallen silent a moment ago is among them.
        self.counts().await?;
        let offline = self.store.offline().await;
        offline.map_err(|error| unavailable_or("list of hosts that are gone", &error, Refusal::Internal))
    }

    /// Checks the token of who wants to change something on the internal port.
    pub fn admit_admin(&self, token: Option<&[u8]>) -> Result<(), Refusal> {
        static REFUSED: Throttle = Throttle::new(Duration::from_secs(10));
        let view = self.settings.load();
        let secrets = self.pool_secrets(&view);
        let tokens = secrets.get(Purpose::Admin);
        if tokens.is_empty() {
            let cure = secrets.missing(Purpose::Admin).unwrap_or_else(|| {
                let SecretRef { name, key } = &view.pool.admin_token.current;
                if name == ENVIRONMENT_SECRET {
                    format!("set the environment variable {key}")
                } else {
                    format!("put one into the Secret {name} under the key {key}")
                }
            });
            return Err(Refusal::NoAdminToken { cure });
        }
        if tokens.accepts(token.ok_or(Refusal::Unauthorized)?) {
            return Ok(());
        }
        if let Some(suppressed) = REFUSED.pass() {
            warn!(
                suppressed,
                "change on the internal port refused: wrong admin token"
            );
        }
        Err(Refusal::WrongAdminToken)
    }

    /// Takes a host out of service until somebody puts it back.
    pub async fn drain(&self, host: HostId, drain: bool) -> Result<(), Refusal> {
        let rules = self.rules(&self.settings.load());
        let known = self.take(self.store.drain(host.clone(), drain, rules).await);
        let known = known.map_err(|error| unavailable_or("drain of a host", &error, Refusal::Internal))?;
        if !known {
            return Err(Refusal::UnknownHost);
        }
        if drain {
            info!({ field::HOST } = %host, "host taken out of service");
        } else {
            info!({ field::HOST } = %host, "host put back into service");
        }
        Ok(())
    }

    /// Whether the public may read the list of hosts.
    pub fn admit_reader(&self) -> Result<(), Refusal> {
        match self.settings.load().pool.host_list_access {
            HostListAccess::Public => Ok(()),
            HostListAccess::Internal => Err(Refusal::ListInternal),
        }
    }

    /// Hosts that are alive and fit, as many as asked for and at most 10,000.
    pub async fn list(
        &self,
        part: &Part,
        fits: impl Fn(&HostRecord) -> bool + Send,
    ) -> Result<Listed, Refusal> {
        let limit = part.limit.unwrap_or(MOST_LOOKED_AT);
        let drain = self.settings.load().pool.drain;
        let mut hosts: Vec<HostRecord> = Vec::new();
        let (mut looked_at, mut info) = (0, 0);
        let mut after = part.after.clone();
        loop {
            let page = self.store.page(after.clone()).await;
            let page = page.map_err(|error| unavailable_or("list of hosts", &error, Refusal::Internal))?;
            if page.is_empty() {
                return Ok(Listed { hosts, next: None });
            }
            for mut host in page {
                if looked_at == MOST_LOOKED_AT {
                    return Ok(Listed { hosts, next: after });
                }
                looked_at += 1;
                after = Some(host.host.clone());
                if drain {
                    host = host.draining();
                }
                if host.ttl_ms == 0 || !fits(&host) {
                    continue;
                }
                info += host.info.len();
                let is_full = hosts.len() == limit || info > MOST_INFO;
                if let Some(last) = hosts.last().filter(|_| is_full) {
                    let next = Some(last.host.clone());
                    return Ok(Listed { hosts, next });
                }
                hosts.push(host);
            }
        }
    }

    /// Tells of fields that were left out.
    pub(super) fn note_dropped(&self, host: &HostId, dropped: &[&'static str]) {
        static DROPPED: Throttle = Throttle::new(Duration::from_secs(10));
        for name in dropped {
            self.metrics.dropped(name);
            if let Some(suppressed) = DROPPED.pass() {
                warn!(
                    { field::HOST } = %host,
                    field = name,
                    suppressed,
                    "left out of a heartbeat: publicIp must be an address, gameInfo an object of at most 4096 bytes"
                );
            }
        }
    }
}
