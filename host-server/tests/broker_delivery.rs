//! What becomes of messages, over real sockets.

mod broker_support;

use broker_support::raw::{Client, Connect};
use broker_support::{Fixture, OTHER_UID, OTHER_VIN, UID, VIN, downlink, uplink, vin, within};
use bytes::Bytes;
use vinbus_host_server::broker::{Broker, Outcome, PublishError};
use vinbus_host_server::model::Presence;
use vinbus_host_server::store::StoreError;
use vinbus_protocol::id::Uid;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;
use vinbus_protocol::presence;

const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBCOMP: u8 = 7;

/// An uplink envelope of exactly `len` bytes.
fn envelope(len: usize) -> Vec<u8> {
    let frame = r#"{"content":""}"#.len();
    format!(r#"{{"content":"{}"}}"#, "x".repeat(len - frame)).into_bytes()
}

async fn listening_partner(it: &Fixture) -> Client {
    let mut partner = it.partner(UID, "partner").await;
    partner
        .subscribe("psa/OVIPPartners-Dev/from/uid/acme/opa/#", 2)
        .await;
    partner
}

#[tokio::test]
async fn largest_message_passes_unchanged_and_one_byte_more_is_counted_and_dropped() {
    let it = Fixture::start().await;
    let mut partner = listening_partner(&it).await;
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
    let mut partner = listening_partner(&it).await;
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
    let mut partner = listening_partner(&it).await;
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
    let mut partner = listening_partner(&it).await;
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
    let mut partner = listening_partner(&it).await;
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
async fn vehicle_is_online_when_it_listens_and_offline_when_it_is_gone() {
    let it = Fixture::start().await;
    let car = it.listening_vehicle().await;
    drop(car);
    it.events.until_presence(Presence::Offline).await;
    let told = it.events.recorded().presence;
    assert_eq!(
        told,
        [(vin(), Presence::Online), (vin(), Presence::Offline)]
    );
}

#[tokio::test]
async fn vehicle_that_gives_up_its_subscription_is_offline() {
    let it = Fixture::start().await;
    let mut car = it.listening_vehicle().await;
    let mut body = vec![0, 99, 0];
    let filter = downlink(UID, VIN);
    body.extend(u16::try_from(filter.len()).unwrap().to_be_bytes());
    body.extend(filter.as_bytes());
    car.send(&broker_support::raw::packet(0xA2, &body)).await;
    car.expect(11).await;
    it.events.until_presence(Presence::Offline).await;
}

#[tokio::test]
async fn vehicle_that_falls_silent_is_offline_and_leaves_its_will() {
    let it = Fixture::start().await;
    let mut car = it.tls(VIN).await.unwrap();
    let mut connect = Connect::new(VIN).will(&uplink(UID, VIN), "{\"content\":1}", false);
    connect.keep_alive = 1;
    assert_eq!(car.connect(&connect).await, 0);
    car.subscribe(&downlink(UID, VIN), 1).await;
    it.events.until_presence(Presence::Online).await;
    // Its socket stays open, as that of a vehicle in a tunnel does.
    it.events.until_presence(Presence::Offline).await;
    let arrivals = it.events.until_arrivals(1).await;
    assert_eq!(arrivals[0].payload, &b"{\"content\":1}"[..]);
    drop(car);
}

#[tokio::test]
async fn takeover_ends_with_the_vehicle_online() {
    let it = Fixture::start().await;
    let mut old = it.listening_vehicle().await;
    for _ in 0..20 {
        let mut new = it.listening_vehicle().await;
        let goodbye = old.packet().await.unwrap();
        assert_eq!((goodbye.first, goodbye.body[0]), (0xE0, 0x8E));
        old.until_closed().await;
        it.until_counts("the old connection to be gone", |counts| {
            counts.connections == 1
        })
        .await;
        new.ping().await;
        old = new;
    }
    it.events.until_presence(Presence::Online).await;
    it.broker
        .publish(&downlink(UID, VIN), Bytes::from("{}"))
        .await
        .unwrap();
    assert!(old.packet().await.unwrap().is_publish());
}

#[tokio::test]
async fn vehicle_whose_other_connection_does_not_listen_is_offline() {
    let it = Fixture::start().await;
    let listening = it.listening_vehicle().await;
    let mut silent = it.tls(VIN).await.unwrap();
    silent.enter(&Connect::new("another")).await;
    drop(listening);
    it.events.until_presence(Presence::Offline).await;
    silent.ping().await;
    silent.leave().await;
    it.until_counts("both to be gone", |counts| counts.connections == 0)
        .await;
    let told = it.events.recorded().presence;
    assert_eq!(
        told,
        [(vin(), Presence::Online), (vin(), Presence::Offline)],
        "told once"
    );
}

#[tokio::test]
async fn will_of_a_vehicle_goes_the_way_of_its_messages() {
    let it = Fixture::start().await;
    let mut partner = listening_partner(&it).await;
    let mut car = it.tls(VIN).await.unwrap();
    let topic = uplink(UID, VIN);
    car.enter(&Connect::new(VIN).will(&topic, r#"{"content":0}"#, true))
        .await;
    drop(car);
    let arrivals = it.events.until_arrivals(1).await;
    assert_eq!(arrivals[0].payload, r#"{"content":0}"#);
    let heard = partner.packet().await.unwrap();
    assert_eq!(heard.first, 0x30, "not retained");
    assert_eq!(heard.publish(), (&*topic, &b"\0{\"content\":0}"[..]));
}

#[tokio::test]
async fn will_is_not_published_after_a_goodbye() {
    let it = Fixture::start().await;
    let mut car = it.tls(VIN).await.unwrap();
    car.enter(&Connect::new(VIN).will(&uplink(UID, VIN), "{}", false))
        .await;
    car.leave().await;
    it.until_counts("the vehicle to be gone", |counts| counts.connections == 0)
        .await;
    assert!(it.events.recorded().arrivals.is_empty());
}

#[tokio::test]
async fn presence_messages_are_retained_and_not_for_the_core() {
    let it = Fixture::start().await;
    let topic = format!("{}vinbus/presence", uplink(UID, VIN));
    let (up, down) = (
        r#"{"content":{"online":true}}"#,
        r#"{"content":{"online":false}}"#,
    );
    let connect = Connect::new(VIN).will(&topic, down, true);
    let mut old = it.tls(VIN).await.unwrap();
    old.enter(&connect).await;
    old.publish(&topic, up.as_bytes(), 1, true).await;
    old.expect(PUBACK).await;

    let mut new = it.tls(VIN).await.unwrap();
    new.enter(&connect).await;
    old.until_closed().await;
    it.until_counts("the old connection to be gone", |counts| {
        counts.connections == 1
    })
    .await;
    let mut partner = listening_partner(&it).await;
    let heard = partner.packet().await.unwrap();
    assert_eq!(heard.first, 0x31, "retained");
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[1..]).into_owned();
    assert_eq!(text(heard.publish().1), up, "the old will is outdated");

    drop(new);
    let heard = partner.packet().await.unwrap();
    assert_eq!(text(heard.publish().1), down);
    assert!(it.events.recorded().arrivals.is_empty());
}

#[tokio::test]
async fn power_cut_is_told_to_every_partner_that_the_vehicle_reported_to() {
    let it = Fixture::start().await;
    let mut car = it.tls(VIN).await.unwrap();
    let topic = |uid: &str| format!("{}vinbus/presence", uplink(uid, VIN));
    let down = presence::payload(false);
    let mut partners = Vec::new();
    for uid in [UID, OTHER_UID] {
        let mut partner = it.partner(uid, uid).await;
        let filter = format!("psa/OVIPPartners-Dev/from/uid/{uid}/opa/#");
        assert_eq!(partner.subscribe(&filter, 0).await, 0);
        partners.push(partner);
    }
    car.enter(&Connect::new(VIN).will(&topic(UID), down, true))
        .await;
    for uid in [UID, OTHER_UID] {
        let up = presence::payload(true).as_bytes();
        car.publish(&topic(uid), up, 1, true).await;
        car.expect(PUBACK).await;
    }
    drop(car);
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[1..]).into_owned();
    for partner in &mut partners {
        for expected in [presence::payload(true), down] {
            let heard = partner.packet().await.unwrap();
            assert_eq!(text(heard.publish().1), expected);
        }
        partner.ping().await;
    }
    let mut late = it.partner(OTHER_UID, "late").await;
    late.subscribe(&topic(OTHER_UID), 0).await;
    let heard = late.packet().await.unwrap();
    assert_eq!(heard.first, 0x31, "retained");
    assert_eq!(text(heard.publish().1), down);
    let introduced = it.events.recorded().introduced;
    assert!(introduced.contains(&(vin(), Uid::parse(OTHER_UID).unwrap())));
}

#[tokio::test]
async fn messages_of_one_vehicle_keep_their_order_under_load() {
    let it = Fixture::start().await;
    let mut partner = listening_partner(&it).await;
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
