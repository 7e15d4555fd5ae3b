//! One `redis-server` process: a server, a node of a cluster, or a Sentinel.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::free_port;

/// Longest wait for a server to answer; only a hang reaches it.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// Attempts to find a port that nobody takes between looking and starting.
const PORT_ATTEMPTS: u32 = 20;

/// A `redis-server` on a free loopback port, without persistence. It ends when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Child>,
    port: u16,
    arguments: Vec<String>,
    /// Where it runs and keeps its files, which outlive a restart.
    folder: TempDir,
}

/// Arguments of a server that keeps nothing.
const FORGETFUL: [&str; 4] = ["--save", "", "--appendonly", "no"];

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further arguments, for example `["--requirepass", "x"]`.
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::launch(|_, _| {
            FORGETFUL
                .iter()
                .chain(arguments)
                .map(|argument| (*argument).to_owned())
                .collect()
        })
    }

    /// Starts the program with arguments that depend on its port and its folder. The port is a free one.
    pub(super) fn launch(arguments: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            let folder = TempDir::new().expect("a temporary folder can be made");
            let mut server = Self {
                process: None,
                port,
                arguments: arguments(port, folder.path()),
                folder,
            };
            if server.try_start() {
                return server;
            }
        }
        panic!("redis-server did not start on any of {PORT_ATTEMPTS} ports");
    }

    /// Address for `REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the process as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fails only if it has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again on the same port, empty, with other arguments than before if there are any.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.kill();
        if !arguments.is_empty() {
            let arguments = FORGETFUL.iter().chain(arguments);
            self.arguments = arguments.map(|argument| (*argument).to_owned()).collect();
        }
        let deadline = Instant::now() + START_DEADLINE;
        while !self.try_start() {
            assert!(
                Instant::now() < deadline,
                "redis-server did not start again on port {}",
                self.port
            );
        }
    }

    /// Starts it again on the same port, empty.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// Stops the process without ending it: connections stay open and nothing answers, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("the server must run").id();
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(id.to_string())
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "cannot send SIG{name} to redis-server"
        );
    }

    /// Sends one inline command on a connection of its own and returns the raw answer.
    pub fn command(&self, line: &str) -> String {
        self.try_command(line).expect("redis-server must answer")
    }

    /// The same where the server may cut its connections meanwhile, as one that becomes a replica does.
    ///
    /// # Errors
    ///
    /// The connection could not be made, or was cut.
    pub fn try_command(&self, line: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))?;
        stream.set_read_timeout(Some(START_DEADLINE))?;
        let password = self
            .password()
            .map(|password| format!("AUTH {password}\r\n"))
            .unwrap_or_default();
        stream.write_all(format!("{password}{line}\r\nQUIT\r\n").as_bytes())?;
        // A Sentinel knows no QUIT before Redis 7.2.
        if self.arguments.iter().any(|argument| argument == "--sentinel") {
            stream.shutdown(Shutdown::Write)?;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Calls of a command so far.
    pub fn calls(&self, command: &str) -> u64 {
        self.calls_but(&[]).get(command).copied().unwrap_or(0)
    }

    /// Calls of each command so far, as `INFO commandstats` counts them, without those of `background`.
    pub fn calls_but(&self, background: &[&str]) -> BTreeMap<String, u64> {
        let stats = self.command("INFO commandstats");
        let counted = stats.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = rest.split(',').next()?.parse().expect("a number of calls");
            (!background.contains(&name)).then(|| (name.to_owned(), calls))
        });
        counted.collect()
    }

    /// The same without those of links that look whether Redis is there, of subscriptions, and of tests that ask.
    pub fn foreground_calls(&self) -> BTreeMap<String, u64> {
        self.calls_but(&["ping", "info", "quit", "hello", "client|setinfo", "subscribe"])
    }

    fn password(&self) -> Option<&str> {
        let at = self
            .arguments
            .iter()
            .position(|argument| argument == "--requirepass")?;
        self.arguments.get(at + 1).map(String::as_str)
    }

    /// `false` if somebody else has the port.
    fn try_start(&mut self) -> bool {
        let process = Command::new("redis-server")
            .args(&self.arguments)
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start redis-server: {error}; install the Debian package redis-server")
            });
        let process = self.process.insert(process);
        let id = process.id();
        let deadline = Instant::now() + START_DEADLINE;
        while Instant::now() < deadline {
            if let Some(Ok(Some(_))) = self.process.as_mut().map(Child::try_wait) {
                self.process = None;
                return false;
            }
            // The port may belong to somebody else's server: the process id tells.
            let info = self.try_command("INFO server").unwrap_or_default();
            if info.contains(&format!("process_id:{id}\r\n")) {
                return true;
            }
            sleep(Duration::from_millis(5));
        }
        panic!("redis-server did not answer within {START_DEADLINE:?}");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
