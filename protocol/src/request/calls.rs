//! The requests that came to a vehicle: each is carried out once, and answered once.
//!
//! | state | event | then | its sender is told |
//! |---|---|---|---|
//! | unknown | it comes, and its app has the screen | handed | *handed* |
//! | unknown | it comes, and waits for its app | held | *held* |
//! | unknown | it comes and is refused, or its app is not there and it does not wait | over | why |
//! | unknown | it comes, and all places are open ones | unknown | *busy* |
//! | unknown | it is cancelled | over | |
//! | held | its app takes it | handed | *handed* |
//! | held | newer messages take its place | over | *evicted* |
//! | held, handed | its app answers | answered | *answered* |
//! | held, handed | its time is over by the vehicle's clock, since it came | over | *expired* |
//! | held, handed | it is cancelled | over | *cancelled* |
//! | handed | it did not reach its app after all | held | *held* |
//! | held, handed | it comes again | as before | the same |
//! | answered | it comes again | answered: the answer is sent again | *answered* |
//! | over | it comes again | over | the same |
//! | answered, over | a place is needed, and it is the oldest of these | unknown | |
//!
//! So a request is carried out twice only if `N` newer ones came, or were cancelled before they came,
//! between it and its repetition.

use core::fmt;

use heapless::Vec;

use super::RequestId;
use crate::app_slot::AppSlot;
use crate::delivery::{MessageId, Step};
use crate::limits::REQUEST_TIMEOUT_S_MAX;

/// The message that brought a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The partner, by its place among those of the vehicle.
    pub partner: u8,
    /// Its name in the channel.
    pub id: MessageId,
}

/// What is to be told of a message that brought a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The message.
    pub message: Message,
    /// What became of it.
    pub step: Step,
}

/// A request that has a place from now on.
#[derive(Clone, Copy, Debug)]
#[must_use = "its place is taken by what becomes of it"]
pub struct Admitted {
    id: RequestId,
    message: Message,
    ends_at_ms: u64,
}

/// What is to be done with a request that came.
#[derive(Debug)]
pub enum Arrival {
    /// Hand it to its app, and tell with [`Calls::handed`], [`Calls::held`] or [`Calls::refused`].
    New(Admitted),
    /// It is known: tell this.
    Known(Report),
    /// It is answered: tell this, and send the answer with this number again.
    Answered(Report, u64),
}

/// A request that is over without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub id: RequestId,
    /// Its app.
    pub slot: AppSlot,
    /// The number under which it waits for its app, if it does.
    pub held: Option<u64>,
    /// What is told.
    pub report: Report,
}

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerRefusal {
    /// No such request came for this app.
    Unknown,
    /// It is answered already.
    Twice,
    /// It is over: its time, or it was cancelled.
    Over(Step),
}

impl fmt::Display for AnswerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no request of this requestId came for this app"),
            Self::Twice => f.write_str("the request is answered already; the first answer counts"),
            Self::Over(step) => write!(f, "nobody waits for the answer any more: {step}"),
        }
    }
}

impl core::error::Error for AnswerRefusal {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It waits for its app under this number.
    Held(u64),
    /// Its app was given it; under this number it comes back if it did not reach it.
    Handed(Option<u64>),
    /// The answer with this number is kept, as long as there is room.
    Answered(u64),
    Over(Step),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: RequestId,
    message: Message,
    slot: Option<AppSlot>,
    ends_at_ms: u64,
    state: State,
}

/// The requests that came to a vehicle, with `N` places: the open ones, and the latest that are done.
#[derive(Debug, Default)]
pub struct Calls<const N: usize> {
    /// Oldest first.
    entries: Vec<Entry, N>,
}

impl Entry {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Held(_) | State::Handed(_))
    }

    fn report(&self, step: Step) -> Report {
        let message = self.message;
        Report { message, step }
    }

    fn end(&mut self, step: Step) -> Option<Ended> {
        let held = match self.state {
            State::Held(number) => Some(number),
            State::Handed(_) => None,
            State::Answered(_) | State::Over(_) => return None,
        };
        self.state = State::Over(step);
        Some(Ended {
            id: self.id,
            slot: self.slot?,
            held,
            report: self.report(step),
        })
    }
}

impl<const N: usize> Calls<N> {
    /// No request has come.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// Requests that are not done.
    #[must_use]
    pub fn open(&self) -> usize {
        self.entries.iter().filter(|entry| entry.is_open()).count()
    }

    /// Takes a request that came, which has `ttl_s` seconds from now on, at most
    /// [`REQUEST_TIMEOUT_S_MAX`].
    pub fn handle_request(
        &mut self,
        now_ms: u64,
        message: Message,
        id: RequestId,
        ttl_s: u32,
    ) -> Arrival {
        let partner = message.partner;
        if let Some(entry) = self.find(partner, id) {
            entry.message = message;
            let step = match entry.state {
                State::Held(_) => Step::HeldBackground,
                State::Handed(_) => Step::Handed,
                State::Answered(number) => {
                    return Arrival::Answered(entry.report(Step::Answered), number);
                }
                State::Over(step) => step,
            };
            return Arrival::Known(entry.report(step));
        }
        if !self.make_room() {
            let step = Step::Busy;
            return Arrival::Known(Report { message, step });
        }
        let ttl_ms = u64::from(ttl_s.min(REQUEST_TIMEOUT_S_MAX)).saturating_mul(1_000);
        Arrival::New(Admitted {
            id,
            message,
            ends_at_ms: now_ms.saturating_add(ttl_ms),
        })
    }

    /// A new request is with its app, which has the screen; `number` if it comes back where it does not
    /// reach it.
    pub fn handed(&mut self, new: Admitted, slot: AppSlot, number: Option<u64>) -> Report {
        self.add(new, Some(slot), State::Handed(number), Step::Handed)
    }

    /// A new request waits for its app under this number.
    pub fn held(&mut self, new: Admitted, slot: AppSlot, number: u64) -> Report {
        let step = Step::HeldBackground;
        self.add(new, Some(slot), State::Held(number), step)
    }

    /// A new request was refused, or its app is not there and it does not wait.
    pub fn refused(&mut self, new: Admitted, step: Step) -> Report {
        self.add(new, None, State::Over(step), step)
    }

    /// A request that was handed to an app did not reach it, and waits again.
    pub fn came_back(&mut self, slot: AppSlot, number: u64) -> Option<Report> {
        let entry = self.of_app(slot, State::Handed(Some(number)))?;
        entry.state = State::Held(number);
        Some(entry.report(Step::HeldBackground))
    }

    /// The next request of an app that waited and does not any more, as `is_waiting` says of its number:
    /// its app took it, or newer messages its place.
    pub fn next_gone(
        &mut self,
        slot: AppSlot,
        taken: bool,
        is_waiting: impl Fn(u64) -> bool,
    ) -> Option<Report> {
        let mut entries = self.entries.iter_mut();
        let (entry, number) = entries.find_map(|entry| match entry.state {
            State::Held(number) if entry.slot == Some(slot) && !is_waiting(number) => {
                Some((entry, number))
            }
            _ => None,
        })?;
        if taken {
            entry.state = State::Handed(Some(number));
            return Some(entry.report(Step::Handed));
        }
        entry.end(Step::Evicted).map(|ended| ended.report)
    }

    /// Whether an app may answer a request now.
    ///
    /// # Errors
    /// An [`AnswerRefusal`].
    pub fn may_answer(&self, slot: AppSlot, id: RequestId) -> Result<(), AnswerRefusal> {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.id == id && entry.slot == Some(slot));
        match entry.map(|entry| entry.state) {
            None => Err(AnswerRefusal::Unknown),
            Some(State::Held(_) | State::Handed(_)) => Ok(()),
            Some(State::Answered(_)) => Err(AnswerRefusal::Twice),
            Some(State::Over(step)) => Err(AnswerRefusal::Over(step)),
        }
    }

    /// An app's answer is taken, and kept under this number.
    pub fn answered(&mut self, slot: AppSlot, id: RequestId, number: u64) -> Option<Report> {
        let mut entries = self.entries.iter_mut();
        let entry = entries.find(|entry| entry.id == id && entry.slot == Some(slot))?;
        if !entry.is_open() {
            return None;
        }
        entry.state = State::Answered(number);
        Some(entry.report(Step::Answered))
    }

    /// Takes up a request that was answered before a restart, and whose answer is kept under this number.
    /// Those that came first are taken up first.
    pub fn resume_answered(&mut self, message: Message, slot: AppSlot, id: RequestId, number: u64) {
        if self.find(message.partner, id).is_none() && self.make_room() {
            // There is room.
            let _ = self.entries.push(Entry {
                id,
                message,
                slot: Some(slot),
                ends_at_ms: 0,
                state: State::Answered(number),
            });
        }
    }

    /// The number of the answer to a request of a partner, if it is answered.
    #[must_use]
    pub fn answer(&self, partner: u8, id: RequestId) -> Option<u64> {
        let mut entries = self.entries.iter();
        let of = |entry: &&Entry| entry.id == id && entry.message.partner == partner;
        match entries.find(of)?.state {
            State::Answered(number) => Some(number),
            State::Held(_) | State::Handed(_) | State::Over(_) => None,
        }
    }

    /// A partner cancels a request, which may not have come yet: then it is not carried out when it
    /// does. `None` if there is nothing to be done.
    pub fn cancel(&mut self, message: Message, id: RequestId) -> Option<Ended> {
        if let Some(entry) = self.find(message.partner, id) {
            return entry.end(Step::Cancelled);
        }
        if self.make_room() {
            let new = Admitted {
                id,
                message,
                ends_at_ms: 0,
            };
            self.refused(new, Step::Cancelled);
        }
        None
    }

    /// The next request whose time is over.
    pub fn next_expired(&mut self, now_ms: u64) -> Option<Ended> {
        let mut entries = self.entries.iter_mut();
        let entry = entries.find(|entry| entry.is_open() && entry.ends_at_ms <= now_ms)?;
        entry.end(Step::Expired)
    }

    /// When [`Self::next_expired`] has one.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let open = self.entries.iter().filter(|entry| entry.is_open());
        open.map(|entry| entry.ends_at_ms).min()
    }

    fn add(&mut self, new: Admitted, slot: Option<AppSlot>, state: State, step: Step) -> Report {
        let Admitted { id, message, .. } = new;
        let ends_at_ms = new.ends_at_ms;
        // There was room when it was admitted, and nothing has come since.
        let _ = self.entries.push(Entry {
            id,
            message,
            slot,
            ends_at_ms,
            state,
        });
        Report { message, step }
    }

    /// Forgets the oldest request that is done, if all places are taken; `false` if none is done.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < N {
            return true;
        }
        let Some(done) = self.entries.iter().position(|entry| !entry.is_open()) else {
            return false;
        };
        let mut index = 0;
        self.entries.retain(|_| {
            let keep = index != done;
            index += 1;
            keep
        });
        true
    }

    fn find(&mut self, partner: u8, id: RequestId) -> Option<&mut Entry> {
        let mut entries = self.entries.iter_mut();
        entries.find(|entry| entry.id == id && entry.message.partner == partner)
    }

    fn of_app(&mut self, slot: AppSlot, state: State) -> Option<&mut Entry> {
        let mut entries = self.entries.iter_mut();
        entries.find(|entry| entry.slot == Some(slot) && entry.state == state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Epoch;

    const APP: AppSlot = AppSlot::new(2);

    fn message(number: u32) -> Message {
        let epoch = Epoch::FIRST;
        Message {
            partner: 0,
            id: MessageId { epoch, number },
        }
    }

    fn id(value: u64) -> RequestId {
        RequestId::new(value)
    }

    fn new(calls: &mut Calls<4>, number: u32) -> Admitted {
        let came = calls.handle_request(0, message(number), id(number.into()), 10);
        let Arrival::New(new) = came else {
            panic!("{came:?}");
        };
        new
    }

    fn handed(calls: &mut Calls<4>, number: u32) {
        let new = new(calls, number);
        assert_eq!(
            calls.handed(new, APP, Some(number.into())).step,
            Step::Handed
        );
    }

    #[test]
    fn request_that_was_answered_before_a_restart_is_answered_again_and_not_twice() {
        let mut calls = Calls::<4>::new();
        for number in 1..=5 {
            calls.resume_answered(message(number), APP, id(number.into()), number.into());
        }
        calls.resume_answered(message(9), APP, id(5), 9);
        assert_eq!(calls.answer(0, id(1)), None, "four are accounted for");
        assert_eq!(calls.answer(0, id(5)), Some(5));
        assert_eq!(calls.may_answer(APP, id(5)), Err(AnswerRefusal::Twice));
        let came = calls.handle_request(0, message(6), id(5), 10);
        assert!(matches!(came, Arrival::Answered(report, 5) if report.message == message(6)));
        assert_eq!(calls.poll_timeout(), None);
    }

    #[test]
    fn request_is_answered_once_and_by_its_app_alone() {
        let mut calls = Calls::<4>::new();
        handed(&mut calls, 1);
        let (other, one) = (AppSlot::new(3), id(1));
        assert_eq!(calls.may_answer(other, one), Err(AnswerRefusal::Unknown));
        assert_eq!(calls.may_answer(APP, id(2)), Err(AnswerRefusal::Unknown));
        assert_eq!(calls.may_answer(APP, one), Ok(()));
        let told = calls.answered(APP, one, 7).unwrap();
        assert_eq!((told.message, told.step), (message(1), Step::Answered));
        assert_eq!(calls.may_answer(APP, one), Err(AnswerRefusal::Twice));
        assert_eq!(calls.answered(APP, one, 8), None);
        assert_eq!(calls.answer(0, one), Some(7));
        assert_eq!(calls.answer(1, one), None);
    }

    #[test]
    fn repeated_request_is_not_new() {
        let mut calls = Calls::<4>::new();
        handed(&mut calls, 1);
        let again = |calls: &mut Calls<4>| calls.handle_request(5, message(9), id(1), 10);
        let Arrival::Known(told) = again(&mut calls) else {
            panic!("new");
        };
        assert_eq!((told.message, told.step), (message(9), Step::Handed));
        calls.answered(APP, id(1), 7).unwrap();
        let Arrival::Answered(told, 7) = again(&mut calls) else {
            panic!("not answered");
        };
        assert_eq!(told.step, Step::Answered);
        // That of another partner is another one.
        let foreign = Message {
            partner: 1,
            ..message(9)
        };
        let came = calls.handle_request(5, foreign, id(1), 10);
        assert!(matches!(came, Arrival::New(_)));
    }

    #[test]
    fn request_waits_for_its_app_and_may_come_back() {
        let mut calls = Calls::<4>::new();
        let waits = new(&mut calls, 1);
        assert_eq!(calls.held(waits, APP, 0).step, Step::HeldBackground);
        let refused = new(&mut calls, 2);
        let told = calls.refused(refused, Step::NotThere);
        assert_eq!(told.step, Step::NotThere);
        assert_eq!(calls.open(), 1);
        assert_eq!(calls.next_gone(APP, true, |_| true), None);
        let gone = calls.next_gone(APP, true, |_| false).unwrap();
        assert_eq!(gone.step, Step::Handed);
        assert_eq!(calls.came_back(APP, 1), None);
        let back = calls.came_back(APP, 0).unwrap();
        assert_eq!(back.step, Step::HeldBackground);
        // An app that confirms has it, though it is among the pending ones.
        let new = new(&mut calls, 3);
        assert_eq!(calls.handed(new, APP, None).step, Step::Handed);
        assert_eq!(calls.came_back(APP, 3), None);
        let gone = calls.next_gone(APP, false, |_| false).unwrap();
        assert_eq!((gone.message, gone.step), (message(1), Step::Evicted));
        assert_eq!(calls.next_gone(APP, false, |_| false), None);
    }

    #[test]
    fn evicted_request_cannot_be_answered() {
        let mut calls = Calls::<4>::new();
        let waits = new(&mut calls, 1);
        calls.held(waits, APP, 0);
        let gone = calls.next_gone(APP, false, |_| false).unwrap();
        assert_eq!(gone.step, Step::Evicted);
        let over = Err(AnswerRefusal::Over(Step::Evicted));
        assert_eq!(calls.may_answer(APP, id(1)), over);
    }

    #[test]
    fn time_is_counted_from_the_arrival() {
        let mut calls = Calls::<4>::new();
        handed(&mut calls, 1);
        assert_eq!(calls.poll_timeout(), Some(10_000));
        assert_eq!(calls.next_expired(9_999), None);
        let ended = calls.next_expired(10_000).unwrap();
        assert_eq!((ended.id, ended.slot, ended.held), (id(1), APP, None));
        assert_eq!(ended.report.step, Step::Expired);
        assert_eq!(calls.next_expired(u64::MAX), None);
        assert_eq!(calls.poll_timeout(), None);
        let over = Err(AnswerRefusal::Over(Step::Expired));
        assert_eq!(calls.may_answer(APP, id(1)), over);
    }

    #[test]
    fn request_that_is_cancelled_before_it_comes_is_not_carried_out() {
        let mut calls = Calls::<4>::new();
        handed(&mut calls, 1);
        let ended = calls.cancel(message(0), id(1)).unwrap();
        assert_eq!(
            ended.report,
            Report {
                message: message(1),
                step: Step::Cancelled
            }
        );
        assert_eq!(calls.cancel(message(0), id(1)), None);
        assert_eq!(calls.cancel(message(0), id(2)), None);
        let came = calls.handle_request(0, message(2), id(2), 10);
        let Arrival::Known(told) = came else {
            panic!("{came:?}");
        };
        assert_eq!(told.step, Step::Cancelled);
        handed(&mut calls, 3);
        calls.answered(APP, id(3), 1).unwrap();
        assert_eq!(calls.cancel(message(0), id(3)), None);
        assert_eq!(calls.answer(0, id(3)), Some(1));
    }

    #[test]
    fn oldest_done_request_makes_room_and_open_ones_never_do() {
        let mut calls = Calls::<4>::new();
        for number in 1..=4 {
            handed(&mut calls, number);
        }
        let busy = |calls: &mut Calls<4>, number: u32| {
            let one = id(number.into());
            match calls.handle_request(0, message(number), one, 10) {
                Arrival::Known(told) => told.step == Step::Busy,
                Arrival::New(_) | Arrival::Answered(..) => false,
            }
        };
        assert!(busy(&mut calls, 5));
        calls.answered(APP, id(3), 0).unwrap();
        calls.answered(APP, id(2), 1).unwrap();
        handed(&mut calls, 5);
        assert_eq!(
            (calls.answer(0, id(2)), calls.answer(0, id(3))),
            (None, Some(0))
        );
        assert_eq!(calls.open(), 3);
    }
}
