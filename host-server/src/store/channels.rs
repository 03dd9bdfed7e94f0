//! What the server keeps of delivery with receipts (SPEC 16): of each channel, which is a vehicle and
//! a partner, the memory of our end of it, and the messages with numbers that have no last word yet.
//!
//! A message's number is on disk before it is first sent under it, and another epoch of either end in the
//! transaction that notes what is lost with the one before. The number of a message that came
//! goes into the window in the transaction that stores the message, or the part of one. What a receipt says
//! is on disk before the receipt is acknowledged.

use std::time::SystemTime;

use vinbus_protocol::delivery::{self, Epoch, MessageId, Part, Snapshot};
use vinbus_protocol::id::{AppId, Uid, Vin};

use super::{Pending, StoreError};
use crate::model::{Cursor, Downlink, Key, NewDownlink, NewUplink, Step, Transfer};

/// A vehicle and a partner, as far as delivery between them is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownChannel {
    /// The vehicle.
    pub vin: Vin,
    /// The partner.
    pub uid: Uid,
    /// Whether messages have numbers and no answer yet.
    pub unanswered: bool,
}

/// What is on disk of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptChannel {
    /// The memory of our end.
    pub memory: Snapshot,
    /// Messages without a last word, by number.
    pub numbered: Vec<Numbered>,
    /// The part that was stored last of a long message from the vehicle, which is not whole yet.
    pub part: Option<MessageId>,
}

/// A part of a long message from a vehicle. `Debug` does not tell what it says.
#[derive(Clone)]
pub struct NewPart {
    /// The partner it is meant for.
    pub uid: Uid,
    /// The vehicle.
    pub vin: Vin,
    /// Where below the vehicle's topic it was published.
    pub subtopic: Option<String>,
    /// When it arrived.
    pub received_at: SystemTime,
    /// Its number.
    pub id: MessageId,
    /// Where it belongs.
    pub part: Part,
    /// Its text; empty for a part that has none.
    pub piece: String,
    /// Until when the next one is awaited.
    pub awaited_until: SystemTime,
}

impl std::fmt::Debug for NewPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewPart")
            .field("vin", &self.vin)
            .field("id", &self.id)
            .field("part", &self.part)
            .field("bytes", &self.piece.len())
            .finish_non_exhaustive()
    }
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartFate {
    /// It is stored, and more are awaited.
    Stored,
    /// It was the last one: the whole is in the uplink log at this position.
    Whole(Cursor),
    /// It is of no use, for this reason; what was incomplete is dropped.
    Refused(delivery::Step),
    /// There is no room for one more incomplete message: it may come again.
    NoRoom,
}

/// What came of storing a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartTaken {
    /// What became of it.
    pub fate: PartFate,
    /// Incomplete messages of others that made room for it.
    pub dropped: u64,
}

/// A message with a number and without a last word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Its number.
    pub number: u32,
    /// Its place in the order of acceptance.
    pub sequence: u64,
    /// Bytes of its envelope.
    pub bytes: u32,
    /// The part that goes under this number, of a message that travels in parts.
    pub piece: Option<Piece>,
    /// When it is not worth sending any more.
    pub expires_at: SystemTime,
    /// It may be sent to another life of the vehicle: a part that is not the last may always be, as no app
    /// has seen anything of it.
    pub repeatable: bool,
    /// The vehicle has answered: it is not sent any more.
    pub answered: bool,
    /// Its app was handed it, and is to confirm it.
    pub handed: bool,
    /// Somebody waits for its answer (SPEC 19).
    pub is_request: bool,
    /// The app that it is for.
    pub app: AppId,
    /// The key by which newer ones for the same app take its place.
    pub key: Option<Key>,
}

/// A message with a key that was appended, and what it took the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The message.
    pub downlink: Downlink,
    /// Older ones of its key: they are not among the unsent any more.
    pub superseded: Vec<Downlink>,
    /// The last position in the uplink log at which that is told, if it is.
    pub told: Option<Cursor>,
}

impl From<Downlink> for Appended {
    fn from(downlink: Downlink) -> Self {
        Self {
            downlink,
            superseded: Vec::new(),
            told: None,
        }
    }
}

/// A part on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes of the content, and where the part begins in it.
    pub part: Part,
    /// Where it ends.
    pub end: u32,
    /// Times that the message was begun.
    pub begun: u32,
}

impl Piece {
    /// Whether it is the last.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.end >= self.part.total
    }
}

/// Unsent messages that wait for something else than their turn, so that others pass by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Those for these apps, which have no room, but for requests: they wait for no app.
    pub apps: Vec<AppId>,
    /// Those with receipts, requests too.
    pub only_without_receipts: bool,
}

impl LeftOut {
    /// Whether no message is left out.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.apps.is_empty() && !self.only_without_receipts
    }
}

/// The server's epoch, the vehicle's, and the last batch of receipts.
pub type Session = (Epoch, Option<Epoch>, u32);

/// Changes of one channel, which are on disk together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelChange {
    /// Makes the channel known if it is not. An epoch or a batch below the one that is known changes
    /// nothing; a greater epoch of either end empties the window, and drops the long message that is not
    /// whole; everything else of the memory follows from the other changes.
    pub session: Option<Session>,
    /// Messages that get a number: they are not among the unsent any more, unless they travel in parts. One
    /// that is not among them before gets none (see [`Changed::gone`]).
    /// Refused for a channel that is not known.
    pub numbered: Vec<(u32, u64)>,
    /// The only one of them travels in parts, and this is the part: the message stays among the unsent
    /// until the vehicle has all of it, or has refused it.
    pub piece: Option<Piece>,
    /// Steps of messages with numbers. The first note of a step counts. *Part stored* and *part missing*
    /// are of a part: its number is over, and the message goes on, or begins again.
    pub steps: Vec<(u32, Step, SystemTime)>,
}

/// What came of a [`ChannelChange`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The last position in the uplink log at which steps are told, if any are.
    pub told: Option<Cursor>,
    /// The sequences of messages that got no number, as a newer one of their key has taken their place, or
    /// as they are over: their numbers are left out.
    pub gone: Vec<u64>,
    /// The numbers of messages that were to be sent again and are not kept any more.
    pub forgotten: Vec<u32>,
}

/// What the server keeps of channels. A store that keeps none needs nothing of it.
pub trait ChannelStore {
    /// All channels.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn channels(&self) -> Result<Vec<KnownChannel>, StoreError> {
        Ok(Vec::new())
    }

    /// What is kept of a channel; `None` for one that is not known.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn channel(&self, _vin: &Vin, _uid: &Uid) -> Result<Option<KeptChannel>, StoreError> {
        Ok(None)
    }

    /// A message for a vehicle; `None` when it is not kept any more.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn downlink(&self, _sequence: u64) -> Result<Option<Downlink>, StoreError> {
        Ok(None)
    }

    /// A partner's unsent messages for a vehicle as [`Store::unsent`](super::Store::unsent) gives them, but for
    /// those that are left out.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn unsent_besides(
        &self,
        vin: &Vin,
        uid: &Uid,
        after: u64,
        left_out: &LeftOut,
        limit: usize,
    ) -> Result<Vec<Downlink>, StoreError>;

    /// How far a message is that travels in parts; `None` for one that was not begun.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn transfer(&self, _sequence: u64) -> Result<Option<Transfer>, StoreError> {
        Ok(None)
    }

    /// Makes changes of a channel.
    fn change_channel(&self, _vin: &Vin, _uid: &Uid, _change: ChannelChange) -> Pending<Changed> {
        keeps_none()
    }

    /// Appends a message for a vehicle, as [`Store::append_downlink`](super::Store::append_downlink) does, and
    /// ends older ones of the same partner, vehicle, app and key that have no number, as *superseded*.
    fn append_keyed(&self, _message: NewDownlink, _now: SystemTime) -> Pending<Appended> {
        keeps_none()
    }

    /// Appends a message from a vehicle, and puts its number into the window of its channel, if it is of the
    /// vehicle's life that is known there: [`ChannelChange::session`] alone begins another.
    fn append_numbered(&self, _message: NewUplink, _id: MessageId) -> Pending<Cursor> {
        keeps_none()
    }

    /// Stores a part of a long message from a vehicle, of which there is one for each channel, and puts its
    /// number into the window of its channel. With the last one, the message is appended as any other, and
    /// its parts are gone.
    fn append_part(&self, _part: NewPart) -> Pending<PartTaken> {
        keeps_none()
    }
}

fn keeps_none<T>() -> Pending<T> {
    super::refused(StoreError::Failed {
        detail: "it keeps no channels".to_owned(),
    })
}
