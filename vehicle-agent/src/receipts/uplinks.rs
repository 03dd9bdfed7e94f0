//! The messages of apps that go with receipts, until their fate is known.
//!
//! | a message | event | then |
//! |---|---|---|
//! | waits | its partner's endpoint has a place | it has a number, and is on its way |
//! | waits | its partner's host speaks no delivery, for [`DELIVERY_SILENCE_MS`](vinbus_protocol::limits::DELIVERY_SILENCE_MS) of a link that is up | it goes as any other |
//! | on its way | the host has it on disk, or refuses it | its app is told |
//! | on its way | the endpoint gives it up, or the broker refuses it | its app is told why |
//!
//! What is accepted is never dropped for what comes later: a queue that is full refuses the new one.

use heapless::{Deque, Vec};

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Loss, Step};
use vinbus_protocol::limits::{DELIVERY_IN_FLIGHT_MAX, SUBTOPIC_BYTES_MAX};
use vinbus_protocol::record_ring::{PushError, RecordRing};

use crate::apps::Fate;

/// Messages that wait or are on their way.
const WAITING_MAX: usize = 1_024;

/// Messages with numbers, of all partners.
pub(super) const FLIGHTS_MAX: usize = 2 * DELIVERY_IN_FLIGHT_MAX;

/// Place of the partner, app slot and length of the subtopic, one byte each.
const TAG_BYTES: usize = 3;

const _: () = assert!(SUBTOPIC_BYTES_MAX <= u8::MAX as usize);

/// Messages of apps in one buffer, named by *tickets*, which grow in the order of acceptance.
#[derive(Debug)]
pub(crate) struct Uplinks<Q> {
    ring: RecordRing<Q>,
    flights: Vec<Flight, FLIGHTS_MAX>,
    /// The message that is on its way without a number.
    plain: Option<u64>,
    /// Fates that the apps are to be told.
    settled: Deque<(AppSlot, u64, Fate), FLIGHTS_MAX>,
}

/// A message that has a number.
#[derive(Clone, Copy, Debug)]
struct Flight {
    ticket: u64,
    partner: usize,
    number: u32,
    /// A receipt names it, which is not the last.
    answered: bool,
    /// What the message of receipts that is being read tells of it.
    told: Option<Step>,
}

/// A message as its app sent it.
#[derive(Clone, Copy)]
pub(crate) struct Waiting<'a> {
    pub(crate) ticket: u64,
    pub(crate) partner: usize,
    pub(crate) slot: AppSlot,
    pub(crate) subtopic: Option<&'a str>,
    pub(crate) content: &'a [u8],
}

impl<'a> Waiting<'a> {
    fn of(ticket: u64, bytes: &'a [u8]) -> Option<Self> {
        let (&[partner, slot, subtopic_len], rest) = bytes.split_first_chunk::<TAG_BYTES>()?;
        let (subtopic, content) = rest.split_at_checked(usize::from(subtopic_len))?;
        let subtopic = core::str::from_utf8(subtopic).ok();
        Some(Self {
            ticket,
            partner: usize::from(partner),
            slot: AppSlot::new(slot),
            subtopic: subtopic.filter(|text| !text.is_empty()),
            content,
        })
    }
}

impl<Q: AsRef<[u8]> + AsMut<[u8]>> Uplinks<Q> {
    pub(super) fn new(storage: Q) -> Self {
        Self {
            ring: RecordRing::new(storage),
            flights: Vec::new(),
            plain: None,
            settled: Deque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    /// The longest content that fits into an empty queue.
    pub(super) fn content_bytes_max(&self) -> usize {
        let tag = TAG_BYTES + SUBTOPIC_BYTES_MAX;
        self.ring.record_bytes_max().saturating_sub(tag)
    }

    /// Takes a message in; `None` when there is no room.
    pub(super) fn push(
        &mut self,
        partner: usize,
        slot: AppSlot,
        subtopic: Option<&str>,
        content: &[u8],
    ) -> Option<u64> {
        let ticket = self.ring.next_number();
        self.insert(ticket, partner, slot, subtopic, content)
            .then_some(ticket)
    }

    /// Takes a message in under a ticket that it had before; `false` when there is no room.
    pub(super) fn insert(
        &mut self,
        ticket: u64,
        partner: usize,
        slot: AppSlot,
        subtopic: Option<&str>,
        content: &[u8],
    ) -> bool {
        let subtopic = subtopic.unwrap_or_default();
        let (Ok(partner), Ok(subtopic_len)) = (u8::try_from(partner), u8::try_from(subtopic.len()))
        else {
            return false;
        };
        if self.ring.len() >= WAITING_MAX {
            return false;
        }
        let tag = [partner, slot.index(), subtopic_len];
        let parts = [&tag[..], subtopic.as_bytes(), content];
        let len = parts.iter().map(|part| part.len()).sum();
        let inserted: Result<(), PushError> = self.ring.insert_with(ticket, len, |bytes| {
            let mut at = 0;
            for part in parts {
                let end = at + part.len();
                if let Some(place) = bytes.get_mut(at..end) {
                    place.copy_from_slice(part);
                }
                at = end;
            }
        });
        inserted.is_ok()
    }

    /// Takes a message out that has no number and no fate.
    pub(super) fn remove(&mut self, ticket: u64) {
        self.ring.remove(ticket);
    }

    /// A message has no number any more: its partner, and the one that it had.
    pub(super) fn unnumber(&mut self, ticket: u64) -> Option<(usize, u32)> {
        let index = self.flights.iter().position(|it| it.ticket == ticket)?;
        let flight = self.flights.swap_remove(index);
        Some((flight.partner, flight.number))
    }

    pub(super) fn get(&self, ticket: u64) -> Option<Waiting<'_>> {
        let record = self.ring.iter().find(|record| record.number == ticket)?;
        Waiting::of(ticket, record.bytes)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Waiting<'_>> {
        let records = self.ring.iter();
        records.filter_map(|record| Waiting::of(record.number, record.bytes))
    }

    /// The oldest message that has no number and may have one.
    pub(super) fn next_to_number(
        &self,
        may_go: impl Fn(&Waiting<'_>) -> bool,
    ) -> Option<Waiting<'_>> {
        if self.flights.is_full() || self.flights.len() >= self.ring.len() {
            return None;
        }
        let numbered = |ticket| self.flights.iter().any(|flight| flight.ticket == ticket);
        let mut waiting = self.iter().filter(may_go);
        waiting.find(|waiting| self.plain != Some(waiting.ticket) && !numbered(waiting.ticket))
    }

    /// How many of so many partners have no message with a number.
    pub(super) fn without_numbers(&self, partners: usize) -> usize {
        let has_none = |partner: &usize| self.flights.iter().all(|it| it.partner != *partner);
        (0..partners).filter(has_none).count()
    }

    /// Whether a partner has no message with a number, or fewer than it leaves places, beside the first one of each
    /// partner [without](Self::without_numbers). So each has a place, whatever the others' hosts answer.
    pub(super) fn leaves_places(&self, partner: usize, without_numbers: usize) -> bool {
        let own = self.flights.iter().filter(|it| it.partner == partner);
        let own = own.count();
        let free = FLIGHTS_MAX - self.flights.len();
        own == 0 || own < free.saturating_sub(without_numbers)
    }

    /// A message has its number.
    pub(super) fn numbered(&mut self, ticket: u64, partner: usize, number: u32) {
        let added = self.flights.push(Flight {
            ticket,
            partner,
            number,
            answered: false,
            told: None,
        });
        debug_assert!(added.is_ok(), "there was a place");
    }

    /// The ticket of a number.
    pub(super) fn ticket(&self, partner: usize, number: u32) -> Option<u64> {
        let mut flights = self.flights.iter();
        let found = flights.find(|it| it.partner == partner && it.number == number)?;
        Some(found.ticket)
    }

    /// The partner and the number of a ticket.
    #[cfg(feature = "parts")]
    pub(super) fn number(&self, ticket: u64) -> Option<(usize, u32)> {
        let found = self.flights.iter().find(|it| it.ticket == ticket)?;
        Some((found.partner, found.number))
    }

    /// What a run of receipts tells, which counts with [`Self::settle_told`]; the first last step does.
    pub(super) fn told(&mut self, partner: usize, first: u32, last: u32, step: Step) {
        for flight in &mut self.flights {
            let is_named = flight.partner == partner && (first..=last).contains(&flight.number);
            if is_named && !flight.told.is_some_and(Step::is_final) {
                flight.told = Some(step);
            }
        }
    }

    /// The last step that a message of receipts [told](Self::told) of a message.
    #[cfg(feature = "parts")]
    pub(super) fn told_of(&self, ticket: u64) -> Option<Step> {
        let found = self.flights.iter().find(|it| it.ticket == ticket)?;
        found.told.filter(|step| step.is_final())
    }

    /// Whether there are fates that the apps are to be told.
    pub(super) fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    /// All that a message of receipts tells was [told](Self::told).
    pub(super) fn settle_told(&mut self) {
        for flight in &mut self.flights {
            flight.answered |= flight.told.is_some();
            flight.told = flight.told.filter(|step| step.is_final());
        }
        while let Some((ticket, step)) = self
            .flights
            .iter()
            .find_map(|it| Some((it.ticket, it.told?)))
        {
            // Nobody asked for a part.
            let fate = match step.is_success() && step != Step::PartStored {
                true => Fate::Confirmed,
                false => Fate::RefusedByHost(step),
            };
            self.settle(ticket, fate);
        }
    }

    /// The endpoint sends a message no more.
    pub(super) fn lost(&mut self, partner: usize, number: u32, loss: Loss) {
        if let Some(ticket) = self.ticket(partner, number) {
            self.settle(ticket, Fate::Lost(loss));
        }
    }

    /// The host has lost its memory: nothing more is heard of what it had.
    pub(super) fn peer_restarted(&mut self, partner: usize) {
        let had = |flight: &&Flight| flight.partner == partner && flight.answered;
        while let Some(flight) = self.flights.iter().find(had) {
            self.settle(flight.ticket, Fate::Lost(Loss::PeerRestarted));
        }
    }

    /// Takes the oldest message that may go without a number, and so is to [have none](Self::unnumber): its
    /// ticket and its partner.
    pub(super) fn begin_plain(
        &mut self,
        may_go: impl Fn(&Waiting<'_>) -> bool,
    ) -> Option<(u64, usize)> {
        let waiting = self.iter().find(may_go)?;
        let (ticket, partner) = (waiting.ticket, waiting.partner);
        self.plain = Some(ticket);
        Some((ticket, partner))
    }

    /// What was on its way without a number waits again, unless its fate is known.
    pub(super) fn end_plain(&mut self) {
        self.plain = None;
    }

    /// A message has met its fate.
    pub(super) fn settle(&mut self, ticket: u64, fate: Fate) {
        self.unnumber(ticket);
        if let Some(slot) = self.get(ticket).map(|waiting| waiting.slot)
            && self.settled.push_back((slot, ticket, fate)).is_ok()
        {
            self.ring.remove(ticket);
        }
    }

    /// The next fate that an app is to be told.
    pub(super) fn next_settled(&mut self) -> Option<(AppSlot, u64, Fate)> {
        self.settled.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    const SLOT: AppSlot = AppSlot::new(2);

    fn push(uplinks: &mut Uplinks<Vec<u8>>, partner: usize) -> Option<u64> {
        uplinks.push(partner, SLOT, Some("sub"), b"{}")
    }

    /// Gives all that may have one a number.
    fn number(uplinks: &mut Uplinks<Vec<u8>>, next: &mut u32) {
        while let Some(waiting) = uplinks.next_to_number(|_| true) {
            let (ticket, partner) = (waiting.ticket, waiting.partner);
            uplinks.numbered(ticket, partner, *next);
            *next += 1;
        }
    }

    #[test]
    fn queue_that_is_full_refuses_the_newest_and_drops_nothing() {
        let mut uplinks = Uplinks::new(vec![0; 200]);
        let taken = (0..100).map_while(|_| push(&mut uplinks, 0)).count();
        assert!((2..100).contains(&taken) && push(&mut uplinks, 0).is_none());
        assert_eq!(uplinks.iter().count(), taken);
        let first = uplinks.iter().next().unwrap();
        assert_eq!(
            (first.ticket, first.slot, first.subtopic, first.content),
            (0, SLOT, Some("sub"), &b"{}"[..])
        );
        let mut many = Uplinks::new(vec![0; 1 << 20]);
        assert_eq!(
            (0..2_000).map_while(|_| push(&mut many, 0)).count(),
            WAITING_MAX
        );
    }

    #[test]
    fn fates_come_in_any_order_and_make_room_for_the_next_numbers() {
        let mut uplinks = Uplinks::new(vec![0; 1 << 16]);
        for ticket in 0..100 {
            assert_eq!(push(&mut uplinks, ticket as usize % 2), Some(ticket));
        }
        let mut next = 1;
        number(&mut uplinks, &mut next);
        assert_eq!(next as usize, 1 + FLIGHTS_MAX);
        // Tickets 10 to 19 have the numbers 11 to 20, and every second is of this partner.
        uplinks.told(1, 11, 20, Step::Received);
        uplinks.settle_told();
        assert_eq!(uplinks.next_settled(), None);
        uplinks.told(1, 11, 15, Step::Confirmed);
        uplinks.told(1, 16, 16, Step::BadContent);
        uplinks.told(1, 16, 16, Step::Confirmed);
        uplinks.told(1, 14, 18, Step::Received);
        assert_eq!(uplinks.next_settled(), None);
        uplinks.settle_told();
        uplinks.peer_restarted(1);
        let lost = Fate::Lost(Loss::PeerRestarted);
        let mut settled = Vec::new();
        while let Some((SLOT, ticket, fate)) = uplinks.next_settled() {
            settled.push((ticket, fate));
        }
        assert_eq!(
            settled,
            [
                (11, Fate::Confirmed),
                (13, Fate::Confirmed),
                (15, Fate::RefusedByHost(Step::BadContent)),
                (17, lost),
                (19, lost),
            ]
        );
        number(&mut uplinks, &mut next);
        assert_eq!(next as usize, 1 + FLIGHTS_MAX + 5);
        assert_eq!(uplinks.ticket(0, 1 + FLIGHTS_MAX as u32), Some(64));
    }

    #[test]
    fn receipts_of_a_partner_settle_no_message_to_another() {
        let mut uplinks = Uplinks::new(vec![0; 1_000]);
        push(&mut uplinks, 0);
        number(&mut uplinks, &mut 1);
        uplinks.told(1, 1, u32::MAX, Step::Confirmed);
        uplinks.settle_told();
        assert_eq!(uplinks.next_settled(), None);
        uplinks.told(0, 1, 1, Step::Confirmed);
        uplinks.settle_told();
        assert_eq!(uplinks.next_settled(), Some((SLOT, 0, Fate::Confirmed)));
    }

    #[test]
    fn message_that_goes_without_a_number_gets_none_until_it_is_tried_again() {
        let mut uplinks = Uplinks::new(vec![0; 1_000]);
        push(&mut uplinks, 0);
        push(&mut uplinks, 1);
        let mut next = 1;
        number(&mut uplinks, &mut next);
        let silent = |waiting: &Waiting<'_>| waiting.partner == 1;
        assert_eq!(uplinks.begin_plain(silent), Some((1, 1)));
        assert_eq!(uplinks.unnumber(1), Some((1, 2)));
        number(&mut uplinks, &mut next);
        assert_eq!((next, uplinks.ticket(1, 2)), (3, None));
        uplinks.end_plain();
        number(&mut uplinks, &mut next);
        assert_eq!(uplinks.ticket(1, 3), Some(1));
        uplinks.settle(1, Fate::WithBroker);
        assert_eq!(uplinks.next_settled(), Some((SLOT, 1, Fate::WithBroker)));
        assert_eq!(uplinks.begin_plain(silent), None);
    }
}
