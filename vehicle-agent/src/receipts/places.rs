//! The messages that wait for their apps, or for the words of those, until their senders are told the last of them.

use heapless::Vec;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{MessageId, Step};

use super::handing::Handing;
use super::{New, OPEN_MAX, Receipts};
use crate::clock::NEVER;

/// Messages that wait for their apps, of all partners.
pub(super) const PLACES_MAX: usize = 2 * OPEN_MAX;

/// Where a message is that is not done with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) partner: usize,
    pub(super) id: MessageId,
    pub(super) slot: AppSlot,
    /// When its time is over, of one that waits.
    pub(super) ends_at_ms: u64,
    /// Its number among the app's messages.
    pub(super) number: u64,
    pub(super) handing: Handing,
}

impl<Q: AsRef<[u8]> + AsMut<[u8]>, const APPS: usize, const SENT: usize> Receipts<Q, APPS, SENT> {
    /// A new message is pending under this number: *held*, *handed* to an app that confirms, or *at the agent* for one
    /// that does not and reads slowly.
    pub(crate) fn held(&mut self, now_ms: u64, new: New, slot: AppSlot, number: u64, step: Step) {
        self.place(new, slot, number);
        self.report(now_ms, new.partner, new.id, step);
    }

    /// Reports `step` of the messages of an app that were pending and are not any more.
    #[inline(never)]
    pub(crate) fn gone(
        &mut self,
        now_ms: u64,
        slot: AppSlot,
        step: Step,
        is_pending: &dyn Fn(u64) -> bool,
    ) {
        let is_gone = |place: &Place| {
            place.slot == slot && !place.handing.is_on() && !is_pending(place.number)
        };
        while let Some(place) = take(&mut self.places, is_gone) {
            self.report(now_ms, place.partner, place.id, step);
        }
    }

    /// Pending messages of an app, from this number on, follow as it reads no more: they wait until it comes up or asks.
    pub(crate) fn wait_for_app(&mut self, now_ms: u64, slot: AppSlot, from: u64) {
        let mut at = 0;
        while let Some(&Place { partner, id, .. }) = self.places.get(at) {
            let waits = |it: &Place| it.slot == slot && it.number >= from && !it.handing.is_on();
            if self.places.get(at).is_some_and(waits) {
                self.report(now_ms, partner, id, Step::HeldBackground);
            }
            at += 1;
        }
    }

    /// A pending message whose time is over, of an app for which `may_expire` holds; it is forgotten,
    /// and to be taken out.
    pub(crate) fn next_expired(
        &mut self,
        now_ms: u64,
        may_expire: impl Fn(AppSlot) -> bool,
    ) -> Option<(AppSlot, u64)> {
        let place = take(&mut self.places, |it| {
            it.ends_at_ms <= now_ms && !it.handing.is_on() && may_expire(it.slot)
        })?;
        self.report(now_ms, place.partner, place.id, Step::Expired);
        Some((place.slot, place.number))
    }

    /// When a pending message's time is over, of those that are not over yet, or something is to be told of one.
    pub(crate) fn expiry_ms(&self, now_ms: u64) -> u64 {
        let places = self.places.iter();
        let places = places.map(|place| match place.handing.is_on() {
            true => place.handing.due_ms(now_ms),
            false => place.ends_at_ms,
        });
        let all = places.chain(self.transfers_end_ms());
        all.filter(|at| *at > now_ms).fold(NEVER, u64::min)
    }

    pub(super) fn place(&mut self, new: New, slot: AppSlot, number: u64) {
        // There was a place when it was taken.
        let _ = self.places.push(Place {
            partner: new.partner,
            id: new.id,
            slot,
            ends_at_ms: new.ends_at_ms.unwrap_or(NEVER),
            number,
            handing: Handing::default(),
        });
    }
}

/// Takes out a place for which `is_taken` holds.
pub(super) fn take(
    places: &mut Vec<Place, PLACES_MAX>,
    is_taken: impl Fn(&Place) -> bool,
) -> Option<Place> {
    let index = places.iter().position(is_taken)?;
    Some(places.swap_remove(index))
}

#[cfg(test)]
mod tests {
    use std::vec;

    use vinbus_protocol::delivery::Epoch;

    use super::super::Arrived;
    use super::*;
    use crate::desk::DeliveryCounters;

    type Ends = Receipts<vec::Vec<u8>, 3, 32>;

    #[test]
    fn message_for_which_others_left_no_place_is_counted_and_new_when_it_comes_again() {
        let mut ends = Receipts::<_, 3, 32>::new(Epoch::new(9).unwrap(), 7, vec![0; 1 << 10]);
        for _ in 0..3 {
            ends.add_partner();
        }
        let full = PLACES_MAX / OPEN_MAX;
        for partner in 0..full {
            for number in 1..=OPEN_MAX {
                let held = held(&mut ends, partner, number);
                assert!(held, "{partner}, {number}");
            }
        }
        for _ in 0..2 {
            assert!(!held(&mut ends, full, 1));
        }
        let counted = DeliveryCounters {
            busy: 2,
            ..DeliveryCounters::default()
        };
        assert_eq!(ends.counters(), counted);
        ends.gone(0, AppSlot::new(0), Step::Evicted, &|number| number != 1);
        // As the desk does after each event, where there is anything to note.
        let _ = ends.next_ended();
        assert!(held(&mut ends, full, 1));
        assert_eq!(ends.counters(), counted);
    }

    #[test]
    #[cfg(feature = "notes")]
    fn message_whose_end_could_not_be_noted_beside_others_is_new_when_it_comes_again() {
        let mut ends = Receipts::<_, 3, 32>::new(Epoch::new(9).unwrap(), 7, vec![0; 1 << 10]);
        for _ in 0..3 {
            ends.add_partner();
        }
        assert!(held(&mut ends, 0, 1));
        let all = (0..3).flat_map(|partner| (2..=OPEN_MAX).map(move |number| (partner, number)));
        let taken = all.filter(|&(partner, number)| refused(&mut ends, partner, number));
        assert_eq!(taken.count(), PLACES_MAX - 1);
        ends.gone(0, AppSlot::new(0), Step::Evicted, &|_| false);
        assert!(!refused(&mut ends, 2, OPEN_MAX));
        let noted = std::iter::from_fn(|| ends.next_ended());
        assert_eq!(noted.count(), PLACES_MAX);
        assert!(refused(&mut ends, 2, OPEN_MAX));
    }

    /// Has a message come and wait for its app under its own number, if it is taken.
    fn held(ends: &mut Ends, partner: usize, number: usize) -> bool {
        let new = arrived(ends, partner, number);
        let is_new = new.is_some();
        if let Some(new) = new {
            ends.held(0, new, AppSlot::new(0), number as u64, Step::HeldBackground);
        }
        is_new
    }

    /// Has a message come that nobody wants, if it is taken.
    #[cfg(feature = "notes")]
    fn refused(ends: &mut Ends, partner: usize, number: usize) -> bool {
        let new = arrived(ends, partner, number);
        let is_new = new.is_some();
        if let Some(new) = new {
            ends.refused(0, new, Step::UnknownApp);
        }
        is_new
    }

    fn arrived(ends: &mut Ends, partner: usize, number: usize) -> Option<New> {
        let content = std::format!(r#"{{"vinbus":[5,9,{number},0],"content":1}}"#);
        let message = std::format!(r#"{{"idApp":"app","popup":false,"content":{content}}}"#);
        match ends.arrived(0, partner, message.as_bytes()) {
            Arrived::New(new, ..) => Some(new),
            _ => None,
        }
    }
}
