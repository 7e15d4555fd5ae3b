//! A real coturn on loopback, with a static shared secret.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use berth_crds::api::FailurePolicy;
use berth_crds::settings::{ObjectName, ProviderSettings, SecretRef, TurnSettings};
use berth_dataplane::ice::{IceServer, IssuedByProvider, ice_servers};
use berth_dataplane::secrets::{Secret, SecretStore};
use serde_json::Value;

/// How long the credentials are good.
pub(crate) const CREDENTIAL_TTL: Duration = Duration::from_hours(1);

const SECRET: &str = "a shared secret of the test";

/// A TURN server that ends with the test.
pub(crate) struct Coturn {
    process: Child,
    port: u16,
    _state: tempfile::TempDir,
}

impl Coturn {
    /// Starts `turnserver` on a free port and waits until it answers a STUN request.
    pub(crate) fn start() -> Self {
        let port = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let state = tempfile::tempdir().unwrap();
        let process = Command::new("turnserver")
            .args([
                "-n",
                "--listening-ip=127.0.0.1",
                "--relay-ip=127.0.0.1",
                "--realm=berth.test",
            ])
            .args([
                "--no-tls",
                "--no-dtls",
                "--no-cli",
                "--allow-loopback-peers",
                "--no-tcp",
            ])
            .args([
                "--use-auth-secret",
                "--fingerprint",
                "--no-stdout-log",
                "--log-file=/dev/null",
            ])
            .arg(format!("--static-auth-secret={SECRET}"))
            .arg(format!("--listening-port={port}"))
            .arg(format!("--pidfile={}", state.path().join("pid").display()))
            .arg(format!("--userdb={}", state.path().join("turndb").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver must be installed (Debian package coturn)");
        let coturn = Self {
            process,
            port,
            _state: state,
        };
        coturn.wait();
        coturn
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// User name and credential as the matchmaker makes them, good for an hour from now on.
    pub(crate) fn credential(&self) -> (String, String) {
        let server = self.servers(unix_now()).remove(0);
        (server.username.unwrap(), server.credential.unwrap())
    }

    /// `iceServers` of a match.
    pub(crate) fn ice_servers(&self) -> Value {
        self.ice_servers_made_at(unix_now())
    }

    /// The same as they were handed out at this time, Unix seconds.
    pub(crate) fn ice_servers_made_at(&self, now: u64) -> Value {
        serde_json::to_value(self.servers(now)).unwrap()
    }

    fn servers(&self, now: u64) -> Vec<IceServer> {
        let secret = SecretRef {
            name: "turn".into(),
            key: "secret".into(),
        };
        let secrets = SecretStore::in_memory();
        secrets.put(&secret, Secret::new(SECRET).unwrap());
        let settings = TurnSettings {
            name: ObjectName::new("default", "turn"),
            generation: 0,
            stun_urls: Vec::new(),
            providers: vec![ProviderSettings::SharedSecret {
                name: "coturn".into(),
                urls: vec![format!("turn:127.0.0.1:{}?transport=udp", self.port)],
                secret,
            }],
            credential_ttl: CREDENTIAL_TTL,
            failure_policy: FailurePolicy::StunOnly,
        };
        ice_servers(Some(&settings), &secrets, &IssuedByProvider::new(), "test", now).servers
    }

    fn wait(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut request = [0; 20];
        request[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        let deadline = Instant::now() + super::DEADLINE;
        loop {
            // A port that is not open yet answers with an error, which is no answer.
            let _ = socket.send_to(&request, ("127.0.0.1", self.port));
            if socket.recv(&mut [0; 512]).is_ok() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "turnserver does not answer on port {}",
                self.port
            );
        }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
