//! A store in memory, for a virtual clock: time must not run on while a disk works.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::sync::oneshot;
use vinbus_host_server::model::{
    Backlog, Cursor, Downlink, MessageId, NewDownlink, NewUplink, SentPage, Step, Trace,
    UplinkPage, Webhook,
};
use vinbus_host_server::store::channels::ChannelStore;
use vinbus_host_server::store::fleets::FleetStore;
use vinbus_host_server::store::{Pending, Store, StoreError};
use vinbus_protocol::id::{Uid, Vin};

/// Keeps unsent messages only, at once.
#[derive(Default)]
pub(crate) struct MemoryStore {
    unsent: Mutex<Vec<Downlink>>,
    last: AtomicU64,
}

fn done<T>(value: T) -> Pending<T> {
    let (reply, pending) = oneshot::channel();
    assert!(reply.send(Ok(value)).is_ok());
    pending
}

impl ChannelStore for MemoryStore {}

impl FleetStore for MemoryStore {}
impl vinbus_host_server::store::requests::RequestStore for MemoryStore {}

impl Store for MemoryStore {
    fn append_downlink(&self, message: NewDownlink, _: SystemTime) -> Pending<Downlink> {
        let mut unsent = self.unsent.lock().unwrap();
        let sequence = self.last.fetch_add(1, Ordering::Relaxed) + 1;
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
        uid: &Uid,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        let unsent = self.unsent.lock().unwrap();
        let mine = unsent.iter().filter(|kept| {
            let message = &kept.message;
            (message.vin, &message.uid) == (*vin, uid) && kept.sequence > after
        });
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
