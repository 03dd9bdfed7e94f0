//! What becomes of messages, over real sockets.

mod broker_support;

use broker_support::raw::{Connect, PUBACK};
use broker_support::{Fixture, OTHER_VIN, UID, VIN, downlink, uplink, within};
use bytes::Bytes;
use vinbus_host_server::broker::{Broker, Outcome, PublishError};
use vinbus_host_server::model::Presence;
use vinbus_host_server::store::StoreError;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

const PUBREC: u8 = 5;
const PUBCOMP: u8 = 7;

/// An uplink envelope of exactly `len` bytes.
fn envelope(len: usize) -> Vec<u8> {
    let frame = r#"{"content":""}"#.len();
    format!(r#"{{"content":"{}"}}"#, "x".repeat(len - frame)).into_bytes()
}

#[tokio::test]
async fn largest_message_passes_unchanged_and_one_byte_more_is_counted_and_dropped() {
    let it = Fixture::start().await;
    let mut partner = it.listening_partner().await;
    let mut car = it.vehicle(VIN).await;
    let largest = envelope(PAYLOAD_BYTES_MAX);
    let topic = uplink(UID, VIN);
    for qos in [0, 1] {
        car.publish(&topic, &envelope(PAYLOAD_BYTES_MAX + 1), qos, false)
            .await;
    }
    car.expect(PUBACK).await;
    car.publish(&topic, &largest, 0, false).await;
    car.ping().await;
    let arrivals = it.events.until_arrivals(1).await;
    assert_eq!(arrivals.len(), 1);
    assert_eq!(arrivals[0].payload, largest);
    let heard = partner.packet().await.unwrap();
    assert_eq!(heard.publish(), (&*topic, &[&[0], &*largest].concat()[..]));
    assert_eq!(it.counts().oversize, 2);
}

#[tokio::test]
async fn every_qos_of_every_version_is_delivered_at_qos_0_without_added_properties() {
    let it = Fixture::start().await;
    let mut partner = it.listening_partner().await;
    let topic = uplink(UID, VIN);
    for version in [5, 4] {
        let mut car = it.tls(VIN).await.unwrap();
        let mut connect = Connect::new(VIN);
        connect.version = version;
        car.enter(&connect).await;
        for qos in [0, 1, 2] {
            let payload = format!(r#"{{"content":[{version},{qos}]}}"#);
            let id = car.publish(&topic, payload.as_bytes(), qos, true).await;
            match qos {
                1 => drop(car.expect(PUBACK).await),
                2 => {
                    car.expect(PUBREC).await;
                    car.release(id).await;
                    car.expect(PUBCOMP).await;
                }
                _ => {}
            }
            let heard = partner.packet().await.unwrap();
            assert_eq!(heard.first, 0x30, "QoS 0, not retained, not a duplicate");
            let bytes = [&[0], payload.as_bytes()].concat();
            assert_eq!(
                heard.publish(),
                (&*topic, &*bytes),
                "no property, no change"
            );
        }
        car.leave().await;
    }
}

#[tokio::test]
async fn publish_is_acknowledged_and_offered_only_when_it_is_stored() {
    let it = Fixture::start().await;
    let mut partner = it.listening_partner().await;
    let mut car = it.vehicle(VIN).await;
    it.events.hold_outcomes();
    let topic = uplink(UID, VIN);
    let one = car.publish(&topic, b"1", 1, false).await;
    let two = car.publish(&topic, b"2", 2, false).await;
    let three = car.publish(&topic, b"3", 1, false).await;
    // All three are with the core: the connection does not wait for the first.
    it.events.until_arrivals(3).await;
    partner.ping().await;
    for (id, kind, payload) in [
        (one, PUBACK, b"1"),
        (two, PUBREC, b"2"),
        (three, PUBACK, b"3"),
    ] {
        it.events.resolve(Outcome::Stored);
        let answer = car.expect(kind).await;
        assert_eq!(answer.body[..2], id.to_be_bytes());
        let heard = partner.packet().await.unwrap();
        assert_eq!(heard.publish().1[1..], *payload);
    }
    car.release(two).await;
    car.expect(PUBCOMP).await;
}

#[tokio::test]
async fn what_waits_behind_the_disk_does_not_reorder_other_packets() {
    let it = Fixture::start().await;
    let mut car = it.vehicle(VIN).await;
    it.events.hold_outcomes();
    car.publish(&uplink(UID, VIN), b"1", 1, false).await;
    car.send(&[0xC0, 0]).await;
    it.events.until_arrivals(1).await;
    it.events.resolve(Outcome::Stored);
    car.expect(PUBACK).await;
    car.expect(13).await;
}

#[tokio::test]
async fn refused_message_is_acknowledged_and_not_offered() {
    let it = Fixture::start().await;
    let mut partner = it.listening_partner().await;
    let mut car = it.vehicle(VIN).await;
    it.events.hold_outcomes();
    car.publish(&uplink(UID, VIN), b"no JSON", 1, false).await;
    it.events.until_arrivals(1).await;
    it.events.resolve(Outcome::Refused);
    car.expect(PUBACK).await;
    car.publish(&uplink(UID, VIN), b"{}", 1, false).await;
    it.events.until_arrivals(2).await;
    it.events.resolve(Outcome::Stored);
    let heard = partner.packet().await.unwrap();
    assert_eq!(heard.publish().1, b"\0{}");
}

#[tokio::test]
async fn report_of_health_is_for_the_core_and_offered_once_it_has_taken_note() {
    let it = Fixture::start().await;
    let mut partner = it.listening_partner().await;
    let mut car = it.vehicle(VIN).await;
    it.events.hold_outcomes();
    let topic = format!("{}vinbus/health", uplink(UID, VIN));
    let report = br#"{"content":{"uptimeS":1}}"#;
    // Retained, it would be told of for ever.
    car.publish(&topic, report, 1, true).await;
    it.events.until_arrivals(1).await;
    it.events.resolve(Outcome::Noted);
    car.expect(PUBACK).await;
    let heard = partner.packet().await.unwrap();
    assert_eq!(heard.first, 0x30, "not retained");
    assert_eq!(heard.publish().1[1..], *report);
    assert_eq!(it.events.recorded().arrivals[0].topic, topic);
}

#[tokio::test]
async fn message_that_was_not_stored_is_not_acknowledged_and_its_connection_ends() {
    let it = Fixture::start().await;
    let mut car = it.vehicle(VIN).await;
    it.events.hold_outcomes();
    car.publish(&uplink(UID, VIN), b"{}", 1, false).await;
    it.events.until_arrivals(1).await;
    it.events.resolve(Outcome::Failed(StoreError::Full {
        detail: "disk".into(),
    }));
    assert_eq!(car.packet().await, None);
    assert_eq!(it.counts().unacknowledged, 1);
}

#[tokio::test]
async fn downlink_of_the_core_reaches_the_listening_vehicle_unchanged() {
    let it = Fixture::start().await;
    let mut car = it.listening_vehicle().await;
    let topic = downlink(UID, VIN);
    let largest = envelope(PAYLOAD_BYTES_MAX);
    it.broker
        .publish(&topic, Bytes::from(largest.clone()))
        .await
        .unwrap();
    let heard = car.packet().await.unwrap();
    assert_eq!(heard.first, 0x30);
    assert_eq!(heard.publish(), (&*topic, &[&[0], &*largest].concat()[..]));
}

#[tokio::test]
async fn downlink_for_a_vehicle_that_does_not_listen_stays_with_the_core() {
    let it = Fixture::start().await;
    let publish = async |topic: String| it.broker.publish(&topic, Bytes::from("{}")).await;
    let not_listening = Err(PublishError::NotListening);
    assert_eq!(publish(downlink(UID, VIN)).await, not_listening);
    let mut car = it.vehicle(VIN).await;
    assert_eq!(publish(downlink(UID, VIN)).await, not_listening);
    car.subscribe(&downlink("another", VIN), 0).await;
    it.events.until_presence(Presence::Online).await;
    assert_eq!(publish(downlink(UID, VIN)).await, not_listening);
    assert_eq!(publish(downlink("another", VIN)).await, Ok(()));
}

#[tokio::test]
async fn downlink_that_can_never_be_carried_is_rejected_with_the_reason() {
    let it = Fixture::start().await;
    let mut car = it.tls(VIN).await.unwrap();
    let mut connect = Connect::new(VIN);
    connect.packet_bytes_max = Some(1000);
    car.enter(&connect).await;
    car.subscribe(&downlink(UID, VIN), 0).await;
    it.events.until_presence(Presence::Online).await;
    let check = async |topic: &str, len: usize, words: &str| {
        let published = it.broker.publish(topic, Bytes::from(vec![b'x'; len])).await;
        match published {
            Err(PublishError::Rejected { detail }) => assert!(detail.contains(words), "{detail}"),
            other => panic!("{other:?}"),
        }
    };
    let topic = downlink(UID, VIN);
    check(&topic, PAYLOAD_BYTES_MAX + 1, "131073").await;
    check(&topic, 1000, "1000").await;
    check(&uplink(UID, VIN), 1, "downlink").await;
    check("elsewhere", 1, "prefix").await;
}

#[tokio::test]
async fn backlog_larger_than_any_queue_reaches_a_slow_vehicle_whole_and_in_order() {
    let it = Fixture::start().await;
    let mut car = it.listening_vehicle().await;
    let topic = downlink(UID, VIN);
    let publishing = async {
        for number in 0..5_000 {
            let payload = format!("{number:0>1000}");
            it.broker
                .publish(&topic, Bytes::from(payload))
                .await
                .unwrap();
        }
    };
    let reading = async {
        for number in 0..5_000 {
            let heard = car.packet().await.unwrap();
            let payload = std::str::from_utf8(&heard.publish().1[1..]).unwrap();
            assert_eq!(payload.parse(), Ok(number));
        }
    };
    within("the backlog", async { tokio::join!(publishing, reading) }).await;
}

#[tokio::test]
async fn downlink_of_a_partner_on_mqtt_is_checked_and_routed_at_once() {
    let it = Fixture::start().await;
    let mut car = it.listening_vehicle().await;
    let mut partner = it.partner(UID, "partner").await;
    let good = br#"{"idApp":"app","popup":false,"content":{"a": 1}}"#;
    let topic = downlink(UID, VIN);
    for (topic, payload) in [
        (&topic, &b"no envelope"[..]),
        (&downlink("other", VIN), good),
        (&downlink(UID, OTHER_VIN), good),
        (&topic, good),
    ] {
        partner.publish(topic, payload, 1, false).await;
        partner.expect(PUBACK).await;
    }
    let heard = car.packet().await.unwrap();
    assert_eq!(heard.publish(), (&*topic, &[&[0], &good[..]].concat()[..]));
    let counts = it.counts();
    assert_eq!(
        (
            counts.envelopes_refused,
            counts.publishes_denied,
            counts.downlinks_unheard
        ),
        (1, 1, 1)
    );
    assert!(it.events.recorded().arrivals.is_empty());
}

#[tokio::test]
async fn messages_of_one_vehicle_keep_their_order_under_load() {
    let it = Fixture::start().await;
    let mut partner = it.listening_partner().await;
    let mut car = it.vehicle(VIN).await;
    let topic = uplink(UID, VIN);
    for number in 0..2_000u32 {
        let qos = u8::from(number % 3 == 0);
        car.publish(&topic, number.to_string().as_bytes(), qos, false)
            .await;
        if qos == 1 {
            car.expect(PUBACK).await;
        }
    }
    for number in 0..2_000u32 {
        let heard = partner.packet().await.unwrap();
        let text = std::str::from_utf8(&heard.publish().1[1..]).unwrap();
        assert_eq!(text.parse(), Ok(number));
    }
}

#[tokio::test]
async fn shutdown_says_goodbye_and_finishes_acknowledgements() {
    let it = Fixture::start().await;
    let mut idle = it.partner(UID, "partner").await;
    let mut car = it.vehicle(VIN).await;
    it.events.hold_outcomes();
    car.publish(&uplink(UID, VIN), b"{}", 1, false).await;
    it.events.until_arrivals(1).await;
    within("shutdown", it.broker.shutdown()).await;
    let goodbye = idle.packet().await.unwrap();
    assert_eq!((goodbye.first, goodbye.body[0]), (0xE0, 0x8B));
    it.events.resolve(Outcome::Stored);
    car.expect(PUBACK).await;
    let goodbye = car.packet().await.unwrap();
    assert_eq!((goodbye.first, goodbye.body[0]), (0xE0, 0x8B));
    let address = it.broker.mqtt_address().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
