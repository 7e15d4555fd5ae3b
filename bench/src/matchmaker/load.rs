//! Hosts that send heartbeats.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use serde_json::json;

use super::server::SECRET;

/// Longest wait for an answer; only a failure reaches it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests at a fixed pace that may be under way at the same time.
const AT_ONCE: usize = 64;

/// The heartbeats of all hosts, as they are sent: they stay the same for ever, as those of hosts in the field do.
pub(super) struct Hosts {
    pub(super) rooms: Vec<String>,
    bodies: Vec<String>,
}

/// What came of requests at a fixed rate.
pub(super) struct Paced {
    pub(super) requests: u64,
    /// From the time at which a request was due to its answer, ns.
    pub(super) latency: Histogram<u64>,
}

/// A connection that is used again and again.
pub(super) struct Kept {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Hosts {
    /// So many hosts. `telling`: they tell of themselves what the simulated hosts of the Node matchmaker tell.
    pub(super) fn new(count: usize, telling: bool) -> Self {
        let rooms: Vec<String> = (0..count).map(|number| format!("room-{number}")).collect();
        let body = |(number, room): (usize, &String)| {
            let mut body = json!({"hostId": format!("host-{number}"), "roomId": room, "region": "us-east-1"});
            if telling {
                body["publicIp"] = json!("203.0.113.7");
                body["gameInfo"] = json!({
                    "name": "A game with a name of usual length",
                    "specs": {"gpu": "NVIDIA RTX 4090", "cpu": "AMD Ryzen 9 7950X", "ram": "64GB", "os": "Windows 11"},
                });
            }
            body.to_string()
        };
        Self {
            bodies: rooms.iter().enumerate().map(body).collect(),
            rooms,
        }
    }

    /// Each host sends one, evenly spread over `interval`, on a connection of its own, as hosts do that say something three times
    /// a minute. An open loop: latency counts from the time at which a heartbeat was due.
    pub(super) fn once(&self, address: SocketAddr, interval: Duration) -> anyhow::Result<Paced> {
        self.each(interval, |body| Kept::open(address)?.beat(body))
    }

    /// The same with the least that can be asked: whether the server is alive.
    pub(super) fn nothing(&self, address: SocketAddr, interval: Duration) -> anyhow::Result<Paced> {
        self.each(interval, |_| {
            let (status, _) = Kept::open(address)?.ask("GET", "/healthz", "")?;
            ensure!(status == 200, "GET /healthz answers {status}");
            Ok(())
        })
    }

    /// Does `act` with the heartbeat of each host, at the times that are due, also while earlier ones are not answered yet.
    fn each(
        &self,
        interval: Duration,
        act: impl Fn(&str) -> anyhow::Result<()> + Sync,
    ) -> anyhow::Result<Paced> {
        let begun = Instant::now();
        let each = interval / u32::try_from(self.bodies.len().max(1))?;
        let act = &act;
        let one_in_turn = |first: usize| -> anyhow::Result<Histogram<u64>> {
            let mut latency = Histogram::new(2)?;
            for (number, body) in self.bodies.iter().enumerate().skip(first).step_by(AT_ONCE) {
                let due = begun + each * u32::try_from(number)?;
                sleep(due.saturating_duration_since(Instant::now()));
                act(body)?;
                latency.record(u64::try_from(due.elapsed().as_nanos())?)?;
            }
            Ok(latency)
        };
        let one_in_turn = &one_in_turn;
        let latencies = thread::scope(|threads| {
            let running: Vec<_> = (0..AT_ONCE)
                .map(|first| threads.spawn(move || one_in_turn(first)))
                .collect();
            let ended = running.into_iter().map(|thread| match thread.join() {
                Ok(latency) => latency,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            ended.collect::<anyhow::Result<Vec<_>>>()
        })?;
        let mut latency = Histogram::new(2)?;
        for one in latencies {
            latency.add(one)?;
        }
        Ok(Paced {
            requests: self.bodies.len() as u64,
            latency,
        })
    }

    /// As many as pass over so many connections, each with one under way, in `duration`, and at least one of each host. Gives their number.
    pub(super) fn flood(
        &self,
        address: SocketAddr,
        connections: usize,
        duration: Duration,
    ) -> anyhow::Result<u64> {
        let kept: anyhow::Result<Vec<Kept>> = (0..connections).map(|_| Kept::open(address)).collect();
        let mut kept = kept?;
        let (begun, mut sent) = (Instant::now(), 0);
        let mut bodies = self.bodies.iter().cycle();
        while begun.elapsed() < duration || sent < self.bodies.len() {
            for connection in &mut kept {
                connection.send(bodies.next().context("no hosts")?)?;
            }
            for connection in &mut kept {
                connection.hear()?;
            }
            sent += kept.len();
        }
        Ok(sent as u64)
    }
}

impl Kept {
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            address,
            stream: BufReader::with_capacity(1024, stream),
        })
    }

    fn beat(&mut self, body: &str) -> anyhow::Result<()> {
        self.send(body)?;
        self.hear()
    }

    fn send(&mut self, body: &str) -> anyhow::Result<()> {
        let request = format!(
            "POST /api/host/heartbeat HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {SECRET}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        Ok(self.stream.get_mut().write_all(request.as_bytes())?)
    }

    /// Asks something as a client, and gives status and body of the answer.
    pub(super) fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (head, body) = self.read()?;
        let status = head.split(' ').nth(1).context("no status")?;
        Ok((status.parse()?, body))
    }

    /// Reads an answer, which must say that all is well.
    fn hear(&mut self) -> anyhow::Result<()> {
        let (head, body) = self.read()?;
        let accepted = head.starts_with("HTTP/1.1 200 ") && body.starts_with(br#"{"success":true"#);
        ensure!(
            accepted,
            "a heartbeat was refused: {head}{}",
            String::from_utf8_lossy(&body)
        );
        Ok(())
    }

    /// Head and body of an answer.
    fn read(&mut self) -> anyhow::Result<(String, Vec<u8>)> {
        let mut head = String::new();
        let mut length = 0;
        loop {
            let from = head.len();
            self.stream.read_line(&mut head)?;
            let line = head.get(from..).unwrap_or_default().trim_end();
            ensure!(head.len() > from, "the connection ended");
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((head, body))
    }
}
