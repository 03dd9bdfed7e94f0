//! Older copies of data folders that are put back, with the real programs: server, agent and app. What is
//! sent afterwards comes to its app, and nothing is told that is not so.

mod car_support;
mod cli_support;

use std::path::Path;

use car_support::{Agent, seen};
use cli_support::Server;
use reqwest::Method;

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
