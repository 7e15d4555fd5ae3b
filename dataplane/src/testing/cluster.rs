//! A Redis Cluster on loopback.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use super::{RedisServer, TestRedis, eventually, free_port};

/// Slots of a cluster.
const SLOTS: u16 = 16384;
/// After so long without an answer a node counts as failed. Long enough for a busy machine, short enough for a test.
const NODE_TIMEOUT_MS: &str = "3000";

/// A Redis Cluster of three masters, which share the slots evenly, and of replicas that are added. It ends when it is
/// dropped.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    /// Arguments that all nodes have in common.
    arguments: Vec<String>,
    /// Slots that are elsewhere than at the start.
    moved: HashMap<u16, usize>,
    /// Ports for TLS, if the nodes have them.
    tls_ports: Vec<u16>,
}

impl RedisCluster {
    /// Starts a cluster and waits until all nodes agree on it.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further arguments for every node; with `--tls-cluster` all speak TLS.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            moved: HashMap::new(),
            tls_ports: Vec::new(),
        };
        for index in 0..3 {
            cluster.launch();
            let node = cluster.node(index);
            node.command(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1));
            let (first, last) = range(index);
            let added = node.command(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            assert!(added.starts_with("+OK"), "{added}");
        }
        cluster.settle();
        cluster
    }

    fn launch(&mut self) {
        let with_tls = self.arguments.iter().any(|argument| argument == "--tls-cluster");
        // New ports at each attempt to start.
        let (bus, tls_port) = (Cell::new(0), Cell::new(None));
        let node = RedisServer::launch(|_, _| {
            bus.set(free_port());
            tls_port.set(with_tls.then(free_port));
            let mut arguments: Vec<String> = [
                "--save",
                "",
                "--appendonly",
                "no",
                "--cluster-enabled",
                "yes",
                "--cluster-config-file",
                "nodes.conf",
                "--cluster-port",
                &bus.get().to_string(),
                "--cluster-node-timeout",
                NODE_TIMEOUT_MS,
                "--cluster-replica-validity-factor",
                "0",
            ]
            .map(str::to_owned)
            .into();
            if let Some(port) = tls_port.get() {
                arguments.extend(["--tls-port".to_owned(), port.to_string()]);
            }
            arguments.extend(self.arguments.iter().cloned());
            arguments
        });
        self.tls_ports.extend(tls_port.get());
        if let Some(first) = self.nodes.first() {
            // With TLS the node is known by that port.
            let port = tls_port.get().unwrap_or(node.port());
            let met = first.command(&format!("CLUSTER MEET 127.0.0.1 {port} {}", bus.get()));
            assert!(met.starts_with("+OK"), "{met}");
        }
        self.nodes.push(node);
    }

    /// Waits until every node knows all others and serves.
    fn settle(&self) {
        let known = format!("cluster_known_nodes:{}\r\n", self.nodes.len());
        for node in &self.nodes {
            eventually("the cluster agrees", || {
                let info = node.command("CLUSTER INFO");
                (info.contains("cluster_state:ok") && info.contains(&known)).then_some(())
            });
        }
    }

    /// A node; 0 to 2 are the masters of the start, replicas come behind.
    pub fn node(&self, index: usize) -> &RedisServer {
        self.nodes.get(index).expect("the cluster has that node")
    }

    /// The same, to end or to restart it.
    pub fn node_mut(&mut self, index: usize) -> &mut RedisServer {
        self.nodes.get_mut(index).expect("the cluster has that node")
    }

    /// All nodes.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The slot of a key or channel.
    pub fn slot(&self, key: &str) -> u16 {
        // Any node that lives computes it.
        let answer = self
            .nodes
            .iter()
            .find_map(|node| node.try_command(&format!("CLUSTER KEYSLOT {key}")).ok())
            .expect("a node lives");
        answer
            .lines()
            .next()
            .and_then(|line| line.strip_prefix(':')?.parse().ok())
            .expect("a slot is a number")
    }

    /// The master that owned the slot of a key at the start, or that it was moved to. Failovers are not seen.
    pub fn owner(&self, key: &str) -> usize {
        let slot = self.slot(key);
        let at_start = || {
            (0..3)
                .find(|index| slot <= range(*index).1)
                .expect("all slots are owned")
        };
        self.moved.get(&slot).copied().unwrap_or_else(at_start)
    }

    /// A name with this beginning whose slot the node owns.
    pub fn name_at(&self, beginning: &str, node: usize) -> String {
        (0..10_000)
            .map(|number: u32| format!("{beginning}{number}"))
            .find(|name| self.owner(name) == node)
            .expect("every node owns slots")
    }

    /// Adds a replica of a master and gives its number.
    pub fn add_replica(&mut self, of: usize) -> usize {
        self.launch();
        self.settle();
        let replica = self.nodes.len() - 1;
        let id = self.id(of);
        eventually("the replica knows its master", || {
            let answer = self.node(replica).command(&format!("CLUSTER REPLICATE {id}"));
            answer.starts_with("+OK").then_some(())
        });
        eventually("the replica follows its master", || {
            let info = self.node(replica).command("INFO replication");
            info.contains("master_link_status:up").then_some(())
        });
        // All must know it, or it gets no votes when its master dies.
        for node in &self.nodes {
            eventually("all know the replica", || {
                node.command(&format!("CLUSTER REPLICAS {id}"))
                    .contains(&self.id(replica))
                    .then_some(())
            });
        }
        replica
    }

    /// Begins to move the slot of a key, and moves keys of it as far as they are named.
    pub fn begin_move(&mut self, key: &str, to: usize) {
        let (slot, from) = (self.slot(key), self.owner(key));
        let (source, target) = (self.node(from), self.node(to));
        let importing = target.command(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", self.id(from)));
        let migrating = source.command(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", self.id(to)));
        assert!(
            importing.starts_with("+OK") && migrating.starts_with("+OK"),
            "{importing}{migrating}"
        );
    }

    /// Moves one key of a slot that is on its way.
    pub fn move_key(&self, key: &str, to: usize) {
        let port = self.node(to).port();
        let moved = self
            .node(self.owner(key))
            .command(&format!("MIGRATE 127.0.0.1 {port} {key} 0 5000"));
        assert!(moved.starts_with("+OK"), "{key}: {moved}");
    }

    /// Moves all keys that are left of a slot that is on its way, and then the slot.
    pub fn finish_move(&mut self, key: &str, to: usize) {
        let slot = self.slot(key);
        let source = self.node(self.owner(key));
        loop {
            let answer = source.command(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
            let keys: Vec<&str> = answer
                .lines()
                .take_while(|line| *line != "+OK")
                .filter(|line| !line.starts_with(['*', '$']))
                .collect();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                self.move_key(key, to);
            }
        }
        let id = self.id(to);
        // The new owner first: while nobody owns the slot, nobody may claim it.
        let order = std::iter::once(to).chain((0..self.nodes.len()).filter(|index| *index != to));
        for index in order {
            // Replicas hear it from their masters.
            self.node(index)
                .command(&format!("CLUSTER SETSLOT {slot} NODE {id}"));
        }
        self.moved.insert(slot, to);
    }

    /// Moves a slot with all its keys.
    pub fn move_slot(&mut self, key: &str, to: usize) {
        self.begin_move(key, to);
        self.finish_move(key, to);
    }

    /// Calls of a command so far, on all nodes.
    pub fn calls(&self, command: &str) -> u64 {
        self.nodes.iter().map(|node| node.calls(command)).sum()
    }

    /// Calls of all commands so far but those with which a link and a cluster see that all is well, and of tests that ask.
    pub fn foreground_calls(&self) -> u64 {
        let background = [
            "ping",
            "info",
            "quit",
            "hello",
            "client|setinfo",
            "cluster|slots",
            "cluster|keyslot",
        ];
        let nodes = self.nodes.iter().map(|node| node.calls_but(&background));
        nodes.flat_map(BTreeMap::into_values).sum()
    }

    fn id(&self, index: usize) -> String {
        let answer = self.node(index).command("CLUSTER MYID");
        answer.lines().nth(1).expect("a node has an id").to_owned()
    }
}

impl TestRedis for RedisCluster {
    fn url(&self) -> String {
        let (scheme, ports) = if self.tls_ports.is_empty() {
            ("redis", self.nodes.iter().map(RedisServer::port).collect())
        } else {
            ("rediss", self.tls_ports.clone())
        };
        let nodes: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("{scheme}+cluster://{}", nodes.join(","))
    }
}

/// First and last slot of a master.
fn range(index: usize) -> (u16, u16) {
    let index = u16::try_from(index).expect("a small number");
    let share = SLOTS / 3;
    let last = if index == 2 { SLOTS } else { (index + 1) * share };
    (index * share, last - 1)
}
