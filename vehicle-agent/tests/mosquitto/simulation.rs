//! `vehicle-agent simulate`.

use tokio::process::Command;
use tokio::time::timeout;

use crate::world::{PASSWORD, PATIENCE, USER, World};

#[tokio::test]
async fn simulated_vehicles_connect_send_and_sum_up() {
    let mut world = World::new().await;
    std::fs::write(world.folder.path().join("password"), PASSWORD).unwrap();
    let url = world.url();
    let password = world.password_file();
    let simulation = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"))
        .args([
            "simulate",
            "--count",
            "20",
            "--broker",
            &url,
            "--rate",
            "5",
            "--duration",
            "1",
        ])
        .args(["--username", USER, "--password-file", &password])
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, simulation).await.unwrap().unwrap();
    let summary = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    let line = |name: &str| {
        summary
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned()
    };
    assert!(line("connected").contains("20 at the end"), "{summary}");
    assert!(line("lost").contains(" 0:"), "{summary}");
    assert!(line("memory").contains("KB"), "{summary}");
    let sent = line("sent");
    let mut numbers = sent
        .split(|c: char| !c.is_ascii_digit())
        .filter(|n| !n.is_empty());
    let (sent, delivered) = (numbers.next().unwrap(), numbers.next().unwrap());
    assert_eq!(sent, delivered, "{summary}");
    let (_, payload) = world.uplink().await;
    assert!(payload.starts_with(r#"{"content":{"n":1,"#), "{payload}");
}

#[tokio::test]
async fn simulation_that_cannot_connect_says_why_while_it_runs() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut simulation = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"))
        .args(["simulate", "--count", "2", "--broker", "mqtt://127.0.0.1:1"])
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(simulation.stderr.take().unwrap()).lines();
    let told = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with("connected 0/2") && line.contains("check the port") {
                return;
            }
        }
        panic!("it ended");
    };
    timeout(PATIENCE, told).await.unwrap();
}
