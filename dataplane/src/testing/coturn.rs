//! A real coturn on loopback, with a static shared secret.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{eventually, free_port};

/// A `turnserver` on a free loopback port, by UDP and TCP. It ends when it is dropped.
#[derive(Debug)]
pub struct CoturnServer {
    process: Child,
    port: u16,
    _state: TempDir,
}

impl CoturnServer {
    /// The secret that it shares with whoever issues credentials.
    pub const SECRET: &str = "a shared secret of the test";

    /// Starts one and waits until it answers a STUN request.
    pub fn start() -> Self {
        Self::start_on(free_port())
    }

    /// The same on this port.
    pub fn start_on(port: u16) -> Self {
        let state = TempDir::new().expect("a temporary folder can be made");
        let process = Command::new("turnserver")
            .args([
                "-n",
                "--listening-ip=127.0.0.1",
                "--relay-ip=127.0.0.1",
                "--realm=berth.test",
            ])
            .args(["--no-tls", "--no-dtls", "--no-cli", "--allow-loopback-peers"])
            .args([
                "--use-auth-secret",
                "--fingerprint",
                "--no-stdout-log",
                "--log-file=/dev/null",
            ])
            .arg(format!("--static-auth-secret={}", Self::SECRET))
            .arg(format!("--listening-port={port}"))
            .arg(format!("--pidfile={}", state.path().join("pid").display()))
            .arg(format!("--userdb={}", state.path().join("turndb").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver must be installed (Debian package coturn)");
        let server = Self {
            process,
            port,
            _state: state,
        };
        server.wait();
        server
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn wait(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback port must be free");
        let patience = Some(Duration::from_millis(200));
        socket.set_read_timeout(patience).expect("a time above 0");
        let mut request = [0; 20];
        request[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        eventually("turnserver answers", || {
            // A port that is not open yet answers with an error, which is no answer.
            let _ = socket.send_to(&request, ("127.0.0.1", self.port));
            socket.recv(&mut [0; 512]).ok()
        });
    }
}

impl Drop for CoturnServer {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
