//! What of messages with receipts is to outlive the agent, and how it is taken up again. The
//! [`Desk`](crate::desk::Desk) makes notes of it ([`crate::notes`]).

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Endpoint, MessageId, Snapshot, Step};

use super::uplinks::FLIGHTS_MAX;
use super::{New, Receipts, Waiting, message};
use crate::notes::Sent;

impl<Q: AsRef<[u8]> + AsMut<[u8]>, const APPS: usize, const SENT: usize> Receipts<Q, APPS, SENT> {
    /// Where there are places for all that all partners may have on their way, none needs to be left.
    const ARE_ENOUGH: bool = APPS * SENT <= FLIGHTS_MAX;

    /// Gives a message that waits its number, if there is a place for one: its ticket, partner and number.
    /// They are to be noted before it is sent. A number that is noted counts as sent, so there is none before
    /// the host has said how far it has come: what was noted may be an older copy.
    pub(crate) fn number_next(&mut self, now_ms: u64) -> Option<(u64, usize, u32)> {
        self.longs.forget_settled(&self.uplinks);
        let without_numbers = match Self::ARE_ENOUGH {
            true => 0,
            false => self.uplinks.without_numbers(self.endpoints.len()),
        };
        let may_go = |waiting: &Waiting<'_>| {
            self.endpoints.get(waiting.partner).is_some_and(|endpoint| {
                let uplinks = &self.uplinks;
                let may_go = endpoint.unanswered() < SENT
                    && (Self::ARE_ENOUGH
                        || uplinks.leaves_places(waiting.partner, without_numbers))
                    && endpoint.is_established();
                may_go && self.longs.may_go(waiting, endpoint.peer_takes_parts())
            })
        };
        let waiting = self.uplinks.next_to_number(may_go)?;
        let (ticket, partner) = (waiting.ticket, waiting.partner);
        let bytes = self.longs.begin(&waiting);
        let endpoint = self.endpoints.get_mut(partner)?;
        // There is a place, and an epoch has numbers for months.
        let submitted = endpoint.submit(now_ms, message(now_ms, bytes)).ok()?;
        self.uplinks.numbered(ticket, partner, submitted.number);
        Some((ticket, partner, submitted.number))
    }

    /// A message has no number any more, and is not sent under it.
    pub(crate) fn unnumber(&mut self, ticket: u64) {
        if let Some((partner, number)) = self.uplinks.unnumber(ticket)
            && let Some(endpoint) = self.endpoints.get_mut(partner)
        {
            endpoint.withdraw(number);
        }
    }

    /// A message that came and has met its end, to be noted.
    pub(crate) fn next_ended(&mut self) -> Option<(usize, MessageId, Step)> {
        self.unnoted.next_ended()
    }

    /// The end was not noted.
    pub(crate) fn not_ended(&mut self, ended: (usize, MessageId, Step)) {
        self.unnoted.not_ended(ended);
    }

    /// The memory of an end that is to be noted, as it is not what was noted last.
    pub(crate) fn changed_channel(&self) -> Option<(usize, Snapshot)> {
        self.unnoted.changed_channel(&self.endpoints)
    }

    /// The memory of an end is noted.
    pub(crate) fn channel_noted(&mut self, partner: usize, memory: Snapshot) {
        self.unnoted.channel_noted(partner, memory);
    }

    /// Goes on with the memory of an earlier life.
    pub(crate) fn resume(&mut self, partner: usize, memory: Snapshot) {
        let random = self.next_random();
        if let Some(endpoint) = self.endpoints.get_mut(partner) {
            *endpoint = Endpoint::new(memory, random);
            endpoint.await_open();
        }
        self.offer_parts_again(partner);
    }

    /// Takes up a message of an earlier life that has met its end, or whose end is not known: its
    /// sender may have to be told yet.
    pub(crate) fn resume_ended(&mut self, partner: usize, id: MessageId, step: Step) {
        if let Some(endpoint) = self.endpoints.get_mut(partner) {
            endpoint.resume_open(0, id, step);
        }
    }

    /// Takes up a message of an earlier life that waits for its app; `false` if there is no place.
    pub(crate) fn resume_held(
        &mut self,
        partner: usize,
        id: MessageId,
        kept: (AppSlot, u64, Option<u64>),
    ) -> bool {
        let (slot, number, ends_at_ms) = kept;
        let Some(endpoint) = self.endpoints.get_mut(partner) else {
            return false;
        };
        if self.places.is_full() || !endpoint.resume_open(0, id, Step::HeldBackground) {
            return false;
        }
        let new = New {
            partner,
            id,
            ends_at_ms,
        };
        self.place(new, slot, number);
        true
    }

    /// How far a message is that goes in parts, where that is to be noted.
    pub(crate) fn next_progress(&self) -> Option<(u64, Sent)> {
        self.longs.next_unnoted()
    }

    /// That is noted.
    pub(crate) fn progress_noted(&mut self, ticket: u64) {
        self.longs.noted(ticket);
    }

    /// Takes up a message of an app of an earlier life; `false` if there is no room.
    pub(crate) fn resume_uplink(&mut self, waiting: Waiting<'_>, sent: Sent) -> bool {
        let Waiting {
            ticket,
            partner,
            slot,
            subtopic,
            content,
        } = waiting;
        if !self
            .uplinks
            .insert(ticket, partner, slot, subtopic, content)
        {
            return false;
        }
        let bytes = self.longs.resume(&waiting, sent);
        let endpoint = self.endpoints.get_mut(partner);
        if let (Some(number), Some(bytes), Some(endpoint)) = (sent.number, bytes, endpoint)
            && endpoint.resume_sent(0, number, message(0, bytes)).is_ok()
        {
            self.uplinks.numbered(ticket, partner, number);
        }
        true
    }

    /// Whether a pending message of an app is one with receipts.
    pub(crate) fn accounts_for(&self, slot: AppSlot, number: u64) -> bool {
        let mut places = self.places.iter();
        places.any(|place| place.slot == slot && place.number == number)
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use vinbus_protocol::delivery::Epoch;
    use vinbus_protocol::envelope::Content;

    use super::super::Arrived;
    use super::*;

    #[test]
    fn partners_that_answer_nothing_leave_numbers_for_the_messages_of_others() {
        let mut ends = Receipts::<_, 16, 32>::new(Epoch::new(9).unwrap(), 7, vec![0; 1 << 16]);
        let content = Content::parse(b"1").unwrap();
        let greeting =
            br#"{"idApp":"vinbus","popup":false,"content":{"vinbus":{"e":5,"x":9,"v":1}}}"#;
        for _ in 0..16 {
            ends.add_partner();
        }
        ends.link_changed(0, true);
        for partner in 0..16 {
            assert!(matches!(ends.arrived(0, partner, greeting), Arrived::Done));
            for _ in 0..40 {
                let taken = ends.accept(partner, AppSlot::new(0), None, content, 1_000);
                assert!(taken.is_ok());
            }
        }
        let numbered: Vec<_> = core::iter::from_fn(|| ends.number_next(0)).collect();
        let of = |partner| numbered.iter().filter(|(_, to, _)| *to == partner).count();
        let counts: Vec<_> = (0..16).map(of).collect();
        assert_eq!(counts, [25, 13, 7, 4, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn two_lives_that_go_on_from_one_copy_leap_to_different_epochs() {
        let of_a_later_life =
            br#"{"idApp":"vinbus","popup":false,"content":{"vinbus":{"e":5,"x":30,"v":1}}}"#;
        let epoch = Epoch::new(9).unwrap();
        let leapt = |random| {
            let mut ends = Receipts::<_, 1, 32>::new(epoch, random, vec![0; 1 << 10]);
            ends.add_partner();
            ends.resume(0, Snapshot::fresh(epoch));
            assert!(matches!(ends.arrived(0, 0, of_a_later_life), Arrived::Done));
            ends.epoch().number()
        };
        assert!(leapt(1) > 30);
        assert_ne!(leapt(1), leapt(2));
    }
}
