//! More messages than can be taken at once: what is acknowledged is not lost.

mod broker_support;
mod bus_support;

use broker_support::{Fixture, UID, uplink};
use tokio::task::JoinSet;
use vinbus_host_server::broker::Outcome;
use vinbus_host_server::identity::Existing;
use vinbus_protocol::id::Vin;

const PUBACK: u8 = 4;

/// Vehicles that publish at once, each within the receive maximum, and all together more than may be on
/// their way to the disk.
const CARS: usize = 16;
const OF_EACH_CAR: usize = 200;

/// A vehicle that floods: sends all at once, and then awaits each acknowledgement.
async fn flood(mut car: broker_support::raw::Client, topic: String) {
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
