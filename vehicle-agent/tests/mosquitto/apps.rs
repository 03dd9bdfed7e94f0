//! `vehicle-agent app`, the app of the README.

use std::process::{Output, Stdio};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::app::PATIENCE;
use crate::world::{Vehicle, World};

/// Starts the app `demo` of a vehicle.
fn start(vehicle: &Vehicle, options: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_vehicle-agent"))
        .args([
            "app",
            "--app",
            "demo",
            "--portal",
            &vehicle.portal.to_string(),
        ])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// How it ended, and what it said.
async fn ended(app: Child) -> Output {
    let ended = timeout(PATIENCE, app.wait_with_output());
    ended.await.expect("its end").unwrap()
}

#[tokio::test]
async fn command_line_app_prints_what_arrives_and_sends_what_is_typed() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    world.send("demo", &json!("before it started")).await;
    vehicle.status_reaches("/downlinks/pending", 1).await;
    let mut app = start(&vehicle, &[]);
    let mut lines = BufReader::new(app.stdout.take().unwrap()).lines();
    let mut line = async || {
        timeout(PATIENCE, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    };
    assert_eq!(line().await, r#"{"content":"before it started"}"#);
    world
        .publish("{\"idApp\":\"demo\",\"content\":{\n \"on\" : 1 }}")
        .await;
    assert_eq!(line().await, r#"{"content":{  "on" : 1 }}"#);
    let mut input = app.stdin.take().unwrap();
    input
        .write_all(b"no json\n{ \"typed\":1 }\n")
        .await
        .unwrap();
    assert_eq!(world.uplink().await.1, r#"{"content":{ "typed":1 }}"#);
    input.write_all(b"/quit\n").await.unwrap();
    assert!(ended(app).await.status.success());
}

#[tokio::test]
async fn command_line_app_ends_when_its_input_is_with_the_broker() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = start(&vehicle, &["--exit-after", "0"]);
    app.stdin
        .take()
        .unwrap()
        .write_all(b"1\n2\n3")
        .await
        .unwrap();
    for n in 1..=3 {
        assert_eq!(world.uplink().await.1, format!(r#"{{"content":{n}}}"#));
    }
    assert!(ended(app).await.status.success());
}

#[tokio::test]
async fn command_line_app_fails_when_messages_of_its_input_were_refused() {
    let mut world = World::new().await;
    let vehicle = world
        .vehicle(&["demo=demo-partner"], &["--app-rate", "1"])
        .await;
    let mut app = start(&vehicle, &["--exit-after", "0"]);
    let mut input = app.stdin.take().unwrap();
    input.write_all("1\n".repeat(200).as_bytes()).await.unwrap();
    drop(input);
    let output = ended(app).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.contains("of 200 messages were not delivered"),
        "{error}"
    );
}

#[tokio::test]
async fn command_line_app_fails_when_a_line_of_its_input_was_no_json_and_sends_the_others() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = start(&vehicle, &["--exit-after", "0"]);
    let mut input = app.stdin.take().unwrap();
    input.write_all(b"1\nhello\n\n2\n").await.unwrap();
    drop(input);
    for n in 1..=2 {
        assert_eq!(world.uplink().await.1, format!(r#"{{"content":{n}}}"#));
    }
    let output = ended(app).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    for told in [
        "this line is not JSON",
        "1 of 3 messages were not delivered",
    ] {
        assert!(error.contains(told), "{error}");
    }
}

#[tokio::test]
async fn command_line_app_says_what_is_wrong_with_a_command() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut app = start(&vehicle, &["--exit-after", "0"]);
    let mut input = app.stdin.take().unwrap();
    input
        .write_all(b"/answer\n/answer  \n/answer 1\n/hide now\n/help\n")
        .await
        .unwrap();
    drop(input);
    let output = ended(app).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.matches("/answer needs a JSON value").count(), 2);
    for told in [
        "no request has come",
        "/hide takes nothing behind it",
        "there is no /help: there are /answer JSON",
        "5 of 5 messages were not delivered",
    ] {
        assert!(error.contains(told), "{error}");
    }
}

#[tokio::test]
async fn command_line_app_without_an_agent_says_what_to_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"))
        .args(["app", "--app", "demo", "--portal", "127.0.0.1:1"])
        .output()
        .await
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.contains("vehicle-agent run"),
        "{error}"
    );
}
