//! Requests (SPEC 19): handed to an app like any message, answered by it, and each answer kept for
//! whoever asks again.
//!
//! What came and what became of it is the protocol's [`Calls`]; here it is joined with the portal, the
//! uplink queue, into which an answer goes like any other message of its app, and a ring of the last
//! answers.

use heapless::Deque;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Epoch, MessageId, Step};
use vinbus_protocol::envelope::{AppMessage, Content, EncodeError};
use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::limits::{PAYLOAD_BYTES_MAX, REQUEST_PLACES};
use vinbus_protocol::pending::PendingRing;
use vinbus_protocol::portal::{Disposition, Portal};
use vinbus_protocol::record_ring::RecordRing;
use vinbus_protocol::request::{
    ANSWER_SUBTOPIC, Absent, Answer, Arrival, Calls, Ended, Message, Order, Request, RequestId,
};

use super::{Desk, DownlinkRefusal, Storage, newest};
use crate::apps::{Apps, Notice, SendRefusal};
use crate::clock::NEVER;
use crate::notes::Note;
use crate::receipts::{self, New, Receipts};

/// The requests that came, and the answers that are kept.
#[derive(Debug)]
pub(super) struct Requests<S> {
    calls: Calls<REQUEST_PLACES>,
    answers: RecordRing<S>,
    /// Answers that are to be sent again: the partner and the number.
    again: Deque<(u8, u64), REQUEST_PLACES>,
    /// An answer that was taken and is not noted.
    fresh: Option<Fresh>,
}

/// An answer that was just taken: to which message and request, of which app, kept under which number.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    message: Message,
    id: RequestId,
    slot: AppSlot,
    number: u64,
}

/// Where a request that came has gone.
pub(super) enum Placed {
    /// It waits for an app.
    Pending(AppSlot),
    /// Nothing more is to be done.
    Done,
}

impl<S: Storage> Requests<S> {
    fn new(answers: S) -> Self {
        Self {
            calls: Calls::new(),
            answers: RecordRing::new(answers),
            again: Deque::new(),
            fresh: None,
        }
    }

    /// Takes a request that came as a new message.
    #[expect(
        clippy::too_many_arguments,
        reason = "its content is borrowed from the desk, of which these are the other parts"
    )]
    pub(super) fn take<Q: Storage, const APPS: usize, const SENT: usize>(
        &mut self,
        now_ms: u64,
        (topic, uid, app): (&str, &Uid, &AppId),
        new: New,
        request: Request<'_>,
        portal: &mut Portal<S, APPS>,
        receipts: &mut Receipts<Q, APPS, SENT>,
        apps: &mut impl Apps,
    ) -> Placed {
        let Request {
            id,
            absent,
            content,
        } = request;
        let came = self
            .calls
            .handle_request(now_ms, new.message(), id, new.left_s(now_ms));
        let admitted = match came {
            Arrival::New(admitted) => admitted,
            Arrival::Known(report) => {
                receipts.tell(now_ms, report);
                return Placed::Done;
            }
            Arrival::Answered(report, number) => {
                receipts.tell(now_ms, report);
                self.send_again(report.message.partner, number);
                return Placed::Done;
            }
        };
        if absent == Absent::Refuse && is_in_background(portal, uid, app) {
            receipts.tell(now_ms, self.calls.refused(admitted, Step::NotThere));
            return Placed::Done;
        }
        match portal.handle_request(now_ms, uid, app, id, content) {
            Ok(Disposition::Deliver {
                slot,
                number,
                content,
            }) => {
                receipts.tell(now_ms, self.calls.handed(admitted, slot, Some(number)));
                apps.deliver(slot, number, AppMessage::Request { id, content });
                Placed::Done
            }
            Ok(Disposition::Pending { slot, .. }) => {
                let in_front = portal.foreground() == Some(slot);
                let report = if in_front && apps.confirms(slot) {
                    // It is told of it at once.
                    self.calls.handed(admitted, slot, None)
                } else {
                    self.calls.held(admitted, slot, newest(portal, slot))
                };
                receipts.tell(now_ms, report);
                Placed::Pending(slot)
            }
            // It is no popup.
            Ok(Disposition::PopupQueued { .. }) => Placed::Done,
            Err(refusal) => {
                let step = receipts::step_of(&refusal);
                receipts.tell(now_ms, self.calls.refused(admitted, step));
                apps.downlink_refused(topic, DownlinkRefusal::Portal(refusal));
                Placed::Done
            }
        }
    }

    /// Keeps an answer for repetitions, in place of the oldest ones.
    fn keep(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> u64 {
        // One that is too large for the ring is not repeated.
        let _ = self.answers.make_room(len, REQUEST_PLACES, 0);
        self.answers.push_with(len, write).unwrap_or(u64::MAX)
    }

    fn send_again(&mut self, partner: u8, number: u64) {
        let known = self.again.iter().any(|(_, waiting)| *waiting == number);
        if !known {
            // Where all wait already, the partner asks once more.
            let _ = self.again.push_back((partner, number));
        }
    }

    /// The next answer that is to be sent again, if it is still kept.
    fn next_again(&mut self) -> Option<(u8, u64)> {
        loop {
            let &(partner, number) = self.again.front()?;
            if self.answers.iter().any(|record| record.number == number) {
                return Some((partner, number));
            }
            self.again.pop_front();
        }
    }
}

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    /// Lets apps answer requests; without it, they are refused. `answers` holds the last answers for
    /// repetitions, [`REQUEST_ANSWER_BYTES`](vinbus_protocol::limits::REQUEST_ANSWER_BYTES) for those
    /// of any size.
    pub fn answer_requests(&mut self, answers: S) {
        self.requests = Some(Requests::new(answers));
    }

    /// Takes an order of a partner.
    pub(super) fn handle_order(
        &mut self,
        now_ms: u64,
        partner: usize,
        order: Order,
        apps: &mut impl Apps,
    ) {
        let Some(requests) = &mut self.requests else {
            return;
        };
        let partner = partner as u8;
        match order {
            Order::Cancel(id) => {
                // Nothing is told of what has not come.
                let message = Message {
                    partner,
                    id: MessageId {
                        epoch: Epoch::FIRST,
                        number: 0,
                    },
                };
                if let Some(ended) = requests.calls.cancel(message, id) {
                    self.end_request(now_ms, ended, "cancelled", apps);
                }
            }
            Order::Repeat(id) => {
                if let Some(number) = requests.calls.answer(partner, id) {
                    requests.send_again(partner, number);
                }
            }
        }
    }

    /// Ends the requests whose time is over.
    pub(super) fn expire_requests(&mut self, now_ms: u64, apps: &mut impl Apps) {
        loop {
            let requests = self.requests.as_mut();
            let Some(ended) = requests.and_then(|requests| requests.calls.next_expired(now_ms))
            else {
                return;
            };
            self.end_request(now_ms, ended, "expired", apps);
        }
    }

    fn end_request(
        &mut self,
        now_ms: u64,
        ended: Ended,
        reason: &'static str,
        apps: &mut impl Apps,
    ) {
        let Ended {
            id,
            slot,
            held,
            report,
        } = ended;
        if let Some(receipts) = &mut self.receipts {
            receipts.tell(now_ms, report);
        }
        match held {
            // It has not been shown to anybody.
            Some(number) if !apps.confirms(slot) => {
                self.portal.confirm_one(slot, number);
            }
            Some(_) | None => apps.tell(slot, Notice::RequestOver { id, reason }),
        }
    }

    /// Tells of the requests of an app that were pending and are not any more.
    pub(super) fn report_requests_gone(&mut self, now_ms: u64, slot: AppSlot, step: Step) {
        let (Some(requests), Some(receipts)) = (&mut self.requests, &mut self.receipts) else {
            return;
        };
        let portal = &self.portal;
        let is_pending = |number| {
            let mut pending = portal.pending(slot).into_iter().flat_map(PendingRing::iter);
            pending.any(|record| record.number == number)
        };
        let taken = step != Step::Evicted;
        while let Some(report) = requests.calls.next_gone(slot, taken, is_pending) {
            receipts.tell(now_ms, report);
        }
    }

    /// A message that was handed to an app did not reach it.
    pub(super) fn request_came_back(&mut self, now_ms: u64, slot: AppSlot, number: u64) {
        if let (Some(requests), Some(receipts)) = (&mut self.requests, &mut self.receipts)
            && let Some(report) = requests.calls.came_back(slot, number)
        {
            receipts.tell(now_ms, report);
        }
    }

    /// Queues the answer of an app; returns how many older messages were dropped for it.
    pub(super) fn enqueue_answer(
        &mut self,
        now_ms: u64,
        slot: AppSlot,
        id: RequestId,
        content: &[u8],
    ) -> Result<u32, SendRefusal> {
        let queued = self.try_enqueue_answer(now_ms, slot, id, content);
        match &queued {
            Ok(_) => self.counters.uplinks_accepted += 1,
            Err(_) => self.counters.uplinks_refused += 1,
        }
        queued
    }

    fn try_enqueue_answer(
        &mut self,
        now_ms: u64,
        slot: AppSlot,
        id: RequestId,
        content: &[u8],
    ) -> Result<u32, SendRefusal> {
        let (Some(requests), Some(receipts)) = (&mut self.requests, &mut self.receipts) else {
            let refusal = vinbus_protocol::request::AnswerRefusal::Unknown;
            return Err(SendRefusal::Request(refusal));
        };
        requests
            .calls
            .may_answer(slot, id)
            .map_err(SendRefusal::Request)?;
        let content = Content::parse(content).map_err(SendRefusal::Content)?;
        let answer = Answer { id, content };
        let (len, max) = (answer.encoded_len(), PAYLOAD_BYTES_MAX);
        if len > max {
            return Err(SendRefusal::TooLarge { len, max });
        }
        let subtopic = Some(ANSWER_SUBTOPIC);
        let evicted = self.uplinks.push_with(slot, subtopic, len, |bytes| {
            let encoded: Result<_, EncodeError> = answer.encode_uplink(bytes);
            debug_assert!(encoded.is_ok(), "its length was checked");
        })?;
        let number = requests.keep(len, |bytes| {
            let encoded: Result<_, EncodeError> = answer.encode_uplink(bytes);
            debug_assert!(encoded.is_ok(), "its length was checked");
        });
        if let Some(report) = requests.calls.answered(slot, id, number) {
            requests.fresh = Some(Fresh {
                message: report.message,
                id,
                slot,
                number,
            });
            receipts.tell(now_ms, report);
        }
        Ok(evicted.total())
    }

    /// Notes an answer that was just taken, so that another life can send it to whoever asks. Where that
    /// fails, it is lost with this life, and the log says so; nobody is told of it before it is kept.
    pub(super) fn note_answer(&mut self, apps: &mut impl Apps) {
        let fresh = self.requests.as_mut().and_then(|it| it.fresh.take());
        let Some(Fresh {
            message,
            id,
            slot,
            number,
        }) = fresh
        else {
            return;
        };
        let answer = self.kept_answer(number);
        if let Some(uid) = self.identity.uids().nth(usize::from(message.partner))
            && !answer.is_empty()
        {
            let _ = apps.note(Note::Answered {
                uid,
                id: message.id,
                request: id,
                slot,
                answer,
            });
        }
    }

    /// Takes up a request of an earlier life that was answered, with the payload of its answer. Those that
    /// were answered first are taken up first, after [`Desk::answer_requests`].
    pub fn resume_answered(
        &mut self,
        uid: &Uid,
        id: MessageId,
        slot: AppSlot,
        request: RequestId,
        answer: &[u8],
    ) {
        let Some(partner) = self.partner(uid) else {
            return;
        };
        let Some(requests) = &mut self.requests else {
            return;
        };
        let number = requests.keep(answer.len(), |bytes| bytes.copy_from_slice(answer));
        // There are as many partners as apps at most, and an app's slot is one byte.
        let partner = partner as u8;
        let message = Message { partner, id };
        requests
            .calls
            .resume_answered(message, slot, request, number);
    }

    /// When the time of a request is over.
    pub(super) fn requests_deadline_ms(&self) -> u64 {
        let requests = self.requests.as_ref();
        let deadline_ms = requests.and_then(|requests| requests.calls.poll_timeout());
        deadline_ms.unwrap_or(NEVER)
    }

    /// The place of the partner to whom an answer goes again now, and its number.
    pub(crate) fn repeated_answer(&mut self) -> Option<(usize, u64)> {
        let (partner, number) = self.requests.as_mut()?.next_again()?;
        Some((usize::from(partner), number))
    }

    /// The answer that is kept under a number.
    pub(crate) fn kept_answer(&self, number: u64) -> &[u8] {
        let answers = self
            .requests
            .iter()
            .flat_map(|requests| requests.answers.iter());
        let mut found = answers.filter(|record| record.number == number);
        found.next().map_or(&[], |record| record.bytes)
    }

    /// The answer that [`Desk::repeated_answer`] gave was sent.
    pub(crate) fn answer_repeated(&mut self) {
        if let Some(requests) = &mut self.requests {
            requests.again.pop_front();
        }
    }
}

/// Whether an app of the partner is installed and not in the foreground.
fn is_in_background<S: Storage, const APPS: usize>(
    portal: &Portal<S, APPS>,
    uid: &Uid,
    app: &AppId,
) -> bool {
    let mut apps = portal.apps();
    let installed = apps.find(|installed| installed.id == app && installed.uid == uid);
    installed.is_some_and(|installed| portal.foreground() != Some(installed.slot))
}
