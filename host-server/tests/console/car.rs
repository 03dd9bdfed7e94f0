//! A car: the real programs `vehicle-agent run` and `vehicle-agent app`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::cli_support::{Server, VIN, done, within};

/// The app of [`Car`].
pub(crate) const APP: &str = "demo";

/// A running agent and its app.
pub(crate) struct Car {
    agent: Child,
    app: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Car {
    /// Enrolls [`VIN`], starts its agent and its app, and waits until the app is in the foreground.
    pub(crate) async fn start(server: &Server) -> Self {
        let certificates = server.dir.join("car");
        let out = certificates.to_str().unwrap();
        let enroll = ["enroll", "vehicle", VIN, "--out", out];
        done(&server.command(&enroll).await);
        let broker = format!("mqtts://localhost:{}", server.address("mqtts").port());
        let file = |name: &str| certificates.join(name);
        let mut agent = program()
            .args(["run", "--vin", VIN, "--broker", &broker])
            .args(["--app", "demo=demo-partner", "--portal", "127.0.0.1:0"])
            .arg("--ca")
            .arg(file("ca.pem"))
            .arg("--cert")
            .arg(file("cert.pem"))
            .arg("--key")
            .arg(file("key.pem"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(agent.stderr.take().unwrap()).lines();
        let portal = within("the agent's portal", async {
            loop {
                let line = log.next_line().await.unwrap().expect("the agent runs");
                if let Some((_, address)) = line.split_once("ws://") {
                    return address.split("/portal").next().unwrap().to_owned();
                }
            }
        });
        let portal = portal.await;
        // It would wait if nobody read what else it says.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let mut app = program()
            .args(["app", "--app", APP, "--portal", &portal])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(app.stderr.take().unwrap()).lines();
        within("the app is in the foreground", async {
            while let Some(line) = told.next_line().await.unwrap() {
                if line.contains("in the foreground") {
                    return;
                }
            }
            panic!("the app has ended");
        })
        .await;
        tokio::spawn(async move { while let Ok(Some(_)) = told.next_line().await {} });
        let lines = BufReader::new(app.stdout.take().unwrap()).lines();
        Self { agent, app, lines }
    }

    /// The next line that the app prints: a message.
    pub(crate) async fn hears(&mut self) -> String {
        let line = within("the app gets a message", self.lines.next_line()).await;
        line.unwrap().expect("the app runs")
    }

    /// Has the app send a content.
    pub(crate) async fn says(&mut self, content: &str) {
        let stdin = self.app.stdin.as_mut().unwrap();
        let line = format!("{content}\n");
        stdin.write_all(line.as_bytes()).await.unwrap();
    }

    /// Pulls the plug.
    pub(crate) async fn dies(mut self) {
        self.agent.kill().await.unwrap();
    }
}

/// The program, without any of its variables in the environment; it dies with the test.
fn program() -> Command {
    let mut command = Command::new(built());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VINBUS_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1");
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// The agent beside the server's program, which a test of the whole workspace builds; else built now.
fn built() -> PathBuf {
    let server = Path::new(env!("CARGO_BIN_EXE_host-server"));
    let agent = server.with_file_name("vehicle-agent");
    if !agent.exists() {
        let mut build = std::process::Command::new(env!("CARGO"));
        build.args(["build", "--package", "vinbus-vehicle-agent"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(status.unwrap().success());
    }
    agent
}
