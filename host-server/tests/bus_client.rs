//! Programs of the bus against the real `host-server`: our own client, and the examples.

mod cli_support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use cli_support::{Server, within};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use vinbus_protocol::bus::topics;
use vinbus_transport_std::SubscribeError;
use vinbus_transport_std::bus::{
    BusClient, BusError, BusInbox, BusMessage, BusOptions, BusSubscribeError, TokenError,
};

/// Ports that are free, and the sample's topic without a scope allowed.
const SERVER: &[&str] = &[
    "--mqtt",
    "127.0.0.1:0",
    "--mqtts",
    "127.0.0.1:0",
    "--bus-topics",
    "lenient",
];

/// The topic that the sample subscribes to.
const PERFORMANCE: &str = "app/myapp/performance";

/// Makes a client of `myapp`; its secret.
async fn make(server: &Server, client: &str, permissions: &[&str]) -> String {
    let asked = json!({ "clientId": client, "permissions": permissions });
    let request = server.request(Method::POST, "/api/platform/app/myapp/client");
    let answer = within("a client", request.json(&asked).send())
        .await
        .unwrap();
    let made: Value = answer.json().await.unwrap();
    made["secret"].as_str().expect("a secret").to_owned()
}

fn options(server: &Server, client: &str, secret: &str) -> BusOptions {
    BusOptions::new(server.url().parse().unwrap(), "myapp", client, secret)
}

/// A client that is made and has its token.
async fn enter(server: &Server, client: &str, permissions: &[&str]) -> (BusClient, BusInbox) {
    let secret = make(server, client, permissions).await;
    let connecting = BusClient::connect(options(server, client, &secret));
    within("a token", connecting).await.unwrap()
}

async fn received(inbox: &mut BusInbox) -> BusMessage {
    within("a message", inbox.recv()).await.unwrap()
}

#[tokio::test]
async fn client_lives_through_many_tokens_of_the_server() {
    let dir = TempDir::new().unwrap();
    let short = [SERVER, &["--token-lifetime", "4s"]].concat();
    let server = Server::with(dir.path(), &short).await;
    let (listener, mut inbox) = enter(&server, "listener", &["ui.content"]).await;
    listener.subscribe(&topics::UI_CONTENT, &[]).await.unwrap();
    let (speaker, _inbox) = enter(&server, "speaker", &["ui.content"]).await;
    for tokens in 1..=3 {
        let renewed = async {
            while listener.mqtt().counters().connections < tokens {
                tokio::task::yield_now().await;
            }
            // Granted by the connection with this token: it is the only one now.
            listener.subscribe_to("app/myapp/ui/content").await
        };
        within("another connection", renewed).await.unwrap();
        speaker
            .publish(&topics::UI_CONTENT, &[], "{}".into())
            .await
            .unwrap();
        let heard = received(&mut inbox).await;
        assert_eq!(heard.topic(), "app/myapp/ui/content");
        heard.ack();
    }
    assert!(listener.counters().tokens >= 3);
    assert_eq!(listener.counters().token_failures, 0);
}

#[tokio::test]
async fn session_goes_on_with_each_new_token_and_misses_nothing() {
    let dir = TempDir::new().unwrap();
    let short = [SERVER, &["--token-lifetime", "4s"]].concat();
    let server = Server::with(dir.path(), &short).await;
    let secret = make(&server, "listener", &["ui.content"]).await;
    let in_place = options(&server, "listener", &secret).renewal_in_place(true);
    let (listener, mut inbox) = within("a token", BusClient::connect(in_place))
        .await
        .unwrap();
    listener.subscribe(&topics::UI_CONTENT, &[]).await.unwrap();
    let secret = make(&server, "speaker", &["ui.content"]).await;
    let in_place = options(&server, "speaker", &secret).renewal_in_place(true);
    let (speaker, _inbox) = within("a token", BusClient::connect(in_place))
        .await
        .unwrap();
    let mut number = 0_u32;
    while listener.counters().tokens < 3 {
        let text = number.to_string();
        speaker
            .publish(&topics::UI_CONTENT, &[], text.clone().into())
            .await
            .unwrap();
        let heard = received(&mut inbox).await;
        assert_eq!(heard.payload(), text.as_bytes());
        heard.ack();
        number += 1;
    }
    for client in [&listener, &speaker] {
        assert_eq!(client.mqtt().counters().connections, 1);
        assert_eq!(client.counters().token_failures, 0);
    }
}

#[tokio::test]
async fn client_is_told_what_it_may_not_do() {
    let dir = TempDir::new().unwrap();
    let server = Server::with(dir.path(), SERVER).await;
    let secret = make(&server, "narrow", &["ui.content"]).await;
    let wrong = options(&server, "narrow", "not the secret");
    let error = within("a refusal", BusClient::connect(wrong))
        .await
        .unwrap_err();
    let unauthorized = matches!(&error, BusError::Token(TokenError::Unauthorized { .. }));
    assert!(unauthorized, "{error}");

    let connecting = BusClient::connect(options(&server, "narrow", &secret));
    let (narrow, _inbox) = within("a token", connecting).await.unwrap();
    let refused = narrow.subscribe(&topics::DIALOGUE_MESSAGES, &[]).await;
    let refused = matches!(
        refused,
        Err(BusSubscribeError::Subscribe(SubscribeError::Refused { .. }))
    );
    assert!(refused);
    for _ in 0..5 {
        assert!(narrow.subscribe_to("app/yours/ui/content").await.is_err());
    }
    // The log tells the rule, once a minute.
    let published = narrow.publish_on("app/yours/ui/content", "{}".into()).await;
    assert!(published.is_err(), "{published:?}");
    let denials = |what: &str| -> Vec<String> {
        let printed = server.printed();
        let lines = printed.lines().filter(|line| line.contains(what));
        lines.map(str::to_owned).collect()
    };
    let told = async {
        while denials("publish denied").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    within("the denial is in the log", told).await;
    let denied = denials("subscription denied");
    assert_eq!(denied.len(), 1, "{denied:?}");
    assert!(denied[0].contains("`dialogue.messages`, `dialogue.*` and `*`"));
    assert!(denied[0].contains("myapp/narrow"), "{denied:?}");
    narrow.subscribe(&topics::UI_CONTENT, &[]).await.unwrap();
    assert_eq!(narrow.mqtt().counters().connections, 1);
}

#[tokio::test]
async fn sample_program_in_python_talks_over_web_socket() {
    let mut command = Command::new(installed("python/bin/python"));
    command.arg(example("bus_client.py"));
    sample_program_talks(command).await;
}

#[tokio::test]
async fn sample_program_in_python_talks_over_tcp() {
    let mut command = Command::new(installed("python/bin/python"));
    command
        .arg(example("bus_client.py"))
        .env("ENV", "development");
    sample_program_talks(command).await;
}

#[tokio::test]
async fn sample_program_in_javascript_talks() {
    // A program finds its packages beside itself.
    let dir = TempDir::new().unwrap();
    let packages = installed("javascript/node_modules");
    std::os::unix::fs::symlink(packages, dir.path().join("node_modules")).unwrap();
    let program = dir.path().join("bus_client.mjs");
    std::fs::copy(example("bus_client.mjs"), &program).unwrap();
    let mut command = Command::new("node");
    command.arg(program);
    sample_program_talks(command).await;
}

#[tokio::test]
async fn sample_programs_say_why_they_are_not_let_in_and_end() {
    let dir = TempDir::new().unwrap();
    let server = Server::with(dir.path(), SERVER).await;
    make(&server, "my-app-client", &["ui.status"]).await;
    for (program, variable, value, told) in [
        ("vehicle_watch.py", "TOKEN", "no token", "refused: "),
        ("vehicle_watch.py", "TOKEN", "", "refused: "),
        (
            "bus_client.py",
            "CLIENT_SECRET",
            "wrong",
            "no token: 401 Unauthorized\n",
        ),
    ] {
        let mut command = Command::new(installed("python/bin/python"));
        command
            .arg(example(program))
            .env("PLATFORM", server.url())
            .env(variable, value)
            .env("PYTHONWARNINGS", "ignore")
            .kill_on_drop(true);
        let ended = within(program, command.output()).await.unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{program}: {errors}");
        let told = errors.starts_with(told) && errors.lines().count() == 1;
        assert!(told, "{program}: {errors}");
    }
}

#[tokio::test]
async fn watcher_ends_with_its_token() {
    let dir = TempDir::new().unwrap();
    let short = [SERVER, &["--token-lifetime", "4s"]].concat();
    let server = Server::with(dir.path(), &short).await;
    make(&server, "watcher", &["vehicle.presence"]).await;
    let asked = json!({ "appId": "myapp", "clientId": "watcher" });
    let request = server.request(Method::POST, "/api/platform/token/access_token");
    let answer = within("a token", request.json(&asked).send())
        .await
        .unwrap();
    let given: Value = answer.json().await.unwrap();
    let mut command = Command::new(installed("python/bin/python"));
    command
        .arg(example("vehicle_watch.py"))
        .env("PLATFORM", server.url())
        .env("TOKEN", given["access_token"].as_str().unwrap())
        .kill_on_drop(true);
    let ended = within("the watcher ends", command.output()).await.unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{errors}");
    assert_eq!(ended.stdout, b"listening\n");
    assert!(errors.starts_with("refused: "), "{errors}");
}

#[tokio::test]
async fn subscription_to_vehicles_of_which_nobody_is_told_is_hinted_at_once() {
    let dir = TempDir::new().unwrap();
    let events = [SERVER, &["--bus-events", "theirs=demo-partner"]].concat();
    let mut server = Server::with(dir.path(), &events).await;
    let (watcher, _inbox) = enter(&server, "watcher", &["vehicle.*"]).await;
    for scope in ["presence", "message"] {
        let filter = format!("app/myapp/vehicle/{scope}/#");
        watcher.subscribe_to(&filter).await.unwrap();
    }
    server.signal("TERM");
    server.ended().await;
    let printed = server.printed();
    let hints = printed.matches("--bus-events myapp=UID").count();
    assert_eq!(hints, 1, "{printed}");
}

/// The program's status is heard by another client, whose answer the program prints.
async fn sample_program_talks(mut command: Command) {
    let dir = TempDir::new().unwrap();
    let server = Server::with(dir.path(), SERVER).await;
    let (witness, mut inbox) = enter(&server, "witness", &["ui.*", "performance"]).await;
    witness
        .subscribe(&topics::UI_ASSET_STATUS, &[])
        .await
        .unwrap();
    let secret = make(&server, "my-app-client", &["ui.status", "performance"]).await;
    let mut program = command
        .env("PLATFORM", server.url())
        .env("MQTT_PORT", server.address("mqtt").port().to_string())
        .env("CLIENT_SECRET", secret)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();

    let status = received(&mut inbox).await;
    assert_eq!(status.topic(), "app/myapp/ui/status");
    let payload: Value = serde_json::from_slice(status.payload()).unwrap();
    let expected = json!({
        "appId": "myapp", "clientId": "my-app-client", "randomInfo": "All is OK",
    });
    assert_eq!(payload, expected);

    // It has subscribed before it published.
    witness
        .publish_on(PERFORMANCE, "98 %".into())
        .await
        .unwrap();
    prints(
        &mut program,
        &format!("Received message {PERFORMANCE} 98 %"),
    )
    .await;
    drop(program.stdin.take());
    let ended = within("the program ends", program.wait()).await.unwrap();
    assert!(ended.success(), "{ended}");
}

async fn prints(program: &mut Child, expected: &str) {
    let output = BufReader::new(program.stdout.as_mut().unwrap());
    let mut lines = output.lines();
    let printing = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line == expected {
                return true;
            }
        }
        false
    };
    assert!(
        within(expected, printing).await,
        "it ended before it printed {expected}"
    );
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn example(name: &str) -> PathBuf {
    root().join("docs/examples").join(name)
}

/// What `cargo xtask test` has installed for the examples.
fn installed(path: &str) -> PathBuf {
    let path = root().join("target/examples").join(path);
    let there = path.exists();
    assert!(
        there,
        "{} is missing: run `cargo xtask examples`",
        path.display()
    );
    path
}
