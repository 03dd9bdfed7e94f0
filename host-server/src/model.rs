//! What the server is about: messages, their fate, vehicles and those who may ask for them.
//!
//! Plain values without IO; wire types derive from them at the edge (`api`), rows in `store`.

mod cursor;
mod key;
mod receipts;
mod step;

use std::fmt;
use std::time::SystemTime;

pub use self::cursor::{Cursor, CursorError, Stamp, StampedCursor};
pub use self::key::Key;
use self::receipts::is_long;
pub use self::receipts::{Receipts, ReceiptsError};
pub use self::step::Step;
pub(crate) use self::step::lost_request;
use crate::store::fleets::FleetId;
use bytes::Bytes;
use vinbus_protocol::envelope::{self, DownlinkBody};
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::request::Request;

/// Names one downlink message for its whole life, at most 36 ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(pub String);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whoever calls the REST interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// May do everything for every partner.
    Admin,
    /// May send on and read from its own UID only.
    Partner(Uid),
}

/// A message for a vehicle, as accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDownlink {
    /// The partner whose topic carries it.
    pub uid: Uid,
    /// The vehicle.
    pub vin: Vin,
    /// The app, copied from the envelope for queries.
    pub app: AppId,
    /// The encoded envelope: exactly the MQTT payload, unless it is [long](Self::is_long).
    pub envelope: Bytes,
    /// When it is not worth sending any more.
    pub expires_at: SystemTime,
    /// Whether its sender wants to be told what became of it in the car.
    pub receipts: Receipts,
    /// What it is a value of. Only of a message with receipts that is not long: of others it says nothing.
    pub key: Option<Key>,
}

impl NewDownlink {
    /// Whether it is too long for one payload with what receipts add, and so travels in parts.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.receipts != Receipts::No && is_long(self.envelope.len())
    }

    /// By what it takes the place of older ones that wait, and gives it up to newer ones.
    #[must_use]
    pub fn coalesces_by(&self) -> Option<&Key> {
        let may = self.receipts != Receipts::No && !self.is_long();
        self.key.as_ref().filter(|_| may)
    }
}

/// The subtopic of uplink messages that the server itself puts into the log: each tells a partner
/// one more step of a message that asked for receipts. Vehicles cannot use it.
pub const RECEIPT_SUBTOPIC: &str = "vinbus/receipt";

/// A stored message for a vehicle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downlink {
    /// Its name.
    pub id: MessageId,
    /// Its place in the order of acceptance.
    pub sequence: u64,
    /// What was accepted.
    pub message: NewDownlink,
}

/// A message from a vehicle, as it arrived and passed the protocol's checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUplink {
    /// The partner it is for.
    pub uid: Uid,
    /// The vehicle that sent it.
    pub vin: Vin,
    /// What followed the VIN in the topic.
    pub subtopic: Option<String>,
    /// The whole MQTT payload, unchanged.
    pub payload: Bytes,
    /// When it arrived.
    pub received_at: SystemTime,
}

/// A stored message from a vehicle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its place in the log.
    pub cursor: Cursor,
    /// What arrived.
    pub message: NewUplink,
}

impl Uplink {
    /// Its cursor as it is handed out.
    #[must_use]
    pub fn stamped(&self) -> StampedCursor {
        StampedCursor {
            cursor: self.cursor,
            stamp: Some(Stamp::of(self.message.received_at)),
        }
    }
}

/// What a read of the uplink log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UplinkPage {
    /// The messages, oldest first.
    pub messages: Vec<Uplink>,
    /// Where the next page begins: everything up to here was searched.
    pub searched_to: Cursor,
    /// Positions right after the cursor, of all partners and vehicles, that were deleted before
    /// they were read: they are older than what is kept.
    pub lost: u64,
}

/// What became of a downlink message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The message.
    pub downlink: Downlink,
    /// How far it is, if it travels in parts.
    pub transfer: Option<Transfer>,
    /// The fleet message that it is of, if any, as long as that is kept.
    pub fleet: Option<FleetId>,
    /// Its sender asked for receipts, and it went without, as its vehicle offers none: nobody tells what
    /// became of it.
    pub without_receipts: bool,
    /// Its steps, oldest first.
    pub steps: Vec<(Step, SystemTime)>,
}

/// How far a message is that travels in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes of its content.
    pub total: u32,
    /// Those that the vehicle has stored.
    pub stored: u32,
    /// Times that it was begun: again when the vehicle had lost what was stored.
    pub begun: u32,
    /// That of its content, by which the vehicle knows what its parts are of.
    pub checksum: u32,
}

/// What is told of a message for a vehicle where many are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brief {
    /// Whether it is a popup.
    pub is_popup: bool,
    /// Bytes of the whole MQTT payload.
    pub bytes: usize,
    /// How the popup's text or the content begins, that of a request without what carries it: at most
    /// [`EXCERPT_CHARS`] characters.
    pub excerpt: Box<str>,
}

/// Characters of a [`Brief`]'s excerpt.
pub const EXCERPT_CHARS: usize = 200;

impl Brief {
    /// What is told of an envelope.
    #[must_use]
    pub fn of(envelope: &[u8]) -> Self {
        let bytes = envelope.len();
        // What is stored was decoded before; a damaged row has no excerpt.
        let Ok(downlink) = envelope::Downlink::decode_long(envelope) else {
            return Self {
                bytes,
                ..Self::default()
            };
        };
        let excerpt: String = match &downlink.body {
            DownlinkBody::Data(content) => {
                let asked = Request::read(*content).map_or(*content, |request| request.content);
                asked.as_str().chars().take(EXCERPT_CHARS).collect()
            }
            DownlinkBody::Popup(popup) => popup.text.chars().take(EXCERPT_CHARS).collect(),
        };
        Self {
            is_popup: matches!(downlink.body, DownlinkBody::Popup(_)),
            bytes,
            excerpt: excerpt.into(),
        }
    }
}

/// A message that was sent, in brief, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its name.
    pub id: MessageId,
    /// Its place in the order of acceptance.
    pub sequence: u64,
    /// The partner.
    pub uid: Uid,
    /// The vehicle.
    pub vin: Vin,
    /// The app.
    pub app: AppId,
    /// What is told of it.
    pub brief: Brief,
    /// When it is not worth sending any more.
    pub expires_at: SystemTime,
    /// Its steps, oldest first.
    pub steps: Vec<(Step, SystemTime)>,
}

/// What was sent lately, in brief.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentPage {
    /// The messages, newest first.
    pub messages: Vec<Outline>,
    /// Before which sequence the next page begins, if there is more.
    pub next: Option<u64>,
}

/// Whether a vehicle can hear us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Connected and subscribed.
    Online,
    /// Known to be away: messages are held until it comes back.
    Offline,
    /// The broker cannot tell: messages are sent at once.
    Unknown,
}

impl Presence {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Online, Self::Offline, Self::Unknown];

    /// The word for it that everybody is told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known about a vehicle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vehicle {
    /// The vehicle.
    pub vin: Vin,
    /// Whether it can hear us.
    pub presence: Presence,
    /// When that last changed.
    pub since: SystemTime,
}

/// What a vehicle reported of its own condition last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VehicleHealth {
    /// When.
    pub reported_at: SystemTime,
    /// The report as it came: a JSON object (SPEC 6.7).
    pub report: Box<str>,
}

/// Messages of one partner for one vehicle that were not sent yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The vehicle.
    pub vin: Vin,
    /// The partner.
    pub uid: Uid,
    /// How many wait.
    pub messages: usize,
    /// Bytes of their envelopes.
    pub bytes: u64,
    /// The sequence up to which they have [`Step::Held`]; 0 for none.
    pub held_to: u64,
}

/// A webhook subscription.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name.
    pub id: String,
    /// Where to deliver.
    pub url: String,
    /// Whose messages: a partner's, or everybody's.
    pub uid: Option<Uid>,
    /// The signing secret of the Standard Webhooks specification, `whsec_…`.
    pub secret: String,
    /// Everything up to here was delivered.
    pub cursor: Cursor,
    /// The endpoint answered 410 Gone: nothing is delivered any more.
    pub disabled: bool,
    /// It may lead to addresses that are not of the public internet.
    pub private_allowed: bool,
}

impl fmt::Debug for Webhook {
    /// Without the secret, and without the URL, which may hold one too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("id", &self.id)
            .field("uid", &self.uid)
            .field("cursor", &self.cursor)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}
