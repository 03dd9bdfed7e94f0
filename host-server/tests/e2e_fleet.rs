//! A fleet message with the real programs: cars come and go, the server is killed in the middle, and each
//! car's app sees its message once.

mod cli_support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use cli_support::{PARTNER, Server, done, within};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

const CARS: usize = 4;

/// Fleet messages, each for all cars.
const MESSAGES: usize = 4;

fn vin(car: usize) -> String {
    format!("FLEETCAR{car:09}")
}

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

/// What a program prints, as it comes.
fn lines(
    output: impl tokio::io::AsyncRead + Send + Unpin + 'static,
) -> watch::Receiver<Vec<String>> {
    let (sender, printed) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut output = BufReader::new(output).lines();
        while let Ok(Some(line)) = output.next_line().await {
            sender.send_modify(|lines| lines.push(line));
        }
    });
    printed
}

/// A car with an agent and an app that runs.
struct Car {
    _agent: Child,
    _app: Child,
    seen: watch::Receiver<Vec<String>>,
}

impl Car {
    async fn start(dir: &Path, car: usize, mqtts: u16) -> Self {
        let path = |file: &str| {
            dir.join("cars")
                .join(vin(car))
                .join(file)
                .display()
                .to_string()
        };
        let (ca, cert, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
        let (url, app) = (
            format!("mqtts://localhost:{mqtts}"),
            format!("demo-app={PARTNER}"),
        );
        let mut program = agent();
        program.args([
            "run",
            "--vin",
            &vin(car),
            "--portal",
            "127.0.0.1:0",
            "--app",
            &app,
        ]);
        program.args([
            "--broker", &url, "--ca", &ca, "--cert", &cert, "--key", &key,
        ]);
        let mut child = program.stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = lines(child.stderr.take().unwrap());
        let portal = |lines: &Vec<String>| {
            lines.iter().find_map(|line| {
                let (_, rest) = line.split_once("ws://")?;
                Some(rest.split_once("/portal")?.0.to_owned())
            })
        };
        let opened = within(
            "the portal is open",
            errors.wait_for(|lines| portal(lines).is_some()),
        );
        let portal = portal(&opened.await.unwrap()).unwrap();
        let mut app = agent();
        app.args(["app", "--app", "demo-app", "--portal", &portal]);
        // An app ends with its input.
        let app = app.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut app = app.stderr(Stdio::null()).spawn().unwrap();
        let seen = lines(app.stdout.take().unwrap());
        Self {
            _agent: child,
            _app: app,
            seen,
        }
    }

    /// The numbers that its app saw.
    fn numbers(&self) -> Vec<u64> {
        let lines = self.seen.borrow();
        let number = |line: &String| {
            let message: Value = serde_json::from_str(line).unwrap();
            message["content"]["n"].as_u64().unwrap()
        };
        let mut numbers: Vec<u64> = lines.iter().map(number).collect();
        numbers.sort_unstable();
        numbers
    }
}

async fn counted(server: &Server, id: &str, step: &str, count: usize) {
    let path = format!("/api/v1/fleet/messages/{id}");
    let told = async {
        while server.get(&path).await["counts"][step] != count {
            tokio::task::yield_now().await;
        }
    };
    within(&format!("{count} of {id} are {step}"), told).await;
}

#[tokio::test]
async fn server_killed_in_the_middle_of_fleet_messages_loses_nothing_and_apps_see_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let mqtts = server.address("mqtts");
    let cars = dir.path().join("cars").display().to_string();
    for car in 0..CARS {
        let out = format!("{cars}/{}", vin(car));
        let vin = vin(car);
        done(
            &server
                .command(&["enroll", "vehicle", &vin, "--out", &out])
                .await,
        );
    }
    let list = dir.path().join("vins.txt");
    let vins: Vec<String> = (0..CARS).map(vin).collect();
    std::fs::write(&list, vins.join("\n")).unwrap();
    let mut running = Vec::new();
    for car in 0..2 {
        running.push(Car::start(dir.path(), car, mqtts.port()).await);
    }
    let mut ids = Vec::new();
    for n in 0..MESSAGES {
        let content = format!("{{\"n\":{n}}}");
        let list = list.display().to_string();
        let args = ["fleet", "send", "--vins", &list, "--app", "demo-app"];
        let more = ["--content", &content, "--receipts", "--rate", "2"];
        let sent = server.command(&[&args[..], &more[..]].concat()).await;
        ids.push(done(&sent).trim().to_owned());
    }
    for id in &ids[..3] {
        // The first that is handed over in this life is in the middle of it.
        counted(&server, id, "taken", 2).await;
        server.signal("KILL");
        server.ended().await;
        drop(server);
        let args = ["--mqtt", "off", "--mqtts", &mqtts.to_string()];
        server = Server::with(dir.path(), &args).await;
    }
    let shown = done(&server.command(&["fleet", "show", &ids[0]]).await);
    assert!(shown.contains("waiting          2"), "{shown}");
    for car in 2..CARS {
        running.push(Car::start(dir.path(), car, mqtts.port()).await);
    }
    for id in &ids {
        counted(&server, id, "taken", CARS).await;
    }
    let all: Vec<u64> = (0..MESSAGES as u64).collect();
    for car in &mut running {
        let mut seen = car.seen.clone();
        let whole = seen.wait_for(|lines| lines.len() >= MESSAGES);
        within("the app has them", whole).await.unwrap();
        assert_eq!(car.numbers(), all);
    }
    let listed = done(&server.command(&["fleet", "vehicles", &ids[0]]).await);
    let line = listed.lines().next().unwrap();
    let message = line.split_whitespace().last().unwrap();
    let traced = done(&server.command(&["trace", message]).await);
    assert!(traced.contains("taken"), "{traced}");
    let over = server.command(&["fleet", "cancel", &ids[0]]).await;
    assert!(cli_support::failed(&over, 1).contains("finished, which is for good"));
}
