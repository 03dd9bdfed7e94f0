//! Messages that wait for their turn are on disk, and not in memory, however many vehicles they are for.

mod hub_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hub_support::{
    Taker, attach_polite, downlink, most_of_store_underneath, polled, uid, underneath, vin,
};
use vinbus_host_server::broker::BrokerEvents as _;
use vinbus_host_server::hub::{Hub, Settings};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::{
    Cursor, Downlink, NewDownlink, NewUplink, Presence, Receipts, Transfer,
};
use vinbus_host_server::store::channels::{
    Changed, ChannelChange, ChannelStore, KeptChannel, KnownChannel, LeftOut,
};
use vinbus_host_server::store::fleets::FleetStore;
use vinbus_host_server::store::lock::DataDir;
use vinbus_host_server::store::requests::RequestStore;
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};
use vinbus_host_server::store::{Pending, Store, StoreError};
use vinbus_protocol::delivery::{Epoch, Offer};
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::limits::{DELIVERY_IN_FLIGHT_MAX, PAYLOAD_BYTES_MAX, PENDING_MESSAGES_MAX};

const VEHICLES: usize = 8;
const CONTENT_BYTES: usize = 100 * 1024;

/// What may be in memory at a time: four messages that are read to be sent.
const BYTES_MAX: usize = 4 * PAYLOAD_BYTES_MAX;

/// A store that knows how many bytes of envelopes that it gave are in use.
struct Counting {
    store: SqliteStore,
    in_use: Arc<AtomicUsize>,
}

struct Counted {
    bytes: Bytes,
    in_use: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.in_use.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

fn counted(bytes: Bytes, in_use: &Arc<AtomicUsize>) -> Bytes {
    in_use.fetch_add(bytes.len(), Ordering::Relaxed);
    let in_use = Arc::clone(in_use);
    Bytes::from_owner(Counted { bytes, in_use })
}

impl Counting {
    fn count(&self, mut downlink: Downlink) -> Downlink {
        downlink.message.envelope = counted(downlink.message.envelope, &self.in_use);
        downlink
    }
}

impl FleetStore for Counting {}
impl RequestStore for Counting {}

impl ChannelStore for Counting {
    underneath! {
        channels() -> Result<Vec<KnownChannel>, StoreError>;
        channel(vin: &Vin, uid: &Uid) -> Result<Option<KeptChannel>, StoreError>;
        transfer(sequence: u64) -> Result<Option<Transfer>, StoreError>;
        change_channel(vin: &Vin, uid: &Uid, change: ChannelChange) -> Pending<Changed>;
    }

    fn downlink(&self, sequence: u64) -> Result<Option<Downlink>, StoreError> {
        let found = self.store.downlink(sequence)?;
        Ok(found.map(|downlink| self.count(downlink)))
    }

    fn unsent_besides(
        &self,
        vin: &Vin,
        uid: &Uid,
        after: u64,
        left_out: &LeftOut,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        let page = self
            .store
            .unsent_besides(vin, uid, after, left_out, limit)?;
        Ok(page.into_iter().map(|it| self.count(it)).collect())
    }
}

impl Store for Counting {
    fn is_full(&self) -> bool {
        self.store.is_full()
    }

    most_of_store_underneath! {}

    underneath! {
        append_uplink(message: NewUplink) -> Pending<Cursor>;
        uplink_received_at(cursor: Cursor) -> Result<Option<SystemTime>, StoreError>;
    }

    fn unsent(
        &self,
        vin: &Vin,
        uid: &Uid,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        let page = self.store.unsent(vin, uid, after, limit)?;
        Ok(page.into_iter().map(|it| self.count(it)).collect())
    }
}

#[tokio::test]
async fn messages_with_numbers_that_wait_for_their_turn_take_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let locked = DataDir::lock(dir.path()).unwrap();
    let in_use = Arc::<AtomicUsize>::default();
    let store = Arc::new(Counting {
        store: SqliteStore::open(locked, StoreSettings::default(), &metrics).unwrap(),
        in_use: Arc::clone(&in_use),
    });
    let kept: Arc<dyn Store> = Arc::<Counting>::clone(&store);
    let hub = Hub::new(kept, Settings::default(), &metrics).unwrap();
    attach_polite(&hub, Arc::new(Taker));
    let text = "x".repeat(CONTENT_BYTES);
    let envelope = format!(r#"{{"idApp":"app","popup":false,"content":"{text}"}}"#);
    for number in 0..VEHICLES {
        hub.presence_changed(vin(number), Presence::Online);
        let offer = Offer {
            epoch: Epoch::FIRST,
            long_bytes_max: 0,
        };
        hub.announced(vin(number), &uid(), Some(offer));
        for n in 0..DELIVERY_IN_FLIGHT_MAX {
            let message = NewDownlink {
                app: AppId::parse(&format!("app{}", n / PENDING_MESSAGES_MAX)).unwrap(),
                envelope: counted(Bytes::from(envelope.clone()), &in_use),
                receipts: Receipts::Asked,
                expires_at: SystemTime::now() + Duration::from_secs(3600),
                ..downlink(number, 0)
            };
            hub.submit_downlink(message).await.unwrap();
        }
    }
    polled("all have numbers", async || {
        (0..VEHICLES).all(|number| {
            let channel = store.channel(&vin(number), &uid()).unwrap();
            channel.is_some_and(|it| it.numbered.len() == DELIVERY_IN_FLIGHT_MAX)
        })
    })
    .await;
    polled("none is in memory", async || {
        in_use.load(Ordering::Relaxed) <= BYTES_MAX
    })
    .await;
    hub.shutdown().await;
}
