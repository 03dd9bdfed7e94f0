//! What has changed of messages with receipts since it was noted last.

use heapless::{Deque, Vec};

use vinbus_protocol::delivery::{Endpoint, Epoch, MessageId, Snapshot, Step};
use vinbus_protocol::limits::{DELIVERY_BATCHES_UNNOTED_MAX, REQUEST_PLACES};

use super::{OPEN_MAX, PLACES_MAX};

/// Ends that may wait to be noted: of all messages that have a place or had one, and of requests.
const ENDED_MAX: usize = PLACES_MAX + REQUEST_PLACES;

/// What is to be noted, of up to `APPS` partners.
#[derive(Debug)]
pub(super) struct Unnoted<const APPS: usize> {
    /// Messages that came and have met their end.
    ended: Deque<(usize, MessageId, Step), ENDED_MAX>,
    /// The epochs and the batch of each end that are noted.
    channels: Vec<Option<(Epoch, Option<Epoch>, u32)>, APPS>,
}

impl<const APPS: usize> Unnoted<APPS> {
    pub(super) const fn new() -> Self {
        Self {
            ended: Deque::new(),
            channels: Vec::new(),
        }
    }

    /// There is one partner more, of whom nothing is noted.
    pub(super) fn add_partner(&mut self) {
        // There are at most as many as apps.
        let _ = self.channels.push(None);
    }

    /// How many messages have met their end and are not noted: many while the disk takes no note.
    pub(super) fn len(&self) -> usize {
        self.ended.len()
    }

    /// A message that came has met its end.
    pub(super) fn ended(&mut self, partner: usize, id: MessageId, step: Step) {
        let added = self.ended.push_back((partner, id, step));
        debug_assert!(added.is_ok(), "a message is taken where its end has room");
    }

    /// The next message that has met its end.
    pub(super) fn next_ended(&mut self) -> Option<(usize, MessageId, Step)> {
        self.ended.pop_front()
    }

    /// The end was not noted.
    pub(super) fn not_ended(&mut self, ended: (usize, MessageId, Step)) {
        // It has just left its place.
        let _ = self.ended.push_front(ended);
    }

    /// The memory of an end that is to be noted, as it is not what was noted last.
    pub(super) fn changed_channel<const SENT: usize>(
        &self,
        ends: &[Endpoint<SENT, OPEN_MAX>],
    ) -> Option<(usize, Snapshot)> {
        let mut ends = ends.iter().zip(&self.channels).enumerate();
        ends.find_map(|(partner, (endpoint, noted))| {
            let memory = endpoint.snapshot();
            let is_noted = match noted {
                Some((epoch, peer, batch)) => {
                    (*epoch, *peer) == (memory.epoch, memory.peer)
                        && memory.batch.saturating_sub(*batch) <= DELIVERY_BATCHES_UNNOTED_MAX
                }
                // A partner that does not speak delivery needs no note.
                None => memory.peer.is_none(),
            };
            (!is_noted).then_some((partner, memory))
        })
    }

    /// The memory of an end is noted.
    pub(super) fn channel_noted(&mut self, partner: usize, memory: Snapshot) {
        if let Some(noted) = self.channels.get_mut(partner) {
            *noted = Some((memory.epoch, memory.peer, memory.batch));
        }
    }
}
