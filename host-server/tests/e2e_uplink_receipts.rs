//! What apps send with receipts, with the real programs: whatever is lost or killed, the server has each
//! message once, and the app is told.

mod car_support;
mod cli_support;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use car_support::{Agent, once, server_beside};
use cli_support::{Server, VIN, within};
use serde_json::Value;
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto, lossy};

fn messages(numbers: std::ops::Range<u64>) -> impl Iterator<Item = String> {
    numbers.map(|n| format!("{{\"n\":{n}}}"))
}

/// How often the server has each message in its log.
async fn stored(server: &Server) -> BTreeMap<u64, usize> {
    let page = server
        .get(&format!("/api/v1/messages?vin={VIN}&limit=1000"))
        .await;
    let mut stored = BTreeMap::new();
    for message in page["messages"].as_array().unwrap() {
        if message["subtopic"].is_null() {
            let n = message["content"]["n"].as_u64().unwrap();
            *stored.entry(n).or_default() += 1;
        }
    }
    stored
}

#[tokio::test]
async fn broker_that_loses_every_fifth_message_costs_repetitions_and_nothing_else() {
    let mosquitto = Mosquitto::start().await;
    let dir = tempfile::tempdir().unwrap();
    let broker = mosquitto.url(Endpoint::Mqtt);
    let (proxy, loses, lost) = lossy(&broker).await;
    let server = server_beside(&broker, dir.path()).await;
    let agent = Agent::beside(&proxy, dir.path(), &["--qos", "0"]).await;
    server.online().await;
    loses.store(true, Ordering::Relaxed);
    let mut app = agent.app_with(&["--receipts", "--exit-after", "0"]);
    app.type_in(messages(0..80)).await;
    assert!(app.ends_well().await, "all are confirmed");
    assert_eq!(stored(&server).await, once(0..80));
    assert!(lost.load(Ordering::Relaxed) >= 16, "messages were lost");
}

#[tokio::test]
async fn app_is_told_once_the_server_has_what_the_agent_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    server.online().await;
    let mut app = agent.app_that_tells(&["--receipts"]);
    app.type_in(messages(0..1)).await;
    app.until("it is told", |lines| {
        let told = "message 1 is with the partner's server";
        lines.iter().any(|line| line == told).then_some(())
    })
    .await;
    assert_eq!(stored(&server).await, once(0..1));
}

#[tokio::test]
async fn app_that_comes_back_after_a_restart_of_its_agent_is_told_what_became_of_its_messages() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let mqtts = server.address("mqtts").to_string();
    let agent = Agent::at(&server).await;
    server.online().await;
    server.signal("KILL");
    let mut away = server;
    away.ended().await;
    let mut app = agent.app_that_tells(&["--receipts"]);
    app.type_in(messages(0..3)).await;
    app.until("all are accepted", |lines| {
        let accepted = lines.iter().filter(|line| line.contains("is kept until"));
        (accepted.count() == 3).then_some(())
    })
    .await;
    app.kill().await;
    drop(away);
    let args = ["--mqtt", "off", "--mqtts", &mqtts];
    let server = Server::with(dir.path(), &args).await;
    let journal = server.dir.join("car/data/journal");
    let noted = async {
        let told = "messageDelivered";
        while std::fs::read_to_string(&journal).map_or(0, |text| text.matches(told).count()) < 3 {
            tokio::task::yield_now().await;
        }
    };
    within("their fates are noted", noted).await;
    agent.program.kill().await;
    let agent = Agent::at(&server).await;
    // What became of them is none of the second app's own.
    let mut app = agent.app_that_tells(&["--receipts", "--exit-after", "0"]);
    let told = |lines: &[String]| {
        let told = "of an earlier run is with the partner's server";
        lines.iter().filter(|line| line.ends_with(told)).count()
    };
    app.until("it is told", |lines| (told(lines) == 3).then_some(()))
        .await;
    app.type_in(messages(3..4)).await;
    assert!(app.ends_well().await, "its own is confirmed");
    // And once.
    let mut app = agent.app_that_tells(&["--receipts"]);
    app.type_in(messages(4..5)).await;
    let lines = app.until("it is told", |lines| {
        let own = "message 1 is with the partner's server";
        lines.iter().any(|line| line == own).then(|| lines.to_vec())
    });
    assert_eq!(told(&lines.await), 0);
    assert_eq!(stored(&server).await, once(0..5));
}

#[tokio::test]
async fn server_that_is_killed_again_and_again_has_each_message_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let mqtts = server.address("mqtts").to_string();
    let agent = Agent::at(&server).await;
    server.online().await;
    let mut app = agent.app_with(&["--receipts", "--exit-after", "0"]);
    for round in 0..3 {
        app.type_in(messages(20 * round..20 * round + 20)).await;
        let come = async {
            while stored(&server).await.len() < 20 * round as usize + 3 {
                tokio::task::yield_now().await;
            }
        };
        within("some have come", come).await;
        server.signal("KILL");
        server.ended().await;
        drop(server);
        let args = ["--mqtt", "off", "--mqtts", &mqtts];
        server = Server::with(dir.path(), &args).await;
    }
    assert!(app.ends_well().await, "all are confirmed");
    assert_eq!(stored(&server).await, once(0..60));
}

#[tokio::test]
async fn agent_that_is_killed_again_and_again_loses_nothing_that_it_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let mqtts = server.address("mqtts").to_string();
    let agent = Agent::at(&server).await;
    server.online().await;
    agent.program.kill().await;
    // While the server is away, everything waits on the agent's disk.
    let (mut server, mut away) = (Some(server), None);
    for round in 0..4 {
        if round == 1 {
            let server = server.take().unwrap();
            server.signal("KILL");
            away = Some(server);
        }
        let known = server.as_ref().or(away.as_ref()).unwrap();
        let agent = Agent::at(known).await;
        let mut app = agent.app_that_tells(&["--receipts"]);
        app.type_in(messages(15 * round..15 * round + 15)).await;
        app.until("all are accepted", |lines| {
            let accepted = lines.iter().filter(|line| line.contains("is kept until"));
            (accepted.count() == 15).then_some(())
        })
        .await;
        agent.program.kill().await;
    }
    let mut away = away.unwrap();
    away.ended().await;
    let agent = Agent::at(&away).await;
    drop(away);
    let args = ["--mqtt", "off", "--mqtts", &mqtts];
    let server = Server::with(dir.path(), &args).await;
    let come = async {
        while stored(&server).await.len() < 60 {
            tokio::task::yield_now().await;
        }
    };
    within("all have come", come).await;
    assert_eq!(stored(&server).await, once(0..60));
    drop(agent);
}

#[tokio::test]
async fn broker_without_a_server_that_knows_receipts_takes_a_message_as_any_other() {
    let mosquitto = Mosquitto::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::beside(&mosquitto.url(Endpoint::Mqtt), dir.path(), &[]).await;
    let mut app = agent.app_with(&["--receipts", "--exit-after", "0"]);
    app.type_in(messages(0..3)).await;
    assert!(app.ends_well().await, "the broker has them");
}

#[tokio::test]
async fn content_that_looks_like_a_message_with_receipts_is_refused_without_them_and_carried_with_them()
 {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    server.online().await;
    let forged = r#"{"vinbus":[1,1,1,0],"n":1}"#;
    let mut app = agent.app_with(&["--exit-after", "0"]);
    app.type_in([forged.to_owned()]).await;
    assert!(!app.ends_well().await, "it is refused");
    let mut app = agent.app_with(&["--receipts", "--exit-after", "0"]);
    app.type_in([forged.to_owned()]).await;
    assert!(app.ends_well().await, "it is confirmed");
    let page = server.get("/api/v1/messages").await;
    let contents: Vec<&Value> = page["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["content"])
        .collect();
    let expected: Value = serde_json::from_str(forged).unwrap();
    assert_eq!(contents, [&expected]);
}
