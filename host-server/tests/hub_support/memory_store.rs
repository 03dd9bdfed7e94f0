//! A store in memory, for a virtual clock: time must not run on while a disk works.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::sync::oneshot;
use vinbus_host_server::model::{
    Backlog, Cursor, Downlink, MessageId, NewDownlink, NewUplink, Receipts, SentPage, Step, Trace,
    UplinkPage, Webhook,
};
use vinbus_host_server::store::channels::{Changed, ChannelChange, ChannelStore, LeftOut};
use vinbus_host_server::store::fleets::FleetStore;
use vinbus_host_server::store::{Pending, Store, StoreError};
use vinbus_protocol::id::{Uid, Vin};

/// Keeps the messages themselves only, at once.
#[derive(Default)]
pub(crate) struct MemoryStore {
    unsent: Mutex<Vec<Downlink>>,
    numbered: Mutex<Vec<Downlink>>,
    last: AtomicU64,
    numbers_nothing: AtomicBool,
    refused: AtomicU64,
}

/// More often than this, nobody asks a store that has no room.
const REFUSALS_MAX: u64 = 1_000;

impl MemoryStore {
    /// Takes changes of channels, or is too full for that.
    pub(crate) fn numbers_nothing(&self, numbers_nothing: bool) {
        self.numbers_nothing
            .store(numbers_nothing, Ordering::Relaxed);
    }

    /// Changes of channels that it was too full for.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

fn done<T>(value: T) -> Pending<T> {
    answered(Ok(value))
}

fn answered<T>(answer: Result<T, StoreError>) -> Pending<T> {
    let (reply, pending) = oneshot::channel();
    assert!(reply.send(answer).is_ok());
    pending
}

impl ChannelStore for MemoryStore {
    fn downlink(&self, sequence: u64) -> Result<Option<Downlink>, StoreError> {
        let numbered = self.numbered.lock().unwrap();
        let of_it = numbered.iter().find(|kept| kept.sequence == sequence);
        Ok(of_it.cloned())
    }

    fn unsent_besides(
        &self,
        vin: &Vin,
        uid: &Uid,
        after: u64,
        left_out: &LeftOut,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        let all = self.unsent(vin, uid, after, usize::MAX)?.into_iter();
        let others = all.filter(|Downlink { message, .. }| {
            let has_receipts = message.receipts != Receipts::No;
            !(has_receipts && left_out.only_without_receipts
                || left_out.apps.contains(&message.app))
        });
        Ok(others.take(limit).collect())
    }

    fn change_channel(&self, _: &Vin, _: &Uid, change: ChannelChange) -> Pending<Changed> {
        if self.numbers_nothing.load(Ordering::Relaxed) {
            let refused = self.refused.fetch_add(1, Ordering::Relaxed);
            assert!(refused < REFUSALS_MAX, "the store is asked without a pause");
            let detail = "the test wants it so".to_owned();
            return answered(Err(StoreError::Full { detail }));
        }
        let mut unsent = self.unsent.lock().unwrap();
        for (_, sequence) in change.numbered {
            let place = unsent.iter().position(|kept| kept.sequence == sequence);
            let numbered = unsent.remove(place.expect("it is unsent"));
            self.numbered.lock().unwrap().push(numbered);
        }
        done(Changed::default())
    }
}

impl FleetStore for MemoryStore {}
impl vinbus_host_server::store::requests::RequestStore for MemoryStore {}

impl Store for MemoryStore {
    fn is_full(&self) -> bool {
        false
    }

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

    fn uplink_received_at(&self, _: Cursor) -> Result<Option<SystemTime>, StoreError> {
        unreachable!("no uplink here")
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
