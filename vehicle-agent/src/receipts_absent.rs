//! In place of `receipts` where the feature is off: a type without values, so that nothing of it is in
//! the image, and messages with receipts are ordinary ones.

use core::convert::Infallible;
use core::marker::PhantomData;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{
    Carried, ControlFrame, Epoch, Header, Marked, MessageId, Offer, Part, Run, Snapshot, Step,
};
use vinbus_protocol::envelope::Content;
use vinbus_protocol::id::AppId;
use vinbus_protocol::portal::Refusal;
use vinbus_protocol::request::Order;

use crate::apps::{Fate, SendRefusal};
use crate::desk::DeliveryCounters;
use crate::notes::Sent;

/// There are none.
#[derive(Debug)]
#[expect(dead_code, reason = "no values are made of it")]
pub(crate) enum Receipts<Q, const APPS: usize, const SENT: usize> {
    None(Infallible, PhantomData<Q>),
}

#[expect(dead_code, reason = "no values are made of it")]
pub(crate) enum Leaving<R> {
    Control(ControlFrame<R>),
    Marked(Header, u64),
    Plain(u64),
}

/// A message as its app sent it.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "nobody takes it")]
pub(crate) struct Waiting<'a> {
    pub(crate) ticket: u64,
    pub(crate) partner: usize,
    pub(crate) slot: AppSlot,
    pub(crate) subtopic: Option<&'a str>,
    pub(crate) content: &'a [u8],
}

pub(crate) fn marked(_: Header, _: &[u8]) -> Option<Marked<'_>> {
    None
}

#[derive(Debug)]
#[expect(dead_code, reason = "no values are made of it")]
pub(crate) enum Arrived<'p> {
    Plain,
    Done,
    New(New, AppId, Carried<'p>),
    Part(New, Part, AppId, Carried<'p>),
    Order(Order),
}

#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "no values are made of it")]
pub(crate) struct New {
    pub(crate) partner: usize,
    pub(crate) id: MessageId,
    pub(crate) ends_at_ms: Option<u64>,
    none: Infallible,
}

impl<Q, const APPS: usize, const SENT: usize> Receipts<Q, APPS, SENT> {
    pub(crate) fn epoch(&self) -> Epoch {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn begin(&mut self, _: Epoch) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn counters(&self) -> DeliveryCounters {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn offered(&self, _: usize) -> Option<Offer> {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn link_changed(&mut self, _: u64, _: bool) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn arrived<'p>(&mut self, _: u64, _: usize, _: &'p [u8]) -> Arrived<'p> {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn refused(&mut self, _: u64, _: New, _: Step) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn delivered(&mut self, _: u64, _: New) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn held(&mut self, _: u64, _: New, _: AppSlot, _: u64, _: Step) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn gone(&mut self, _: u64, _: AppSlot, _: Step, _: &dyn Fn(u64) -> bool) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn wait_for_app(&mut self, _: u64, _: AppSlot, _: u64) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn next_expired(
        &mut self,
        _: u64,
        _: impl Fn(AppSlot) -> bool,
    ) -> Option<(AppSlot, u64)> {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn expiry_ms(&self, _: u64) -> u64 {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn deadline_ms(&self) -> u64 {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn next_frame(
        &mut self,
        _: u64,
    ) -> Option<(usize, Leaving<core::iter::Empty<Run>>)> {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn accept(
        &mut self,
        _: usize,
        _: AppSlot,
        _: Option<&str>,
        _: Content<'_>,
        _: usize,
    ) -> Result<u64, SendRefusal> {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn uplink(&self, _: u64) -> Option<Waiting<'_>> {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn next_settled(&mut self) -> Option<(AppSlot, u64, Fate)> {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn handle_fate(&mut self, _: u64, _: Fate) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn cancel(&mut self, _: u64) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn number_next(&mut self, _: u64) -> Option<(u64, usize, u32)> {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn unnumber(&mut self, _: u64) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn next_ended(&mut self) -> Option<(usize, MessageId, Step)> {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn not_ended(&mut self, _: (usize, MessageId, Step)) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn changed_channel(&self) -> Option<(usize, Snapshot)> {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn channel_noted(&mut self, _: usize, _: Snapshot) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn resume(&mut self, _: usize, _: Snapshot) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn resume_ended(&mut self, _: usize, _: MessageId, _: Step) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn resume_held(
        &mut self,
        _: usize,
        _: MessageId,
        _: (AppSlot, u64, Option<u64>),
    ) -> bool {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn next_progress(&self) -> Option<(u64, Sent)> {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn progress_noted(&mut self, _: u64) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn resume_uplink(&mut self, _: Waiting<'_>, _: Sent) -> bool {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn accounts_for(&self, _: AppSlot, _: u64) -> bool {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn forget(&mut self, _: New) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn try_again(&mut self) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn part_not_noted(&mut self, _: New, _: Part) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }

    pub(crate) fn drop_transfer(&mut self, _: usize) {
        match *self {
            Self::None(none, _) => match none {},
        }
    }
}

pub(crate) fn step_of(_: &Refusal) -> Step {
    Step::Denied
}
