//! Vehicles that take nothing do not stop those that do. The clock is virtual, and so the store is in
//! memory: time must not run on while a disk works.

mod hub_support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hub_support::{Answer, TestBroker, downlink, vin};
use tokio::sync::oneshot;
use tokio::time::Instant;
use vinbus_host_server::broker::BrokerEvents as _;
use vinbus_host_server::hub::{Hub, Settings};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::{
    Backlog, Cursor, Downlink, MessageId, NewDownlink, NewUplink, Presence, SentPage, Step, Trace,
    UplinkPage, Webhook,
};
use vinbus_host_server::store::channels::ChannelStore;
use vinbus_host_server::store::{Pending, Store, StoreError};
use vinbus_protocol::id::{Uid, Vin};

/// More than the hub has workers.
const STUCK: usize = 200;

/// Keeps unsent messages only, at once.
#[derive(Default)]
struct MemoryStore {
    unsent: Mutex<Vec<Downlink>>,
}

fn done<T>(value: T) -> Pending<T> {
    let (reply, pending) = oneshot::channel();
    assert!(reply.send(Ok(value)).is_ok());
    pending
}

impl ChannelStore for MemoryStore {}

impl Store for MemoryStore {
    fn append_downlink(&self, message: NewDownlink, _: SystemTime) -> Pending<Downlink> {
        let mut unsent = self.unsent.lock().unwrap();
        let sequence = unsent.last().map_or(0, |last| last.sequence) + 1;
        let id = MessageId(sequence.to_string());
        let downlink = Downlink {
            id,
            sequence,
            message,
        };
        unsent.push(downlink.clone());
        done(downlink)
    }

    fn note(&self, id: &MessageId, step: Step, _: SystemTime) -> Pending<Option<Cursor>> {
        if step == Step::Sent {
            self.unsent.lock().unwrap().retain(|kept| kept.id != *id);
        }
        done(None)
    }

    fn unsent(
        &self,
        vin: &Vin,
        _: &Uid,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        let unsent = self.unsent.lock().unwrap();
        let mine = unsent
            .iter()
            .filter(|kept| kept.message.vin == *vin && kept.sequence > after);
        Ok(mine.take(limit).cloned().collect())
    }

    fn with_expired(&self, _: SystemTime, _: usize) -> Result<Vec<(Vin, Uid)>, StoreError> {
        Ok(Vec::new())
    }

    fn expired(
        &self,
        _: &Vin,
        _: &Uid,
        _: SystemTime,
        _: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        unreachable!("nothing expires")
    }

    fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        Ok(Vec::new())
    }

    fn uplink_end(&self) -> Result<Cursor, StoreError> {
        Ok(Cursor(0))
    }

    fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        Ok(Vec::new())
    }

    fn append_uplink(&self, _: NewUplink) -> Pending<Cursor> {
        unreachable!("no uplink here")
    }

    fn uplink_after(
        &self,
        _: Cursor,
        _: Option<&Uid>,
        _: Option<&Vin>,
        _: usize,
    ) -> Result<UplinkPage, StoreError> {
        unreachable!("no uplink here")
    }

    fn trace(&self, _: &MessageId) -> Result<Option<Trace>, StoreError> {
        unreachable!("nobody asks")
    }

    fn sent_before(&self, _: u64, _: Option<&Uid>, _: usize) -> Result<SentPage, StoreError> {
        unreachable!("nobody asks")
    }

    fn add_webhook(&self, _: Webhook) -> Pending<()> {
        unreachable!("no webhooks here")
    }

    fn disable_webhook(&self, _: &str) -> Pending<()> {
        unreachable!("no webhooks here")
    }

    fn remove_webhook(&self, _: &str) -> Pending<bool> {
        unreachable!("no webhooks here")
    }

    fn webhook_delivered(&self, _: &str, _: Cursor) -> Pending<()> {
        unreachable!("no webhooks here")
    }
}

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
