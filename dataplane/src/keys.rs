//! Names in Redis.
//!
//! Every key and channel starts with `berth:NAMESPACE/NAME:` of the SignalingCluster, so that clusters stay apart on
//! one Redis. All keys of one SignalingCluster share a hash tag and therefore a slot: each script is atomic over
//! membership, occupancy, hosts and reservations, on a Redis Cluster too. Relayed messages do not go through that slot:
//! a channel is named by its instance, without the tag.

use berth_crds::settings::{ObjectName, RoomId};

/// Names in Redis of one SignalingCluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    cluster: String,
    prefix: String,
}

impl Keys {
    /// The names of `cluster`.
    pub fn new(cluster: &ObjectName) -> Self {
        Self {
            cluster: format!("berth:{cluster}:"),
            prefix: format!("berth:{cluster}:{{{cluster}}}:"),
        }
    }

    /// What every key starts with; scripts build further keys from it, all in the same slot.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Sorted set: instances of the signaling server, scored by the end of their lease (Unix time in ms).
    pub fn instances(&self) -> String {
        format!("{}instances", self.prefix)
    }

    /// Hash: members of a room, `MEMBER` to `JOIN|INSTANCE`, and the field `#` with the last join number.
    pub fn room(&self, room: &RoomId) -> String {
        format!("{}room:{room}", self.prefix)
    }

    /// Sorted set: client addresses from which connections came, scored by the time at which they may connect as if
    /// they never had (Unix time in µs).
    pub fn client_connections(&self) -> String {
        format!("{}clients:connections", self.prefix)
    }

    /// The same for messages.
    pub fn client_messages(&self) -> String {
        format!("{}clients:messages", self.prefix)
    }

    /// Hash: watched rooms, `ROOM` to the names of the pools that watch it, joined by commas.
    pub fn watched(&self) -> String {
        format!("{}watched", self.prefix)
    }

    /// What the keys of one pool start with.
    pub fn pool(&self, pool: &str) -> String {
        format!("{}pool:{pool}:", self.prefix)
    }

    /// Channel: what other instances have to say to the instance `instance`.
    pub fn inbox(&self, instance: &str) -> String {
        format!("{}inbox:{instance}", self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_stay_apart_and_share_one_slot_each() {
        let keys = Keys::new(&ObjectName::new("games", "main"));
        let room = RoomId::parse("a:b", 64).unwrap();
        assert_eq!(keys.room(&room), "berth:games/main:{games/main}:room:a:b");
        assert!(keys.instances().starts_with(keys.prefix()));
        assert!(keys.pool("eu").starts_with(keys.prefix()));
        assert!(keys.client_connections().starts_with(keys.prefix()));
        assert!(keys.client_messages().starts_with(keys.prefix()));
        assert_eq!(keys.inbox("i1@7"), "berth:games/main:inbox:i1@7");
        let other = Keys::new(&ObjectName::new("games", "main2"));
        assert_ne!(keys.room(&room), other.room(&room));
    }
}
