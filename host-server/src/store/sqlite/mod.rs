//! The store on SQLite: one file `vinbus.db` in the data folder.
//!
//! The only module that names `rusqlite`. `schema` has the tables, `writer` the one thread that
//! writes and its group commit, `room` what it tries out on a full disk, `tables` what it writes,
//! `retention` what it deletes, `reader` and `unsent` what is read, `channels` both of delivery with receipts,
//! `incomplete` of long messages from vehicles. `fleets`, `requests` and `bus_clients` have all of fleet
//! messages, requests and the clients of the bus, their ports among it.

mod schema;

mod writer;

mod room;

mod tables;

mod retention;

mod reader;

mod channels;
mod incomplete;
mod unsent;

mod fleets;
mod requests;

mod bus_clients;

mod error;

use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use vinbus_protocol::delivery;
use vinbus_protocol::id::{Uid, Vin};

use self::reader::Readers;
use self::retention::Retention;
use self::tables::Tables;
use self::writer::{Kind, Writer};
use super::channels::{
    Appended, Changed, ChannelChange, ChannelStore, KeptChannel, KnownChannel, LeftOut, NewPart,
    PartTaken,
};
use super::lock::DataDir;
use super::{FollowerStore, Pending, Store, StoreError, refused};
use crate::metrics::Metrics;
use crate::model::{
    Backlog, Cursor, Downlink, MessageId, NewDownlink, NewUplink, SentPage, Step, Trace, Transfer,
    UplinkPage, Webhook,
};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Uplink messages older than this are deleted once every webhook has received them.
    pub uplink_age_max: Duration,
    /// When the uplink log is larger, its oldest messages are deleted, received or not: bytes of
    /// payload and bookkeeping.
    pub uplink_bytes_max: u64,
    /// Traces of messages that were sent to a vehicle, or expired, are deleted when they are older
    /// than this.
    pub trace_age_max: Duration,
    /// When messages for vehicles take more bytes, the traces of the oldest of those are deleted.
    /// Messages that wait are never deleted.
    pub downlink_bytes_max: u64,
    /// When the database file is larger, appends are refused with [`StoreError::Full`].
    pub quota_bytes: u64,
}

impl Default for StoreSettings {
    /// Thirty days; 5 GiB of uplink, 2.5 GiB of downlink, 10 GiB in all.
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            uplink_age_max: 30 * DAY,
            uplink_bytes_max: 5 * GIB,
            trace_age_max: 30 * DAY,
            downlink_bytes_max: 5 * GIB / 2,
            quota_bytes: 10 * GIB,
        }
    }
}

/// The store of a data folder. Dropping it commits what waits and closes the database.
pub struct SqliteStore {
    // In the order in which they close: the writer last, so that it can empty the log into the
    // database, then the lock of the folder, and then those are told who wait for it.
    readers: Readers,
    way_down: Readers,
    writer: Writer,
    _dir: DataDir,
    open: watch::Sender<()>,
}

impl SqliteStore {
    /// Opens the store of a data folder, and makes it if it is missing.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a damaged database; [`StoreError::Failed`] for one of another
    /// program or a newer version, or when the disk fails.
    pub fn open(
        dir: DataDir,
        settings: StoreSettings,
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        let path = dir.path().join(FILE);
        let connection = schema::open_writer(&path)?;
        let tables =
            Tables::load(connection, settings.quota_bytes).map_err(error::of_file(&path))?;
        let readers = Readers::open(&path, READERS)?;
        let way_down = Readers::open(&path, READERS_DOWN)?;
        let retention = Retention::new(settings, metrics);
        let writer = Writer::start(tables, &path, settings.quota_bytes, retention, metrics)?;
        Ok(Self {
            readers,
            way_down,
            writer,
            _dir: dir,
            open: watch::Sender::new(()),
        })
    }

    /// Resolves when this store was dropped and is closed: everything is in the database file, and
    /// the folder is free for another server.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut open = self.open.subscribe();
        async move { while open.changed().await.is_ok() {} }
    }
}

/// Connections for what somebody asks, searches among it.
const READERS: usize = 4;

/// Connections for what is to be sent to vehicles.
const READERS_DOWN: usize = 2;

/// Name of the database in the data folder.
const FILE: &str = "vinbus.db";

impl Store for SqliteStore {
    fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    fn append_downlink(&self, message: NewDownlink, now: SystemTime) -> Pending<Downlink> {
        let bytes = message.envelope.len();
        let Some(id) = MessageId::new_at(now) else {
            return no_names();
        };
        self.writer.submit(Kind::Downlink, bytes, move |tables| {
            tables.append_downlink(&id, &message, now)
        })
    }

    fn append_uplink(&self, message: NewUplink) -> Pending<Cursor> {
        let bytes = message.payload.len();
        self.writer.submit(Kind::Uplink, bytes, move |tables| {
            tables.append_uplink(&message)
        })
    }

    fn note(&self, id: &MessageId, step: Step, now: SystemTime) -> Pending<Option<Cursor>> {
        let id = id.clone();
        self.writer
            .submit(Kind::Change, 0, move |tables| tables.note(&id, step, now))
    }

    fn unsent(
        &self,
        vin: &Vin,
        uid: &Uid,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        self.way_down.unsent(vin, uid, after, limit)
    }

    fn with_expired(&self, now: SystemTime, limit: usize) -> Result<Vec<(Vin, Uid)>, StoreError> {
        self.way_down.with_expired(now, limit)
    }

    fn expired(
        &self,
        vin: &Vin,
        uid: &Uid,
        now: SystemTime,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        self.way_down.expired(vin, uid, now, limit)
    }

    fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.way_down.backlog()
    }

    fn uplink_after(
        &self,
        cursor: Cursor,
        uid: Option<&Uid>,
        vin: Option<&Vin>,
        limit: usize,
    ) -> Result<UplinkPage, StoreError> {
        self.readers.uplink_after(cursor, uid, vin, limit)
    }

    fn uplink_end(&self) -> Result<Cursor, StoreError> {
        self.readers.uplink_end()
    }

    fn uplink_received_at(&self, cursor: Cursor) -> Result<Option<SystemTime>, StoreError> {
        self.readers.uplink_received_at(cursor)
    }

    fn trace(&self, id: &MessageId) -> Result<Option<Trace>, StoreError> {
        self.readers.trace(id)
    }

    fn sent_before(
        &self,
        before: u64,
        uid: Option<&Uid>,
        limit: usize,
    ) -> Result<SentPage, StoreError> {
        self.readers.sent_before(before, uid, limit)
    }

    fn add_webhook(&self, webhook: Webhook) -> Pending<()> {
        self.writer
            .submit(Kind::Change, 0, move |tables| tables.add_webhook(&webhook))
    }

    fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.readers.webhooks()
    }

    fn disable_webhook(&self, id: &str) -> Pending<()> {
        let id = id.to_owned();
        self.writer
            .submit(Kind::Change, 0, move |tables| tables.disable_webhook(&id))
    }

    fn remove_webhook(&self, id: &str) -> Pending<bool> {
        let id = id.to_owned();
        self.writer
            .submit(Kind::Change, 0, move |tables| tables.remove_webhook(&id))
    }

    fn webhook_delivered(&self, id: &str, cursor: Cursor) -> Pending<()> {
        let id = id.to_owned();
        self.writer.submit(Kind::Change, 0, move |tables| {
            tables.webhook_delivered(&id, cursor)
        })
    }
}

impl ChannelStore for SqliteStore {
    fn channels(&self) -> Result<Vec<KnownChannel>, StoreError> {
        self.way_down.channels()
    }

    fn channel(&self, vin: &Vin, uid: &Uid) -> Result<Option<KeptChannel>, StoreError> {
        self.way_down.channel(vin, uid)
    }

    fn downlink(&self, sequence: u64) -> Result<Option<Downlink>, StoreError> {
        self.way_down.downlink(sequence)
    }

    fn unsent_besides(
        &self,
        vin: &Vin,
        uid: &Uid,
        after: u64,
        left_out: &LeftOut,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError> {
        self.way_down
            .unsent_besides(vin, uid, after, left_out, limit)
    }

    fn transfer(&self, sequence: u64) -> Result<Option<Transfer>, StoreError> {
        self.way_down.transfer(sequence)
    }

    fn change_channel(&self, vin: &Vin, uid: &Uid, change: ChannelChange) -> Pending<Changed> {
        let (vin, uid) = (*vin, uid.clone());
        self.writer.submit(Kind::Change, 0, move |tables| {
            tables.change_channel(&vin, &uid, &change)
        })
    }

    fn append_keyed(&self, message: NewDownlink, now: SystemTime) -> Pending<Appended> {
        let bytes = message.envelope.len();
        let Some(id) = MessageId::new_at(now) else {
            return no_names();
        };
        self.writer.submit(Kind::Downlink, bytes, move |tables| {
            tables.append_keyed(&id, &message, now)
        })
    }

    fn append_numbered(&self, message: NewUplink, id: delivery::MessageId) -> Pending<Cursor> {
        let bytes = message.payload.len();
        self.writer.submit(Kind::Uplink, bytes, move |tables| {
            tables.append_numbered(&message, id)
        })
    }

    fn append_part(&self, part: NewPart) -> Pending<PartTaken> {
        let bytes = part.piece.len();
        self.writer
            .submit(Kind::Uplink, bytes, move |tables| tables.append_part(&part))
    }
}

fn no_names<T>() -> Pending<T> {
    refused(StoreError::Failed {
        detail: "the system has no random numbers to name a message with".to_owned(),
    })
}

impl FollowerStore for SqliteStore {
    fn follower(&self, name: &str) -> Result<Option<Cursor>, StoreError> {
        self.readers.follower(name)
    }

    fn note_follower(&self, name: &str, cursor: Cursor) -> Pending<()> {
        let name = name.to_owned();
        self.writer.submit(Kind::Change, 0, move |tables| {
            tables.note_follower(&name, cursor)
        })
    }
}

/// Does to the file in a folder what a test needs done behind the store's back.
#[cfg(test)]
pub(crate) fn meddle(folder: &std::path::Path, sql: &str) {
    let file = rusqlite::Connection::open(folder.join("vinbus.db")).unwrap();
    file.execute_batch(sql).unwrap();
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn reads_that_take_long_do_not_keep_the_way_down_from_reading() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DataDir::lock(dir.path()).unwrap();
        let store = SqliteStore::open(lock, StoreSettings::default(), &Metrics::new()).unwrap();
        let store = &store;
        let (begun, end) = (Barrier::new(READERS + 1), Barrier::new(READERS + 1));
        std::thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    let reading = store.readers.read(|_| {
                        begun.wait();
                        end.wait();
                        Ok(())
                    });
                    assert_eq!(reading, Ok(()));
                });
            }
            begun.wait();
            assert_eq!(store.backlog(), Ok(Vec::new()));
            assert_eq!(store.with_expired(SystemTime::now(), 1), Ok(Vec::new()));
            end.wait();
        });
    }
}
