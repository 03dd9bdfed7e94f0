//! Messages that are with the connection of an app which confirms nothing, and not written to it yet: such an app has one
//! once all of it is with the operating system (SPEC 8.8).
//!
//! | a message is | event | then its sender is told |
//! |---|---|---|
//! | being handed | it is written | *taken* |
//! | being handed | that takes long | *at the agent* |
//! | being handed | it comes back, as the connection has ended | *held*; it is pending |
//! | being handed | all came back, and it did not | *evicted* |

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{MessageId, Step};
use vinbus_protocol::limits::{DELIVERY_UNWRITTEN_MAX, DELIVERY_UNWRITTEN_MS};

use super::places::{Place, take};
use super::{New, Receipts};
use crate::clock::NEVER;

/// Whether a message is being handed to its app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Handing {
    /// It waits in the app's ring.
    #[default]
    No,
    /// It is, and nothing has been told of it.
    Begun,
    /// The same, and its sender is told that it is here at this time.
    Timed(u64),
    /// It waits in the ring again, which is not noted.
    CameBack,
}

impl Handing {
    pub(super) fn is_on(self) -> bool {
        matches!(self, Self::Begun | Self::Timed(_))
    }

    /// When something is to be told of it.
    pub(super) fn due_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Begun => now_ms.saturating_add(DELIVERY_UNWRITTEN_MS),
            Self::Timed(at_ms) => at_ms,
            Self::No | Self::CameBack => NEVER,
        }
    }
}

/// A message that waits in its app's ring again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Back {
    pub(crate) partner: usize,
    pub(crate) id: MessageId,
    pub(crate) slot: AppSlot,
    pub(crate) number: u64,
    pub(crate) ends_at_ms: Option<u64>,
}

impl<Q: AsRef<[u8]> + AsMut<[u8]>, const APPS: usize, const SENT: usize> Receipts<Q, APPS, SENT> {
    /// A new message is handed to its app.
    pub(crate) fn hand_new(&mut self, new: New, slot: AppSlot, number: u64) {
        self.place(new, slot, number);
        self.hand(slot, number);
    }

    /// The next message of an app that waits in its ring, of those whose numbers are `meant`.
    pub(crate) fn next_waiting(&self, slot: AppSlot, meant: impl Fn(u64) -> bool) -> Option<u64> {
        let mut places = self.places.iter();
        let waits = |it: &&Place| it.slot == slot && !it.handing.is_on() && meant(it.number);
        places.find(waits).map(|it| it.number)
    }

    /// A message that waited is handed to its app: whose it is, and its number there.
    pub(crate) fn hand(&mut self, slot: AppSlot, number: u64) -> Option<(usize, MessageId)> {
        let place = self.place_of(slot, number)?;
        place.handing = Handing::Begun;
        Some((place.partner, place.id))
    }

    /// Whether more would be handed to an app with `next` more messages than may be.
    pub(crate) fn would_hand_too_many(&self, slot: AppSlot, next: usize) -> bool {
        let places = self.places.iter();
        let handed = places.filter(|it| it.slot == slot && it.handing.is_on());
        handed.count() + next > DELIVERY_UNWRITTEN_MAX
    }

    /// A message is written to its app.
    pub(crate) fn written(&mut self, now_ms: u64, slot: AppSlot, number: u64) {
        let is_it = |it: &Place| it.slot == slot && it.number == number && it.handing.is_on();
        if let Some(place) = take(&mut self.places, is_it) {
            self.report(now_ms, place.partner, place.id, Step::Taken);
        }
    }

    /// A message did not reach its app, and waits in the ring again, if that has it.
    pub(crate) fn came_back(&mut self, now_ms: u64, slot: AppSlot, number: u64) {
        if let Some(place) = self.place_of(slot, number)
            && place.handing.is_on()
        {
            place.handing = Handing::CameBack;
            let (partner, id) = (place.partner, place.id);
            self.report(now_ms, partner, id, Step::HeldBackground);
        }
    }

    /// The app has gone, and all that came back is here: newer messages took the place of what is missing.
    pub(crate) fn unloaded(&mut self, now_ms: u64, slot: AppSlot) {
        let is_missing = |it: &Place| it.slot == slot && it.handing.is_on();
        while let Some(place) = take(&mut self.places, is_missing) {
            self.report(now_ms, place.partner, place.id, Step::Evicted);
        }
    }

    /// Tells of those that their apps have not read for a while.
    pub(crate) fn tell_unwritten(&mut self, now_ms: u64) {
        let mut at = 0;
        while let Some(place) = self.places.get_mut(at) {
            let due_ms = place.handing.due_ms(now_ms);
            let (partner, id) = (place.partner, place.id);
            if place.handing.is_on() {
                let told = due_ms <= now_ms;
                place.handing = Handing::Timed(if told { NEVER } else { due_ms });
                if told {
                    self.report(now_ms, partner, id, Step::Received);
                }
            }
            at += 1;
        }
    }

    /// The next one that waits again, which is not noted.
    pub(crate) fn next_back(&self) -> Option<Back> {
        let mut places = self.places.iter();
        let place = places.find(|it| it.handing == Handing::CameBack)?;
        Some(Back {
            partner: place.partner,
            id: place.id,
            slot: place.slot,
            number: place.number,
            ends_at_ms: (place.ends_at_ms != NEVER).then_some(place.ends_at_ms),
        })
    }

    /// That is noted.
    pub(crate) fn back_noted(&mut self, slot: AppSlot, number: u64) {
        if let Some(place) = self.place_of(slot, number) {
            place.handing = Handing::No;
        }
    }

    fn place_of(&mut self, slot: AppSlot, number: u64) -> Option<&mut Place> {
        let mut places = self.places.iter_mut();
        places.find(|it| it.slot == slot && it.number == number)
    }
}
