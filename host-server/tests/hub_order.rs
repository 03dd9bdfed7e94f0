//! Messages with receipts and messages without go to their vehicle in the order in which they were accepted (SPEC 9.8a).
//! The clock is virtual, and so the store is in memory: time must not run on while a disk works.

mod hub_support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hub_support::memory_store::MemoryStore;
use hub_support::{answer_to, attach_polite, downlink, uid, uplink_topic, vin};
use tokio::sync::mpsc;
use tokio::time;
use vinbus_host_server::broker::{Arrival, Broker, BrokerEvents as _, PublishError};
use vinbus_host_server::hub::{Hub, Settings};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::{NewDownlink, Presence, Receipts};
use vinbus_protocol::delivery::{self, CONTROL_SUBTOPIC, Epoch, Offer, Received};
use vinbus_protocol::envelope::{Downlink, DownlinkBody};
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{DELIVERY_ANNOUNCEMENT_MS, DELIVERY_IN_FLIGHT_MAX};

/// A broker that has room for a message with receipts after a while only, and takes one without at once.
struct Slow {
    air: mpsc::UnboundedSender<Bytes>,
    listens: AtomicBool,
    refused: AtomicUsize,
}

impl Broker for Slow {
    fn publish<'a>(
        &'a self,
        _: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        let taken = match self.listens.load(Ordering::Relaxed) {
            true => self.air.send(payload).map_err(|_| PublishError::LinkDown),
            false => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(PublishError::NotListening)
            }
        };
        async move { taken }.boxed()
    }

    fn room<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), PublishError>> {
        async {
            time::sleep(Duration::from_millis(10)).await;
            Ok(())
        }
        .boxed()
    }
}

/// A vehicle behind a slow broker, which speaks delivery and answers greetings, and no message.
struct Road {
    hub: Hub,
    broker: Arc<Slow>,
    air: mpsc::UnboundedReceiver<Bytes>,
    came: HashSet<String>,
}

impl Road {
    async fn new() -> Self {
        Self::attached(|hub, broker| attach_polite(hub, broker)).await
    }

    async fn attached(attach: impl FnOnce(&Hub, Arc<Slow>)) -> Self {
        let store = Arc::<MemoryStore>::default();
        let hub = Hub::new(store, Settings::default(), &Metrics::new()).unwrap();
        let (sender, air) = mpsc::unbounded_channel();
        let broker = Arc::new(Slow {
            air: sender,
            listens: AtomicBool::new(true),
            refused: AtomicUsize::new(0),
        });
        attach(&hub, Arc::clone(&broker));
        hub.presence_changed(vin(1), Presence::Online);
        let offer = Offer {
            epoch: Epoch::new(7).unwrap(),
            long_bytes_max: 0,
        };
        hub.announced(vin(1), &uid(), Some(offer));
        let road = Self {
            hub,
            broker,
            air,
            came: HashSet::new(),
        };
        // The greeting is answered, and the vehicle has nothing to say for long.
        time::sleep(Duration::from_millis(2 * DELIVERY_ANNOUNCEMENT_MS)).await;
        road
    }

    async fn submit(&self, message: NewDownlink) {
        self.hub.submit_downlink(message).await.unwrap();
    }

    /// How the content of the next message begins that has not come before.
    async fn next(&mut self) -> String {
        loop {
            let next = time::timeout(Duration::from_secs(60), self.air.recv()).await;
            let payload = next.expect("another one comes").unwrap();
            let DownlinkBody::Data(content) = Downlink::decode(&payload).unwrap().body else {
                panic!("no popups here");
            };
            let content = match delivery::read(content) {
                Received::Message(_, carried) => carried.pieces().concat(),
                Received::Plain => content.as_str().to_owned(),
                Received::Control(_) => continue,
            };
            let begin: String = content.chars().take(5).collect();
            if self.came.insert(begin.clone()) {
                return begin;
            }
        }
    }
}

fn message(app: &str, content: &str, receipts: Receipts) -> NewDownlink {
    NewDownlink {
        envelope: Bytes::from(format!(
            r#"{{"idApp":"{app}","popup":false,"content":{content}}}"#
        )),
        app: AppId::parse(app).unwrap(),
        receipts,
        expires_at: SystemTime::now() + Duration::from_secs(3600),
        ..downlink(1, 0)
    }
}

const fn every_other_asked(n: usize) -> Receipts {
    match n % 2 {
        0 => Receipts::Asked,
        _ => Receipts::No,
    }
}

#[tokio::test(start_paused = true)]
async fn message_without_receipts_does_not_overtake_one_that_is_about_to_be_sent() {
    let mut road = Road::new().await;
    for n in 0..12 {
        road.submit(message("app", &n.to_string(), every_other_asked(n)))
            .await;
    }
    for n in 0..12 {
        assert_eq!(road.next().await, n.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn order_holds_when_the_vehicle_goes_while_a_message_is_about_to_be_sent() {
    let mut road = Road::new().await;
    road.broker.listens.store(false, Ordering::Relaxed);
    for n in 0..4 {
        road.submit(message("app", &n.to_string(), every_other_asked(n)))
            .await;
    }
    while road.broker.refused.load(Ordering::Relaxed) < 2 {
        time::sleep(Duration::from_millis(10)).await;
    }
    road.hub.presence_changed(vin(1), Presence::Offline);
    road.broker.listens.store(true, Ordering::Relaxed);
    time::sleep(Duration::from_millis(2 * DELIVERY_ANNOUNCEMENT_MS)).await;
    road.hub.presence_changed(vin(1), Presence::Online);
    for n in 0..4 {
        assert_eq!(road.next().await, n.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn vehicle_that_had_nothing_to_answer_for_long_is_waited_for() {
    let mut road = Road::new().await;
    // One more than may be on their way, and no more for an app than it has room for.
    for n in 0..=DELIVERY_IN_FLIGHT_MAX {
        let app = format!("app{}", n % 4);
        road.submit(message(&app, &n.to_string(), Receipts::Asked))
            .await;
    }
    road.submit(message("app", "100", Receipts::No)).await;
    for n in 0..DELIVERY_IN_FLIGHT_MAX {
        assert_eq!(road.next().await, n.to_string());
    }
    assert_eq!(road.next().await, "100");
}

#[tokio::test(start_paused = true)]
async fn vehicle_that_begins_anew_after_it_had_nothing_to_answer_is_waited_for() {
    let mut road = Road::attached(|hub, broker| {
        hub.attach(broker);
        hub.link_changed(Ok(()));
    })
    .await;
    let said = |payload: String| Arrival {
        topic: format!("{}{CONTROL_SUBTOPIC}", uplink_topic(1)),
        payload: payload.into(),
        retained: false,
    };
    let greeting = road.air.recv().await.unwrap();
    road.hub.arrived(said(answer_to(&greeting).unwrap())).await;
    time::sleep(Duration::from_millis(2 * DELIVERY_ANNOUNCEMENT_MS)).await;
    // From here on it answers no greeting.
    let anew = r#"{"content":{"vinbus":{"e":8}}}"#;
    road.hub.arrived(said(anew.to_owned())).await;
    let began = time::Instant::now();
    road.submit(message("app", "1", Receipts::Asked)).await;
    road.submit(message("app", "2", Receipts::No)).await;
    assert_eq!(road.next().await, "2");
    let waited = began.elapsed();
    let patience = Duration::from_millis(DELIVERY_ANNOUNCEMENT_MS);
    assert!(waited >= patience, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_without_receipts_pass_by_one_that_waits_for_an_answer_which_does_not_come() {
    let mut road = Road::new().await;
    // Three of them are more than may be on their way.
    let large = |n: usize| n.to_string().repeat(100_000);
    for n in 1..=3 {
        road.submit(message("app", &large(n), Receipts::Asked))
            .await;
    }
    for n in 4..=5 {
        road.submit(message("app", &n.to_string(), Receipts::No))
            .await;
    }
    assert_eq!(road.next().await, "11111");
    assert_eq!(road.next().await, "22222");
    assert_eq!(road.next().await, "4");
    assert_eq!(road.next().await, "5");
}
