//! Uplink messages that wait while the link is down, bounded by number and by bytes.
//!
//! When it is full, a stated [`DropPolicy`] decides: the oldest waiting message is dropped, or the
//! new one is refused. Both are counted, and the caller is told either way.
//!
//! To send: take [`UplinkQueue::front`], say so with [`UplinkQueue::begin`], publish it, then
//! [`UplinkQueue::confirm`] its number. From `begin` to `confirm` the message is *in flight*: it may
//! have reached the host, so it is not dropped. What is behind it is, and where that does not make
//! enough room, the new message is refused (SPEC 7.1). Publishing it again changes nothing of that.

use core::fmt;

use crate::app_slot::AppSlot;
use crate::limits::{PAYLOAD_BYTES_MAX, SUBTOPIC_BYTES_MAX};
use crate::record_ring::{self, Evicted, RecordRing, Usage, copy};

/// App slot and length of the subtopic, one byte each.
const TAG_BYTES: usize = 2;

const _: () = assert!(SUBTOPIC_BYTES_MAX <= u8::MAX as usize);

/// Bytes of storage in which `messages` messages always fit whose payloads have up to
/// `payload_bytes_max` bytes each, subtopics included.
#[must_use]
pub const fn storage_bytes_for(messages: usize, payload_bytes_max: usize) -> usize {
    let tags = TAG_BYTES + SUBTOPIC_BYTES_MAX;
    record_ring::storage_bytes_for(messages, payload_bytes_max.saturating_add(tags))
}

/// What a full queue does with one more message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DropPolicy {
    /// Drops the oldest messages that are not in flight: the host sees the latest state.
    #[default]
    Oldest,
    /// Refuses the new message: the host sees the beginning of what happened.
    Newest,
}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UplinkRefusal {
    /// The queue is full and its policy is [`DropPolicy::Newest`], or the message in flight leaves no
    /// room for this one.
    Full {
        /// Messages that wait.
        waiting: usize,
    },
    /// The payload exceeds [`PAYLOAD_BYTES_MAX`] or what the whole buffer can hold.
    TooLarge {
        /// Bytes of the payload.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The subtopic exceeds [`SUBTOPIC_BYTES_MAX`].
    Subtopic {
        /// Bytes of the subtopic.
        len: usize,
    },
}

impl fmt::Display for UplinkRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { waiting } => write!(
                f,
                "the link is slow or down and {waiting} messages wait already; try again when it is up"
            ),
            Self::TooLarge { len, max } => write!(
                f,
                "the message has {len} bytes, at most {max} are allowed; send less"
            ),
            Self::Subtopic { len } => write!(
                f,
                "the subtopic has {len} bytes, at most {SUBTOPIC_BYTES_MAX} are allowed"
            ),
        }
    }
}

impl core::error::Error for UplinkRefusal {}

/// What became of the messages. `queued` equals what was dropped, sent and still waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UplinkCounters {
    /// Messages taken in.
    pub queued: u64,
    /// Messages sent.
    pub sent: u64,
    /// Waiting messages dropped because the greatest number was reached.
    pub dropped_by_count: u64,
    /// Waiting messages dropped because the buffer had too few free bytes.
    pub dropped_by_bytes: u64,
    /// New messages refused because the queue was full.
    pub refused_full: u64,
    /// New messages refused because they, or their subtopics, are too long.
    pub refused_too_large: u64,
}

/// A message that waits. `Debug` tells the length of its payload only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WaitingUplink<'a> {
    /// Its number, for [`UplinkQueue::confirm`].
    pub number: u64,
    /// The app that sent it.
    pub slot: AppSlot,
    /// Where below the vehicle's topic it goes; `None` for the topic itself.
    pub subtopic: Option<&'a str>,
    /// The encoded uplink envelope.
    pub payload: &'a [u8],
}

impl fmt::Debug for WaitingUplink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingUplink")
            .field("number", &self.number)
            .field("slot", &self.slot)
            .field("subtopic", &self.subtopic)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// At most `N` waiting messages over a buffer of fixed size.
#[derive(Debug)]
pub struct UplinkQueue<S, const N: usize> {
    ring: RecordRing<S>,
    policy: DropPolicy,
    /// The oldest message is in flight.
    in_flight: bool,
    counters: UplinkCounters,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>, const N: usize> UplinkQueue<S, N> {
    /// An empty queue; [`storage_bytes_for`] says how much storage never runs short.
    #[must_use]
    pub fn new(storage: S, policy: DropPolicy) -> Self {
        const { assert!(N > 0, "a queue of no messages cannot work") };
        Self {
            ring: RecordRing::new(storage),
            policy,
            in_flight: false,
            counters: UplinkCounters::default(),
        }
    }

    /// Queues a message and tells which were dropped for it. An empty subtopic counts as none.
    ///
    /// # Errors
    /// [`UplinkRefusal`]; the queue is unchanged then.
    pub fn push(
        &mut self,
        slot: AppSlot,
        subtopic: Option<&str>,
        payload: &[u8],
    ) -> Result<Evicted, UplinkRefusal> {
        self.push_with(slot, subtopic, payload.len(), |bytes| copy(bytes, payload))
    }

    /// Queues a message of `len` bytes that `fill` writes in place; `fill` is to write all of them.
    ///
    /// # Errors
    /// As [`Self::push`]; `fill` is not called then.
    pub fn push_with(
        &mut self,
        slot: AppSlot,
        subtopic: Option<&str>,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Evicted, UplinkRefusal> {
        let subtopic = subtopic.unwrap_or_default();
        let len = self.check_sizes(subtopic, len).inspect_err(|_| {
            self.counters.refused_too_large += 1;
        })?;
        let evicted = self.make_room(len).inspect_err(|_| {
            self.counters.refused_full += 1;
        })?;
        let tag = [slot.index(), subtopic.len() as u8];
        let stored = self.ring.push_with(len, |bytes| {
            let (front, back) = bytes.split_at_mut_checked(TAG_BYTES).unwrap_or_default();
            copy(front, &tag);
            let at = subtopic.len();
            let (front, back) = back.split_at_mut_checked(at).unwrap_or_default();
            copy(front, subtopic.as_bytes());
            fill(back);
        });
        stored.map_err(|_| self.full())?;
        self.counters.queued += 1;
        self.counters.dropped_by_count += u64::from(evicted.by_count);
        self.counters.dropped_by_bytes += u64::from(evicted.by_bytes);
        Ok(evicted)
    }

    /// The oldest waiting message.
    #[must_use]
    pub fn front(&self) -> Option<WaitingUplink<'_>> {
        let record = self.ring.front()?;
        let (&[slot, subtopic_len], rest) = record.bytes.split_first_chunk::<TAG_BYTES>()?;
        let (subtopic, payload) = rest.split_at_checked(usize::from(subtopic_len))?;
        Some(WaitingUplink {
            number: record.number,
            slot: AppSlot::new(slot),
            subtopic: core::str::from_utf8(subtopic)
                .ok()
                .filter(|text| !text.is_empty()),
            payload,
        })
    }

    /// Puts the oldest message in flight: until it is confirmed, it is not dropped.
    pub fn begin(&mut self) {
        self.in_flight = !self.is_empty();
    }

    /// Messages in flight: none, or the oldest one.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        usize::from(self.in_flight)
    }

    /// Removes the message with this number, and any older one, as sent; returns how many there
    /// were.
    pub fn confirm(&mut self, number: u64) -> usize {
        let removed = self.ring.pop_through(number);
        self.in_flight &= removed == 0;
        self.counters.sent += removed as u64;
        removed
    }

    /// Messages that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// What a full queue does with one more message.
    #[must_use]
    pub fn policy(&self) -> DropPolicy {
        self.policy
    }

    /// How full the queue was.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.ring.usage()
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn counters(&self) -> &UplinkCounters {
        &self.counters
    }

    /// The length of the record for these parts.
    fn check_sizes(&self, subtopic: &str, payload_len: usize) -> Result<usize, UplinkRefusal> {
        if subtopic.len() > SUBTOPIC_BYTES_MAX {
            let len = subtopic.len();
            return Err(UplinkRefusal::Subtopic { len });
        }
        let tag = TAG_BYTES + subtopic.len();
        let room = self.ring.record_bytes_max().checked_sub(tag);
        let max = room.unwrap_or(0).min(PAYLOAD_BYTES_MAX);
        if room.is_none() || payload_len > max {
            let len = payload_len;
            return Err(UplinkRefusal::TooLarge { len, max });
        }
        Ok(tag + payload_len)
    }

    fn make_room(&mut self, len: usize) -> Result<Evicted, UplinkRefusal> {
        match self.policy {
            DropPolicy::Newest if self.ring.len() >= N || !self.ring.fits(len) => Err(self.full()),
            DropPolicy::Newest => Ok(Evicted::default()),
            DropPolicy::Oldest => {
                let made = self.ring.make_room(len, N, self.in_flight());
                made.map_err(|_| self.full())
            }
        }
    }

    fn full(&self) -> UplinkRefusal {
        UplinkRefusal::Full {
            waiting: self.ring.len(),
        }
    }
}
