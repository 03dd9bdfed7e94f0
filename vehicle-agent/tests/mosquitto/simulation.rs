//! `vehicle-agent simulate`.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicScheme};
use vinbus_transport_std::Qos;
use vinbus_transport_std::conformance::{Authority, BrokerUnderTest, Endpoint, Validity};

use crate::app::PATIENCE;
use crate::world::{PASSWORD, UID, USER, World};

fn simulate(world: &World, broker: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vehicle-agent"));
    command
        .args(["simulate", "--broker", broker, "--username", USER])
        .args(["--password-file", &world.password_file()])
        .args(more)
        .env("NO_COLOR", "1")
        .kill_on_drop(true);
    command
}

/// The summary of a simulation that ended well.
struct Summary(String);

impl Summary {
    fn of(output: Output) -> Self {
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{errors}");
        Self(String::from_utf8(output.stdout).unwrap())
    }

    fn line(&self, name: &str) -> &str {
        let line = self.0.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name}: {}", self.0))
    }

    fn numbers(&self, name: &str) -> Vec<u64> {
        let texts = self.line(name).split(|c: char| !c.is_ascii_digit());
        texts.filter_map(|text| text.parse().ok()).collect()
    }
}

#[tokio::test]
async fn simulated_vehicles_connect_send_and_sum_up_over_either_transport() {
    let mut world = World::new().await;
    for transport in ["embedded", "std"] {
        let more = ["--count", "20", "--rate", "5", "--duration", "1"];
        let url = world.url();
        let mut simulation = simulate(&world, &url, &more);
        let simulation = simulation.args(["--transport", transport]).output();
        let summary = Summary::of(timeout(PATIENCE, simulation).await.unwrap().unwrap());
        assert_eq!(summary.numbers("connected")[0], 20, "{}", summary.0);
        assert_eq!(summary.numbers("lost")[0], 0, "{}", summary.0);
        assert!(summary.line("memory").contains("KB"), "{}", summary.0);
        let sent = summary.numbers("sent");
        assert_eq!(sent[0], sent[1], "{}", summary.0);
        let (_, payload) = world.uplink().await;
        assert!(payload.starts_with(r#"{"content":{"n":"#), "{payload}");
    }
}

#[tokio::test]
async fn simulated_vehicle_echoes_messages_up_to_the_largest_over_either_transport() {
    let mut world = World::new().await;
    for (number, transport) in ["embedded", "std"].into_iter().enumerate() {
        let prefix = format!("ECHO{number}");
        let vin = format!("{prefix}{:012}", 0);
        let more = ["--count", "1", "--echo", "--uplink-queue", "1000000"];
        let url = world.url();
        let _running = simulate(&world, &url, &more)
            .args(["--vin-prefix", &prefix, "--transport", transport])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        world.online(&vin, true).await;
        let topic = TopicScheme::default()
            .publish_topic(
                Direction::Downlink,
                &Uid::parse(UID).unwrap(),
                &Vin::parse(&vin).unwrap(),
                None,
            )
            .unwrap();
        for len in [1, 131_000] {
            let content = json!("x".repeat(len));
            let payload = json!({ "idApp": "demo", "popup": false, "content": content });
            let payload = payload.to_string().into_bytes().into();
            world
                .partner
                .publish(&topic, payload, Qos::AtLeastOnce, false)
                .await
                .unwrap();
            let (_, echoed) = world.uplink().await;
            let expected = json!({ "content": content }).to_string();
            assert!(
                echoed == expected,
                "{} bytes came back over {transport}",
                echoed.len()
            );
        }
    }
}

#[tokio::test]
async fn simulated_app_prints_each_message_that_it_gets_in_a_line() {
    const VIN: &str = "SIM00000000000000";
    let mut world = World::new().await;
    let more = ["--count", "1", "--print-received"];
    let mut simulation = simulate(&world, &world.url(), &more)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(simulation.stdout.take().unwrap()).lines();
    world.online(VIN, true).await;
    let topic = TopicScheme::default()
        .publish_topic(
            Direction::Downlink,
            &Uid::parse(UID).unwrap(),
            &Vin::parse(VIN).unwrap(),
            None,
        )
        .unwrap();
    for content in ["1", "{\n\"text\": \"a\\nb\" }"] {
        let payload = format!(r#"{{"idApp":"demo","popup":false,"content":{content}}}"#);
        let sent = world
            .partner
            .publish(&topic, payload.into(), Qos::AtLeastOnce, false);
        sent.await.unwrap();
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        let shown = content.replace('\n', " ");
        assert_eq!(
            line,
            Some(format!(r#"{{"vin":"{VIN}","content":{shown}}}"#))
        );
    }
}

/// Gives a vehicle its folder, with a certificate of `authority`.
fn enroll(world: &World, authority: &Authority, folder: &Path, number: usize) {
    let vin = format!("SIM{number:014}");
    let vehicle = folder.join(&vin);
    std::fs::create_dir(&vehicle).unwrap();
    let issued = authority.client(&vin, Validity::Now);
    std::fs::write(vehicle.join("cert.pem"), issued.certificate).unwrap();
    std::fs::write(vehicle.join("key.pem"), issued.key).unwrap();
    std::fs::write(vehicle.join("ca.pem"), &world.broker.authority.certificate).unwrap();
}

#[tokio::test]
async fn simulated_vehicles_present_the_certificates_of_their_folders() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    for number in 0..2 {
        enroll(&world, &world.broker.authority, folder.path(), number);
    }
    let certs = folder.path().display().to_string();
    let url = world.broker.url(Endpoint::Mqtts).to_string();
    for transport in ["embedded", "std"] {
        let more = ["--certs", &certs, "--rate", "5", "--duration", "0.5"];
        let mut simulation = simulate(&world, &url, &more);
        let simulation = simulation.args(["--count", "2", "--transport", transport]);
        let output = timeout(PATIENCE, simulation.output()).await.unwrap();
        let summary = Summary::of(output.unwrap());
        assert_eq!(summary.numbers("connected")[0], 2, "{}", summary.0);
        assert_eq!(summary.numbers("lost")[0], 0, "{}", summary.0);
    }
    let mut third = simulate(&world, &url, &["--certs", &certs, "--count", "3"]);
    let output = timeout(PATIENCE, third.output()).await.unwrap().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{errors}");
    let advice = "host-server enroll vehicle SIM00000000000002";
    assert!(errors.contains(advice), "{errors}");
    assert!(!errors.contains(PASSWORD), "{errors}");
}

/// Waits until the simulation says that nobody is connected, and why.
async fn says_why(mut simulation: Command, why: &str) {
    let mut simulation = simulation.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(simulation.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    let told = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with("connected 0/2") && line.contains(why) {
                return true;
            }
            seen.push(line);
        }
        false
    };
    let told = timeout(PATIENCE, told).await;
    assert_eq!(told, Ok(true), "{seen:#?}");
}

#[tokio::test]
async fn simulation_that_cannot_connect_says_why_while_it_runs() {
    let world = World::new().await;
    let closed = "mqtt://127.0.0.1:1";
    // This listener's certificate is of an authority that the system does not know.
    let unknown = world.broker.url(Endpoint::Mqtts).to_string();
    let plain = unknown.replace("mqtts://", "mqtt://");
    let says_why = |transport, url, why| {
        let more = ["--count", "2", "--transport", transport];
        says_why(simulate(&world, url, &more), why)
    };
    tokio::join!(
        says_why("embedded", closed, "check the port"),
        says_why("std", closed, "check the port"),
        says_why("embedded", &unknown, "CA"),
        says_why("std", &unknown, "CA"),
        says_why("embedded", &plain, "write mqtts://"),
        says_why("std", &plain, "write mqtts://"),
    );
}

#[tokio::test]
async fn simulation_in_which_no_vehicle_connects_gives_up_with_the_reason() {
    let world = World::new().await;
    for transport in ["embedded", "std"] {
        let more = ["--count", "2", "--connect-timeout", "1", "--transport"];
        let mut simulation = simulate(&world, "mqtt://127.0.0.1:1", &more);
        let simulation = simulation.arg(transport).output();
        let output = timeout(PATIENCE, simulation).await.unwrap().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("no vehicle is connected"), "{errors}");
        assert!(errors.contains("check the port"), "{errors}");
    }
}

#[tokio::test]
async fn vehicle_that_cannot_connect_does_not_keep_the_others_from_their_time() {
    let world = World::new().await;
    let stranger = Authority::new("another CA");
    let folder = tempfile::tempdir().unwrap();
    for (number, authority) in [&world.broker.authority, &stranger].into_iter().enumerate() {
        enroll(&world, authority, folder.path(), number);
    }
    let certs = folder.path().display().to_string();
    let url = world.broker.url(Endpoint::Mqtts).to_string();
    let more = ["--certs", &certs, "--count", "2", "--duration", "0.1"];
    let mut simulation = simulate(&world, &url, &more);
    let simulation = simulation.args(["--connect-timeout", "10"]).output();
    let summary = Summary::of(timeout(PATIENCE, simulation).await.unwrap().unwrap());
    assert_eq!(summary.numbers("connected")[0], 1, "{}", summary.0);
    assert!(
        summary.line("trouble").contains("certificate"),
        "{}",
        summary.0
    );
}

#[tokio::test]
async fn embedded_transport_refuses_what_it_does_not_speak_and_std_is_the_default_there() {
    let world = World::new().await;
    let url = world.broker.url(Endpoint::Ws).to_string();
    let more = ["--count", "1", "--duration", "0.1"];
    let mut refused = simulate(&world, &url, &more);
    let refused = refused.args(["--transport", "embedded"]).output();
    let output = timeout(PATIENCE, refused).await.unwrap().unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("use --transport std"), "{errors}");
    let default = simulate(&world, &url, &more).output();
    let summary = Summary::of(timeout(PATIENCE, default).await.unwrap().unwrap());
    assert_eq!(summary.numbers("connected")[0], 1, "{}", summary.0);
}
