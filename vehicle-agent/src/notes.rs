//! What is to survive the agent: what it notes of messages with receipts, so that one that is killed
//! goes on where it was (SPEC 16.10).
//!
//! Everything is noted before anybody hears of it: a message of an app before the app is told that it
//! is taken, a number before the message is sent under it, a message that came before its app gets it,
//! the end of one before its sender is told, with the answer where it was a request.

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{MessageId, Part, Snapshot, Step};
use vinbus_protocol::id::Uid;
use vinbus_protocol::request::RequestId;

/// One note.
#[derive(Clone, Copy, Debug)]
pub enum Note<'n> {
    /// The channel with a partner: its epochs, and the rest of its memory.
    Channel {
        /// The partner.
        uid: &'n Uid,
        /// The memory.
        memory: Snapshot,
    },
    /// A message of an app is taken.
    Accepted {
        /// Its ticket: greater than all before.
        ticket: u64,
        /// The app.
        slot: AppSlot,
        /// Where below the vehicle's topic it goes.
        subtopic: Option<&'n str>,
        /// What it says.
        content: &'n [u8],
    },
    /// It has this number from now on.
    Numbered {
        /// Its ticket.
        ticket: u64,
        /// Its partner.
        uid: &'n Uid,
        /// Its number.
        number: u32,
    },
    /// So much of a message that goes in parts is with its host, and it has no number for now.
    Progress {
        /// Its ticket.
        ticket: u64,
        /// How far it is.
        sent: Sent,
    },
    /// Its fate is known.
    Settled {
        /// Its ticket.
        ticket: u64,
    },
    /// A message came. What is noted later of the same one counts.
    Came {
        /// From this partner.
        uid: &'n Uid,
        /// Under this number.
        id: MessageId,
        /// Where it waits, if it waits for its app.
        kept: Option<Kept<'n>>,
        /// It came in parts, all of which are here.
        whole: bool,
    },
    /// A part of a long message came and is stored, which is the end of what is to be told of it. One that
    /// begins at 0 takes the place of all before it.
    Part {
        /// From this partner.
        uid: &'n Uid,
        /// Under this number.
        id: MessageId,
        /// Where it belongs.
        part: Part,
        /// Its text.
        piece: &'n [u8],
        /// Milliseconds for which the next part is awaited.
        ends_in_ms: Option<u64>,
    },
    /// The app's answer to a request that came, which is the end of what is to be told of the message.
    Answered {
        /// To this partner.
        uid: &'n Uid,
        /// The request came under this number.
        id: MessageId,
        /// Its name.
        request: RequestId,
        /// The app.
        slot: AppSlot,
        /// The payload of the answer.
        answer: &'n [u8],
    },
    /// What became of it in the end.
    Ended {
        /// Its partner.
        uid: &'n Uid,
        /// Its number.
        id: MessageId,
        /// Its last step.
        step: Step,
    },
}

/// A message that waits for its app.
#[derive(Clone, Copy)]
pub struct Kept<'n> {
    /// The app.
    pub slot: AppSlot,
    /// Its number among those of the app.
    pub number: u64,
    /// Milliseconds until its time is over.
    pub ends_in_ms: Option<u64>,
    /// What it says: the app's own JSON.
    pub content: &'n [u8],
}

impl core::fmt::Debug for Kept<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { slot, number, .. } = self;
        write!(f, "Kept({slot:?}, {number}, {} bytes)", self.content.len())
    }
}

/// How far a message of an app is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Its number, or that of the part on its way.
    pub number: Option<u32>,
    /// Bytes of it that the host has stored, where it goes in parts.
    pub stored: u32,
    /// Times that it began to go in parts.
    pub begun: u32,
}

/// A note could not be written: what it says must not be relied on. The reason is in the log.
#[cfg(feature = "notes")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNoted;

/// The same where nothing outlives the agent: there is no note that could not be written, and no code for it.
#[cfg(not(feature = "notes"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNoted {}

impl core::fmt::Display for NotNoted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the disk takes nothing now; try again later")
    }
}

impl core::error::Error for NotNoted {}
