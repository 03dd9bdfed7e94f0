//! The messages of apps without receipts: into the queue, to the broker, and what each app is told.
//!
//! Invariant: `senders` names who sent each message of the queue, in its order.

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::{Content, EncodeError, Uplink};
use vinbus_protocol::id::Uid;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;
use vinbus_protocol::presence;
use vinbus_protocol::request::ANSWER_SUBTOPIC;
use vinbus_protocol::uplink_queue::{UplinkRefusal, WaitingUplink};

use super::{Desk, Storage, Todo};
use crate::apps::{Apps, Notice, SendRefusal};

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    /// Takes up an uplink message of an earlier life. Where the queue is smaller than it was then,
    /// older ones may be dropped for it, as for a message that an app sends.
    ///
    /// # Errors
    /// As for a message that an app sends.
    pub fn restore_uplink(
        &mut self,
        slot: AppSlot,
        subtopic: Option<&str>,
        content: &[u8],
        apps: &mut impl Apps,
    ) -> Result<(), SendRefusal> {
        let dropped = match subtopic {
            // An answer is written as it is sent.
            Some(ANSWER_SUBTOPIC) => {
                let content = Content::parse(content).map_err(SendRefusal::Content)?;
                self.push_uplink(slot, subtopic, content)?
            }
            _ => {
                let content = self.checked(slot, subtopic, content, false)?;
                self.enqueue(slot, subtopic, content)?
            }
        };
        self.tell_dropped(dropped, apps);
        self.push_sender(slot);
        Ok(())
    }

    /// Takes the uplink messages out, oldest first, for a later life.
    pub fn drain_uplinks(&mut self, mut take: impl FnMut(WaitingUplink<'_>)) {
        while let Some(waiting) = self.uplinks.front() {
            let number = waiting.number;
            take(waiting);
            self.uplinks.confirm(number);
            self.senders.pop_front();
        }
    }

    /// The oldest uplink message that waits, and the partner it goes to.
    pub(crate) fn front(&self) -> Option<(WaitingUplink<'_>, &Uid)> {
        let waiting = self.uplinks.front()?;
        let uid = self.uid(waiting.slot)?;
        Some((waiting, uid))
    }

    /// Keeps the oldest uplink message from being dropped: it is about to be published.
    pub(crate) fn begin_front(&mut self) {
        self.uplinks.begin();
    }

    /// Removes the uplink message with this number, now that its fate is known, and tells its app.
    pub(crate) fn confirm(&mut self, number: u64, delivered: bool, apps: &mut impl Apps) {
        for _ in 0..self.uplinks.confirm(number) {
            let Some(slot) = self.senders.pop_front() else {
                return;
            };
            if delivered {
                self.counters.uplinks_delivered += 1;
                apps.tell(slot, Notice::Delivered);
            } else {
                self.counters.uplinks_refused_by_broker += 1;
                apps.tell(slot, Notice::Refused);
            }
        }
    }

    /// Takes a message of an app: with receipts if it is to have them and they are offered, else into the
    /// queue.
    pub(super) fn take(
        &mut self,
        slot: AppSlot,
        subtopic: Option<&str>,
        content: &[u8],
        receipts: bool,
    ) -> Todo {
        let receipts = receipts && self.receipts.is_some();
        let checked = self.checked(slot, subtopic, content, receipts);
        let taken = checked.and_then(|content| match receipts {
            true => {
                let ticket = self.accept_with_receipts(slot, subtopic, content)?;
                Ok(Todo::Accept { slot, ticket })
            }
            false => {
                let outcome = Ok(self.enqueue(slot, subtopic, content)?);
                Ok(Todo::Answer { slot, outcome })
            }
        });
        taken.unwrap_or_else(|refusal| {
            self.counters.uplinks_refused += 1;
            let outcome = Err(refusal);
            Todo::Answer { slot, outcome }
        })
    }

    /// What every message of an app has to be. With receipts it may be one that goes in parts.
    fn checked<'c>(
        &self,
        slot: AppSlot,
        subtopic: Option<&str>,
        content: &'c [u8],
        receipts: bool,
    ) -> Result<Content<'c>, SendRefusal> {
        if subtopic.is_some_and(presence::is_reserved) {
            return Err(SendRefusal::ReservedSubtopic);
        }
        let uid = self.uid(slot).ok_or(SendRefusal::UnknownApp)?;
        let topic = self.identity.uplink_topic(uid, subtopic);
        topic.map_err(|_| SendRefusal::Subtopic)?;
        let content = match receipts {
            true => Content::parse_long(content),
            false => Content::parse(content),
        };
        content.map_err(SendRefusal::Content)
    }

    /// Queues a message of an app; returns how many older ones were dropped for it.
    fn enqueue(
        &mut self,
        slot: AppSlot,
        subtopic: Option<&str>,
        content: Content<'_>,
    ) -> Result<u32, SendRefusal> {
        let dropped = self.push_uplink(slot, subtopic, content)?;
        self.counters.uplinks_accepted += 1;
        Ok(dropped)
    }

    fn push_uplink(
        &mut self,
        slot: AppSlot,
        subtopic: Option<&str>,
        content: Content<'_>,
    ) -> Result<u32, SendRefusal> {
        self.check_form(content)?;
        let uplink = Uplink { content };
        let (len, max) = (uplink.encoded_len(), PAYLOAD_BYTES_MAX);
        if len > max {
            return Err(SendRefusal::TooLarge { len, max });
        }
        let subtopic = subtopic.map(|text| text.strip_prefix('/').unwrap_or(text));
        let evicted = self.uplinks.push_with(slot, subtopic, len, |bytes| {
            let encoded: Result<_, EncodeError> = uplink.encode(bytes);
            debug_assert!(encoded.is_ok(), "its length was checked");
        })?;
        Ok(evicted.total())
    }

    pub(super) fn push_sender(&mut self, slot: AppSlot) {
        let kept = self.senders.push_back(slot);
        debug_assert!(kept.is_ok(), "the queue holds as many");
    }

    /// Keeps `senders` in step with the queue after a push that dropped the `dropped` oldest behind
    /// the one in flight.
    pub(super) fn tell_dropped(&mut self, dropped: u32, apps: &mut impl Apps) {
        let in_flight = match self.uplinks.in_flight() {
            0 => None,
            _ => self.senders.pop_front(),
        };
        for _ in 0..dropped {
            if let Some(slot) = self.senders.pop_front() {
                self.counters.uplinks_dropped += 1;
                apps.tell(slot, Notice::Dropped { in_flight });
            }
        }
        if let Some(slot) = in_flight {
            let kept = self.senders.push_front(slot);
            debug_assert!(kept.is_ok(), "it was there");
        }
    }
}

impl From<UplinkRefusal> for SendRefusal {
    fn from(refusal: UplinkRefusal) -> Self {
        match refusal {
            UplinkRefusal::Full { waiting } => Self::QueueFull { waiting },
            UplinkRefusal::TooLarge { len, max } => Self::TooLarge { len, max },
            UplinkRefusal::Subtopic { .. } => Self::Subtopic,
        }
    }
}
