//! Vehicles that take nothing do not stop those that do. The clock is virtual, and so the store is in
//! memory: time must not run on while a disk works.

mod hub_support;

use std::sync::Arc;
use std::time::Duration;

use hub_support::memory_store::MemoryStore;
use hub_support::{Answer, TestBroker, downlink, vin};
use tokio::time::Instant;
use vinbus_host_server::broker::BrokerEvents as _;
use vinbus_host_server::hub::{Hub, Settings};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::Presence;

/// More than the hub has workers.
const STUCK: usize = 200;

/// A hub with messages for [`STUCK`] vehicles that are online and take nothing.
async fn stuck() -> (Hub, TestBroker) {
    let store = Arc::<MemoryStore>::default();
    let hub = Hub::new(store, Settings::default(), &Metrics::new()).unwrap();
    let broker = TestBroker::new();
    hub.attach(Arc::new(broker.clone()));
    hub.link_changed(Ok(()));
    broker.answer(|of, _| match of == vin(STUCK) {
        true => Answer::Taken,
        false => Answer::Silence,
    });
    for number in 0..=STUCK {
        hub.presence_changed(vin(number), Presence::Online);
    }
    for number in 0..STUCK {
        hub.submit_downlink(downlink(number, 0)).await.unwrap();
    }
    (hub, broker)
}

#[tokio::test(start_paused = true)]
async fn vehicles_that_take_nothing_delay_another_by_seconds_at_most() {
    let (hub, broker) = stuck().await;
    for minute in 0..5 {
        let start = Instant::now();
        hub.submit_downlink(downlink(STUCK, minute)).await.unwrap();
        broker.took(minute + 1).await;
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(3), "{waited:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn vehicle_that_takes_again_gets_its_messages_without_a_report_of_presence() {
    let (_hub, broker) = stuck().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    broker.answer(|_, _| Answer::Taken);
    broker.took(STUCK).await;
}
