//! Programs that are started here and end with us.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Longest wait for a program to serve; only a failure reaches it.
const START: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Longest wait for an answer on a connection to a child.
const ANSWER: Duration = Duration::from_secs(10);

/// A program and its first arguments.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

/// A running program. It ends when this is dropped, and when this process ends in whatever way.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
}

impl Program {
    /// A program without arguments.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it on `core` (all cores if `None`), with these variables and `PATH` alone as its environment.
    pub fn start(
        &self,
        name: &str,
        core: Option<usize>,
        environment: &[(&str, String)],
    ) -> anyhow::Result<Child> {
        // The kernel ends the child when we end without a chance to do so.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(core) = core {
            command.args(["taskset", "--cpu-list", &core.to_string()]);
        }
        command.arg(&self.path).args(&self.arguments).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        // Standard output is the report's.
        let log = std::io::stderr().as_fd().try_clone_to_owned()?;
        command.stdin(Stdio::null()).stdout(log);
        let process = command
            .spawn()
            .context("cannot run setpriv and taskset; install the Debian package util-linux")?;
        Ok(Child {
            name: name.to_owned(),
            process,
        })
    }
}

impl Child {
    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until `ready` says so; fails when the program ends, or does not become ready in 30 s.
    pub fn wait_until(&mut self, ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        while !ready() {
            if let Some(status) = self.process.try_wait()? {
                bail!("{} ended at its start: {status}", self.name);
            }
            if Instant::now() > end {
                bail!("{} is not ready after {START:?}", self.name);
            }
            sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// `GET path` from a port of this machine: status and body.
pub fn http_get(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = ask(port, &request)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without a head")?;
    let status = head.split(' ').nth(1).context("an answer without a status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// Sends a text to a port of this machine and reads until the other side closes.
pub(super) fn ask(port: u16, text: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(text.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_ends_when_it_is_dropped() {
        let child = Program::new("sleep")
            .argument("60")
            .start("sleep", None, &[])
            .unwrap();
        let folder = format!("/proc/{}", child.id());
        assert!(Path::new(&folder).exists());
        drop(child);
        assert!(!Path::new(&folder).exists());
    }

    #[test]
    fn a_child_that_ends_at_once_is_an_error_that_names_it() {
        let mut child = Program::new("false").start("the tool", None, &[]).unwrap();
        let error = child.wait_until(|| false).unwrap_err().to_string();
        assert!(error.contains("the tool ended"), "{error}");
    }
}
