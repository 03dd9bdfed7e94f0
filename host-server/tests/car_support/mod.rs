//! A vehicle made of the real programs: agent and app.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use vinbus_transport_std::BrokerUrl;
use vinbus_transport_std::conformance::Mosquitto;

use crate::cli_support::{PARTNER, PATIENCE, Server, VIN, within};

/// The agent's program, which is built beside the server's.
pub(crate) fn agent() -> Command {
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
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) lines: watch::Receiver<Vec<String>>,
}

impl Program {
    pub(crate) fn start(command: &mut Command, errors: bool) -> Self {
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

    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        find: impl Fn(&[String]) -> Option<T>,
    ) -> T {
        let printed = self.lines.clone();
        let waited = self.lines.wait_for(|lines| find(lines).is_some());
        let lines = tokio::time::timeout(PATIENCE, waited).await;
        let Ok(Ok(lines)) = lines else {
            panic!("waited in vain: {what}: {:?}", printed.borrow());
        };
        find(&lines).unwrap()
    }

    /// Types lines.
    pub(crate) async fn type_in(&mut self, lines: impl IntoIterator<Item = String>) {
        let input = self.child.stdin.as_mut().unwrap();
        for line in lines {
            input
                .write_all(format!("{line}\n").as_bytes())
                .await
                .unwrap();
        }
        input.flush().await.unwrap();
    }

    /// The end of the input; says whether the program ended well.
    pub(crate) async fn ends_well(mut self) -> bool {
        drop(self.child.stdin.take());
        within("the program ends", self.child.wait())
            .await
            .unwrap()
            .success()
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn terminate(mut self) {
        let process = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill").arg(&process).status();
        assert!(sent.unwrap().success());
        within("the program ends", self.child.wait()).await.unwrap();
    }
}

/// A vehicle's agent and its portal's address.
pub(crate) struct Agent {
    pub(crate) program: Program,
    pub(crate) portal: String,
}

impl Agent {
    async fn start(vin: &str, broker: &BrokerUrl, more: &[&str]) -> Self {
        let (app, broker) = (format!("demo-app={PARTNER}"), broker.to_string());
        let own = ["run", "--vin", vin, "--app", &app, "--broker", &broker];
        let portal = ["--portal", "127.0.0.1:0"];
        let mut program = Program::start(agent().args(own).args(portal).args(more), true);
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
    pub(crate) async fn at(server: &Server) -> Self {
        let car = server.dir.join("car");
        server.enroll(VIN, &car).await;
        Self::enrolled(VIN, &car, &server.mqtts(), &[]).await
    }

    /// One that `enroll` wrote this folder for. It keeps its data there as well.
    pub(crate) async fn enrolled(vin: &str, dir: &Path, broker: &BrokerUrl, more: &[&str]) -> Self {
        let path = |file: &str| dir.join(file).display().to_string();
        let data = path("data");
        let (ca, cert, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
        let files = ["--ca", &ca, "--cert", &cert, "--key", &key];
        let more = [&["--data-dir", &data], &files[..], more].concat();
        Self::start(vin, broker, &more).await
    }

    /// One that speaks plain MQTT with a mosquitto, or with a proxy in front of it.
    pub(crate) async fn beside(broker: &BrokerUrl, dir: &Path, more: &[&str]) -> Self {
        let password = Mosquitto::password_file(dir);
        let login = ["--username", Mosquitto::USER, "--password-file", &password];
        Self::start(VIN, broker, &[&login, more].concat()).await
    }

    pub(crate) fn app(&self) -> Program {
        self.app_with(&[])
    }

    /// An app whose words, rather than its messages, are kept.
    pub(crate) fn app_that_tells(&self, more: &[&str]) -> Program {
        let args = ["app", "--app", "demo-app", "--portal", &self.portal];
        Program::start(agent().args(args).args(more).stdin(Stdio::piped()), true)
    }

    pub(crate) fn app_with(&self, more: &[&str]) -> Program {
        let args = ["app", "--app", "demo-app", "--portal", &self.portal];
        // An app ends with its input.
        Program::start(agent().args(args).args(more).stdin(Stdio::piped()), false)
    }
}

/// How often the app saw each message.
pub(crate) fn seen(lines: &[String]) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    for line in lines {
        let message: Value = serde_json::from_str(line).unwrap();
        *seen
            .entry(message["content"]["n"].as_u64().unwrap())
            .or_default() += 1;
    }
    seen
}

pub(crate) fn once(numbers: std::ops::Range<u64>) -> BTreeMap<u64, usize> {
    numbers.map(|n| (n, 1)).collect()
}

/// A server that uses a mosquitto, or reaches it through a proxy.
pub(crate) async fn server_beside(broker: &BrokerUrl, dir: &Path) -> Server {
    let (url, password) = (broker.to_string(), Mosquitto::password_file(dir));
    let login = ["--broker-username", Mosquitto::USER];
    let login = [&login[..], &["--broker-password-file", &password]].concat();
    let args = [&["--broker", &url, "--partner", PARTNER], &login[..]].concat();
    let server = Server::with(&dir.join("data"), &args).await;
    let ready = async {
        while server.get("/readyz").await["ready"] != true {
            tokio::task::yield_now().await;
        }
    };
    within("the server is ready", ready).await;
    server
}
