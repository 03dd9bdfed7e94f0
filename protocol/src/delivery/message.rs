//! A message as its sender is given it, why one is not taken, and why one is not sent any more.

use core::fmt;
use core::num::NonZeroU32;

/// A message as far as the sender needs to know it: its bytes stay with the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Bytes that it takes on the wire, about.
    pub bytes: u32,
    /// When its time is over, in milliseconds of the owner's clock.
    pub expires_at_ms: Option<u64>,
    /// Messages of the same key go one at a time, and a newer one takes the place of one that was
    /// not sent yet.
    pub key: Option<NonZeroU32>,
    /// It may be sent again when one of the two ends has lost its memory meanwhile, and so may reach
    /// its app twice.
    pub repeatable: bool,
}

/// A message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its number.
    pub number: u32,
    /// The message whose place it took: superseded, and not to be sent any more.
    pub superseded: Option<u32>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// All places are taken: try again after the next event or receipt.
    Full,
    /// All numbers of this epoch are used, or the number to resume with is taken or 0.
    Number,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "as many messages as allowed are on their way: wait for a receipt",
            Self::Number => "the message's number is 0, in use, or beyond the last: begin an epoch",
        })
    }
}

impl core::error::Error for SubmitError {}

/// Why a message is not sent any more although nothing is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Its time is over.
    Expired,
    /// It was repeated as often as allowed.
    GivenUp,
    /// One of the two ends has lost its memory, so the other one may have had it or not.
    PeerRestarted,
}

impl Loss {
    /// Its stable name, for logs, metrics and timelines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::GivenUp => "given_up",
            Self::PeerRestarted => "peer_restarted",
        }
    }
}
