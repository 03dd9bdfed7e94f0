//! The embedded broker with the real core and store behind it.

mod broker_support;
mod hub_support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use broker_support::raw::{Client, PUBACK};
use broker_support::{Fixture, OTHER_UID, Recorder, UID, VIN, downlink, uid, uplink, vin};
use bytes::Bytes;
use hub_support::Server;
use vinbus_host_server::broker::embedded::Limits;
use vinbus_host_server::model::{Cursor, MessageId, NewDownlink, Presence, Receipts, Step};
use vinbus_protocol::id::{AppId, Uid};

struct Whole {
    _data: tempfile::TempDir,
    server: Server,
    broker: Fixture,
}

impl Whole {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let server = Server::open(data.path());
        let core = Arc::new(server.hub.clone());
        let events = Arc::<Recorder>::default();
        let broker = Fixture::over(core, events, Limits::default()).await;
        server.hub.attach(Arc::new(broker.broker.clone()));
        Self {
            _data: data,
            server,
            broker,
        }
    }

    async fn submit(&self, uid: &str, number: usize) -> MessageId {
        let message = NewDownlink {
            uid: Uid::parse(uid).unwrap(),
            vin: vin(),
            app: AppId::parse("app").unwrap(),
            envelope: Bytes::from(number.to_string()),
            expires_at: SystemTime::now() + Duration::from_secs(3600),
            receipts: Receipts::No,
            key: None,
        };
        self.server.hub.submit_downlink(message).await.unwrap().id
    }
}

async fn hears(car: &mut Client, uid: &str, number: usize) {
    let heard = car.packet().await.unwrap();
    let (topic, rest) = heard.publish();
    let text = std::str::from_utf8(&rest[1..]).unwrap();
    assert_eq!((topic, text), (&*downlink(uid, VIN), &*number.to_string()));
}

#[tokio::test]
async fn message_waits_for_its_vehicle_and_is_sent_when_it_subscribes() {
    let it = Whole::start().await;
    let id = it.submit(UID, 1).await;
    it.server.has_step(&id, Step::Held).await;
    let mut car = it.broker.vehicle(VIN).await;
    car.ping().await;
    assert!(!it.server.steps(&id).await.contains(&Step::Sent));
    car.subscribe(&downlink(UID, VIN), 0).await;
    hears(&mut car, UID, 1).await;
    it.server.has_step(&id, Step::Sent).await;
}

#[tokio::test]
async fn partner_whom_the_vehicle_does_not_hear_delays_no_other_and_loses_nothing() {
    let it = Whole::start().await;
    let mut car = it.broker.vehicle(VIN).await;
    car.subscribe(&downlink(UID, VIN), 0).await;
    let mut waiting = Vec::new();
    for number in 0..50 {
        waiting.push(it.submit(OTHER_UID, number).await);
        it.submit(UID, number).await;
        hears(&mut car, UID, number).await;
    }
    for id in &waiting {
        it.server.has_step(id, Step::Held).await;
    }
    car.subscribe(&downlink(OTHER_UID, VIN), 0).await;
    for number in 0..50 {
        hears(&mut car, OTHER_UID, number).await;
    }
    for id in &waiting {
        it.server.has_step(id, Step::Sent).await;
        let steps = it.server.steps(id).await;
        assert_eq!(steps, [Step::Accepted, Step::Held, Step::Sent]);
    }
}

#[tokio::test]
async fn acknowledged_uplink_is_in_the_store() {
    let it = Whole::start().await;
    let mut car = it.broker.vehicle(VIN).await;
    car.publish(&uplink(UID, VIN), br#"{"content":{"a": 1}}"#, 1, false)
        .await;
    car.expect(PUBACK).await;
    let hub = &it.server.hub;
    let kept = hub
        .uplink_after(Cursor(0), Some(uid()), Some(vin()), 10)
        .await
        .unwrap()
        .messages;
    assert_eq!(kept[0].message.payload, &br#"{"content":{"a": 1}}"#[..]);
}

#[tokio::test]
async fn presence_of_a_vehicle_follows_its_connection() {
    let it = Whole::start().await;
    let presence = || {
        it.server
            .hub
            .vehicle(&vin(), None)
            .map(|vehicle| vehicle.presence)
    };
    assert_eq!(presence(), None);
    let mut car = it.broker.vehicle(VIN).await;
    car.subscribe(&downlink(UID, VIN), 0).await;
    hub_support::polled("online", async || presence() == Some(Presence::Online)).await;
    drop(car);
    hub_support::polled("offline", async || presence() == Some(Presence::Offline)).await;
}
