//! The real `host-server` program, and real vehicles that connect to it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client as Http, Method, RequestBuilder};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicScheme};
use vinbus_transport_std::{BrokerUrl, Client, ClientOptions, Inbox, Qos};

/// The vehicle of most tests.
pub(crate) const VIN: &str = "0123456789ABCDEFG";

/// The partner that is there from the first start.
pub(crate) const PARTNER: &str = "demo-partner";

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what has to happen.
pub(crate) async fn within<F: IntoFuture>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// The program, without any of its variables in the environment; it dies with the test.
pub(crate) fn program() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_host-server")))
}

/// Any command, of the same kind.
pub(crate) fn clean(mut command: Command) -> Command {
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

/// Runs the program to its end.
pub(crate) async fn run(args: &[&str]) -> Output {
    within("the program ends", program().args(args).output())
        .await
        .unwrap()
}

/// Standard error of a program that must have failed with `status`.
pub(crate) fn failed(output: &Output, status: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{text}");
    text
}

/// Standard output of a program that must have succeeded.
pub(crate) fn done(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A free address that is still free for a server that comes back to it: its port is below the range from
/// which the system takes ports for connections and for port 0, so nobody gets it meanwhile.
pub(crate) fn steady_address() -> String {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Tests that run at the same time begin at places of their own.
    let own = 20_000 + (std::process::id() % 700) as u16 * 16;
    loop {
        let port = own + TAKEN.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.0.1:{port}");
        if std::net::TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    addresses: HashMap<String, SocketAddr>,
    printed: Arc<Mutex<String>>,
    collecting: Vec<JoinHandle<()>>,
    pub(crate) dir: PathBuf,
    http: Http,
}

impl Server {
    /// Starts a server with embedded broker on free ports, and waits until it is ready.
    pub(crate) async fn start(dir: &Path) -> Self {
        let mqtts = steady_address();
        Self::with(dir, &["--mqtt", "127.0.0.1:0", "--mqtts", &mqtts]).await
    }

    /// Starts a server on free ports of `args`, and waits until it is ready.
    pub(crate) async fn with(dir: &Path, args: &[&str]) -> Self {
        let http = steady_address();
        Self::launch(program().args(["--http", &http]).args(args), dir).await
    }

    /// Starts a server by a command that names neither data folder nor outputs.
    pub(crate) async fn launch(command: &mut Command, dir: &Path) -> Self {
        // The first test of the process installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut child = command
            .arg("--data-dir")
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = Arc::new(Mutex::new(String::new()));
        let errors = collect(child.stderr.take().unwrap(), Arc::clone(&printed));
        let errors = tokio::spawn(errors);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = within("the server is ready", addresses(&mut lines, &printed)).await;
        let Some(addresses) = ready else {
            let status = child.wait().await.unwrap();
            panic!(
                "the server ended with {status}: {}",
                printed.lock().unwrap()
            );
        };
        let rest = tokio::spawn(collect(lines.into_inner(), Arc::clone(&printed)));
        Self {
            child,
            addresses,
            printed,
            collecting: vec![errors, rest],
            dir: dir.to_owned(),
            http: Http::new(),
        }
    }

    /// Where `name` (`http`, `mqtt` or `mqtts`) is listened for.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        self.addresses[name]
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address("http"))
    }

    /// Everything that it printed so far.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// The administrator's token.
    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.dir.join("admin/token"))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// A request as the administrator.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.url());
        self.http.request(method, url).bearer_auth(self.token())
    }

    /// The answer to a GET as the administrator.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Sends a message by REST; `None` where the server cannot be reached any more.
    pub(crate) async fn submit(&self, content: &str) -> Option<String> {
        self.submit_asking("", content).await
    }

    /// The same with a query, such as `?receipts=yes`.
    pub(crate) async fn submit_asking(&self, query: &str, content: &str) -> Option<String> {
        let body = format!(r#"{{"idApp":"demo-app","content":{content}}}"#);
        let path = format!("/api/v1/vehicles/{VIN}/messages{query}");
        let answer = self
            .request(Method::POST, &path)
            .body(body)
            .send()
            .await
            .ok()?;
        assert_eq!(answer.status(), 202);
        let accepted: Value = answer.json().await.ok()?;
        Some(accepted["id"].as_str()?.to_owned())
    }

    /// Waits until a message came so far.
    pub(crate) async fn traced(&self, id: &str, status: &str) {
        self.traced_to_any(id, &[status]).await;
    }

    /// Waits until a message came to one of these.
    pub(crate) async fn traced_to_any(&self, id: &str, wanted: &[&str]) {
        let path = format!("/api/v1/messages/{id}");
        let asking = async {
            loop {
                let trace = self.get(&path).await;
                if wanted.iter().any(|status| trace["status"] == *status) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        within(&format!("{id} is {}", wanted.join(" or ")), asking).await;
    }

    /// What became of a message so far.
    pub(crate) async fn steps(&self, id: &str) -> Vec<String> {
        let trace = self.get(&format!("/api/v1/messages/{id}")).await;
        let steps = trace["steps"].as_array().unwrap().iter();
        steps
            .map(|step| step["step"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until [`VIN`] is online.
    pub(crate) async fn online(&self) {
        let path = format!("/api/v1/vehicles/{VIN}");
        let online = async {
            while self.get(&path).await["presence"] != "online" {
                tokio::task::yield_now().await;
            }
        };
        within("the vehicle is online", online).await;
    }

    /// Runs another command of the program against this server.
    pub(crate) async fn command(&self, args: &[&str]) -> Output {
        let command = self.client(args);
        within("the command ends", { command }.output())
            .await
            .unwrap()
    }

    /// Another command of the program against this server, not started yet.
    pub(crate) fn client(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.args(args).arg("--data-dir").arg(&self.dir);
        if args[0] != "enroll" {
            command.args(["--url", &self.url()]);
        }
        command
    }

    /// Enrolls a vehicle by the program, unless it is already.
    pub(crate) async fn enroll(&self, vin: &str, out: &Path) {
        if !out.exists() {
            let out = out.to_str().unwrap();
            let enroll = ["enroll", "vehicle", vin, "--out", out];
            done(&self.command(&enroll).await);
        }
    }

    /// Where vehicles that are enrolled connect.
    pub(crate) fn mqtts(&self) -> BrokerUrl {
        let url = format!("mqtts://localhost:{}", self.address("mqtts").port());
        url.parse().unwrap()
    }

    /// Enrolls [`VIN`] by the program and connects it by mutual TLS, subscribed to its downlink.
    pub(crate) async fn vehicle(&self) -> Vehicle {
        let out = self.dir.join("car");
        self.enroll(VIN, &out).await;
        let options = ClientOptions::new(self.mqtts(), format!("agent-{VIN}"))
            .ca_file(out.join("ca.pem"))
            .identity_files(out.join("cert.pem"), out.join("key.pem"));
        Vehicle::connect(options).await
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let process = self.process().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &process])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end, and for everything it printed.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = within("the server ends", self.child.wait()).await.unwrap();
        for collecting in self.collecting.drain(..) {
            within("its outputs are closed", collecting).await.unwrap();
        }
        status
    }
}

async fn addresses(
    lines: &mut Lines<BufReader<ChildStdout>>,
    printed: &Arc<Mutex<String>>,
) -> Option<HashMap<String, SocketAddr>> {
    let mut addresses = HashMap::new();
    loop {
        let line = lines.next_line().await.unwrap()?;
        let Some((name, address)) = line.split_once('=') else {
            return Some(addresses);
        };
        addresses.insert(name.to_owned(), address.parse().unwrap());
        printed.lock().unwrap().push_str(&format!("{line}\n"));
    }
}

async fn collect(output: impl AsyncRead + Unpin, into: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        into.lock().unwrap().push_str(&format!("{line}\n"));
    }
}

/// A vehicle that is connected and subscribed.
pub(crate) struct Vehicle {
    pub(crate) client: Client,
    pub(crate) inbox: Inbox,
}

impl Vehicle {
    /// Connects and subscribes to the downlink of [`VIN`].
    pub(crate) async fn connect(options: ClientOptions) -> Self {
        let (client, inbox) = vinbus_transport_std::connect(options).unwrap();
        let (uid, vin) = ids();
        for filter in TopicScheme::default().exact_filters(Direction::Downlink, &uid, &vin) {
            let subscribed = client.subscribe(&filter, Qos::AtMostOnce);
            within("the vehicle is subscribed", subscribed)
                .await
                .unwrap();
        }
        Self { client, inbox }
    }

    /// The payload of the next message for this vehicle.
    pub(crate) async fn next(&mut self) -> Bytes {
        within("a message arrives", self.inbox.recv())
            .await
            .unwrap()
            .payload
    }

    /// Sends a message with this content and waits for its acknowledgement.
    pub(crate) async fn say(&self, content: &str) {
        let (uid, vin) = ids();
        let topic = TopicScheme::default()
            .publish_topic(Direction::Uplink, &uid, &vin, None)
            .unwrap();
        let payload = format!("{{\"content\":{content}}}");
        let published = self
            .client
            .publish(&topic, payload.into(), Qos::AtLeastOnce, false);
        within("the message is acknowledged", published)
            .await
            .unwrap();
    }
}

fn ids() -> (Uid, Vin) {
    (Uid::parse(PARTNER).unwrap(), Vin::parse(VIN).unwrap())
}

/// `host-server listen`, and its lines.
pub(crate) struct Listener {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<tokio::process::ChildStderr>>,
}

impl Listener {
    /// Starts `listen` and waits until it is connected.
    pub(crate) async fn start(server: &Server, args: &[&str]) -> Self {
        let args: Vec<_> = ["listen"].iter().chain(args).copied().collect();
        let mut child = server
            .client(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut listener = Self {
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            errors: BufReader::new(child.stderr.take().unwrap()).lines(),
            child,
        };
        listener.says("listening at").await;
        listener
    }

    /// The next line of its standard output.
    pub(crate) async fn line(&mut self) -> String {
        within("a line is printed", self.lines.next_line())
            .await
            .unwrap()
            .unwrap()
    }

    /// Reads standard error until a line with `part` comes.
    pub(crate) async fn says(&mut self, part: &str) {
        let reading = async {
            while let Some(line) = self.errors.next_line().await.unwrap() {
                if line.contains(part) {
                    return;
                }
            }
            panic!("it ended without saying {part:?}");
        };
        within(part, reading).await;
    }
}
