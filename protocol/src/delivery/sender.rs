//! The sending half: which message is sent now, and which again.
//!
//! A message is in one of these states; each row says what ends it.
//!
//! | state | is left when | and then |
//! |---|---|---|
//! | waiting | a place on the wire is free and no other of its key is on its way | on its way |
//! | waiting | a newer one of its key is submitted | forgotten; the newer one's submission says so |
//! | waiting, on its way | its time is over | forgotten, [`Loss::Expired`] |
//! | on its way | its patience ends, a message sent 3 later was answered, or the link comes up | sent again |
//! | on its way | it has no expiry and 20 times in a row nothing came | forgotten, [`Loss::GivenUp`] |
//! | on its way | the other end forgot what it knew (a new epoch) | waiting, if it may be repeated, else forgotten, [`Loss::PeerRestarted`] |
//! | waiting, on its way | it is withdrawn | forgotten |
//! | on its way | a receipt names it | forgotten: the other end has it, and receipts say what became of it |
//!
//! What is forgotten here the owner still knows: receipts may come for it later.

use core::num::NonZeroU32;

use heapless::Vec;

use super::timing::{NEVER, RoundTrip, after};
use super::{Loss, Message, Run, Step, SubmitError, Submitted, increment};
use crate::limits::{
    DELIVERY_ATTEMPTS_MAX, DELIVERY_IN_FLIGHT_BYTES_MAX, DELIVERY_IN_FLIGHT_MAX,
    DELIVERY_PATIENT_TIMES, DELIVERY_REORDERING, DELIVERY_SPAN, DELIVERY_TTL_S_MAX,
    DELIVERY_UNLUCKY_TIMES,
};

const _: () = assert!(DELIVERY_TTL_S_MAX < u32::MAX / 1_000);

/// What a sender has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderCounters {
    /// Messages sent, repetitions left out.
    pub sent: u32,
    /// Repetitions.
    pub repeated: u32,
    /// Messages that the other end has.
    pub answered: u32,
    /// Messages whose place a newer one took.
    pub superseded: u32,
    /// Messages lost, for whatever [`Loss`].
    pub lost: u32,
    /// Runs of receipts for messages that were never sent: ignored.
    pub forged: u32,
}

/// A message that waits or is on its way.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// When its time is over.
    expires_at_ms: u64,
    /// When it is to be sent again; 0 while it waits.
    due_ms: u64,
    sent_ms: u64,
    number: u32,
    bytes: u32,
    key: Option<NonZeroU32>,
    /// Its place among all transmissions, the last one's; 0 while it waits.
    order: u32,
    /// Times without an answer.
    failures: u8,
    /// It was sent more than once, so that a receipt tells nothing about the time that it took.
    repeated: bool,
    /// It is repeated before its patience ended.
    hurried: bool,
    /// One of the two ends lost its memory while it was on its way.
    orphaned: bool,
    repeatable: bool,
}

impl Slot {
    const fn is_waiting(&self) -> bool {
        self.order == 0
    }

    /// Those of lower rank go first.
    const fn rank(&self) -> u64 {
        (self.is_waiting() as u64) << u32::BITS | self.number as u64
    }

    /// Waits as if it had never been sent.
    fn begin_again(&mut self) {
        (self.due_ms, self.sent_ms, self.order, self.failures) = (0, 0, 0, 0);
        (self.repeated, self.hurried, self.orphaned) = (false, false, false);
    }

    fn loss(&self, now_ms: u64) -> Option<Loss> {
        let out_of_patience = self.failures >= DELIVERY_ATTEMPTS_MAX && self.due_ms <= now_ms;
        if self.expires_at_ms <= now_ms {
            Some(Loss::Expired)
        } else if self.orphaned {
            Some(Loss::PeerRestarted)
        } else if out_of_patience && self.expires_at_ms == NEVER {
            Some(Loss::GivenUp)
        } else {
            None
        }
    }
}

/// The sending half of a channel, with places for `N` messages.
#[derive(Debug)]
pub(super) struct Sender<const N: usize> {
    slots: Vec<Slot, N>,
    /// The number of the next message.
    next_number: u32,
    /// The highest number that may have been sent: what waits is not among them.
    highest_sent: u32,
    /// Transmissions so far.
    order: u32,
    /// Times that patience has ended since anything was answered, which makes it grow: for all
    /// messages together, as one that is lost again and again while others are answered was unlucky.
    silence: u8,
    /// Until then what is repeated belongs to the last such time.
    silent_until_ms: u64,
    /// The newest transmission that the receipts which come now answer, and the time that it took.
    measured: Option<(u32, u64)>,
    /// The last batch of receipts.
    batch: u32,
    /// The newest transmission that it answers.
    newest: u32,
    counters: SenderCounters,
}

impl<const N: usize> Sender<N> {
    pub(super) fn new(next_number: u32) -> Self {
        const { assert!(N > 0 && N <= DELIVERY_IN_FLIGHT_MAX) };
        Self {
            slots: Vec::new(),
            next_number: next_number.max(1),
            highest_sent: next_number.max(1) - 1,
            order: 0,
            silence: 0,
            silent_until_ms: 0,
            measured: None,
            batch: 0,
            newest: 0,
            counters: SenderCounters::default(),
        }
    }

    pub(super) fn next_number(&self) -> u32 {
        self.next_number
    }

    /// The highest number that may have been sent.
    pub(super) fn highest_sent(&self) -> u32 {
        self.highest_sent
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn counters(&self) -> SenderCounters {
        self.counters
    }

    /// Takes a new message.
    pub(super) fn submit(&mut self, message: Message) -> Result<Submitted, SubmitError> {
        let number = self.next_number;
        let next = number.checked_add(1).ok_or(SubmitError::Number)?;
        let older = message.key.and_then(|key| {
            let mut slots = self.slots.iter_mut();
            slots.find(|slot| slot.key == Some(key) && slot.is_waiting())
        });
        let superseded = match older {
            Some(older) => {
                let superseded = older.number;
                *older = slot(number, message);
                increment(&mut self.counters.superseded);
                Some(superseded)
            }
            None => {
                let added = self.slots.push(slot(number, message));
                added.map_err(|_| SubmitError::Full)?;
                None
            }
        };
        self.next_number = next;
        Ok(Submitted { number, superseded })
    }

    /// Takes up a message of an earlier life of the same epoch, under the number that it had. It may
    /// have been sent, so it counts as on its way.
    pub(super) fn resume(&mut self, number: u32, message: Message) -> Result<(), SubmitError> {
        let taken = self.slots.iter().any(|slot| slot.number == number);
        let next = number.checked_add(1).ok_or(SubmitError::Number)?;
        if number == 0 || taken {
            return Err(SubmitError::Number);
        }
        let order = self.order.saturating_add(1);
        let added = self.slots.push(Slot {
            order,
            repeated: true,
            hurried: true,
            ..slot(number, message)
        });
        added.map_err(|_| SubmitError::Full)?;
        self.order = order;
        self.highest_sent = self.highest_sent.max(number);
        self.next_number = self.next_number.max(next);
        Ok(())
    }

    /// Forgets a message; `false` if there is none.
    pub(super) fn withdraw(&mut self, number: u32) -> bool {
        let at = self.slots.iter().position(|slot| slot.number == number);
        at.is_some_and(|at| self.remove(at))
    }

    /// Takes a place's message out; the last one gets the place. `false` if there is none at all.
    fn remove(&mut self, at: usize) -> bool {
        let Some(last) = self.slots.pop() else {
            return false;
        };
        if let Some(place) = self.slots.get_mut(at) {
            *place = last;
        }
        true
    }

    /// A message that is lost, if there is one; it is forgotten.
    pub(super) fn poll_loss(&mut self, now_ms: u64) -> Option<(u32, Loss)> {
        let mut slots = self.slots.iter().enumerate();
        let (at, number, loss) =
            slots.find_map(|(at, slot)| Some((at, slot.number, slot.loss(now_ms)?)))?;
        self.remove(at);
        increment(&mut self.counters.lost);
        Some((number, loss))
    }

    /// The next message to be sent, noted as sent now, with the seconds that it has left.
    pub(super) fn poll_transmit(
        &mut self,
        now_ms: u64,
        link: &RoundTrip,
        random: u32,
    ) -> Option<(u32, u32)> {
        let (oldest, bytes) = self.on_their_way();
        // Repetitions go first, then the lowest number.
        let (mut at, mut lowest) = (usize::MAX, u64::MAX);
        for (index, slot) in self.slots.iter().enumerate() {
            let is_due = slot.loss(now_ms).is_none() && self.due_ms(slot, oldest, bytes) <= now_ms;
            if is_due && slot.rank() < lowest {
                (at, lowest) = (index, slot.rank());
            }
        }
        let slot = self.slots.get_mut(at)?;
        let order = self.order.saturating_add(1);
        let mut bytes = bytes;
        if slot.is_waiting() {
            increment(&mut self.counters.sent);
            bytes = bytes.saturating_add(slot.bytes);
        } else {
            increment(&mut self.counters.repeated);
            slot.repeated = true;
            if !slot.hurried {
                slot.failures = slot.failures.saturating_add(1);
                if now_ms >= self.silent_until_ms {
                    self.silence = self.silence.saturating_add(1);
                    let growth = self.silence.saturating_sub(DELIVERY_PATIENT_TIMES);
                    self.silent_until_ms = after(now_ms, link.patience_ms(growth, 0, 0));
                }
            }
        }
        slot.hurried = false;
        slot.order = order;
        slot.sent_ms = now_ms;
        let unlucky = slot.failures.saturating_sub(DELIVERY_UNLUCKY_TIMES);
        let growth = self
            .silence
            .max(unlucky)
            .saturating_sub(DELIVERY_PATIENT_TIMES);
        slot.due_ms = after(now_ms, link.patience_ms(growth, bytes, random));
        self.order = order;
        self.highest_sent = self.highest_sent.max(slot.number);
        Some((slot.number, ttl_s(slot.expires_at_ms, now_ms)))
    }

    /// When something is due; `up` says whether anything can be sent.
    pub(super) fn deadline_ms(&self, now_ms: u64, up: bool) -> u64 {
        let (oldest, bytes) = self.on_their_way();
        let due = self.slots.iter().map(|slot| {
            let event_ms = if slot.orphaned { 0 } else { slot.expires_at_ms };
            match up {
                true => event_ms.min(self.due_ms(slot, oldest, bytes)),
                false => event_ms,
            }
        });
        due.fold(NEVER, u64::min).max(now_ms)
    }

    /// Takes a run of receipts: the part of it that is of messages that were sent.
    pub(super) fn handle_run(&mut self, now_ms: u64, run: Run) -> Option<Run> {
        let Run { step, first, count } = run;
        let last = first
            .saturating_add(count.saturating_sub(1))
            .min(self.highest_sent);
        let first = first.max(1);
        if first > last {
            increment(&mut self.counters.forged);
            return None;
        }
        // One that waits to be sent to the next life of an end with a disk may be known there already.
        let named = |slot: &Slot| (first..=last).contains(&slot.number);
        while let Some(at) = self.slots.iter().position(named)
            && let Some(slot) = self.slots.get(at)
        {
            increment(&mut self.counters.answered);
            self.newest = self.newest.max(slot.order);
            (self.silence, self.silent_until_ms) = (0, 0);
            let is_measured = !slot.repeated && !slot.is_waiting();
            if is_measured && self.measured.is_none_or(|(order, _)| order < slot.order) {
                self.measured = Some((slot.order, now_ms.saturating_sub(slot.sent_ms)));
            }
            self.remove(at);
        }
        let count = last - first + 1;
        Some(Run { step, first, count })
    }

    /// All runs of a batch of receipts were taken. The time that its newest message took counts,
    /// unless a batch before it is missing: then it may have been told there first, and in vain.
    pub(super) fn finish_receipts(&mut self, now_ms: u64, batch: u32, link: &mut RoundTrip) {
        let measured = self.measured.take();
        if let Some((_, ms)) = measured.filter(|_| self.batch.checked_add(1) == Some(batch)) {
            link.measured(ms);
        }
        self.batch = batch;
        self.hurry_those_before(now_ms, link);
    }

    /// The link is back, or the other end is heard after a long silence: what is on its way is
    /// repeated now.
    #[inline(never)]
    pub(super) fn hurry(&mut self, now_ms: u64) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_waiting()) {
            (slot.due_ms, slot.hurried, slot.failures) = (now_ms, true, 0);
        }
    }

    /// Whether something on its way has waited in vain for its first answer.
    pub(super) fn is_impatient(&self) -> bool {
        self.slots.iter().any(|slot| slot.failures > 1)
    }

    /// The other end has lost its memory, or its memory of this end is of another life.
    pub(super) fn handle_peer_restart(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_waiting()) {
            if slot.repeatable {
                slot.begin_again();
            } else {
                slot.orphaned = true;
            }
        }
    }

    /// The oldest number that is still here, and the bytes on their way.
    fn on_their_way(&self) -> (u32, u32) {
        let (mut oldest, mut bytes) = (u32::MAX, 0_u32);
        for slot in &self.slots {
            oldest = oldest.min(slot.number);
            if !slot.is_waiting() {
                bytes = bytes.saturating_add(slot.bytes);
            }
        }
        (oldest, bytes)
    }

    /// When a message is to be sent, if the link is up.
    fn due_ms(&self, slot: &Slot, oldest: u32, bytes: u32) -> u64 {
        let sum = bytes.saturating_add(slot.bytes);
        let has_room = (bytes == 0 || sum <= DELIVERY_IN_FLIGHT_BYTES_MAX as u32)
            && slot.number.saturating_sub(oldest) < DELIVERY_SPAN;
        if self.is_held_back(slot) || slot.is_waiting() && !has_room {
            return NEVER;
        }
        // 0 while it waits.
        slot.due_ms
    }

    /// Whether another message of the same key goes first. After [`Self::resume`] several of a key may
    /// count as on their way.
    fn is_held_back(&self, slot: &Slot) -> bool {
        let key = slot.key;
        let mut others = self.slots.iter().filter(|other| !other.is_waiting());
        key.is_some()
            && others
                .any(|other| other.key == key && (slot.is_waiting() || other.number < slot.number))
    }

    /// What was sent before the newest transmission that was answered is lost, well before it at once,
    /// and else when its answer is late (RFC 9002, section 6.1).
    fn hurry_those_before(&mut self, now_ms: u64, link: &RoundTrip) {
        let newest = core::mem::take(&mut self.newest);
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_waiting()) {
            let due_ms = match newest.checked_sub(slot.order) {
                None | Some(0) => continue,
                Some(later) if later >= DELIVERY_REORDERING => now_ms,
                Some(_) => after(slot.sent_ms, link.late_ms()).max(now_ms),
            };
            if due_ms < slot.due_ms {
                (slot.due_ms, slot.hurried) = (due_ms, true);
            }
        }
    }
}

/// A message that waits.
const fn slot(number: u32, message: Message) -> Slot {
    Slot {
        expires_at_ms: match message.expires_at_ms {
            Some(at) => at,
            None => NEVER,
        },
        due_ms: 0,
        sent_ms: 0,
        number,
        bytes: message.bytes,
        key: message.key,
        order: 0,
        failures: 0,
        repeated: false,
        hurried: false,
        orphaned: false,
        repeatable: message.repeatable,
    }
}

/// The seconds that are left, rounded up; 0 for no end.
fn ttl_s(expires_at_ms: u64, now_ms: u64) -> u32 {
    if expires_at_ms == NEVER {
        return 0;
    }
    // 49 days at most, which is longer than any message is given.
    let left_ms = u32::try_from(expires_at_ms.saturating_sub(now_ms)).unwrap_or(u32::MAX);
    left_ms.div_ceil(1_000).clamp(1, DELIVERY_TTL_S_MAX)
}

impl Run {
    /// A run of one message.
    pub(super) const fn of(number: u32, step: Step) -> Self {
        Self {
            step,
            first: number,
            count: 1,
        }
    }
}
