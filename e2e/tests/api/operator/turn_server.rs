//! The command of a rendered TURN server, run as it is with a real coturn on this machine: only folders and its address are others.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use berth_crds::TurnConfig;
use berth_dataplane::testing::free_port;
use berth_operator::render;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::bed::{PATIENCE, defaults};

const SECRET: &str = "a-secret_of-the_test";

/// A coturn by the command of a Deployment. It ends when it is dropped.
struct Server {
    process: Child,
    port: u16,
    address: IpAddr,
    folder: TempDir,
}

impl Server {
    /// With these fields beside those that make it run here.
    fn start(more: &Value) -> Self {
        Self::start_with(more, |_| ())
    }

    /// The same; `prepare` fills the folder of Secrets.
    fn start_with(more: &Value, prepare: impl FnOnce(&Path)) -> Self {
        let folder = TempDir::new().unwrap();
        prepare(folder.path());
        let (port, address) = (free_port(), own_address());
        let mut managed = json!({
            "network": "Host", "listeningPort": port, "relayPorts": {"min": 20000, "max": 20999},
        });
        managed
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let resource: TurnConfig = serde_json::from_value(json!({
            "apiVersion": "berth.dev/v1alpha1", "kind": "TurnConfig", "metadata": {"name": "main"},
            "spec": {"managed": managed},
        }))
        .unwrap();
        let desired = render::turn_config(&resource, true, &defaults());
        let deployment = desired
            .children
            .iter()
            .find_map(|child| match child {
                render::Child::Deployment(deployment) => deployment.spec.clone(),
                _ => None,
            })
            .unwrap();
        let container = deployment.template.spec.unwrap().containers.remove(0);
        let here = |text: &String| {
            let root = folder.path().to_str().unwrap();
            text.replace("/etc/berth/secrets", root)
                .replace("/run/coturn", root)
                .replace("$(ADDRESS)", &address.to_string())
        };
        write(folder.path(), "main-turn-secret/secret", SECRET);
        let mut command = container.command.unwrap();
        command.extend(container.args.unwrap().iter().map(here));
        let output = fs::File::create(folder.path().join("output")).unwrap();
        let process = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("sh and turnserver must be installed (Debian package coturn)");
        let server = Self {
            process,
            port,
            address,
            folder,
        };
        server.wait();
        server
    }

    fn wait(&self) {
        let socket = UdpSocket::bind((self.address, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut request = [0; 20];
        request[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        let end = Instant::now() + PATIENCE;
        while {
            // A port that is not open yet answers with an error, which is no answer.
            let _ = socket.send_to(&request, (self.address, self.port));
            socket.recv(&mut [0; 512]).is_err()
        } {
            assert!(
                Instant::now() < end,
                "turnserver does not answer: {}",
                self.output()
            );
        }
    }

    fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).unwrap()
    }

    /// coturn's own client, with these arguments.
    fn client(&self, secret: &str, arguments: &[&str]) -> Output {
        Command::new("timeout")
            .args([
                "20",
                "turnutils_uclient",
                "-c",
                "-n",
                "3",
                "-m",
                "1",
                "-u",
                "player",
                "-W",
                secret,
            ])
            .args(arguments)
            .args(["-p", &self.port.to_string()])
            .arg(self.address.to_string())
            .output()
            .expect("turnutils_uclient must be installed (Debian package coturn)")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The address by which this machine leaves it: loopback is what no server relays to. Nothing is sent.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("203.0.113.1:9").expect("a machine with a network");
    socket.local_addr().unwrap().ip()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[test]
fn a_rendered_server_relays_for_who_has_a_credential_and_not_to_everybody() {
    // Its own network is denied, as most private ones are, and itself is allowed all the same.
    let own = own_address();
    let server = Server::start(&json!({
        "deniedPeers": [format!("{own}/8"), "10.0.0.0/8"], "allowedPeers": ["10.9.0.0/16"],
    }));
    let said = server.output();
    for complaint in ["ERROR", "rong", "unrecognized", "Usage"] {
        assert!(
            !said.contains(complaint),
            "it does not understand its arguments: {said}"
        );
    }
    let relayed = text(&server.client(SECRET, &["-y"]));
    assert!(relayed.contains("tot_send_msgs=6, tot_recv_msgs=6"), "{relayed}");
    let stranger = text(&server.client("another", &["-y"]));
    assert!(stranger.contains("Cannot complete Allocation"), "{stranger}");
    let denied = |peer: &str| {
        let told = text(&server.client(SECRET, &["-e", peer, "-r", "9999"]));
        assert!(!told.contains("Cannot complete Allocation"), "{told}");
        told.contains("403 (Forbidden IP)")
    };
    for peer in ["10.1.2.3", "127.0.0.1", "169.254.169.254", "0.0.0.0"] {
        assert!(denied(peer), "{peer}: {}", server.output());
    }
    assert!(!denied("10.9.8.7"), "it is allowed");
    assert!(!denied("203.0.113.9"), "nobody denies it");

    // The secret is where no other process sees it.
    let line = fs::read(format!("/proc/{}/cmdline", server.process.id())).unwrap();
    let line = String::from_utf8_lossy(&line).into_owned();
    assert!(line.starts_with("turnserver\0"), "{line}");
    assert!(!line.contains(SECRET), "{line}");
    assert!(!server.output().contains(SECRET));
}

/// A certificate for `name` and its key, as a mounted Secret has them.
fn certificate(folder: &Path, name: &str) {
    let folder = folder.join("turn-tls");
    fs::create_dir_all(&folder).unwrap();
    let (key, crt) = (folder.join("new.key"), folder.join("new.crt"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
        .args([
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-subj",
            &format!("/CN={name}"),
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&crt)
        .output()
        .expect("openssl must be installed");
    assert!(made.status.success(), "{}", text(&made));
    fs::rename(key, folder.join("tls.key")).unwrap();
    fs::rename(crt, folder.join("tls.crt")).unwrap();
}

#[test]
fn a_new_certificate_is_taken_without_a_restart() {
    let port = free_port();
    let server = Server::start_with(
        &json!({"tls": {"secretName": "turn-tls", "port": port}}),
        |folder| certificate(folder, "one.example.com"),
    );
    let subject = || {
        let told = Command::new("openssl")
            .args(["s_client", "-connect", &format!("{}:{port}", server.address)])
            .stdin(Stdio::null())
            .output()
            .expect("openssl must be installed");
        text(&told)
    };
    let shows = |name: &str| {
        let end = Instant::now() + PATIENCE;
        loop {
            let told = subject();
            if told.contains(name) {
                return;
            }
            assert!(Instant::now() < end, "never {name}: {told}; {}", server.output());
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    shows("one.example.com");
    certificate(server.folder.path(), "two.example.com");
    shows("two.example.com");
    let relayed = text(&server.client(SECRET, &["-y"]));
    assert!(relayed.contains("tot_send_msgs=6, tot_recv_msgs=6"), "{relayed}");
}
