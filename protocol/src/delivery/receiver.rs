//! The receiving half: which messages are new, and what became of each.
//!
//! A message that came is in one of these states:
//!
//! | state | event | then |
//! |---|---|---|
//! | unknown | it comes and there is a place in the account | open, with nothing to tell yet |
//! | unknown | it comes and there is none | unknown: the sender repeats it |
//! | open | its owner reports a step, and the last one was not final | open, to be told |
//! | open, nothing reported | its owner could not take it after all | unknown |
//! | open, nothing reported | it comes again | unchanged: a step will be reported |
//! | open, told | the batch is acknowledged, the step is not final | open, nothing to tell |
//! | open, told | the batch is acknowledged, the step is final | closed |
//! | open, with a step | it comes again, or its sender counts it as open | open, to be told again |
//! | open, told | patience ends | told again; after 20 times in vain, once its sender is heard |
//! | closed | it comes again, or its sender counts it as open | open with [`Step::Known`], to be told, if there is a place |
//! | any | one of the two ends begins a new epoch | forgotten |

use heapless::Vec;

use super::timing::{NEVER, RoundTrip, after};
use super::{Epoch, Novelty, Open, Run, Step, Window, increment};
use crate::limits::{
    DELIVERY_ATTEMPTS_MAX, DELIVERY_OPEN_MAX, DELIVERY_RECEIPT_BATCH, DELIVERY_RECEIPT_DELAY_MS,
};

/// Names a message for good: the number that its sender gave it, in an epoch of that sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The sender's epoch.
    pub epoch: Epoch,
    /// The number.
    pub number: u32,
}

/// What is to be done with a message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new: take it, and report each step that it goes.
    New(MessageId),
    /// It came before: drop it.
    Repeated,
    /// It is too old to know, or for another life of this end: drop it.
    Stale,
    /// There is no place to account for it, or this end [awaits](super::Endpoint::await_open) the host's word:
    /// drop it, its sender will repeat it.
    Busy,
}

/// What a receiver has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverCounters {
    /// Messages taken.
    pub taken: u32,
    /// Messages that came again.
    pub repeated: u32,
    /// Messages too old to know.
    pub stale: u32,
    /// Messages for which there was no place.
    pub busy: u32,
    /// Batches of receipts sent, repetitions included.
    pub batches: u32,
    /// Steps reported for messages that are not open: ignored.
    pub not_open: u32,
    /// Acknowledgements of batches that were never sent: ignored.
    pub forged: u32,
}

/// A message that is accounted for.
#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u32,
    /// The first batch that tells its step; 0 when none does.
    batch: u32,
    /// What became of it; nothing is told before its owner says so.
    step: Option<Step>,
    /// The sender knows the step.
    acknowledged: bool,
}

/// The receiving half of a channel, with places for `N` open messages.
#[derive(Debug)]
pub(super) struct Receiver<const N: usize> {
    window: Window,
    entries: Vec<Entry, N>,
    /// The last batch sent.
    batch: u32,
    /// When receipts are to be sent.
    due_ms: u64,
    failures: u8,
    counters: ReceiverCounters,
}

impl Entry {
    fn is_final(&self) -> bool {
        self.step.is_some_and(Step::is_final)
    }

    fn is_to_tell(&self) -> bool {
        self.step.is_some() && !self.acknowledged
    }
}

impl<const N: usize> Receiver<N> {
    pub(super) fn new(window: Window, batch: u32) -> Self {
        const { assert!(N > 0 && N <= DELIVERY_OPEN_MAX) };
        Self {
            window,
            entries: Vec::new(),
            batch,
            due_ms: NEVER,
            failures: 0,
            counters: ReceiverCounters::default(),
        }
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }

    /// The highest number that came.
    pub(super) fn highest(&self) -> u32 {
        self.window.highest()
    }

    pub(super) fn batch(&self) -> u32 {
        self.batch
    }

    pub(super) fn open(&self) -> usize {
        self.entries.len()
    }

    /// The open messages of which something was reported.
    pub(super) fn steps(&self) -> impl Iterator<Item = (u32, Step)> + use<'_, N> {
        let entries = self.entries.iter();
        entries.filter_map(|entry| Some((entry.number, entry.step?)))
    }

    pub(super) fn counters(&self) -> ReceiverCounters {
        self.counters
    }

    /// Takes a message from the sender of this epoch.
    pub(super) fn handle_message(&mut self, now_ms: u64, epoch: Epoch, number: u32) -> Verdict {
        match self.window.novelty(number) {
            Novelty::Stale => {
                increment(&mut self.counters.stale);
                Verdict::Stale
            }
            Novelty::Repeated => {
                increment(&mut self.counters.repeated);
                self.tell_again(now_ms, number);
                Verdict::Repeated
            }
            Novelty::New if self.add(number, None) => {
                self.window.insert(number);
                increment(&mut self.counters.taken);
                Verdict::New(MessageId { epoch, number })
            }
            Novelty::New => self.busy(),
        }
    }

    /// Counts a message that cannot be taken now.
    pub(super) fn busy(&mut self) -> Verdict {
        increment(&mut self.counters.busy);
        Verdict::Busy
    }

    /// Notes what became of an open message; `false` if it is not open, or its fate is sealed.
    pub(super) fn report(&mut self, now_ms: u64, number: u32, step: Step) -> bool {
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.number == number && !entry.is_final());
        let Some(entry) = entry else {
            increment(&mut self.counters.not_open);
            return false;
        };
        if entry.step != Some(step) {
            (entry.step, entry.batch, entry.acknowledged) = (Some(step), 0, false);
            self.schedule(now_ms);
        }
        true
    }

    /// An open message was not taken after all: it is new when it comes again. `false` if a step of
    /// it was reported already.
    pub(super) fn forget(&mut self, number: u32) -> bool {
        let untold = |entry: &Entry| entry.number == number && entry.step.is_none();
        let Some(at) = self.entries.iter().position(untold) else {
            return false;
        };
        self.close(at);
        self.window.remove(number);
        self.counters.taken = self.counters.taken.wrapping_sub(1);
        true
    }

    /// Takes up a message of an earlier life of the same epoch that is still open.
    pub(super) fn resume(&mut self, now_ms: u64, number: u32, step: Step) -> bool {
        let known = self.entries.iter().any(|entry| entry.number == number);
        let resumed = !known && number != 0 && self.add(number, Some(step));
        if resumed {
            self.window.insert(number);
            self.schedule(now_ms);
        }
        resumed
    }

    /// A batch has come to the sender, and with it all that it tells.
    pub(super) fn handle_acknowledged(&mut self, now_ms: u64, batch: u32) {
        if batch == 0 || batch > self.batch {
            increment(&mut self.counters.forged);
            return;
        }
        let mut at = 0;
        while let Some(entry) = self.entries.get_mut(at) {
            entry.acknowledged |= entry.batch != 0 && entry.batch <= batch;
            if entry.acknowledged && entry.is_final() {
                self.close(at);
            } else {
                at += 1;
            }
        }
        self.failures = 0;
        // What was told in a later batch only keeps its time.
        if !self.has_to_tell() {
            self.due_ms = NEVER;
        } else if self.untold() > 0 {
            self.schedule(now_ms);
        }
    }

    /// The number of the batch to be sent, noted as sent now; [`Self::runs`] are what it tells.
    pub(super) fn poll_transmit(
        &mut self,
        now_ms: u64,
        link: &RoundTrip,
        random: u32,
    ) -> Option<u32> {
        if self.due_ms > now_ms {
            return None;
        }
        if !self.has_to_tell() || self.failures >= DELIVERY_ATTEMPTS_MAX {
            self.due_ms = NEVER;
            return None;
        }
        self.batch = self.batch.saturating_add(1);
        for entry in &mut self.entries {
            if entry.is_to_tell() && entry.batch == 0 {
                entry.batch = self.batch;
            }
        }
        self.due_ms = after(now_ms, link.patience_ms(self.failures, 0, random));
        self.failures = self.failures.saturating_add(1);
        increment(&mut self.counters.batches);
        Some(self.batch)
    }

    /// What is to be told: the steps that the sender has not acknowledged, in runs.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> + Clone + use<'_, N> {
        let mut entries = self.to_tell().filter_map(|entry| {
            let step = entry.step?;
            Some((entry.number, step))
        });
        let mut run: Option<Run> = None;
        core::iter::from_fn(move || {
            for (number, step) in entries.by_ref() {
                match &mut run {
                    Some(run) if run.is_followed_by(number, step) => {
                        run.count = run.count.saturating_add(1);
                    }
                    _ => {
                        let before = run.replace(Run::of(number, step));
                        if before.is_some() {
                            return before;
                        }
                    }
                }
            }
            run.take()
        })
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        self.due_ms
    }

    /// The other end is heard, perhaps after a long silence.
    #[inline(never)]
    pub(super) fn wake(&mut self, now_ms: u64) {
        self.failures = 0;
        if self.due_ms == NEVER && self.has_to_tell() {
            self.due_ms = now_ms;
        }
    }

    /// The round trip is known now: what was told before need not wait as if it were not.
    pub(super) fn hasten(&mut self, now_ms: u64, link: &RoundTrip) {
        if self.due_ms != NEVER {
            self.due_ms = self.due_ms.min(after(now_ms, link.patience_ms(0, 0, 0)));
        }
    }

    /// The sender begins a new epoch.
    pub(super) fn handle_peer_restart(&mut self) {
        self.window = Window::default();
        self.entries.clear();
        (self.due_ms, self.failures) = (NEVER, 0);
    }

    /// The entries that the sender has not acknowledged.
    fn to_tell(&self) -> impl Iterator<Item = &Entry> + Clone + use<'_, N> {
        self.entries.iter().filter(|entry| entry.is_to_tell())
    }

    #[inline(never)]
    fn has_to_tell(&self) -> bool {
        self.to_tell().next().is_some()
    }

    /// Those of them that no batch has told.
    fn untold(&self) -> usize {
        self.to_tell().filter(|entry| entry.batch == 0).count()
    }

    /// Takes an entry out; the others keep their order, in which they are told.
    #[inline(never)]
    fn close(&mut self, mut at: usize) {
        while let Some(&next) = self.entries.get(at.saturating_add(1)) {
            if let Some(place) = self.entries.get_mut(at) {
                *place = next;
            }
            at = at.saturating_add(1);
        }
        self.entries.pop();
    }

    fn add(&mut self, number: u32, step: Option<Step>) -> bool {
        let entry = Entry {
            number,
            batch: 0,
            step,
            acknowledged: false,
        };
        self.entries.push(entry).is_ok()
    }

    /// The sender counts these as open: they are told again. Says whether one has not come.
    pub(super) fn handle_open(&mut self, now_ms: u64, open: Open<'_>) -> bool {
        let mut lacks = false;
        for number in open.numbers() {
            match self.window.novelty(number) {
                Novelty::New => lacks = true,
                Novelty::Repeated | Novelty::Stale => self.tell_again(now_ms, number),
            }
        }
        lacks
    }

    /// A message came again, or its sender says that it is open: it has not heard of its end, unless the
    /// network repeated what it said.
    #[inline(never)]
    fn tell_again(&mut self, now_ms: u64, number: u32) {
        let known = self.entries.iter_mut().find(|entry| entry.number == number);
        let to_tell = match known {
            Some(entry) if entry.step.is_none() => false,
            Some(entry) => {
                // A sender that was killed may have acknowledged what it does not know any more.
                if entry.acknowledged {
                    (entry.acknowledged, entry.batch) = (false, 0);
                }
                true
            }
            // Where there is no place for it, it will come again.
            None => self.add(number, Some(Step::Known)),
        };
        if to_tell {
            self.schedule(now_ms);
        }
    }

    /// Something is to be told: soon, and at once when it is much.
    fn schedule(&mut self, now_ms: u64) {
        let delay = if self.untold() >= DELIVERY_RECEIPT_BATCH {
            0
        } else {
            DELIVERY_RECEIPT_DELAY_MS
        };
        self.due_ms = self.due_ms.min(after(now_ms, delay));
    }
}

impl Run {
    fn is_followed_by(&self, number: u32, step: Step) -> bool {
        self.step == step && self.first.checked_add(self.count) == Some(number)
    }
}
