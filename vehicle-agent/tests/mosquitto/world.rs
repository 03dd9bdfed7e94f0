//! A broker, a partner and vehicles for the tests.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;

use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicScheme};
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto};
use vinbus_transport_std::{Client, Inbox, LinkState, Qos, connect};

use crate::app::{App, PATIENCE};

pub(crate) const VIN: &str = "0123456789ABCDEFG";
pub(crate) const UID: &str = "demo-partner";

/// The only user of the test broker.
pub(crate) const USER: &str = "tester";
pub(crate) const PASSWORD: &str = "correct horse";

/// A broker with a partner who listens to every vehicle.
pub(crate) struct World {
    pub(crate) broker: Mosquitto,
    pub(crate) folder: TempDir,
    pub(crate) partner: Client,
    uplink: Inbox,
    scheme: TopicScheme,
}

impl World {
    pub(crate) async fn new() -> Self {
        let broker = Mosquitto::start().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        let url = broker.url(Endpoint::Mqtt);
        let options = broker
            .options(Endpoint::Mqtt, url, "partner")
            .reconnect_delays(Duration::from_millis(20), Duration::from_millis(100))
            .inbound_messages_max(1024);
        let (partner, uplink) = connect(options).unwrap();
        let scheme = TopicScheme::default();
        let uid = Uid::parse(UID).unwrap();
        let all = scheme.uid_filter(Direction::Uplink, &uid);
        partner.subscribe(&all, Qos::AtLeastOnce).await.unwrap();
        Self {
            broker,
            folder,
            partner,
            uplink,
            scheme,
        }
    }

    /// Starts the stopped broker and waits until the partner listens again: what the broker gets
    /// before that reaches nobody.
    pub(crate) async fn broker_is_back(&mut self) {
        let before = self.partner.counters().connections;
        self.broker.start().await;
        let mut link = self.partner.link();
        let again = |state: &LinkState| {
            matches!(state, LinkState::Connected { .. })
                && self.partner.counters().connections > before
        };
        timeout(PATIENCE, link.wait_for(again))
            .await
            .expect("the partner's link")
            .unwrap();
    }

    pub(crate) fn url(&self) -> String {
        self.broker.url(Endpoint::Mqtt).to_string()
    }

    pub(crate) fn password_file(&self) -> String {
        self.folder.path().join("password").display().to_string()
    }

    /// Starts a vehicle and waits until it is online.
    pub(crate) async fn vehicle(&mut self, apps: &[&str], more: &[&str]) -> Vehicle {
        let vehicle = self.vehicle_offline(&self.url(), apps, more);
        self.online(VIN, true).await;
        vehicle
    }

    /// Starts a vehicle without waiting for anything but its portal.
    pub(crate) fn vehicle_offline(&self, url: &str, apps: &[&str], more: &[&str]) -> Vehicle {
        let password = self.password_file();
        let mut args = vec!["run", "--vin", VIN, "--broker", url];
        if !more.contains(&"--portal") {
            args.extend(["--portal", "127.0.0.1:0"]);
        }
        args.extend(["--username", USER, "--password-file", &password]);
        args.extend(apps.iter().flat_map(|app| ["--app", app]));
        args.extend(more);
        Vehicle::start(&args)
    }

    /// Publishes a payload on the vehicle's downlink topic.
    pub(crate) async fn publish(&self, payload: impl Into<Vec<u8>>) {
        self.publish_for(UID, payload).await;
    }

    pub(crate) async fn publish_for(&self, uid: &str, payload: impl Into<Vec<u8>>) {
        let (uid, vin) = (Uid::parse(uid).unwrap(), Vin::parse(VIN).unwrap());
        let topic = self
            .scheme
            .publish_topic(Direction::Downlink, &uid, &vin, None)
            .unwrap();
        let payload = payload.into().into();
        self.partner
            .publish(&topic, payload, Qos::AtLeastOnce, false)
            .await
            .unwrap();
    }

    /// Publishes a data message for an app.
    pub(crate) async fn send(&self, app: &str, content: &Value) {
        let payload = json!({ "idApp": app, "popup": false, "content": content });
        self.publish(payload.to_string()).await;
    }

    /// The next uplink message that is none of the agent's own: its subtopic and its payload.
    pub(crate) async fn uplink(&mut self) -> (Option<String>, String) {
        loop {
            let (_, subtopic, payload) = self.any_uplink().await;
            if !matches!(&subtopic, Some(subtopic) if subtopic.starts_with("vinbus/")) {
                return (subtopic, payload);
            }
        }
    }

    /// The content of the agent's own next message on this subtopic.
    pub(crate) async fn own(&mut self, wanted: &str) -> Value {
        loop {
            let (_, subtopic, payload) = self.any_uplink().await;
            if subtopic.as_deref() == Some(wanted) {
                let mut message: Value = serde_json::from_str(&payload).unwrap();
                return message["content"].take();
            }
        }
    }

    /// Waits until the presence of a vehicle is `online`.
    pub(crate) async fn online(&mut self, vin: &str, online: bool) {
        // What follows offers receipts.
        let wanted = format!(r#"{{"content":{{"online":{online}"#);
        loop {
            let (from, subtopic, payload) = self.any_uplink().await;
            let presence = subtopic.as_deref() == Some("vinbus/presence");
            if presence && from == vin && payload.starts_with(&wanted) {
                return;
            }
        }
    }

    async fn any_uplink(&mut self) -> (String, Option<String>, String) {
        let message = timeout(PATIENCE, self.uplink.recv())
            .await
            .expect("an uplink message");
        let message = message.expect("an open client");
        let parsed = self.scheme.parse(&message.topic).unwrap();
        let vin = parsed.vin.as_str().to_owned();
        let subtopic = parsed.subtopic.map(str::to_owned);
        let payload = String::from_utf8(message.payload.to_vec()).unwrap();
        message.ack();
        (vin, subtopic, payload)
    }
}

/// A running `vehicle-agent run`, killed when it is dropped.
pub(crate) struct Vehicle {
    process: Child,
    pub(crate) portal: SocketAddr,
    log: mpsc::Receiver<String>,
}

impl Vehicle {
    fn start(args: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"))
            .args(args)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (lines, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // The test may have ended.
                let _ = lines.send(line);
            }
        });
        let mut vehicle = Self {
            process,
            portal: SocketAddr::from(([0, 0, 0, 0], 0)),
            log,
        };
        let line = vehicle.log_line("/portal;");
        let address = line
            .split("ws://")
            .nth(1)
            .unwrap()
            .split("/portal")
            .next()
            .unwrap();
        vehicle.portal = address.parse().unwrap();
        vehicle
    }

    /// Waits for a line of the log that contains `text`.
    pub(crate) fn log_line(&self, text: &str) -> String {
        self.log_until(text).pop().unwrap()
    }

    /// The lines of the log up to the next one that contains `text`, which is the last of them.
    pub(crate) fn log_until(&self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => seen.push(line),
                Err(_) => panic!("no log line with {text:?} in {seen:#?}"),
            }
            if seen.last().is_some_and(|line| line.contains(text)) {
                return seen;
            }
        }
    }

    /// Sends SIGTERM and waits for the end; returns whether it was a success.
    pub(crate) fn terminate(&mut self) -> bool {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.process.wait().unwrap().success()
    }

    /// Pulls the plug.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// The portal's `/status`.
    pub(crate) async fn status(&self) -> Value {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(self.portal).await.unwrap();
        let request = b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    }

    /// Waits until a number of the status has reached a level.
    pub(crate) async fn status_reaches(&self, pointer: &str, level: u64) {
        let reached = async {
            while self
                .status()
                .await
                .pointer(pointer)
                .unwrap()
                .as_u64()
                .unwrap()
                < level
            {
                tokio::task::yield_now().await;
            }
        };
        let reached = timeout(PATIENCE, reached).await;
        if reached.is_err() {
            panic!("{pointer} stays below {level}: {}", self.status().await);
        }
    }

    /// Opens an app and waits until it is in the foreground.
    pub(crate) async fn app(&self, app: &str) -> App {
        let mut app = App::open(self.portal, json!({ "appId": app })).await;
        app.load().await;
        app
    }

    /// Opens the screen.
    pub(crate) async fn screen(&self) -> App {
        App::open(self.portal, json!({ "role": "screen" })).await
    }
}

impl Drop for Vehicle {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _already_gone = self.process.wait();
    }
}
