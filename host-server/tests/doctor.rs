//! `host-server doctor` at a real mosquitto: what it grants, and what becomes of messages.

mod cli_support;
mod doctor_support;

use cli_support::{VIN, within};
use doctor_support::Files;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use vinbus_transport_std::Qos;
use vinbus_transport_std::conformance::{
    BrokerUnderTest, Endpoint, Mosquitto, connected, subscribed,
};

#[tokio::test]
async fn a_broker_without_fault_gets_a_clean_bill_of_health() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtts);
    let look = Files::right(&mosquitto)
        .look(&url, Mosquitto::USER, &[])
        .await;
    assert_eq!(look.status, Some(0), "{:#}", look.report);
    // It allows both profiles, and no vehicle speaks.
    assert_eq!(look.with("not-tested"), ["profile", "trailing-slash"]);
    assert_eq!(look.with("warning"), [""; 0], "{:#}", look.report);
    look.says("server-certificate", "ok", "127.0.0.1");
    look.says("own-certificate", "ok", "CN=tester");
    look.says("clock", "ok", "local time 20");
    look.says("mqtt-5", "ok", "spoken");
    look.says("mqtt-3.1.1", "ok", "spoken");
    look.says(
        "qos",
        "ok",
        "0 arrives as 0, 1 arrives as 1, 2 arrives as 2",
    );
    look.says("size", "ok", "131072 bytes arrives; one of 131073 arrives");
    look.says("retained", "ok", "deleted again");
    look.says("no-local", "ok", "honoured");
    assert!(!look.printed.contains(Mosquitto::PASSWORD));
}

#[tokio::test]
async fn the_older_version_is_looked_at_when_it_is_chosen() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let files = Files::right(&mosquitto);
    let look = files
        .look(&url, Mosquitto::USER, &["--broker-mqtt", "3.1.1"])
        .await;
    assert_eq!(look.status, Some(0), "{:#}", look.report);
    look.says("size", "ok", "131072 bytes arrives");
    look.says("no-local", "not-tested", "MQTT 3.1.1 does not have it");
}

#[tokio::test]
async fn only_the_own_topic_is_published_on_and_nothing_stays() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let options = mosquitto.options(Endpoint::Mqtt, url.clone(), "ear");
    let (ear, mut inbox) = connected(options).await;
    subscribed(&ear, "#", Qos::AtMostOnce).await;
    let files = Files::right(&mosquitto);
    let quiet = files.look(&url, Mosquitto::USER, &["--no-publish"]).await;
    quiet.says("size", "not-tested", "--no-publish");
    assert_eq!(quiet.status, Some(0), "{:#}", quiet.report);
    let loud = files.look(&url, Mosquitto::USER, &[]).await;
    assert_eq!(loud.status, Some(0), "{:#}", loud.report);
    let end = ear.publish("end", "".into(), Qos::AtMostOnce, false);
    within("the end is published", end).await.unwrap();
    let own = "psa/OVIPPartners-Dev/to/uid/tester/opa/VINBUSDOCTOR00000/";
    let mut heard = 0;
    loop {
        let message = within("a message", inbox.recv()).await.unwrap();
        if message.topic == "end" {
            break;
        }
        heard += 1;
        assert_eq!(message.topic, own);
        let first = message.payload.first();
        assert!(first.is_none() || first == Some(&b'v'), "no envelope");
    }
    assert!(heard > 5, "{heard}");
    let options = mosquitto.options(Endpoint::Mqtt, url, "late");
    let (late, mut inbox) = connected(options).await;
    subscribed(&late, "#", Qos::AtMostOnce).await;
    let end = late.publish("end", "".into(), Qos::AtMostOnce, false);
    within("the end is published", end).await.unwrap();
    let first = within("a message", inbox.recv()).await.unwrap();
    assert_eq!(first.topic, "end", "something is retained");
}

#[tokio::test]
async fn rules_that_forbid_to_publish_are_told_with_their_reason() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let files = Files::right(&mosquitto);
    let look = files
        .look(&url, Mosquitto::USER, &["--prefix", "forbidden"])
        .await;
    assert_eq!(look.status, Some(1));
    look.says("publish", "failed", "0x87: not authorized");
    look.says("size", "not-tested", "does not let us publish");
}

#[tokio::test]
async fn the_largest_message_is_found_to_the_byte() {
    let mosquitto = Mosquitto::with("message_size_limit 65536").await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let files = Files::right(&mosquitto);
    for version in ["5", "3.1.1"] {
        let look = files
            .look(&url, Mosquitto::USER, &["--broker-mqtt", version])
            .await;
        assert_eq!(look.status, Some(1));
        look.says("size", "failed", "has 65536 bytes -> ");
        look.says("size", "failed", "message_size_limit");
        assert_eq!(look.with("failed"), ["size"], "{:#}", look.report);
    }
}

#[tokio::test]
async fn the_largest_message_that_is_not_refused_is_found_where_none_is_heard() {
    let mosquitto = Mosquitto::with("max_packet_size 20000").await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let older = ["--prefix", "forbidden", "--broker-mqtt", "3.1.1"];
    let look = Files::right(&mosquitto)
        .look(&url, Mosquitto::USER, &older)
        .await;
    look.says("publish", "not-tested", "nothing tells");
    // The rest is for the topic.
    let largest = "is not refused on forbidden/to/uid/tester/opa/VINBUSDOCTOR00000/ has 199";
    look.says("size", "failed", largest);
}

#[tokio::test]
async fn a_limit_of_the_connack_is_told_and_not_broken() {
    let mosquitto = Mosquitto::with("max_packet_size 100000").await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let look = Files::right(&mosquitto)
        .look(&url, Mosquitto::USER, &[])
        .await;
    look.says("mqtt-5", "ok", "packets of at most 100000 bytes");
    let topic = "psa/OVIPPartners-Dev/to/uid/tester/opa/VINBUSDOCTOR00000/".len();
    let payload = 100_000 - (4 + 2 + topic + 2 + 1);
    look.says("size", "failed", &format!("a payload of {payload} on"));
    look.says("size", "failed", "arrives");
}

#[tokio::test]
async fn vehicles_that_speak_tell_the_profile() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let options = mosquitto.options(Endpoint::Mqtt, url.clone(), "car");
    let (car, _inbox) = connected(options).await;
    let topic = format!("psa/OVIPPartners-Dev/to/uid/tester/opa/{VIN}");
    let spoken = car.publish(&topic, r#"{"content":1}"#.into(), Qos::AtLeastOnce, true);
    within("the vehicle speaks", spoken).await.unwrap();
    let files = Files::right(&mosquitto);
    let look = files.look(&url, Mosquitto::USER, &[]).await;
    assert_eq!(look.status, Some(1));
    look.says("profile", "failed", "sample, not table: by 1 message heard");
    look.says("profile", "failed", "--profile sample");
    look.says("trailing-slash", "ok", "without it: 1 message heard");
    let right = ["--profile", "sample"];
    let look = files.look(&url, Mosquitto::USER, &right).await;
    look.says("profile", "ok", "sample");
    assert_eq!(look.status, Some(0), "{:#}", look.report);
}

#[tokio::test]
async fn a_broker_of_the_older_version_alone_is_used_and_told() {
    let mosquitto = Mosquitto::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let behind = mosquitto.url(Endpoint::Mqtt);
    tokio::spawn(older_only(
        listener,
        (behind.host().to_owned(), behind.port()),
    ));
    let files = Files::right(&mosquitto);
    let url = url.parse().unwrap();
    let look = files.look(&url, Mosquitto::USER, &[]).await;
    look.says("mqtt-5", "failed", "--broker-mqtt");
    look.says("mqtt-3.1.1", "ok", "spoken");
    look.says("size", "ok", "131072 bytes arrives");
    let look = files
        .look(&url, Mosquitto::USER, &["--broker-mqtt", "3.1.1"])
        .await;
    look.says("mqtt-5", "warning", "CONNACK 0x01");
    assert_eq!(look.status, Some(0), "{:#}", look.report);
}

/// A broker that refuses version 5 as one of 3.1.1 does, and hands all else to another.
async fn older_only(listener: TcpListener, behind: (String, u16)) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let behind = behind.clone();
        tokio::spawn(async move {
            let mut begin = vec![0; 9];
            client.read_exact(&mut begin).await?;
            // The level stands behind the header of two bytes and the protocol's name.
            if begin[8] == 5 {
                return client.write_all(&[0x20, 2, 0, 1]).await;
            }
            let mut broker = TcpStream::connect(behind).await?;
            broker.write_all(&begin).await?;
            copy_bidirectional(&mut client, &mut broker).await.map(drop)
        });
    }
}
