//! Older copies of data folders that are put back, with the real programs: server, agent and app. What is
//! sent afterwards comes to its app, and nothing is told that is not so.

mod car_support;
mod cli_support;

use std::path::Path;

use car_support::{Agent, seen};
use cli_support::{Listener, Server, VIN, failed};
use reqwest::{Method, StatusCode};
use serde_json::Value;

async fn send(server: &Server, n: usize) -> String {
    let content = format!(r#"{{"n":{n}}}"#);
    let accepted = server.submit_asking("?receipts=yes", &content).await;
    accepted.unwrap()
}

/// Puts the files of a folder in the place of those of another one.
fn put(from: &Path, to: &Path) {
    let files = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        files.collect::<Vec<_>>()
    };
    for old in files(to) {
        std::fs::remove_file(old.path()).unwrap();
    }
    for file in files(from) {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

async fn killed(mut server: Server) {
    server.signal("KILL");
    server.ended().await;
}

#[tokio::test]
async fn server_that_is_restored_from_a_copy_loses_no_message_that_it_accepts_then() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(dir.path()).await;
    let mqtts = server.address("mqtts").to_string();
    let again = ["--mqtt", "off", "--mqtts", &mqtts];
    let agent = Agent::at(&server).await;
    let mut app = agent.app();
    let there = ["taken", "confirmed"];
    let first = send(&server, 0).await;
    server.traced_to_any(&first, &there).await;
    killed(server).await;
    put(dir.path(), backup.path());

    let server = Server::with(dir.path(), &again).await;
    for n in 1..4 {
        let after = send(&server, n).await;
        server.traced_to_any(&after, &there).await;
    }
    killed(server).await;
    put(backup.path(), dir.path());

    let server = Server::with(dir.path(), &again).await;
    for n in 4..7 {
        let new = send(&server, n).await;
        server.traced_to_any(&new, &there).await;
    }
    app.until("all are seen", |lines| (lines.len() == 7).then_some(()))
        .await;
    assert_eq!(seen(&app.lines.borrow()), car_support::once(0..7));
    let metrics = server.request(Method::GET, "/metrics").send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    assert!(metrics.contains("vinbus_store_older_total 1\n"));
}

/// Has a vehicle say so much to a server on the folder, which is killed then; gives the cursor of the last
/// message and that of the page with it.
async fn said(dir: &Path, contents: &[&str]) -> [String; 2] {
    let server = Server::start(dir).await;
    let vehicle = server.vehicle().await;
    for content in contents {
        vehicle.say(content).await;
    }
    let page = server.get("/api/v1/messages").await;
    let last = page["messages"].as_array().unwrap().last().unwrap();
    let cursors =
        [&last["cursor"], &page["next"]].map(|cursor| cursor.as_str().unwrap().to_owned());
    killed(server).await;
    cursors
}

#[tokio::test]
async fn cursor_of_a_message_that_a_copy_does_not_have_is_refused_when_another_has_its_place() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [kept, _] = said(dir.path(), &["1", "2"]).await;
    put(dir.path(), backup.path());
    let [gone, next] = said(dir.path(), &["3"]).await;
    assert_eq!(gone, next);
    let http = cli_support::steady_address();
    let here = ["--http", &http, "--mqtt", "off", "--mqtts", "127.0.0.1:0"];
    let server = Server::launch(cli_support::program().args(here), dir.path()).await;
    let mut listener = Listener::start(&server, &["--after", &kept]).await;
    assert!(listener.line().await.ends_with("\"content\":3}"));
    killed(server).await;
    put(backup.path(), dir.path());

    let [new, _] = said(dir.path(), &["4", "5"]).await;
    let server = Server::launch(cli_support::program().args(here), dir.path()).await;
    listener.says("--after 0").await;
    let ask = |path: &str| server.request(Method::GET, &format!("/api/v1/messages{path}"));
    let asked = [
        ask(&format!("?after={gone}")),
        ask(&format!("?vin={VIN}&after={gone}")),
        ask(&format!("/stream?after={gone}")),
        ask("/stream").header("last-event-id", &gone),
    ];
    for request in asked {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let problem: Value = answer.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains(&gone) && detail.contains("restored"),
            "{detail}"
        );
    }
    let said = failed(&server.command(&["listen", "--after", &gone]).await, 1);
    assert!(said.contains("--after 0"), "{said}");
    // Those before the copy's end go on, and so does one that says no more than a position.
    for after in [&kept, "2"] {
        let page = server.get(&format!("/api/v1/messages?after={after}")).await;
        let contents = page["messages"].as_array().unwrap().iter();
        let contents: Vec<_> = contents.map(|message| message["content"].clone()).collect();
        assert_eq!(contents, [4, 5]);
        assert_eq!(page["next"], *new);
    }
}

#[tokio::test]
async fn agent_that_is_restored_from_a_copy_says_so_and_takes_what_comes_then() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(dir.path()).await;
    let data = server.dir.join("car/data");
    let agent = Agent::at(&server).await;
    let first = send(&server, 0).await;
    server.traced(&first, "held_background").await;
    agent.program.kill().await;
    put(&data, backup.path());

    let agent = Agent::at(&server).await;
    let second = send(&server, 1).await;
    server.traced(&second, "held_background").await;
    agent.program.kill().await;
    put(backup.path(), &data);

    let mut agent = Agent::at(&server).await;
    let warned = |lines: &[String]| {
        let mut lines = lines.iter();
        lines.find_map(|line| line.contains("the journal is older").then_some(()))
    };
    agent.program.until("it warns", warned).await;
    // The vehicle has no memory of it, and would be said to hold it for ever.
    server.traced(&second, "peer_restarted").await;
    let third = send(&server, 2).await;
    server.traced(&third, "held_background").await;
    let mut app = agent.app();
    server.traced(&third, "confirmed").await;
    app.until("it is seen", |lines| {
        seen(lines).contains_key(&2).then_some(())
    })
    .await;
    assert!(!seen(&app.lines.borrow()).contains_key(&1));
}
