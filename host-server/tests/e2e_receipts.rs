//! Receipts with the real programs: server, agent and app. Either end is killed, the broker loses what
//! it may lose, and the app sees each message once.

mod car_support;
mod cli_support;

use std::sync::atomic::Ordering;

use car_support::{Agent, Program, agent, once, seen, server_beside};
use cli_support::{Server, VIN, done, within};
use reqwest::Method;
use serde_json::Value;
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto, lossy};

async fn send(server: &Server, n: usize, receipts: &str) -> Option<String> {
    let query = format!("?receipts={receipts}");
    server
        .submit_asking(&query, &format!(r#"{{"n":{n}}}"#))
        .await
}

#[tokio::test]
async fn each_step_in_the_car_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    let held = send(&server, 0, "yes").await.unwrap();
    server.traced(&held, "held_background").await;
    let mut app = agent.app();
    server.traced(&held, "confirmed").await;
    let at_once = send(&server, 1, "yes").await.unwrap();
    server.traced(&at_once, "taken").await;
    app.until("it is seen", |lines| (lines.len() == 2).then_some(()))
        .await;
    assert_eq!(seen(&app.lines.borrow()), once(0..2));
    let of_held = server.steps(&held).await;
    assert_eq!(of_held.first().unwrap(), "accepted");
    assert_eq!(
        of_held[of_held.len() - 3..],
        ["sent", "held_background", "confirmed"]
    );
    assert_eq!(server.steps(&at_once).await, ["accepted", "sent", "taken"]);
    let traced = done(&server.command(&["trace", &held]).await);
    assert!(
        traced.contains("confirmed        the app has confirmed that it has it"),
        "{traced}"
    );

    let path = format!("/api/v1/vehicles/{VIN}/messages?receipts=yes");
    let body = r#"{"idApp":"nobody","content":1}"#;
    let answer = server
        .request(Method::POST, &path)
        .body(body)
        .send()
        .await
        .unwrap();
    let accepted: Value = answer.json().await.unwrap();
    server
        .traced(accepted["id"].as_str().unwrap(), "unknown_app")
        .await;
}

#[tokio::test]
async fn simulated_vehicle_answers_for_its_messages_if_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let certs = server.dir.join("fleet").display().to_string();
    let enroll = ["enroll", "vehicles", "--count", "1", "--out", &certs];
    done(&server.command(&enroll).await);
    let url = server.mqtts().to_string();
    // The same vehicle is upgraded: what it said on its earlier connection does not count (9.4a).
    for (more, step) in [(None, "sent"), (Some("--receipts"), "taken")] {
        let mut simulate = agent();
        simulate.args([
            "simulate", "--count", "1", "--broker", &url, "--certs", &certs,
        ]);
        let simulated = Program::start(simulate.args(more), false);
        let path = "/api/v1/vehicles/SIM00000000000000/messages?receipts=yes";
        let request = server.request(Method::POST, path);
        let answer = request.body(r#"{"idApp":"demo","content":1}"#).send();
        let accepted: Value = answer.await.unwrap().json().await.unwrap();
        server.traced(accepted["id"].as_str().unwrap(), step).await;
        simulated.terminate().await;
    }
}

#[tokio::test]
async fn eleventh_message_for_an_app_that_does_not_come_up_evicts_the_first_and_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    let mut ids = Vec::new();
    for n in 0..11 {
        ids.push(send(&server, n, "yes").await.unwrap());
    }
    server.traced(&ids[10], "held_background").await;
    let mut evicted = Vec::new();
    for id in &ids {
        let is_evicted = async {
            loop {
                let trace = server.get(&format!("/api/v1/messages/{id}")).await;
                match trace["status"].as_str().unwrap() {
                    "evicted" => return true,
                    "held_background" => return false,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        if within("its place is known", is_evicted).await {
            evicted.push(id);
        }
    }
    assert_eq!(evicted, [&ids[0]]);
    drop(agent);
}

#[tokio::test]
async fn agent_that_is_killed_again_and_again_has_what_it_held_and_the_app_sees_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let mut agent = Agent::at(&server).await;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(send(&server, n, "yes").await.unwrap());
        server.traced(&ids[n], "held_background").await;
        agent.program.kill().await;
        agent = Agent::at(&server).await;
    }
    let mut app = agent.app();
    for id in &ids {
        server.traced(id, "confirmed").await;
    }
    app.until("all are seen", |lines| (lines.len() == 4).then_some(()))
        .await;
    app.kill().await;
    agent.program.kill().await;
    let agent = Agent::at(&server).await;
    let mut app = agent.app();
    // The app may be in the foreground by then, or fetch it when it is.
    send(&server, 4, "yes").await.unwrap();
    app.until("it is seen", |lines| (!lines.is_empty()).then_some(()))
        .await;
    assert_eq!(
        seen(&app.lines.borrow()),
        once(4..5),
        "the others were seen"
    );
}

#[tokio::test]
async fn agent_that_loses_its_data_folder_leads_to_the_loss_being_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    let lost = send(&server, 0, "yes").await.unwrap();
    server.traced(&lost, "held_background").await;
    agent.program.kill().await;
    std::fs::remove_file(server.dir.join("car/data/journal")).unwrap();
    let agent = Agent::at(&server).await;
    server.traced(&lost, "peer_restarted").await;
    let after = send(&server, 1, "yes").await.unwrap();
    server.traced(&after, "held_background").await;
    let mut app = agent.app();
    server.traced(&after, "confirmed").await;
    app.until("it is seen", |lines| (!lines.is_empty()).then_some(()))
        .await;
    assert_eq!(seen(&app.lines.borrow()), once(1..2));
}

#[tokio::test]
async fn server_that_is_killed_again_and_again_loses_nothing_and_the_app_sees_each_message_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let mqtts = server.address("mqtts").to_string();
    let agent = Agent::at(&server).await;
    let mut app = agent.app();
    let first = send(&server, 0, "yes").await.unwrap();
    // It may have come before its app.
    server.traced_to_any(&first, &["taken", "confirmed"]).await;
    let mut accepted = vec![(0, first)];
    for round in 0..3_usize {
        for n in 0..20 {
            let n = 1 + round * 20 + n;
            accepted.push((n, send(&server, n, "yes").await.unwrap()));
        }
        server.signal("KILL");
        server.ended().await;
        drop(server);
        let args = ["--mqtt", "off", "--mqtts", &mqtts];
        server = Server::with(dir.path(), &args).await;
    }
    for (_, id) in &accepted {
        let told = async {
            loop {
                let trace = server.get(&format!("/api/v1/messages/{id}")).await;
                let status = trace["status"].as_str().unwrap().to_owned();
                if ["taken", "confirmed", "known"].contains(&status.as_str()) {
                    return;
                }
                assert!(!["expired", "given_up", "peer_restarted"].contains(&status.as_str()));
                tokio::task::yield_now().await;
            }
        };
        within("it is taken", told).await;
    }
    let all = accepted.len();
    app.until("all are seen", |lines| (lines.len() >= all).then_some(()))
        .await;
    assert_eq!(seen(&app.lines.borrow()), once(0..all as u64));
}

#[tokio::test]
async fn broker_that_loses_every_fifth_message_costs_repetitions_and_nothing_else() {
    let mosquitto = Mosquitto::start().await;
    let dir = tempfile::tempdir().unwrap();
    let broker = mosquitto.url(Endpoint::Mqtt);
    let (proxy, loses, lost) = lossy(&broker).await;
    let server = server_beside(&proxy, dir.path()).await;
    let agent = Agent::beside(&broker, dir.path(), &["--qos", "0"]).await;
    server.online().await;
    let mut app = agent.app();
    let first = send(&server, 0, "yes").await.unwrap();
    server.traced_to_any(&first, &["taken", "confirmed"]).await;
    loses.store(true, Ordering::Relaxed);
    let mut ids = Vec::new();
    for n in 1..=100 {
        ids.push(send(&server, n, "yes").await.unwrap());
    }
    for id in &ids {
        server.traced_to_any(id, &["taken", "known"]).await;
    }
    app.until("all are seen", |lines| (lines.len() > 100).then_some(()))
        .await;
    assert_eq!(seen(&app.lines.borrow()), once(0..101));
    assert!(lost.load(Ordering::Relaxed) >= 20, "messages were lost");
}
