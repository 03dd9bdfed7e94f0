//! More messages than can be taken at once: what is acknowledged is not lost.

mod broker_support;
mod bus_support;

use std::ops::Range;

use broker_support::raw::{Client, PUBACK, QUOTA_EXCEEDED, packet};
use broker_support::{Fixture, UID, uplink};
use bus_support::BusFixture;
use tokio::task::JoinSet;
use vinbus_host_server::broker::Outcome;
use vinbus_host_server::identity::Existing;
use vinbus_protocol::id::Vin;

/// Vehicles that publish at once, each within the receive maximum, and all together more than may be on
/// their way to the disk.
const CARS: usize = 16;
const OF_EACH_CAR: usize = 200;

/// A vehicle that floods: sends all at once, and then awaits each acknowledgement.
async fn flood(mut car: Client, topic: String) {
    let mut all = Vec::new();
    for number in 0..OF_EACH_CAR {
        let payload = number.to_string();
        let id = u16::try_from(number + 1).unwrap();
        all.extend(car.publish_packet(&topic, payload.as_bytes(), 1, false, id));
    }
    car.send(&all).await;
    for id in 1..=OF_EACH_CAR {
        let answer = car.expect(PUBACK).await;
        let id = u16::try_from(id).unwrap();
        assert_eq!(answer.body, id.to_be_bytes(), "in order, and no refusal");
    }
}

#[tokio::test]
async fn flood_of_vehicles_over_a_slow_disk_and_a_deaf_consumer_loses_nothing() {
    let it = Fixture::start().await;
    let mut deaf = it.partner(UID, "deaf").await;
    assert_eq!(deaf.subscribe(&uplink(UID, "+"), 0).await, 0);
    it.events.hold_outcomes();
    let vins: Vec<_> = (0..CARS)
        .map(|car| format!("FLDCAR00000000{car:03}"))
        .collect();
    let mut cars = JoinSet::new();
    for vin in &vins {
        let out = it.folder.path().join(vin);
        let parsed = Vin::parse(vin).unwrap();
        let enrolled = it
            .identities
            .enroll_vehicle(&parsed, &out, Existing::Refuse);
        enrolled.unwrap();
        cars.spawn(flood(it.vehicle(vin).await, uplink(UID, vin)));
    }
    // As many are on their way to the disk as may; the others wait where they were sent.
    let all = CARS * OF_EACH_CAR;
    it.events.until_count(1024).await;
    for done in 0..all {
        it.events.until_count(done + 1).await;
        it.events.resolve(Outcome::Stored);
    }
    while let Some(car) = cars.join_next().await {
        car.unwrap();
    }
    let arrivals = it.events.recorded().arrivals;
    assert_eq!(arrivals.len(), all);
    for vin in &vins {
        let topic = uplink(UID, vin);
        let of_car = arrivals.iter().filter(|arrival| arrival.topic == topic);
        let numbers = of_car.map(|arrival| arrival.payload.clone());
        let sent = (0..OF_EACH_CAR).map(|number| number.to_string().into());
        assert!(numbers.eq(sent.collect::<Vec<bytes::Bytes>>()), "{vin}");
    }
    assert_eq!(it.counts().unacknowledged, 0);
}

/// Messages of QoS 1 for a client that acknowledges none: more than the library's queues take, and fewer
/// than end its session.
const BURST: usize = 4_000;

const TOPIC: &str = "app/myapp/ui/content";

/// Publishes messages of these numbers at QoS 1, each taken.
async fn publish_all(client: &mut Client, numbers: Range<usize>) {
    let numbers: Vec<_> = numbers.collect();
    for part in numbers.chunks(200) {
        let mut all = Vec::new();
        for number in part {
            let payload = number.to_string();
            all.extend(client.publish_packet(TOPIC, payload.as_bytes(), 1, false, 1));
        }
        client.send(&all).await;
        for _ in part {
            let answer = client.expect(PUBACK).await;
            assert_eq!(answer.body, [0, 1], "taken");
        }
    }
}

/// Hears a message of QoS 1 and acknowledges it; its number.
async fn hear_number(client: &mut Client) -> usize {
    let message = client.expect(3).await;
    let id = 2 + TOPIC.len();
    client.send(&packet(0x40, &message.body[id..id + 2])).await;
    let payload = str::from_utf8(&message.body[id + 3..]).unwrap();
    payload.parse().unwrap()
}

#[tokio::test]
async fn subscriber_that_comes_late_to_a_burst_of_qos_1_misses_nothing() {
    let it = BusFixture::start().await;
    let mine = it.make("myapp", "mine", &["ui.*"]).await;
    let mut late = it.enter(&mine, "late").await;
    assert_eq!(late.subscribe(TOPIC, 1).await, 1);
    let mut speaker = it.enter(&mine, "speaker").await;
    publish_all(&mut speaker, 0..BURST).await;
    for number in 0..BURST {
        assert_eq!(hear_number(&mut late).await, number);
    }
    assert_eq!(it.counts().subscribers_too_slow, 0);
}

#[tokio::test]
async fn subscriber_that_is_too_slow_is_told_and_counted_and_harms_nobody_else() {
    let it = BusFixture::start().await;
    let mine = it.make("myapp", "mine", &["ui.*"]).await;
    let mut deaf = it.enter(&mine, "deaf").await;
    let mut deaf_v311 = it.plain().await;
    deaf_v311
        .enter(&it.connect(&mine, "deaf-v311").v311())
        .await;
    let mut hearer = it.enter(&mine, "hearer").await;
    for client in [&mut deaf, &mut deaf_v311, &mut hearer] {
        assert_eq!(client.subscribe(TOPIC, 1).await, 1);
    }
    let mut speaker = it.enter(&mine, "speaker").await;
    let all = 20_000;
    let hearing = tokio::spawn(async move {
        for number in 0..all {
            assert_eq!(hear_number(&mut hearer).await, number);
        }
    });
    publish_all(&mut speaker, 0..all).await;
    hearing.await.unwrap();
    while let Some(packet) = deaf.packet().await {
        if !packet.is_publish() {
            assert_eq!((packet.kind(), packet.body[0]), (14, QUOTA_EXCEEDED));
        }
    }
    deaf_v311.until_closed().await;
    let counts = it.counts();
    assert_eq!(counts.subscribers_too_slow, 2);
    assert!(counts.subscriber_losses > 2 * 16_384, "{counts:?}");
    assert_eq!(counts.bus_full, 0);
}
