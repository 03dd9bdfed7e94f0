//! The real host server, on free ports, and its commands.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto, Proxy};

use crate::PATIENCE;
use crate::board::{APP, HOST, UID, VIN, provision};
use crate::log::Log;

/// A running server; it is killed when this is dropped.
pub(crate) struct Server {
    process: Child,
    _log: Log,
    addresses: HashMap<String, String>,
    pub(crate) folder: TempDir,
}

impl Server {
    /// Starts a server with its own broker, which vehicles reach at the address that this machine
    /// has for a board.
    pub(crate) async fn start(more: &[&str]) -> Self {
        let names = format!("{HOST},localhost,127.0.0.1");
        let own = [
            "--mqtt",
            "off",
            "--mqtts",
            "127.0.0.1:0",
            "--server-names",
            &names,
        ];
        Self::launch(tempfile::tempdir().unwrap(), &[&own, more].concat()).await
    }

    /// Starts a server that uses this broker.
    pub(crate) async fn beside(broker: &Mosquitto, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = broker.url(Endpoint::Mqtt).to_string();
        let password = Mosquitto::password_file(folder.path());
        let foreign = ["--broker", &url, "--broker-username", Mosquitto::USER];
        let login = ["--broker-password-file", &password, "--broker-uids", "all"];
        let partner = ["--partner", UID];
        Self::launch(folder, &[&foreign[..], &login, &partner, more].concat()).await
    }

    async fn launch(folder: TempDir, args: &[&str]) -> Self {
        let mut process = program()
            .args(["--http", "127.0.0.1:0"])
            .args(args)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut log = Log::of("server", process.stdout.take().unwrap());
        let mut addresses = HashMap::new();
        loop {
            let line = log.until("").await;
            match line.split_once('=') {
                Some((name, address)) => addresses.insert(name.to_owned(), address.to_owned()),
                None => break,
            };
        }
        Self {
            process,
            _log: log,
            addresses,
            folder,
        }
    }

    /// The block of a vehicle that speaks plain MQTT with the broker that this server is beside.
    pub(crate) async fn plain_block(&self, broker: &Mosquitto, more: &[&str]) -> PathBuf {
        let port = broker.url(Endpoint::Mqtt).port();
        self.plain_block_by(port, more).await
    }

    /// The same, if there is a wire of its own between the vehicle and its broker.
    pub(crate) async fn wired_block(&self, broker: &Mosquitto) -> (PathBuf, Proxy) {
        let url = broker.url(Endpoint::Mqtt);
        let wire = Proxy::to(&url).await;
        let block = self.plain_block_by(wire.url(&url).port(), &[]).await;
        (block, wire)
    }

    /// The same, if the vehicle reaches its broker by this port of ours.
    pub(crate) async fn plain_block_by(&self, port: u16, more: &[&str]) -> PathBuf {
        let password = self.folder.path().join("password").display().to_string();
        let url = format!("mqtt://{HOST}:{port}");
        let login = ["--username", Mosquitto::USER, "--password-file", &password];
        provision(self.folder.path(), &url, &[&login, more].concat()).await
    }

    /// The block of a vehicle that is enrolled and speaks MQTT over TLS.
    pub(crate) async fn block(&self, more: &[&str]) -> PathBuf {
        let url = format!("mqtts://{HOST}:{}", self.port("mqtts"));
        self.block_for(&url, more).await
    }

    /// The same, if it is to be told that the broker is at `url`.
    pub(crate) async fn block_for(&self, url: &str, more: &[&str]) -> PathBuf {
        let car = self.folder.path().join("car").display().to_string();
        if !self.folder.path().join("car").exists() {
            done(&self.run(&["enroll", "vehicle", VIN, "--out", &car]).await);
        }
        provision(self.folder.path(), url, &[&["--dir", &car], more].concat()).await
    }

    /// Sends content to the app of the vehicle.
    pub(crate) async fn send(&self, content: &str) -> Output {
        self.send_to(APP, content).await
    }

    /// Sends content to the app of the vehicle with receipts, of this kind; the message's id.
    pub(crate) async fn send_with_receipts(&self, kind: &str, content: &str) -> String {
        let to = ["send", "--url", &self.url(), "--vin", VIN, "--app", APP];
        let kind = format!("--receipts={kind}");
        let message = ["--content", content, &kind];
        let said = done(&self.run(&[&to[..], &message].concat()).await);
        said.trim().to_owned()
    }

    /// Sends a content with receipts that is too long for a command line; what is said of it.
    pub(crate) async fn send_long_with_receipts(&self, content: &str) -> Output {
        let file = self.folder.path().join("content");
        std::fs::write(&file, content).unwrap();
        let content = format!("@{}", file.display());
        let to = ["send", "--url", &self.url(), "--vin", VIN, "--app", APP];
        let message = ["--receipts", "--content", &content];
        self.run(&[&to[..], &message].concat()).await
    }

    /// Asks the app of the vehicle; its answer, or why there is none.
    pub(crate) async fn ask(&self, content: &str) -> Output {
        let to = ["request", "--url", &self.url(), "--vin", VIN, "--app", APP];
        self.run(&[&to[..], &["--content", content]].concat()).await
    }

    /// Waits until the last step of a message is one of these; all of its steps.
    pub(crate) async fn traced(&self, id: &str, wanted: &[&str]) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.authorized(&format!("/api/v1/messages/{id}")).await;
            let (_, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
            let message: Value = serde_json::from_str(body).expect("JSON");
            let steps = message["steps"].as_array().expect("its steps").iter();
            let steps: Vec<String> = steps
                .filter_map(|step| Some(step["step"].as_str()?.to_owned()))
                .collect();
            if steps
                .last()
                .is_some_and(|last| wanted.contains(&last.as_str()))
            {
                return steps;
            }
            assert!(Instant::now() < deadline, "{wanted:?}: {steps:?}");
        }
    }

    /// Sends content to an app of the vehicle.
    pub(crate) async fn send_to(&self, app: &str, content: &str) -> Output {
        let file = self.folder.path().join("content");
        std::fs::write(&file, content).unwrap();
        let content = format!("@{}", file.display());
        self.run(&[
            "send",
            "--url",
            &self.url(),
            "--vin",
            VIN,
            "--app",
            app,
            "--content",
            &content,
        ])
        .await
    }

    /// Sends a popup with content to the app of the vehicle.
    pub(crate) async fn popup(&self, text: &str, content: &str) -> Output {
        let popup = ["--popup", text, "--popup-btn", "--content", content];
        let to = ["send", "--url", &self.url(), "--vin", VIN, "--app", APP];
        self.run(&[&to[..], &popup].concat()).await
    }

    /// Listens to the vehicle: every uplink message is a line.
    pub(crate) async fn listen(&self) -> Listener {
        let mut process = program()
            .args(["listen", "--url", &self.url(), "--vin", VIN, "--data-dir"])
            .arg(self.folder.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = Log::of("listener", process.stderr.take().unwrap());
        ready.until("listening at").await;
        let messages = Log::of("listener", process.stdout.take().unwrap());
        Listener {
            _process: process,
            _ready: ready,
            messages,
        }
    }

    /// Waits until the vehicle's presence is `online` or `offline`.
    pub(crate) async fn vehicle_is(&self, presence: &str) {
        self.shows(&format!("\"presence\":\"{presence}\"")).await;
    }

    /// Waits until REST tells this about the vehicle; all that it tells.
    pub(crate) async fn shows(&self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.vehicle().await;
            if answer.contains(wanted) {
                return answer;
            }
            assert!(Instant::now() < deadline, "no {wanted}: {answer}");
        }
    }

    /// The vehicle's first report of health from when it had connected so many times.
    pub(crate) async fn health_since(&self, sessions: u64) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.vehicle().await;
            let (_, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
            let mut vehicle: Value = serde_json::from_str(body).expect("JSON");
            let report = vehicle["health"]["report"].take();
            if report["counters"]["sessions"].as_u64() >= Some(sessions) {
                return report;
            }
            assert!(Instant::now() < deadline, "no newer report: {report}");
        }
    }

    /// Waits until the server and its broker are connected, or are not.
    pub(crate) async fn is_ready(&self, ready: bool) {
        let deadline = Instant::now() + PATIENCE;
        let wanted = format!("\"ready\":{ready}");
        loop {
            let answer = self.get("/readyz", "").await;
            if answer.contains(&wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "no {wanted}: {answer}");
        }
    }

    /// What REST tells about the vehicle.
    async fn vehicle(&self) -> String {
        self.authorized(&format!("/api/v1/vehicles/{VIN}")).await
    }

    async fn authorized(&self, path: &str) -> String {
        let token = self.folder.path().join("data/admin/token");
        let token = std::fs::read_to_string(token).unwrap();
        let authorization = format!("Authorization: Bearer {}\r\n", token.trim());
        self.get(path, &authorization).await
    }

    async fn get(&self, path: &str, more: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
        let mut stream = TcpStream::connect(&self.addresses["http"]).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Has it do nothing, though its connections stay open.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Has it go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill")
            .args([signal, &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Where a program listens: `http`, `mqtt` or `mqtts`.
    pub(crate) fn port(&self, name: &str) -> &str {
        let address = &self.addresses[name];
        address.rsplit(':').next().unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}", self.addresses["http"])
    }

    async fn run(&self, args: &[&str]) -> Output {
        let mut command = program();
        command
            .args(args)
            .arg("--data-dir")
            .arg(self.folder.path().join("data"));
        command.output().await.unwrap()
    }
}

/// A running `host-server listen`.
pub(crate) struct Listener {
    _process: Child,
    _ready: Log,
    messages: Log,
}

impl Listener {
    /// Waits for the message with this content; others may come before it.
    pub(crate) async fn hears(&mut self, content: &str) {
        let content = format!("\"content\":{content}}}");
        let line = self.messages.until(&content).await;
        assert!(line.ends_with(&content), "the content is not all: {line}");
    }

    /// The `n` of the next message's content.
    pub(crate) async fn next_number(&mut self) -> u64 {
        let line = self.messages.until("\"n\":").await;
        let message: Value = serde_json::from_str(&line).expect("JSON");
        message["content"]["n"].as_u64().expect("a number")
    }

    /// Counts the messages until there is one with this content, which counts as well.
    pub(crate) async fn counts_until(&mut self, content: &str) -> usize {
        let last = format!("\"content\":{content}}}");
        self.messages.lines_until(&last).await
    }
}

/// What a program that must have succeeded printed.
pub(crate) fn done(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn program() -> Command {
    let path = std::env::var("QEMU_TEST_HOST_SERVER").expect(crate::HOW_TO_RUN);
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VINBUS_") {
            command.env_remove(name);
        }
    }
    // By this one a program knows that cargo runs it.
    command.env_remove("CARGO");
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}
