//! Receipts with the real programs: server, agent and app. Either end is killed, the broker loses what
//! it may lose, and the app sees each message once.

mod cli_support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cli_support::{PARTNER, PATIENCE, Server, VIN, done, within};
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto};

/// The agent's program, which is built beside the server's.
fn agent() -> Command {
    let server = PathBuf::from(env!("CARGO_BIN_EXE_host-server"));
    let agent = server.with_file_name("vehicle-agent");
    let path = agent.display();
    assert!(
        agent.exists(),
        "{path} is missing: cargo build -p vinbus-vehicle-agent"
    );
    let mut command = Command::new(agent);
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// A running program whose lines are kept.
struct Program {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
}

impl Program {
    fn start(command: &mut Command, errors: bool) -> Self {
        let (sender, lines) = watch::channel(Vec::new());
        let command = match errors {
            true => command.stdout(Stdio::null()).stderr(Stdio::piped()),
            false => command.stdout(Stdio::piped()).stderr(Stdio::null()),
        };
        let mut child = command.spawn().unwrap();
        let output: Box<dyn tokio::io::AsyncRead + Send + Unpin> = match errors {
            true => Box::new(child.stderr.take().unwrap()),
            false => Box::new(child.stdout.take().unwrap()),
        };
        tokio::spawn(async move {
            let mut output = BufReader::new(output).lines();
            while let Ok(Some(line)) = output.next_line().await {
                sender.send_modify(|lines| lines.push(line));
            }
        });
        Self { child, lines }
    }

    async fn until<T>(&mut self, what: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let printed = self.lines.clone();
        let waited = self.lines.wait_for(|lines| find(lines).is_some());
        let lines = tokio::time::timeout(PATIENCE, waited).await;
        let Ok(Ok(lines)) = lines else {
            panic!("waited in vain: {what}: {:?}", printed.borrow());
        };
        find(&lines).unwrap()
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A vehicle's agent and its portal's address.
struct Agent {
    program: Program,
    portal: String,
}

impl Agent {
    async fn start(more: &[&str]) -> Self {
        let app = format!("demo-app={PARTNER}");
        let own = [
            "run",
            "--vin",
            VIN,
            "--portal",
            "127.0.0.1:0",
            "--app",
            &app,
        ];
        let mut program = Program::start(agent().args(own).args(more), true);
        let portal = program.until("the portal is open", |lines| {
            lines.iter().find_map(|line| {
                let (_, rest) = line.split_once("ws://")?;
                Some(rest.split_once("/portal")?.0.to_owned())
            })
        });
        let portal = portal.await;
        Self { program, portal }
    }

    /// One that is enrolled at a server with a broker of its own.
    async fn at(server: &Server) -> Self {
        let car = server.dir.join("car");
        let path = |file: &str| car.join(file).display().to_string();
        if !car.exists() {
            let out = car.display().to_string();
            done(
                &server
                    .command(&["enroll", "vehicle", VIN, "--out", &out])
                    .await,
            );
        }
        let url = format!("mqtts://localhost:{}", server.address("mqtts").port());
        let data = path("data");
        let (ca, cert, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
        let credentials = ["--ca", &ca, "--cert", &cert, "--key", &key];
        let to = ["--broker", &url, "--data-dir", &data];
        Self::start(&[&to[..], &credentials].concat()).await
    }

    fn app(&self) -> Program {
        let args = ["app", "--app", "demo-app", "--portal", &self.portal];
        // An app ends with its input.
        Program::start(agent().args(args).stdin(Stdio::piped()), false)
    }
}

async fn send(server: &Server, n: usize, receipts: &str) -> Option<String> {
    let path = format!("/api/v1/vehicles/{VIN}/messages?receipts={receipts}");
    let body = format!(r#"{{"idApp":"demo-app","content":{{"n":{n}}}}}"#);
    let answer = server
        .request(Method::POST, &path)
        .body(body)
        .send()
        .await
        .ok()?;
    let accepted: Value = answer.json().await.ok()?;
    Some(accepted["id"].as_str()?.to_owned())
}

async fn steps(server: &Server, id: &str) -> Vec<String> {
    let trace = server.get(&format!("/api/v1/messages/{id}")).await;
    let steps = trace["steps"].as_array().unwrap().iter();
    steps
        .map(|step| step["step"].as_str().unwrap().to_owned())
        .collect()
}

/// How often the app saw each message.
fn seen(lines: &[String]) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    for line in lines {
        let message: Value = serde_json::from_str(line).unwrap();
        *seen
            .entry(message["content"]["n"].as_u64().unwrap())
            .or_default() += 1;
    }
    seen
}

fn once(numbers: std::ops::Range<u64>) -> BTreeMap<u64, usize> {
    numbers.map(|n| (n, 1)).collect()
}

#[tokio::test]
async fn each_step_in_the_car_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    let held = send(&server, 0, "yes").await.unwrap();
    server.traced(&held, "held_background").await;
    let mut app = agent.app();
    server.traced(&held, "confirmed").await;
    let at_once = send(&server, 1, "yes").await.unwrap();
    server.traced(&at_once, "taken").await;
    app.until("it is seen", |lines| (lines.len() == 2).then_some(()))
        .await;
    assert_eq!(seen(&app.lines.borrow()), once(0..2));
    let of_held = steps(&server, &held).await;
    assert_eq!(of_held.first().unwrap(), "accepted");
    assert_eq!(
        of_held[of_held.len() - 3..],
        ["sent", "held_background", "confirmed"]
    );
    assert_eq!(
        steps(&server, &at_once).await,
        ["accepted", "sent", "taken"]
    );
    let traced = done(&server.command(&["trace", &held]).await);
    assert!(
        traced.contains("confirmed        the app has confirmed it"),
        "{traced}"
    );

    let path = format!("/api/v1/vehicles/{VIN}/messages?receipts=yes");
    let body = r#"{"idApp":"nobody","content":1}"#;
    let answer = server
        .request(Method::POST, &path)
        .body(body)
        .send()
        .await
        .unwrap();
    let accepted: Value = answer.json().await.unwrap();
    server
        .traced(accepted["id"].as_str().unwrap(), "unknown_app")
        .await;
}

#[tokio::test]
async fn eleventh_message_for_an_app_that_does_not_come_up_evicts_the_first_and_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    let mut ids = Vec::new();
    for n in 0..11 {
        ids.push(send(&server, n, "yes").await.unwrap());
    }
    server.traced(&ids[10], "held_background").await;
    let mut evicted = 0;
    for id in &ids {
        let last = async {
            loop {
                let trace = server.get(&format!("/api/v1/messages/{id}")).await;
                match trace["status"].as_str().unwrap() {
                    "evicted" => return 1,
                    "held_background" => return 0,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        evicted += within("its place is known", last).await;
    }
    assert_eq!(evicted, 1);
    drop(agent);
}

#[tokio::test]
async fn agent_that_is_killed_with_a_message_leads_to_its_being_told_as_lost_and_never_seen() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    let lost = send(&server, 0, "yes").await.unwrap();
    server.traced(&lost, "held_background").await;
    agent.program.kill().await;
    let agent = Agent::at(&server).await;
    server.traced(&lost, "peer_restarted").await;
    let after = send(&server, 1, "yes").await.unwrap();
    server.traced(&after, "held_background").await;
    let mut app = agent.app();
    server.traced(&after, "confirmed").await;
    app.until("it is seen", |lines| (!lines.is_empty()).then_some(()))
        .await;
    assert_eq!(seen(&app.lines.borrow()), once(1..2));
}

#[tokio::test]
async fn server_that_is_killed_again_and_again_loses_nothing_and_the_app_sees_each_message_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let mqtts = server.address("mqtts").to_string();
    let agent = Agent::at(&server).await;
    let mut app = agent.app();
    let first = send(&server, 0, "yes").await.unwrap();
    server.traced(&first, "taken").await;
    let mut accepted = vec![(0, first)];
    for round in 0..3_usize {
        for n in 0..20 {
            let n = 1 + round * 20 + n;
            accepted.push((n, send(&server, n, "yes").await.unwrap()));
        }
        server.signal("KILL");
        server.ended().await;
        drop(server);
        let args = ["--mqtt", "off", "--mqtts", &mqtts];
        server = Server::with(dir.path(), &args).await;
    }
    for (_, id) in &accepted {
        let told = async {
            loop {
                let trace = server.get(&format!("/api/v1/messages/{id}")).await;
                let status = trace["status"].as_str().unwrap().to_owned();
                if ["taken", "confirmed", "known"].contains(&status.as_str()) {
                    return;
                }
                assert!(!["expired", "given_up", "peer_restarted"].contains(&status.as_str()));
                tokio::task::yield_now().await;
            }
        };
        within("it is taken", told).await;
    }
    let all = accepted.len();
    app.until("all are seen", |lines| (lines.len() >= all).then_some(()))
        .await;
    assert_eq!(seen(&app.lines.borrow()), once(0..all as u64));
}

/// Forwards to a broker and, while it is told to, drops every fifth message of QoS 0 in each
/// direction.
async fn lossy(to: String) -> (String, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (loses, lost) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (on, count) = (Arc::clone(&loses), Arc::clone(&lost));
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&to).await.unwrap();
            let ((a, b), (c, d)) = (near.into_split(), far.into_split());
            for (from, to) in [(a, d), (c, b)] {
                tokio::spawn(packets(from, to, Arc::clone(&on), Arc::clone(&count)));
            }
        }
    });
    (address, loses, lost)
}

async fn packets(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    loses: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut messages = 0_usize;
    loop {
        let mut packet = vec![from.read_u8().await?];
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = from.read_u8().await?;
            packet.push(byte);
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let begin = packet.len();
        packet.resize(begin + length, 0);
        from.read_exact(&mut packet[begin..]).await?;
        // The first byte of a PUBLISH of QoS 0 is 0x3, then nothing, nothing and perhaps retain.
        if packet[0] & 0xfe == 0x30 && loses.load(Ordering::Relaxed) {
            messages += 1;
            if messages.is_multiple_of(5) {
                lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        }
        to.write_all(&packet).await?;
    }
}

/// A server on this broker, reached through a proxy.
async fn server_on(mosquitto: &Mosquitto, proxy: &str, dir: &Path) -> Server {
    let password = dir.join("password");
    std::fs::write(&password, Mosquitto::PASSWORD).unwrap();
    let (url, password) = (format!("mqtt://{proxy}"), password.display().to_string());
    let login = [
        "--broker-username",
        Mosquitto::USER,
        "--broker-password-file",
        &password,
    ];
    let args = [&["--broker", &url, "--partner", PARTNER], &login[..]].concat();
    let server = Server::with(&dir.join("data"), &args).await;
    let ready = async {
        while server.get("/readyz").await["ready"] != true {
            tokio::task::yield_now().await;
        }
    };
    within("the server is ready", ready).await;
    let _ = mosquitto;
    server
}

#[tokio::test]
async fn broker_that_loses_every_fifth_message_costs_repetitions_and_nothing_else() {
    let mosquitto = Mosquitto::start().await;
    let dir = tempfile::tempdir().unwrap();
    let url = mosquitto.url(Endpoint::Mqtt);
    let broker = format!("127.0.0.1:{}", url.port());
    let (proxy, loses, lost) = lossy(broker.clone()).await;
    let server = server_on(&mosquitto, &proxy, dir.path()).await;
    let password = dir.path().join("password").display().to_string();
    let to = format!("mqtt://{broker}");
    let login = ["--username", Mosquitto::USER, "--password-file", &password];
    let agent = Agent::start(&[&["--broker", &to, "--qos", "0"], &login[..]].concat()).await;
    let online = async {
        let path = format!("/api/v1/vehicles/{VIN}");
        while server.get(&path).await["presence"] != "online" {
            tokio::task::yield_now().await;
        }
    };
    within("the vehicle is online", online).await;
    let mut app = agent.app();
    let first = send(&server, 0, "yes").await.unwrap();
    let told = async {
        while !["taken", "confirmed"].contains(&&*steps(&server, &first).await.pop().unwrap()) {
            tokio::task::yield_now().await;
        }
    };
    within("the first is taken", told).await;
    loses.store(true, Ordering::Relaxed);
    let mut ids = Vec::new();
    for n in 1..=100 {
        ids.push(send(&server, n, "yes").await.unwrap());
    }
    for id in &ids {
        let told = async {
            while !["taken", "known"].contains(&&*steps(&server, id).await.pop().unwrap()) {
                tokio::task::yield_now().await;
            }
        };
        within("it is taken", told).await;
    }
    app.until("all are seen", |lines| (lines.len() > 100).then_some(()))
        .await;
    assert_eq!(seen(&app.lines.borrow()), once(0..101));
    assert!(lost.load(Ordering::Relaxed) >= 20, "messages were lost");
}
