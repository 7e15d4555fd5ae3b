//! The matchmaker's public API against its own `OpenAPI` document: Schemathesis makes requests out of it, right and wrong ones, and
//! compares the answers with what is documented.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_e2e::{process, workspace};

use crate::packages::{self, cargo};

/// Folder of its settings and of the list of Python packages.
const FOLDER: &str = "matchmaker/tests/schemathesis";
/// Longest time until the matchmaker hands out a host: on an empty store it waits for what signaling may know.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often the host says that it is there.
const BEAT: Duration = Duration::from_millis(200);
/// Longest time for one answer.
const ANSWER: Duration = Duration::from_secs(10);
/// What hosts prove themselves by.
const SECRET: &str = "schemathesis-secret";

/// A program that ends with this value.
struct Program {
    child: Child,
    log: PathBuf,
}

/// Tries the API of a matchmaker of its own.
pub(crate) fn run() -> Result<()> {
    let python = environment()?;
    process::run(cargo().args(["build", "--quiet", "--locked", "--package=berth-matchmaker"]))?;
    let [redis, port, internal] = free_ports()?;
    let logs = workspace::target().join("schemathesis-logs");
    fs::create_dir_all(&logs)?;
    let mut store = mortal("redis-server");
    store.args([
        "--port",
        &redis.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    let _store = Program::start(store, logs.join("redis.log"))?;
    let mut matchmaker = mortal(workspace::target().join("debug/berth-matchmaker"));
    // Only setpriv is looked for in PATH.
    matchmaker.env_clear().envs([
        ("PATH", env::var("PATH").unwrap_or_default()),
        ("PORT", port.to_string()),
        ("INTERNAL_PORT", internal.to_string()),
        ("REDIS_URL", format!("redis://127.0.0.1:{redis}")),
        ("HOST_SECRET", SECRET.to_owned()),
        // All requests come from one address.
        ("RATE_LIMIT_FINDS_PER_10S", "1000000".to_owned()),
    ]);
    let matchmaker = Program::start(matchmaker, logs.join("matchmaker.log"))?;
    process::wait_for("a first match", PATIENCE, || first_match(port))
        .with_context(|| process::log_tail(&matchmaker.log))?;
    let (tried, done) = mpsc::channel::<()>();
    let host = thread::spawn(move || {
        // What is tried lets hosts leave as well: without this one hardly a find would be granted.
        while done.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            let _ = heartbeat(port);
        }
    });
    let outcome = try_all(&python, port, &logs);
    drop(tried);
    let _ = host.join();
    outcome.with_context(|| process::log_tail(&matchmaker.log))?;
    match granted(port)? {
        // The first one is ours.
        0 | 1 => bail!("no find was granted while the API was tried, so nothing was proved about it"),
        many => {
            println!("{} finds were granted", many - 1);
            Ok(())
        }
    }
}

/// How many finds were granted.
fn granted(port: u16) -> Result<u64> {
    let metrics = call(port, "GET", "/metrics", "")?;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("berth_finds_total{result=\"granted\"} "));
    Ok(line.unwrap_or("0").parse()?)
}

/// Lets Schemathesis try every call.
fn try_all(python: &Path, port: u16, logs: &Path) -> Result<()> {
    let server = format!("http://127.0.0.1:{port}");
    let settings = workspace::root().join(FOLDER).join("schemathesis.toml");
    let mut schemathesis = Command::new(python.join("bin/schemathesis"));
    schemathesis.arg("--config-file").arg(settings).arg("run");
    schemathesis.args([
        &format!("{server}/api/openapi.json"),
        "--url",
        &server,
        "--no-color",
    ]);
    // What it remembers of this run, it remembers outside the repository.
    schemathesis
        .args(["--header", &format!("Authorization: Bearer {SECRET}")])
        .current_dir(logs);
    process::run(&mut schemathesis)
}

/// A virtual environment with what is listed, made anew when the list has changed.
fn environment() -> Result<PathBuf> {
    let list = workspace::root().join(FOLDER).join("requirements.txt");
    let wanted = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    let folder = workspace::target().join("schemathesis");
    let present = folder.join("requirements.txt");
    if fs::read_to_string(&present).is_ok_and(|text| text == wanted)
        && process::succeeds(Command::new(folder.join("bin/schemathesis")).arg("--version"))
    {
        return Ok(folder);
    }
    // Debian's python3 is there without what a virtual environment is made of.
    if !process::succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        packages::install(&["python3-venv"])?;
    }
    process::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--requirement",
    ]);
    process::run(pip.arg(&list))
        .context("the Python packages of Schemathesis come from PyPI by pip (Debian's python3-venv)")?;
    fs::write(&present, wanted)?;
    Ok(folder)
}

/// A match, once a host is handed out.
fn first_match(port: u16) -> Result<Option<()>> {
    // Not before the program listens.
    if heartbeat(port).is_err() {
        return Ok(None);
    }
    let found = call(port, "POST", "/api/match/find", "{}")?;
    Ok(found.starts_with("HTTP/1.1 200").then_some(()))
}

/// A host with room for many players says that it is there.
fn heartbeat(port: u16) -> Result<()> {
    let answer = call(
        port,
        "POST",
        "/api/host/heartbeat",
        r#"{"hostId": "always-there", "roomId": "always-there", "capacity": 1000, "publicIp": "192.0.2.1", "location": {"city": "Kiel"}}"#,
    )?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("a heartbeat is answered: {answer}");
    }
    Ok(())
}

fn call(port: u16, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {SECRET}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A program that the kernel ends should this process die first.
fn mortal(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Ports that were free a moment ago.
fn free_ports() -> Result<[u16; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (first, second, third) = (bind()?, bind()?, bind()?);
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    Ok([port(&first)?, port(&second)?, port(&third)?])
}

impl Program {
    /// Starts `command` with its output in `log`.
    fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let output = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command
            .spawn()
            .with_context(|| format!("`{}`", process::line(&command)))?;
        Ok(Self { child, log })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
