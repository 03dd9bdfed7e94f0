//! Who is there, over real sockets: what the broker tells the core of it, and what vehicles leave behind.

mod broker_support;

use broker_support::raw::{Client, Connect, PUBACK};
use std::time::Duration;

use broker_support::{Fixture, OTHER_UID, UID, VIN, downlink, uplink, vin, within};
use bytes::Bytes;
use vinbus_host_server::broker::embedded::Limits;
use vinbus_host_server::broker::{Broker, PublishError};
use vinbus_host_server::model::Presence;
use vinbus_protocol::id::Uid;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;
use vinbus_protocol::presence;

/// What was told of the presence of the only vehicle.
fn presences(it: &Fixture) -> Vec<Presence> {
    let told = it.events.recorded().presence;
    told.into_iter().map(|(_, presence)| presence).collect()
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

/// The next that a vehicle of MQTT 5 hears is that it was taken over, and then nothing.
async fn taken_over(earlier: &mut Client) {
    let goodbye = earlier.packet().await.unwrap();
    assert_eq!((goodbye.first, goodbye.body[0]), (0xE0, 0x8E));
    assert_eq!(earlier.packet().await, None);
}

#[tokio::test]
async fn takeover_ends_with_the_vehicle_online() {
    let it = Fixture::start().await;
    let mut old = it.listening_vehicle().await;
    for _ in 0..20 {
        let mut new = it.listening_vehicle().await;
        taken_over(&mut old).await;
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
async fn vehicle_that_listens_anew_while_its_earlier_connection_is_up_was_offline_in_between() {
    let it = Fixture::start().await;
    let mut earlier = it.listening_vehicle().await;
    // Under its own identifier, the end of the earlier one could come first.
    let mut newer = it.tls(VIN).await.unwrap();
    newer.enter(&Connect::new("another")).await;
    newer.subscribe(&downlink(UID, VIN), 1).await;
    newer.subscribe(&downlink(OTHER_UID, VIN), 1).await;
    taken_over(&mut earlier).await;
    it.until_counts("the earlier to be gone", |counts| counts.connections == 1)
        .await;
    newer.ping().await;
    let told = presences(&it);
    let (online, offline) = (Presence::Online, Presence::Offline);
    assert_eq!(told, [online, offline, online, online]);
}

#[tokio::test]
async fn vehicle_is_sent_nothing_on_its_earlier_connection_once_it_listens_on_a_newer_one() {
    let it = Fixture::start().await;
    let publish = async |uid| {
        let topic = downlink(uid, VIN);
        it.broker.publish(&topic, Bytes::from("{}")).await
    };
    let mut earlier = it.listening_vehicle().await;
    earlier.subscribe(&downlink(OTHER_UID, VIN), 1).await;
    let mut newer = it.tls(VIN).await.unwrap();
    newer.enter(&Connect::new("another")).await;
    // As long as it does not listen there, the earlier one is all that there is.
    assert_eq!(publish(OTHER_UID).await, Ok(()));
    assert!(earlier.packet().await.unwrap().is_publish());
    newer.subscribe(&downlink(UID, VIN), 1).await;
    assert_eq!(publish(OTHER_UID).await, Err(PublishError::NotListening));
    newer.subscribe(&downlink(OTHER_UID, VIN), 1).await;
    for uid in [UID, OTHER_UID] {
        assert_eq!(publish(uid).await, Ok(()));
        assert_eq!(
            newer.packet().await.unwrap().publish().0,
            downlink(uid, VIN)
        );
    }
    taken_over(&mut earlier).await;
    newer.leave().await;
    it.until_counts("both to be gone", |counts| counts.connections == 0)
        .await;
    assert_eq!(publish(UID).await, Err(PublishError::NotListening));
    let told = presences(&it);
    let (online, offline) = (Presence::Online, Presence::Offline);
    assert_eq!(told, [online, online, offline, online, online, offline]);
}

#[tokio::test]
async fn earlier_connection_of_mqtt_3_1_1_is_closed_without_a_word() {
    let it = Fixture::start().await;
    let mut earlier = it.tls(VIN).await.unwrap();
    earlier.enter(&Connect::new(VIN).v311()).await;
    earlier.subscribe(&downlink(UID, VIN), 1).await;
    let mut newer = it.tls(VIN).await.unwrap();
    newer.enter(&Connect::new("another").v311()).await;
    earlier.ping().await;
    newer.subscribe(&downlink(UID, VIN), 1).await;
    assert_eq!(earlier.packet().await, None);
    newer.ping().await;
}

#[tokio::test]
async fn earlier_connection_that_takes_nothing_holds_nothing_of_the_newer_one_back() {
    let limits = Limits {
        // Nothing else ends the earlier one in time.
        write_stall_max: Duration::from_secs(3600),
        ..Limits::default()
    };
    let it = Fixture::with_limits(limits).await;
    let _earlier = it.listening_vehicle().await;
    let mut newer = it.tls(VIN).await.unwrap();
    newer.enter(&Connect::new("another")).await;
    newer.subscribe(&downlink(UID, VIN), 1).await;
    // More than all buffers on the way to the earlier one take.
    let messages = 32 * 1024 * 1024 / PAYLOAD_BYTES_MAX;
    let publishing = async {
        let payload = Bytes::from(vec![b'x'; PAYLOAD_BYTES_MAX]);
        let topic = downlink(UID, VIN);
        for _ in 0..messages {
            it.broker.publish(&topic, payload.clone()).await.unwrap();
        }
    };
    let reading = async {
        for _ in 0..messages {
            assert!(newer.packet().await.unwrap().is_publish());
        }
    };
    within("all messages", async { tokio::join!(publishing, reading) }).await;
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
    let mut partner = it.listening_partner().await;
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
    let mut partner = it.listening_partner().await;
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
