//! A master, its replica, and Sentinels that watch them.

use std::cell::Cell;

use super::{RedisServer, TestRedis, eventually, free_port};

/// Name of the master.
const MASTER: &str = "main";
/// After so long without an answer a master counts as down. Long enough for a busy machine, short enough for a test.
const DOWN_AFTER_MS: u32 = 2000;

/// Two servers behind Sentinels, any one of which may order a failover. They end when this is dropped.
#[derive(Debug)]
pub struct RedisSentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
    /// Ports of the Sentinels for TLS, if they have them.
    tls_ports: Vec<u16>,
    /// Login and parameters for the URL.
    login: String,
    parameters: String,
}

/// What [`RedisSentinels`] are started with.
#[derive(Debug, Default)]
pub struct SentinelOptions<'a> {
    /// Further arguments of both servers.
    pub servers: &'a [&'a str],
    /// Further lines in the configuration of the Sentinels.
    pub sentinels: &'a [&'a str],
    /// Password of the Sentinels; empty: they ask for none.
    pub sentinel_password: &'a str,
    /// Names and values of the options with which all speak TLS; none: they do not.
    pub tls: &'a [(&'a str, &'a str)],
    /// Login at the servers as in a URL, with the `@`.
    pub login: &'a str,
    /// Parameters of the URL.
    pub parameters: &'a str,
}

impl RedisSentinels {
    /// Starts them and waits until every Sentinel knows both servers and all others.
    pub fn start(sentinels: usize) -> Self {
        Self::start_with(sentinels, &SentinelOptions::default())
    }

    /// The same with options.
    pub fn start_with(sentinels: usize, options: &SentinelOptions<'_>) -> Self {
        let mut this = Self {
            servers: Vec::new(),
            sentinels: Vec::new(),
            tls_ports: Vec::new(),
            login: options.login.to_owned(),
            parameters: options.parameters.to_owned(),
        };
        let master = this.launch_server(options, None);
        this.launch_server(options, Some(master));
        for _ in 0..sentinels {
            this.launch_sentinel(options, master);
        }
        let others = format!("num-other-sentinels\r\n${}\r\n{}\r\n", 1, sentinels - 1);
        for sentinel in &this.sentinels {
            eventually("the sentinels know everybody", || {
                let seen = sentinel.command(&format!("SENTINEL MASTER {MASTER}"));
                (seen.contains("num-slaves\r\n$1\r\n1\r\n") && seen.contains(&others)).then_some(())
            });
        }
        eventually("the replica follows its master", || {
            let info = this.server(1).try_command("INFO replication").ok()?;
            info.contains("master_link_status:up").then_some(())
        });
        this
    }

    /// Starts a server and gives the port by which the others know it.
    fn launch_server(&mut self, options: &SentinelOptions<'_>, master: Option<u16>) -> u16 {
        let mut arguments: Vec<String> = options.servers.iter().map(|text| (*text).to_owned()).collect();
        let mut option = |name: &str, value: &str| arguments.extend([format!("--{name}"), value.to_owned()]);
        option("repl-diskless-sync-delay", "0");
        let tls_port = (!options.tls.is_empty()).then(free_port);
        if let Some(port) = tls_port {
            option("tls-port", &port.to_string());
            option("tls-replication", "yes");
            options.tls.iter().for_each(|(name, value)| option(name, value));
        }
        if let Some(master) = master {
            option("replicaof", &format!("127.0.0.1 {master}"));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = RedisServer::start_with(&arguments);
        let port = tls_port.unwrap_or(server.port());
        self.servers.push(server);
        port
    }

    fn launch_sentinel(&mut self, options: &SentinelOptions<'_>, master: u16) {
        let mut lines = vec![
            format!("sentinel monitor {MASTER} 127.0.0.1 {master} 1"),
            format!("sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}"),
            format!("sentinel failover-timeout {MASTER} 10000"),
        ];
        lines.extend(options.sentinels.iter().map(|line| (*line).to_owned()));
        let tls_port = Cell::new(None);
        self.sentinels.push(RedisServer::launch(|_, folder| {
            let mut lines = lines.clone();
            tls_port.set((!options.tls.is_empty()).then(free_port));
            if let Some(port) = tls_port.get() {
                lines.extend([format!("tls-port {port}"), "tls-replication yes".to_owned()]);
                lines.extend(options.tls.iter().map(|(name, value)| format!("{name} {value}")));
            }
            // A Sentinel writes what it learns into its configuration.
            let file = folder.join("sentinel.conf");
            std::fs::write(&file, lines.join("\n")).expect("a temporary file can be written");
            let mut arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
            if !options.sentinel_password.is_empty() {
                arguments.extend(["--requirepass", options.sentinel_password].map(str::to_owned));
            }
            arguments
        }));
        self.tls_ports.extend(tls_port.get());
    }

    /// A server; 0 is the master of the start.
    pub fn server(&self, index: usize) -> &RedisServer {
        self.servers.get(index).expect("there are two servers")
    }

    /// The same, to end or to restart it.
    pub fn server_mut(&mut self, index: usize) -> &mut RedisServer {
        self.servers.get_mut(index).expect("there are two servers")
    }

    /// All Sentinels.
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// A Sentinel, to end or to restart it.
    pub fn sentinel_mut(&mut self, index: usize) -> &mut RedisServer {
        self.sentinels.get_mut(index).expect("there is that sentinel")
    }

    /// Orders a failover and waits until all Sentinels know the new master. Connections to the old one are closed by the
    /// Sentinels.
    pub fn fail_over(&self) {
        let before = self.master_port();
        eventually("a failover begins", || {
            let sentinel = self.sentinels.first().expect("there is a sentinel");
            let answer = sentinel.command(&format!("SENTINEL FAILOVER {MASTER}"));
            (answer.starts_with("+OK") || self.master_port() != before).then_some(())
        });
        self.wait_for_other_master(before);
    }

    /// Waits until all Sentinels name another master than the one on this port.
    pub fn wait_for_other_master(&self, port: u16) {
        for sentinel in &self.sentinels {
            eventually("another master", || (named_by(sentinel) != port).then_some(()));
        }
    }

    /// Port of the master, as the first Sentinel says.
    pub fn master_port(&self) -> u16 {
        named_by(self.sentinels.first().expect("there is a sentinel"))
    }
}

fn named_by(sentinel: &RedisServer) -> u16 {
    let answer = sentinel.command(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {MASTER}"));
    let port = answer.lines().nth(4).and_then(|line| line.parse().ok());
    port.expect("a sentinel names a port")
}

impl TestRedis for RedisSentinels {
    fn url(&self) -> String {
        let (scheme, ports) = if self.tls_ports.is_empty() {
            let ports = self.sentinels.iter().map(RedisServer::port).collect();
            ("redis", ports)
        } else {
            ("rediss", self.tls_ports.clone())
        };
        let sentinels: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let Self {
            login, parameters, ..
        } = self;
        format!(
            "{scheme}+sentinel://{login}{}/{MASTER}{parameters}",
            sentinels.join(",")
        )
    }
}
