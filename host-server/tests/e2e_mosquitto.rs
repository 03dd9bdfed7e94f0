//! The real program against somebody else's broker: a real mosquitto.

mod cli_support;

use std::path::Path;

use cli_support::{PARTNER, Server, VIN, Vehicle, within};
use serde_json::{Value, json};
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicProfile, TopicScheme};
use vinbus_transport_std::Qos;
use vinbus_transport_std::conformance::{
    BrokerUnderTest, Endpoint, Mosquitto, Validity, connected, impatient, published, received,
    subscribed,
};

/// The options by which the program reaches this mosquitto over mutual TLS.
fn options(mosquitto: &Mosquitto, dir: &Path) -> Vec<String> {
    let identity = mosquitto.authority.client("host", Validity::Now);
    let files = [
        (
            "--broker-ca",
            "broker-ca.pem",
            mosquitto.authority.certificate.as_str(),
        ),
        (
            "--broker-cert",
            "broker-cert.pem",
            identity.certificate.as_str(),
        ),
        ("--broker-key", "broker-key.pem", identity.key.as_str()),
        (
            "--broker-password-file",
            "broker-password",
            &format!("{}\n", Mosquitto::PASSWORD),
        ),
    ];
    let url = mosquitto.url(Endpoint::Mqtts);
    let mut args = vec![
        "--broker".to_owned(),
        format!("mqtts://{}:{}", url.host(), url.port()),
    ];
    args.extend(["--broker-username", Mosquitto::USER, "--partner", PARTNER].map(str::to_owned));
    for (option, file, text) in files {
        let path = dir.join(file);
        std::fs::write(&path, text).unwrap();
        args.extend([option.to_owned(), path.to_str().unwrap().to_owned()]);
    }
    args
}

async fn start(mosquitto: &Mosquitto, dir: &Path, more: &[&str]) -> Server {
    let args = options(mosquitto, dir);
    let args: Vec<_> = args
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    let server = Server::with(&dir.join("data"), &args).await;
    ready(&server, true).await;
    server
}

/// Waits until the server says that it is ready, or is not.
async fn ready(server: &Server, expected: bool) {
    let asking = async {
        while server.get("/readyz").await["ready"] != expected {
            tokio::task::yield_now().await;
        }
    };
    within("readiness changes", asking).await;
}

async fn vehicle(mosquitto: &Mosquitto) -> Vehicle {
    let url = mosquitto.url(Endpoint::Mqtt);
    Vehicle::connect(impatient(mosquitto.options(Endpoint::Mqtt, url, "car"))).await
}

#[tokio::test]
async fn messages_go_both_ways_through_a_foreign_broker_unchanged() {
    for version in ["5", "3.1.1"] {
        let mosquitto = Mosquitto::start().await;
        let dir = tempfile::tempdir().unwrap();
        let server = start(&mosquitto, dir.path(), &["--broker-mqtt", version]).await;
        let mut vehicle = vehicle(&mosquitto).await;
        let id = server.submit("{ \"a\" : 1.0 }").await.unwrap();
        let expected = r#"{"idApp":"demo-app","popup":false,"content":{ "a" : 1.0 }}"#;
        assert_eq!(vehicle.next().await, expected);
        server.traced(&id, "sent").await;

        vehicle.say("[ 1.0 ]").await;
        let arrived = async {
            loop {
                let page = server.get("/api/v1/messages").await;
                if page["messages"] != json!([]) {
                    return page["messages"][0]["content"].clone();
                }
            }
        };
        assert_eq!(within("the uplink arrives", arrived).await, json!([1.0]));
    }
}

#[tokio::test]
async fn messages_wait_while_the_vehicle_says_that_it_is_offline() {
    let mosquitto = Mosquitto::start().await;
    let dir = tempfile::tempdir().unwrap();
    let server = start(&mosquitto, dir.path(), &[]).await;
    let mut vehicle = vehicle(&mosquitto).await;
    presence(&vehicle, false).await;
    until_presence(&server, "offline").await;
    let id = server.submit("1").await.unwrap();
    server.traced(&id, "held").await;
    presence(&vehicle, true).await;
    vehicle.next().await;
    server.traced(&id, "sent").await;
    until_presence(&server, "online").await;
}

#[tokio::test]
async fn a_broker_that_goes_away_is_told_and_messages_wait_for_it() {
    let mut mosquitto = Mosquitto::start().await;
    let dir = tempfile::tempdir().unwrap();
    let server = start(&mosquitto, dir.path(), &[]).await;
    mosquitto.stop().await;
    ready(&server, false).await;
    let reasons = server.get("/readyz").await["reasons"].to_string();
    assert!(reasons.contains("no connection to the broker"), "{reasons}");
    let id = server.submit("1").await.unwrap();
    // A foreign broker keeps nothing: whoever hears a message has to be there before.
    let vehicle = tokio::spawn({
        let options =
            impatient(mosquitto.options(Endpoint::Mqtt, mosquitto.url(Endpoint::Mqtt), "car"));
        async move { Vehicle::connect(options).await }
    });
    mosquitto.start().await;
    ready(&server, true).await;
    server.traced(&id, "sent").await;
    drop(vehicle.await.unwrap());
    assert_eq!(
        server.get("/mqtt").await["type"],
        "urn:vinbus:problem:not-found"
    );
}

#[tokio::test]
async fn the_sample_profile_turns_the_topics_round() {
    let mosquitto = Mosquitto::start().await;
    let dir = tempfile::tempdir().unwrap();
    let server = start(
        &mosquitto,
        dir.path(),
        &["--profile", "sample", "--prefix", "p/q"],
    )
    .await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let (car, mut inbox) = connected(mosquitto.options(Endpoint::Mqtt, url, "car")).await;
    subscribed(
        &car,
        &format!("p/q/from/uid/{PARTNER}/opa/{VIN}"),
        Qos::AtMostOnce,
    )
    .await;
    server.submit("1").await.unwrap();
    let heard = received(&mut inbox).await;
    let heard: Value = serde_json::from_slice(&heard.payload).unwrap();
    assert_eq!(heard["content"], 1);
    let topic = format!("p/q/to/uid/{PARTNER}/opa/{VIN}");
    published(&car, &topic, "{\"content\":2}".into(), Qos::AtLeastOnce).await;
    let arrived = async {
        while server.get("/api/v1/messages").await["messages"] == json!([]) {
            tokio::task::yield_now().await;
        }
    };
    within("the uplink arrives", arrived).await;
}

#[tokio::test]
async fn a_broker_that_refuses_us_is_named_in_the_log_with_advice() {
    let mosquitto = Mosquitto::start().await;
    let dir = tempfile::tempdir().unwrap();
    let args = options(&mosquitto, dir.path());
    std::fs::write(dir.path().join("broker-password"), "not-this-one").unwrap();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let server = Server::with(&dir.path().join("data"), &args).await;
    let told = async {
        while !server.printed().contains("password") {
            tokio::task::yield_now().await;
        }
    };
    within("the log says why", told).await;
    assert!(
        !server.printed().contains("not-this-one"),
        "{}",
        server.printed()
    );
}

/// Says on the presence subtopic whether the vehicle is there, as an agent does.
async fn presence(vehicle: &Vehicle, online: bool) {
    let (uid, vin) = (Uid::parse(PARTNER).unwrap(), Vin::parse(VIN).unwrap());
    let topics = TopicScheme::new("psa/OVIPPartners-Dev", TopicProfile::Table).unwrap();
    let topic = topics
        .publish_topic(Direction::Uplink, &uid, &vin, Some("vinbus/presence"))
        .unwrap();
    let payload = format!("{{\"content\":{{\"online\":{online}}}}}");
    let told = vehicle
        .client
        .publish(&topic, payload.into(), Qos::AtLeastOnce, true);
    within("presence is told", told).await.unwrap();
}

async fn until_presence(server: &Server, expected: &str) {
    let path = format!("/api/v1/vehicles/{VIN}");
    let asking = async {
        while server.get(&path).await["presence"] != expected {
            tokio::task::yield_now().await;
        }
    };
    within(&format!("the vehicle is {expected}"), asking).await;
}
