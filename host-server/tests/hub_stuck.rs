//! Vehicles that take nothing do not stop those that do, and a store that takes nothing for a while stops
//! no vehicle for ever. The clock is virtual, and so the store is in memory: time must not run on while a
//! disk works.

mod hub_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hub_support::memory_store::MemoryStore;
use hub_support::{
    Answer, TestBroker, attach_air_to, attach_polite, attach_polite_air, downlink, uid, vin,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use vinbus_host_server::broker::{Broker, BrokerEvents as _, PublishError};
use vinbus_host_server::hub::{Hub, Settings};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::{NewDownlink, Presence, Receipts};
use vinbus_protocol::delivery::{self, Epoch, Offer, Received};
use vinbus_protocol::envelope::{Downlink, DownlinkBody};
use vinbus_protocol::limits::{DELIVERY_IN_FLIGHT_MAX, PAYLOAD_BYTES_MAX, PENDING_MESSAGES_MAX};

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

fn with_receipts(n: usize) -> NewDownlink {
    let envelope = format!(r#"{{"idApp":"app","popup":false,"content":{n}}}"#);
    NewDownlink {
        envelope: envelope.into(),
        receipts: Receipts::Asked,
        ..downlink(1, n)
    }
}

/// A broker whose vehicles, all but one, take nothing of what is handed to it.
#[derive(Default)]
struct Held {
    bytes: AtomicUsize,
    most: AtomicUsize,
    passed: AtomicUsize,
}

/// Bytes that are with the broker as long as somebody waits for it.
struct Holding<'h>(&'h Held, usize);

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.0.bytes.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Broker for Held {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            if topic.contains(vin(FLEET).as_str()) {
                self.passed.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            let bytes = self.bytes.fetch_add(payload.len(), Ordering::Relaxed) + payload.len();
            let _holding = Holding(self, payload.len());
            self.most.fetch_max(bytes, Ordering::Relaxed);
            std::future::pending().await
        })
    }
}

/// Vehicles that have a large message with receipts waiting each.
const FLEET: usize = 600;

#[tokio::test(start_paused = true)]
async fn messages_with_receipts_for_vehicles_that_take_nothing_do_not_fill_the_memory() {
    let (store, metrics) = (Arc::<MemoryStore>::default(), Metrics::new());
    let hub = Hub::new(store, Settings::default(), &metrics).unwrap();
    let broker = Arc::<Held>::default();
    attach_polite(&hub, Arc::clone(&broker) as _);
    let content = "1".repeat(130_000);
    let envelope = format!(r#"{{"idApp":"app","popup":false,"content":{content}}}"#);
    for number in 0..=FLEET {
        hub.presence_changed(vin(number), Presence::Online);
        let offer = Offer {
            epoch: Epoch::new(7).unwrap(),
            long_bytes_max: 0,
        };
        hub.announced(vin(number), &uid(), Some(offer));
        let large = NewDownlink {
            envelope: envelope.clone().into(),
            receipts: Receipts::Asked,
            ..downlink(number, 0)
        };
        hub.submit_downlink(large).await.unwrap();
    }
    let name = "vinbus_downlink_publishes_waited_total";
    let waited = metrics.counter(name, "", &[]);
    while waited.value() == 0 || broker.passed.load(Ordering::Relaxed) < 1 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let most = broker.most.load(Ordering::Relaxed);
    assert!(most > 128 * content.len(), "{most}");
    assert!(most <= 256 * PAYLOAD_BYTES_MAX, "{most}");
}

/// Waits for the message of a number, a minute at most; lets pass what is repeated before it.
async fn comes(air: &mut mpsc::UnboundedReceiver<Bytes>, n: usize) {
    let n = n.to_string();
    let waits = async {
        while let Some(payload) = air.recv().await {
            let DownlinkBody::Data(content) = Downlink::decode(&payload).unwrap().body else {
                panic!("no popups here");
            };
            if let Received::Message(_, carried) = delivery::read(content)
                && carried.pieces().concat() == n
            {
                return;
            }
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(60), waits).await;
    came.unwrap_or_else(|_| panic!("message {n} does not come"));
}

/// A vehicle has a message on its way when the store begins to number nothing, and so many more are
/// accepted; the store has room again after two minutes, and nothing else happens.
async fn full_for_two_minutes(more: usize) {
    let store = Arc::<MemoryStore>::default();
    let kept = Arc::<MemoryStore>::clone(&store);
    let hub = Hub::new(kept, Settings::default(), &Metrics::new()).unwrap();
    let mut air = attach_polite_air(&hub);
    hub.presence_changed(vin(1), Presence::Online);
    let offer = Offer {
        epoch: Epoch::new(7).unwrap(),
        long_bytes_max: 0,
    };
    hub.announced(vin(1), &uid(), Some(offer));
    hub.submit_downlink(with_receipts(0)).await.unwrap();
    comes(&mut air, 0).await;
    // The clock goes on when all of it is noted.
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.numbers_nothing(true);
    for n in 1..=more {
        hub.submit_downlink(with_receipts(n)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(hub.unsent(), more);
    assert!(store.refused() < 200, "{}", store.refused());
    store.numbers_nothing(false);
    // With the first one, as many as may be on their way to an app of which nothing is known.
    for n in 1..=more.min(PENDING_MESSAGES_MAX - 1) {
        comes(&mut air, n).await;
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_a_full_store_did_not_number_go_once_it_has_room_without_a_sign_of_the_vehicle()
 {
    full_for_two_minutes(3).await;
}

#[tokio::test(start_paused = true)]
async fn full_store_is_asked_with_pauses_for_more_messages_than_may_be_on_their_way() {
    full_for_two_minutes(DELIVERY_IN_FLIGHT_MAX).await;
}

#[tokio::test(start_paused = true)]
async fn vehicle_that_answers_no_greeting_is_greeted_while_it_is_there_and_not_while_it_is_away() {
    let store = Arc::<MemoryStore>::default();
    let hub = Hub::new(store, Settings::default(), &Metrics::new()).unwrap();
    let mut air = attach_air_to(&hub);
    let mut greetings_in = async |time| {
        while air.try_recv().is_ok() {}
        tokio::time::sleep(time).await;
        std::iter::from_fn(|| air.try_recv().ok()).count()
    };
    let hour = Duration::from_secs(3600);
    hub.presence_changed(vin(1), Presence::Online);
    let offer = Offer {
        epoch: Epoch::new(7).unwrap(),
        long_bytes_max: 0,
    };
    hub.announced(vin(1), &uid(), Some(offer));
    hub.submit_downlink(with_receipts(0)).await.unwrap();
    let there = greetings_in(hour).await;
    assert!((3600 / 75..120).contains(&there), "{there}");
    hub.presence_changed(vin(1), Presence::Offline);
    // One may be on its way.
    greetings_in(Duration::from_secs(1)).await;
    assert_eq!(greetings_in(24 * hour).await, 0);
    hub.presence_changed(vin(1), Presence::Online);
    assert!(greetings_in(Duration::from_secs(1)).await > 0);
}
