//! What the portal has for one socket and has not written yet: bounded, and never lost.
//!
//! It is one ring of records. A message stands there as the app gets it, and the frame around it is
//! written when it is sent, so nothing holds a message twice. What is left when the socket ends
//! goes back to the agent, record by record.
//!
//! The answer to `getPendingNotifications` is several records that are one frame. Its messages are
//! still in the pending ring, and go from there when the answer was written. So are those that an app
//! confirms: the frames that tell of them ([`Outbox::push_kept`]) do not go back.
//!
//! Some of the ring is for frames that tell something. A message that finds no room in the rest is not
//! put in: [`Outbox::room`] says so before, and the agent keeps it, and those behind it, until there is.
//!
//! A socket whose reader leaves too little even for what it is told is ended. Messages that arrive until
//! it is gone push out the oldest, as they would in the pending ring, and that is counted.

use core::cell::RefCell;
use core::fmt::{self, Display, Write};

use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::record_ring::{RECORD_HEADER_BYTES, Record, RecordRing, Usage};

use super::limits::{LIST_BYTES_MAX, LIST_END_BYTES, NOTICES_BYTES, OUTBOX_FRAMES_MAX};
use super::pieces;
use crate::app_interface::refusal::Ending;
use crate::app_interface::server_frame::{PendingFrame, ServerFrame, kind};
use crate::apps::Told;

/// What a record is, in its first byte.
mod tag {
    /// A message: its number, 8 bytes, and the encoded app message.
    pub(super) const MESSAGE: u8 = b'm';
    /// A frame that tells something and means nothing to the next socket.
    pub(super) const NOTICE: u8 = b'n';
    /// A frame that tells of a message which is still in the pending ring.
    pub(super) const KEPT: u8 = b'k';
    /// The answer to `getPendingNotifications` begins; its `id`.
    pub(super) const LIST: u8 = b'[';
    /// A message of the answer: its number, 8 bytes, and the encoded app message.
    pub(super) const ITEM: u8 = b'i';
    /// The answer ends; flags, and the number of its last message, if it has one.
    pub(super) const LIST_END: u8 = b']';
}

/// At the end of an answer: the app confirms its messages.
const CONFIRMED: u8 = 1;
/// There are more messages than in the answer.
const MORE: u8 = 2;

/// The tag of a message, and its number.
const MESSAGE_HEAD_BYTES: usize = 1 + size_of::<u64>();

/// The frames that wait for one socket.
#[derive(Debug)]
pub(super) struct Outbox<'b> {
    ring: RecordRing<&'b mut [u8]>,
    /// Whether messages wait elsewhere for room.
    short: Short,
    ending: Option<Ending>,
    /// Messages that found no room: too large for any, or dropped for newer ones when the socket had
    /// ended.
    evicted: u64,
}

/// Whether messages that found no room wait for some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Short {
    /// None does, or they are being looked after.
    No,
    /// They do.
    Waiting,
    /// They do, and a frame was written since.
    Written,
}

/// The answer to `getPendingNotifications` was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// The number of the last message, if it is taken now.
    pub(super) taken: Option<u64>,
}

impl<'b> Outbox<'b> {
    pub(super) fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            ring: RecordRing::new(buffer),
            short: Short::No,
            ending: None,
            evicted: 0,
        }
    }

    /// Empties it for the next socket.
    pub(super) fn reset(&mut self) {
        while self.ring.pop_front().is_some() {}
        self.short = Short::No;
        self.ending = None;
        self.evicted = 0;
    }

    /// How full it was, whatever sockets it had.
    pub(super) fn usage(&self) -> Usage {
        self.ring.usage()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Ends the socket; the first reason stays.
    pub(super) fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }

    /// Messages that found no room, and are lost.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Bytes of the longest message that is to be put in now: none once the socket ends. One that comes
    /// when nothing waits is put in whatever its length, as waiting would not help it.
    pub(super) fn room(&self) -> usize {
        if self.ending.is_some() || self.ring.len() >= OUTBOX_FRAMES_MAX {
            return 0;
        }
        if self.ring.is_empty() {
            return usize::MAX;
        }
        self.room_beside_notices()
            .saturating_sub(MESSAGE_HEAD_BYTES)
    }

    /// Takes note that messages wait for room.
    pub(super) fn fall_short(&mut self) {
        self.short = Short::Waiting;
    }

    /// Whether there is more since messages wait for it; once for each frame that was written.
    pub(super) fn has_more_room(&mut self) -> bool {
        let written = self.short == Short::Written;
        if written {
            self.short = Short::No;
        }
        written
    }

    /// Bytes of the longest record that leaves to notices what is theirs.
    fn room_beside_notices(&self) -> usize {
        let capacity = self.ring.record_bytes_max() + RECORD_HEADER_BYTES;
        let theirs = NOTICES_BYTES.min(capacity / 4);
        let others = self
            .ring
            .iter()
            .filter(|record| !is(record.bytes, tag::NOTICE));
        let taken: usize = others
            .map(|record| RECORD_HEADER_BYTES + record.bytes.len())
            .sum();
        let left = capacity.saturating_sub(theirs + taken + RECORD_HEADER_BYTES);
        left.min(self.ring.room())
    }

    /// Takes a message, which ends the socket as a slow reader's when there is no room.
    pub(super) fn push_message(&mut self, number: u64, message: &AppMessage<'_>) {
        let len = MESSAGE_HEAD_BYTES + message.encoded_len();
        if len > self.ring.record_bytes_max() {
            self.evicted += 1;
            return;
        }
        if !self.has_room(len) {
            self.end(Ending::SlowReader);
        }
        if self.ending.is_some() {
            self.make_room(len);
        }
        let pushed = self.ring.push_with(len, |bytes| {
            if let Some((head, rest)) = bytes.split_first_chunk_mut::<MESSAGE_HEAD_BYTES>() {
                let [first, number_bytes @ ..] = head;
                *first = tag::MESSAGE;
                *number_bytes = number.to_le_bytes();
                let encoded = message.encode(rest);
                debug_assert!(encoded.is_ok(), "the record has its length");
            }
        });
        if pushed.is_err() {
            self.evicted += 1;
        }
    }

    /// Takes a frame that tells something; one for a socket that has ended is dropped.
    pub(super) fn push_notice(&mut self, frame: &dyn Display) {
        if self.ending.is_some() {
            return;
        }
        let len = 1 + pieces::len(frame);
        if !self.has_room_for_notice(len) {
            return self.end(Ending::SlowReader);
        }
        self.push_text(tag::NOTICE, len, frame);
    }

    /// Whether a frame that tells something finds room.
    pub(super) fn takes_notice(&self, frame: &dyn Display) -> bool {
        self.has_room_for_notice(1 + pieces::len(frame))
    }

    /// Takes a frame that tells of a message which is in the pending ring, if there is room for it.
    pub(super) fn push_kept(&mut self, frame: &dyn Display) -> Told {
        let len = 1 + pieces::len(frame);
        if self.ending.is_some() {
            return Told::No;
        }
        if len > self.ring.record_bytes_max() {
            self.evicted += 1;
            return Told::No;
        }
        let has_room = self.ring.is_empty() || len <= self.room_beside_notices();
        if !has_room || self.ring.len() >= OUTBOX_FRAMES_MAX {
            return Told::Later;
        }
        self.push_text(tag::KEPT, len, frame);
        Told::Yes
    }

    fn push_text(&mut self, tag: u8, len: usize, text: &dyn Display) {
        let pushed = self.ring.push_with(len, |bytes| {
            if let Some((first, rest)) = bytes.split_first_mut() {
                *first = tag;
                // Its length was counted.
                let _ = write!(Fill(rest), "{text}");
            }
        });
        debug_assert!(pushed.is_ok(), "there was room");
    }

    /// Takes the answer to `getPendingNotifications`: as many messages as fit. With `confirm` the
    /// app is told which number to confirm; else they are taken once the answer is written.
    pub(super) fn push_list<'r>(
        &mut self,
        id: &str,
        messages: impl Iterator<Item = Record<'r>>,
        confirm: bool,
    ) {
        if self.ending.is_some() {
            return;
        }
        let len = 1 + id.len();
        if !self.has_room(len + LIST_END_BYTES) {
            return self.end(Ending::SlowReader);
        }
        self.push(tag::LIST, id.as_bytes(), &[]);
        let mut last = None;
        let mut flags = if confirm { CONFIRMED } else { 0 };
        let longest = self.ring.record_bytes_max().saturating_sub(LIST_BYTES_MAX);
        for Record { number, bytes } in messages {
            let len = MESSAGE_HEAD_BYTES + bytes.len();
            if 1 + bytes.len() > longest {
                self.evicted += 1;
            } else if last.is_none() && self.ring.fits(len + LIST_END_BYTES)
                || len + LIST_END_BYTES <= self.room_beside_notices()
            {
                // The end finds room behind it: a longer record fits in one piece.
                self.push(tag::ITEM, &number.to_le_bytes(), bytes);
            } else {
                flags |= MORE;
                break;
            }
            last = Some(number);
        }
        let last = last.map(u64::to_le_bytes);
        let last = last.as_ref().map_or(&[][..], |last| &last[..]);
        self.push(tag::LIST_END, &[flags], last);
    }

    /// Forgets the frame that [`Front`] showed: all of it was written.
    pub(super) fn written(&mut self) -> Option<Listed> {
        if self.short == Short::Waiting {
            self.short = Short::Written;
        }
        let list = self.front_tag() == Some(tag::LIST);
        let mut record = self.ring.pop_front()?;
        if !list {
            return None;
        }
        while !matches!(record.bytes, [tag::LIST_END, ..]) {
            record = self.ring.pop_front()?;
        }
        let taken = match record.bytes {
            [_, flags, number @ ..] if flags & CONFIRMED == 0 => {
                number.try_into().ok().map(u64::from_le_bytes)
            }
            _ => None,
        };
        Some(Listed { taken })
    }

    /// Drops what means nothing to the next socket, up to the oldest message that would be lost with
    /// this one; `false` when there is none.
    pub(super) fn find_unwritten(&mut self) -> bool {
        while self.front_tag().is_some_and(|tag| tag != tag::MESSAGE) {
            self.ring.pop_front();
        }
        !self.ring.is_empty()
    }

    /// The message that [`Outbox::find_unwritten`] has found, and its number.
    pub(super) fn unwritten(&self) -> Option<(u64, &[u8])> {
        let ([_, number @ ..], message) = self
            .ring
            .front()?
            .bytes
            .split_first_chunk::<MESSAGE_HEAD_BYTES>()?;
        Some((u64::from_le_bytes(*number), message))
    }

    /// Forgets the message of [`Outbox::unwritten`].
    pub(super) fn returned(&mut self) {
        self.ring.pop_front();
    }

    fn front_tag(&self) -> Option<u8> {
        self.ring.front()?.bytes.first().copied()
    }

    fn has_room(&self, len: usize) -> bool {
        self.ring.len() < OUTBOX_FRAMES_MAX && self.ring.fits(len)
    }

    fn has_room_for_notice(&self, len: usize) -> bool {
        self.ring.len() < 2 * OUTBOX_FRAMES_MAX && self.ring.fits(len)
    }

    fn make_room(&mut self, len: usize) {
        while !self.ring.is_empty() && !self.ring.fits(len) {
            if self.front_tag() == Some(tag::MESSAGE) {
                self.evicted += 1;
            }
            self.ring.pop_front();
        }
    }

    fn push(&mut self, tag: u8, head: &[u8], bytes: &[u8]) {
        let len = 1 + head.len() + bytes.len();
        let pushed = self.ring.push_with(len, |record| {
            if let Some((first, rest)) = record.split_first_mut() {
                let (start, rest) = rest.split_at_mut(head.len());
                *first = tag;
                start.copy_from_slice(head);
                rest.copy_from_slice(bytes);
            }
        });
        debug_assert!(pushed.is_ok(), "there was room");
    }
}

/// The oldest frame of an outbox, written from where it lies. It borrows the outbox only while it is
/// formatted, so that the agent can add to it while a frame is on its way.
pub(super) struct Front<'p, 'b>(pub(super) &'p RefCell<Outbox<'b>>);

impl Display for Front<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outbox = self.0.borrow();
        let mut records = outbox.ring.iter().map(|record| record.bytes);
        match records.next().and_then(<[u8]>::split_first) {
            Some((&tag::MESSAGE, record)) => {
                let value = text(record.get(MESSAGE_HEAD_BYTES - 1..).unwrap_or_default());
                write!(f, "{}", ServerFrame::new(kind::MESSAGE).with_value(&value))
            }
            Some((&(tag::NOTICE | tag::KEPT), frame)) => f.write_str(text(frame)),
            Some((_, id)) => list(text(id), records).fmt(f),
            None => Ok(()),
        }
    }
}

/// The answer that is made of these records.
fn list<'r>(
    id: &'r str,
    records: impl Iterator<Item = &'r [u8]> + Clone,
) -> PendingFrame<'r, impl Iterator<Item = (u64, &'r str)> + Clone> {
    let end = records.clone().find(|record| is(record, tag::LIST_END));
    let flags = end.and_then(|end| end.get(1)).copied().unwrap_or_default();
    let items = records.take_while(|record| is(record, tag::ITEM));
    PendingFrame {
        id: Some(id).filter(|id| !id.is_empty()),
        messages: items.filter_map(numbered),
        confirm: flags & CONFIRMED != 0,
        more: flags & MORE != 0,
    }
}

/// The number and the message of a record that has both.
fn numbered(record: &[u8]) -> Option<(u64, &str)> {
    let ([_, number @ ..], message) = record.split_first_chunk::<MESSAGE_HEAD_BYTES>()?;
    Some((u64::from_le_bytes(*number), text(message)))
}

fn is(record: &[u8], tag: u8) -> bool {
    record.first() == Some(&tag)
}

/// Bytes that were text when they were stored.
fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_default()
}

/// Fills a buffer with what is written.
struct Fill<'b>(&'b mut [u8]);

impl Write for Fill<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let buffer = core::mem::take(&mut self.0);
        let (now, later) = buffer.split_at_mut_checked(text.len()).ok_or(fmt::Error)?;
        now.copy_from_slice(text.as_bytes());
        self.0 = later;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
