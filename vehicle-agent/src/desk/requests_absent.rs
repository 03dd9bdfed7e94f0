//! In place of `requests` where messages with receipts are ordinary ones: no request comes.

use core::convert::Infallible;
use core::marker::PhantomData;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::Step;
use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::portal::Portal;
use vinbus_protocol::request::{AnswerRefusal, Order, Request, RequestId};

use super::{Desk, Storage};
use crate::apps::{Apps, SendRefusal};
use crate::clock::NEVER;
use crate::receipts::{New, Receipts};

/// There are none.
#[derive(Debug)]
#[expect(dead_code, reason = "no values are made of it")]
pub(super) enum Requests<S> {
    None(Infallible, PhantomData<S>),
}

#[expect(dead_code, reason = "nothing is placed")]
pub(super) enum Placed {
    Pending(AppSlot),
    Done,
}

impl<S: Storage> Requests<S> {
    #[expect(clippy::too_many_arguments, reason = "those of the real one")]
    pub(super) fn take<Q: Storage, const APPS: usize, const SENT: usize>(
        &mut self,
        _: u64,
        _: (&str, &Uid, &AppId),
        _: New,
        _: Request<'_>,
        _: &mut Portal<S, APPS>,
        _: &mut Receipts<Q, APPS, SENT>,
        _: &mut impl Apps,
    ) -> Placed {
        match *self {
            Self::None(none, _) => match none {},
        }
    }
}

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    pub(super) fn handle_order(&mut self, _: u64, _: usize, _: Order, _: &mut impl Apps) {}

    pub(super) fn expire_requests(&mut self, _: u64, _: &mut impl Apps) {}

    pub(super) fn report_requests_gone(&mut self, _: u64, _: AppSlot, _: Step) {}

    pub(super) fn request_came_back(&mut self, _: u64, _: AppSlot, _: u64) {}

    pub(super) fn enqueue_answer(
        &mut self,
        _: u64,
        _: AppSlot,
        _: RequestId,
        _: &[u8],
    ) -> Result<u32, SendRefusal> {
        Err(SendRefusal::Request(AnswerRefusal::Unknown))
    }

    pub(super) fn note_answer(&mut self, _: &mut impl Apps) {}

    pub(super) fn requests_deadline_ms(&self) -> u64 {
        NEVER
    }

    pub(crate) fn repeated_answer(&mut self) -> Option<(usize, u64)> {
        None
    }

    pub(crate) fn kept_answer(&self, _: u64) -> &[u8] {
        &[]
    }

    pub(crate) fn answer_repeated(&mut self) {}
}
