//! The store port: what the server must not lose, and the only place that knows how it is kept.
//!
//! A [`Store`] is shared by reference. Appends return at once with a [`Pending`] that resolves when
//! the data is on disk; one writer commits what came in together (group commit). Reads see
//! committed data only.

pub mod lock;

pub mod channels;
pub mod fleets;
pub mod requests;

mod message_id;

pub(crate) mod awaited;

pub mod sqlite;

use std::time::SystemTime;

use tokio::sync::oneshot;

use self::channels::ChannelStore;
use self::fleets::FleetStore;
use self::requests::RequestStore;
use crate::model::{
    Backlog, Cursor, Downlink, MessageId, NewDownlink, NewUplink, SentPage, Step, Trace,
    UplinkPage, Webhook,
};
use vinbus_protocol::id::{Uid, Vin};

/// Resolves once the append is on disk, or says why it is not.
pub type Pending<T> = oneshot::Receiver<Result<T, StoreError>>;

/// Why the store could not do it. Nothing of a failed append remains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk or the configured quota is full. Made room for, the same append works.
    #[error("the store is full: {detail}")]
    Full {
        /// What ran out.
        detail: String,
    },
    /// The database is damaged.
    #[error("the database is damaged: {detail}")]
    Corrupt {
        /// What SQLite said.
        detail: String,
    },
    /// The writer has more to do than it may queue.
    #[error("the store has {waiting} appends waiting, its limit")]
    Busy {
        /// Appends waiting.
        waiting: usize,
    },
    /// Anything else the database or the disk said.
    #[error("the store failed: {detail}")]
    Failed {
        /// What it said.
        detail: String,
    },
}

/// An append that failed before it began.
pub(crate) fn refused<T>(error: StoreError) -> Pending<T> {
    let (reply, pending) = oneshot::channel();
    // The receiver is right here.
    let _ = reply.send(Err(error));
    pending
}

/// Keeps how far those came who follow the log of uplink messages.
pub trait FollowerStore: Send + Sync + 'static {
    /// How far a follower came, if it was noted.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn follower(&self, name: &str) -> Result<Option<Cursor>, StoreError>;

    /// Notes that a follower has everything up to `cursor`; less than before changes nothing.
    fn note_follower(&self, name: &str, cursor: Cursor) -> Pending<()>;
}

/// What the server keeps.
pub trait Store: ChannelStore + FleetStore + RequestStore + Send + Sync + 'static {
    /// Whether appends are refused with [`StoreError::Full`] now, as far as is known.
    fn is_full(&self) -> bool;

    /// Appends a message for a vehicle, with [`Step::Accepted`].
    fn append_downlink(&self, message: NewDownlink, now: SystemTime) -> Pending<Downlink>;

    /// Appends a message from a vehicle.
    fn append_uplink(&self, message: NewUplink) -> Pending<Cursor>;

    /// Notes a step of a downlink message. The first note of a step counts, a repeated one changes
    /// nothing. Resolves to the position in the uplink log at which the step is told, if its sender
    /// asked for receipts.
    fn note(&self, id: &MessageId, step: Step, now: SystemTime) -> Pending<Option<Cursor>>;

    /// A partner's messages for a vehicle that have none of the last steps (final ones, and
    /// [`Step::Sent`]), oldest first, after a sequence: at most `limit`, fewer when they are large, none only when
    /// there is none.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn unsent(
        &self,
        vin: &Vin,
        uid: &Uid,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError>;

    /// Vehicles, and partners, with unsent messages whose time is over at `now`: at most `limit`.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn with_expired(&self, now: SystemTime, limit: usize) -> Result<Vec<(Vin, Uid)>, StoreError>;

    /// A partner's unsent messages for a vehicle whose time is over at `now`, oldest first, as many
    /// as [`Store::unsent`] gives.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn expired(
        &self,
        vin: &Vin,
        uid: &Uid,
        now: SystemTime,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError>;

    /// How many unsent messages each partner has for each vehicle, where there are any.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn backlog(&self) -> Result<Vec<Backlog>, StoreError>;

    /// Uplink messages after `cursor`, oldest first, of one partner or all, of one vehicle or all:
    /// at most `limit`, fewer when they are large or when others lie between them: the search of one
    /// vehicle's goes over a bounded number of positions, and then says how far it came. Messages and
    /// what was lost before them are of one moment.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn uplink_after(
        &self,
        cursor: Cursor,
        uid: Option<&Uid>,
        vin: Option<&Vin>,
        limit: usize,
    ) -> Result<UplinkPage, StoreError>;

    /// The last position of the uplink log.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn uplink_end(&self) -> Result<Cursor, StoreError>;

    /// When the uplink message at a position arrived; `None` where there is none (any more).
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn uplink_received_at(&self, cursor: Cursor) -> Result<Option<SystemTime>, StoreError>;

    /// What became of a downlink message.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn trace(&self, id: &MessageId) -> Result<Option<Trace>, StoreError>;

    /// Messages for vehicles that were accepted before a sequence, newest first, of one partner or all,
    /// and what became of them: at most `limit`, fewer when they are large or when others lie between
    /// them.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn sent_before(
        &self,
        before: u64,
        uid: Option<&Uid>,
        limit: usize,
    ) -> Result<SentPage, StoreError>;

    /// Adds a webhook.
    fn add_webhook(&self, webhook: Webhook) -> Pending<()>;

    /// All webhooks.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn webhooks(&self) -> Result<Vec<Webhook>, StoreError>;

    /// Stops deliveries to a webhook for good; it stays listed.
    fn disable_webhook(&self, id: &str) -> Pending<()>;

    /// Removes a webhook; resolves to whether there was one.
    fn remove_webhook(&self, id: &str) -> Pending<bool>;

    /// Notes that a webhook received everything up to `cursor`.
    fn webhook_delivered(&self, id: &str, cursor: Cursor) -> Pending<()>;
}
