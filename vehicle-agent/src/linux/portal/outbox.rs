//! What the portal has for one socket and has not written yet: bounded, and never lost.
//!
//! The agent puts frames in without waiting; the socket's writer takes one out only when all of it
//! was given to the kernel, and the agent hears of those that it watches. What is left when the socket ends goes back to
//! the agent, which keeps it as pending for the app. So a message is delivered, pending, or counted as evicted, never two
//! of them.
//!
//! A message that would exceed [`OUTBOX_FRAMES_MAX`] or [`OUTBOX_BYTES_MAX`] is not put in:
//! [`Outbox::room`] says so before, and the agent keeps it until there is room. A socket that leaves too little
//! room even for what it is told is closed. Messages that arrive until its task has ended are still taken, at most the last
//! [`PENDING_MESSAGES_MAX`] of them: more would not survive in the pending ring either.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use vinbus_protocol::limits::PENDING_MESSAGES_MAX;

use crate::app_interface::refusal::Ending;
use crate::app_interface::server_frame::{Explained, PendingFrame, ServerFrame, kind};
use crate::linux::run::PENDING_BYTES;

/// Frames that may wait for one socket; twice as many with those that tell something.
pub(crate) const OUTBOX_FRAMES_MAX: usize = 64;

/// Bytes that may wait for one socket: a full reply of pending messages and as much again.
pub(crate) const OUTBOX_BYTES_MAX: usize = 2 * (PENDING_BYTES + PENDING_MESSAGES_MAX * 64);

/// A message that the app has not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// Its number among all messages of the app.
    pub(crate) number: u64,
    /// Encoded.
    pub(crate) message: Box<str>,
}

/// Bytes beside them for frames that tell something while messages wait.
const NOTICES_BYTES: usize = 64 * 1024;

/// Something to write to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// An app message.
    Message(Unread),
    /// The reply to `getPendingNotifications`.
    Pending {
        /// The frame's `id`, as JSON.
        id: Option<String>,
        /// Oldest first.
        messages: Vec<Unread>,
        /// They are still in the ring until they are confirmed; else they are only here.
        kept: bool,
    },
    /// A frame that tells of a message which is still in the ring.
    Kept(String),
    /// A frame that tells what became of a message of the app with this ticket: the next socket is told if this
    /// one is not.
    Fate(u64, String),
    /// A frame that tells of how many more that is not kept: the next socket is told if this one is not.
    Forgotten(u64),
    /// A frame that tells something and means nothing to the next socket.
    Notice(String),
}

impl Item {
    /// The text frame.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Message(Unread { message, .. }) => {
                let frame = ServerFrame::new(kind::MESSAGE);
                frame.with_value(message).to_string()
            }
            Self::Pending { id, messages, kept } => {
                let texts = messages.iter();
                let texts = texts.map(|unread| (unread.number, unread.message.as_ref()));
                let frame = PendingFrame {
                    id: id.as_deref(),
                    messages: texts,
                    confirm: *kept,
                    more: false,
                };
                frame.to_string()
            }
            Self::Forgotten(fates) => {
                let message = format!(
                    "what became of {fates} more of your messages with receipts while you were away is not kept"
                );
                let value = Explained("untold", message);
                ServerFrame::new(kind::ERROR).with_value(&value).to_string()
            }
            Self::Kept(text) | Self::Fate(_, text) | Self::Notice(text) => text.clone(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Message(unread) => unread.message.len(),
            Self::Pending { messages, .. } => {
                messages.iter().map(|unread| unread.message.len()).sum()
            }
            Self::Forgotten(_) => 0,
            Self::Kept(text) | Self::Fate(_, text) | Self::Notice(text) => text.len(),
        }
    }

    /// The messages that are lost if this is never written.
    fn into_messages(self) -> Vec<Unread> {
        match self {
            Self::Message(unread) => vec![unread],
            Self::Pending {
                messages,
                kept: false,
                ..
            } => messages,
            Self::Pending { kept: true, .. }
            | Self::Kept(_)
            | Self::Fate(..)
            | Self::Forgotten(_)
            | Self::Notice(_) => Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    /// Messages taken after the ending began.
    late: VecDeque<Unread>,
    late_evicted: u64,
    /// Fates that were not written, and those that came after the ending began.
    fates: Vec<(u64, String)>,
    late_fates: Vec<(u64, String)>,
    /// How many more are not kept, where the app was not told.
    forgotten: u64,
    /// Messages of which the agent is to be told that they are written, and those of them that are.
    watched: BTreeSet<u64>,
    written: Vec<u64>,
    /// Messages wait elsewhere for room.
    short: bool,
    ending: Option<Ending>,
}

/// The frames that wait for one socket.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

impl Outbox {
    /// Bytes of the longest message that is to be put in now; the agent keeps a longer one meanwhile.
    pub(crate) fn room(&self) -> usize {
        let state = self.lock();
        if state.ending.is_some() || state.items.len() >= OUTBOX_FRAMES_MAX {
            0
        } else if state.items.is_empty() {
            usize::MAX
        } else {
            OUTBOX_BYTES_MAX.saturating_sub(state.bytes)
        }
    }

    /// Takes note that messages wait for room, of which [`Outbox::written`] is to tell; `false` if all was
    /// written meanwhile, so that there is room.
    pub(crate) fn fall_short(&self) -> bool {
        let mut state = self.lock();
        state.short = !state.items.is_empty() || state.ending.is_some();
        state.short
    }

    /// The agent is to be told when the message with this number is written, which is put in next.
    pub(crate) fn watch(&self, number: u64) {
        self.lock().watched.insert(number);
    }

    /// Takes something to write; never waits. Ends the socket as a slow reader when it is full.
    pub(crate) fn push(&self, item: Item) {
        let mut state = self.lock();
        if state.ending.is_none() && state.is_full_for(&item) {
            state.ending = Some(Ending::SlowReader);
        }
        if state.ending.is_some() {
            state.keep_late(item);
        } else {
            state.bytes += item.bytes();
            state.items.push_back(item);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Ends the socket; the first reason stays.
    pub(crate) fn end(&self, ending: Ending) {
        self.lock().ending.get_or_insert(ending);
        self.changed.notify_one();
    }

    /// Why the socket ends, if it does.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.lock().ending
    }

    /// The next frame to write, which stays in the outbox until [`Outbox::written`].
    ///
    /// # Errors
    /// The [`Ending`], as soon as there is one.
    pub(crate) async fn front(&self) -> Result<String, Ending> {
        loop {
            {
                let state = self.lock();
                if let Some(ending) = state.ending {
                    return Err(ending);
                }
                if let Some(item) = state.items.front() {
                    return Ok(item.render());
                }
            }
            self.changed.notified().await;
        }
    }

    /// Completes when the socket is to end.
    pub(crate) async fn ended(&self) -> Ending {
        loop {
            if let Some(ending) = self.lock().ending {
                return ending;
            }
            self.changed.notified().await;
        }
    }

    /// Forgets the frame that [`Outbox::front`] gave: all of it was given to the kernel. Whether that is news for the
    /// agent, which waits for a message to be written or for the room that the frame leaves.
    pub(crate) fn written(&self) -> bool {
        let mut state = self.lock();
        let was_news = !state.written.is_empty();
        if let Some(item) = state.items.pop_front() {
            state.bytes -= item.bytes();
            for Unread { number, .. } in item.into_messages() {
                if state.watched.remove(&number) {
                    state.written.push(number);
                }
            }
        }
        let is_news = !was_news && !state.written.is_empty();
        std::mem::take(&mut state.short) || is_news
    }

    /// Takes the numbers of messages that were watched and are written.
    pub(crate) fn take_written(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().written)
    }

    /// Takes back the oldest message that was not written, once the socket has ended.
    pub(crate) fn take_back(&self) -> Option<Unread> {
        let mut state = self.lock();
        while let Some(item) = state.items.pop_front() {
            state.bytes -= item.bytes();
            let item = match item {
                Item::Fate(ticket, text) => {
                    state.fates.push((ticket, text));
                    continue;
                }
                Item::Forgotten(fates) => {
                    state.forgotten += fates;
                    continue;
                }
                item => item,
            };
            let mut messages = item.into_messages().into_iter();
            let Some(oldest) = messages.next() else {
                continue;
            };
            for unread in messages.rev() {
                state.bytes += unread.message.len();
                state.items.push_front(Item::Message(unread));
            }
            return Some(oldest);
        }
        state.late.pop_front()
    }

    /// Takes what the app was not told of its messages, once all messages are taken back.
    pub(crate) fn take_fates(&self) -> Vec<(u64, String)> {
        let mut state = self.lock();
        let mut fates = std::mem::take(&mut state.fates);
        fates.append(&mut state.late_fates);
        fates
    }

    /// How many fates more are not kept, of which the app was not told.
    pub(crate) fn forgotten(&self) -> u64 {
        self.lock().forgotten
    }

    /// Messages that came after the ending began and found no room, and are lost.
    pub(crate) fn evicted(&self) -> u64 {
        self.lock().late_evicted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full_for(&self, item: &Item) -> bool {
        let (frames_max, bytes_max) = match item {
            Item::Fate(..) | Item::Forgotten(_) | Item::Notice(_) => {
                (2 * OUTBOX_FRAMES_MAX, OUTBOX_BYTES_MAX + NOTICES_BYTES)
            }
            Item::Message(_) | Item::Pending { .. } | Item::Kept(_) => {
                (OUTBOX_FRAMES_MAX, OUTBOX_BYTES_MAX)
            }
        };
        self.items.len() >= frames_max || self.bytes + item.bytes() > bytes_max
    }

    fn keep_late(&mut self, item: Item) {
        match item {
            Item::Fate(ticket, text) => self.late_fates.push((ticket, text)),
            Item::Forgotten(fates) => self.forgotten += fates,
            item => self.late.extend(item.into_messages()),
        }
        while self.late.len() > PENDING_MESSAGES_MAX {
            self.late.pop_front();
            self.late_evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use vinbus_protocol::limits::APP_MESSAGE_BYTES_MAX;

    use super::*;

    fn unread(number: u64) -> Unread {
        let message = number.to_string().into();
        Unread { number, message }
    }

    fn message(n: usize) -> Item {
        Item::Message(unread(n as u64))
    }

    fn taken_back(outbox: &Outbox) -> Vec<usize> {
        let unread = std::iter::from_fn(|| outbox.take_back());
        let number = |unread: Unread| {
            assert_eq!(*unread.message, unread.number.to_string());
            unread.number as usize
        };
        unread.map(number).collect()
    }

    #[tokio::test]
    async fn frame_that_was_not_written_is_taken_back() {
        let outbox = Outbox::default();
        (0..3).for_each(|n| outbox.push(message(n)));
        assert_eq!(outbox.front().await.unwrap(), message(0).render());
        outbox.written();
        // The second is being written when the socket ends.
        assert_eq!(outbox.front().await.unwrap(), message(1).render());
        assert_eq!(taken_back(&outbox), [1, 2]);
    }

    #[tokio::test]
    async fn slow_reader_is_ended_and_loses_only_what_the_ring_would_evict() {
        let outbox = Outbox::default();
        (0..OUTBOX_FRAMES_MAX).for_each(|n| outbox.push(message(n)));
        assert!(outbox.front().await.is_ok());
        (0..25).for_each(|n| outbox.push(message(OUTBOX_FRAMES_MAX + n)));
        assert_eq!(outbox.front().await, Err(Ending::SlowReader));
        let expected: Vec<_> = (0..OUTBOX_FRAMES_MAX)
            .chain(OUTBOX_FRAMES_MAX + 15..OUTBOX_FRAMES_MAX + 25)
            .collect();
        assert_eq!((taken_back(&outbox), outbox.evicted()), (expected, 15));
    }

    #[test]
    fn bytes_are_bounded_as_well() {
        let outbox = Outbox::default();
        let big = || {
            let message = "x".repeat(APP_MESSAGE_BYTES_MAX).into();
            Item::Message(Unread { number: 0, message })
        };
        (0..=OUTBOX_BYTES_MAX / APP_MESSAGE_BYTES_MAX).for_each(|_| outbox.push(big()));
        assert_eq!(outbox.lock().ending, Some(Ending::SlowReader));
    }

    #[test]
    fn messages_to_confirm_stay_in_the_ring_and_are_not_taken_back() {
        let outbox = Outbox::default();
        let pending = |kept| Item::Pending {
            id: None,
            messages: vec![unread(1), unread(2)],
            kept,
        };
        outbox.push(pending(true));
        outbox.push(Item::Notice(String::new()));
        assert!(taken_back(&outbox).is_empty());
        outbox.push(pending(false));
        outbox.push(message(3));
        assert_eq!(taken_back(&outbox), [1, 2, 3]);
    }

    #[tokio::test]
    async fn fates_that_were_not_written_are_left_for_the_next_socket() {
        let outbox = Outbox::default();
        let fate = |ticket: u64| Item::Fate(ticket, format!("fate {ticket}"));
        for ticket in 1..=3 {
            outbox.push(fate(ticket));
        }
        assert_eq!(outbox.front().await.unwrap(), "fate 1");
        outbox.written();
        outbox.push(message(7));
        outbox.end(Ending::TakenOver);
        outbox.push(fate(4));
        assert_eq!(taken_back(&outbox), [7]);
        let expected = [2, 3, 4].map(|ticket| (ticket, format!("fate {ticket}")));
        assert_eq!(outbox.take_fates(), expected);
    }

    #[tokio::test]
    async fn first_ending_stays() {
        let outbox = Outbox::default();
        outbox.end(Ending::TakenOver);
        outbox.end(Ending::Stopping);
        assert_eq!(outbox.ended().await, Ending::TakenOver);
    }
}
