//! Requests (SPEC 19): a message for a vehicle that somebody waits for the answer of.
//!
//! [`Requests`] knows those that are open, each with the protocol's [`Call`] and a task that gives the
//! vehicle its orders. Dispatch tells it of steps that are on disk, ingest brings it answers. Who waits
//! watches the outcome; who repeats a request finds it here, or in the store once it is over.

mod follow;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use tokio::sync::{Notify, watch};
use vinbus_protocol::delivery;
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::limits::REQUEST_LATE_MS;
use vinbus_protocol::request::{Absent, Call, CallState, RequestId};

use super::Dispatch;
use crate::hub::lanes::LaneId;
use crate::hub::{Hub, SubmitError};
use crate::metrics::{Counter, Gauge, Metrics};
use crate::model::{Downlink, MessageId, NewDownlink, Presence, Step};
use crate::store::awaited::{read, writer_gone};
use crate::store::requests::StoredRequest;
use crate::store::{Store, StoreError};

/// Requests that are open at the same time, or whose late answers would be taken: some 2 KiB each, and
/// their answers until the last who waits has gone.
pub const REQUESTS_OPEN_MAX: usize = 4_096;

/// A request to be made.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// What names it.
    pub id: RequestId,
    /// The message, whose content is a request of that name (SPEC 19.1).
    pub message: NewDownlink,
    /// What becomes of it where nobody is there.
    pub absent: Absent,
    /// Somebody may make it again and ask for its answer: it is not cancelled when nobody waits.
    pub has_key: bool,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The app's content.
    Answered(Bytes),
    /// Its time was over.
    TimedOut,
    /// Its caller cancelled it.
    Cancelled,
    /// It ended without an answer.
    Ended(Step),
}

/// Why a request was not made, or its end not awaited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The vehicle is offline, and the request does not wait for it.
    #[error("vehicle {vin} is offline, and the request does not wait for it")]
    Offline {
        /// The vehicle.
        vin: Vin,
    },
    /// Another request has the same name.
    #[error("another request to the vehicle had this key")]
    KeyReused,
    /// As many requests are open as may be.
    #[error("{max} requests are open, the limit of this server")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The message was not accepted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// A request that was made, and what became of it so far.
#[derive(Clone, Debug)]
pub struct RequestDone {
    /// The name of its message, for [`Hub::trace`].
    pub id: MessageId,
    /// What became of it.
    pub outcome: RequestOutcome,
    /// The last step that is known.
    pub last: Step,
}

/// The requests that are open.
pub(super) struct Requests {
    known: Mutex<Known>,
    figures: Figures,
}

#[derive(Default)]
struct Known {
    by_name: HashMap<(LaneId, RequestId), Arc<Open>>,
    by_sequence: HashMap<u64, Arc<Open>>,
}

/// A request that is open.
struct Open {
    lane: LaneId,
    id: RequestId,
    /// Of its envelope, to tell another request of the same name.
    fingerprint: Fingerprint,
    absent: Absent,
    has_key: bool,
    /// The name and the place of its message, once it is on disk.
    stored: OnceLock<(MessageId, u64)>,
    call: Mutex<Call>,
    seen: watch::Sender<Seen>,
    waiting: AtomicUsize,
    /// An answer is on its way to the disk.
    storing: AtomicBool,
    work: Notify,
}

/// What those see who wait.
#[derive(Clone, Debug)]
struct Seen {
    last: Step,
    outcome: Option<Result<RequestOutcome, SubmitError>>,
}

/// Somebody who waits; the last one who goes away without a key cancels the request.
struct Waiter {
    open: Arc<Open>,
    dispatch: Arc<Dispatch>,
}

impl Open {
    fn call(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more is to come of it.
    fn over(&self, outcome: RequestOutcome) {
        self.call().handle_end();
        self.end(outcome);
        self.work.notify_one();
    }

    /// What became of it; the first word counts, but for an answer, which comes last.
    fn end(&self, outcome: RequestOutcome) {
        let is_new = self.seen.send_if_modified(|seen| {
            let is_answer = matches!(outcome, RequestOutcome::Answered(_));
            let changes = seen.outcome.is_none() || is_answer;
            if changes {
                seen.outcome = Some(Ok(outcome));
            }
            changes
        });
        if is_new {
            self.work.notify_one();
        }
    }
}

impl Requests {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            known: Mutex::default(),
            figures: Figures::new(metrics),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message is a request that is open.
    pub(super) fn is_open(&self, sequence: u64) -> bool {
        self.known().by_sequence.contains_key(&sequence)
    }

    /// Whether a message is a request that nobody wants any more.
    pub(super) fn is_cancelled(&self, sequence: u64) -> bool {
        let open = self.known().by_sequence.get(&sequence).cloned();
        open.is_some_and(|open| open.call().state() == CallState::Cancelled)
    }

    /// A step of a message is on disk.
    pub(super) fn step(&self, now_ms: u64, sequence: u64, step: Step) {
        let Some(open) = self.known().by_sequence.get(&sequence).cloned() else {
            return;
        };
        open.seen.send_modify(|seen| seen.last = step);
        match step {
            Step::Told(delivery::Step::Answered) => {
                open.call().handle_answered(now_ms);
                open.work.notify_one();
            }
            // The call finds out by its own clock.
            Step::Expired => open.end(RequestOutcome::TimedOut),
            Step::Told(delivery::Step::Cancelled) => {
                open.over(RequestOutcome::Cancelled);
            }
            Step::Held if open.absent == Absent::Refuse => {
                open.call().cancel(now_ms);
                open.end(RequestOutcome::Ended(step));
            }
            step if step.is_final() => {
                open.over(RequestOutcome::Ended(step));
            }
            _ => {}
        }
    }

    /// Takes a place for a request, or finds the one of the same name.
    fn enter(&self, new: &NewRequest, now_ms: u64) -> Result<(Arc<Open>, bool), RequestError> {
        let message = &new.message;
        let lane = LaneId {
            vin: message.vin,
            uid: message.uid.clone(),
        };
        let fingerprint = fingerprint(&message.envelope);
        let mut known = self.known();
        if let Some(open) = known.by_name.get(&(lane.clone(), new.id)) {
            if open.fingerprint != fingerprint {
                return Err(RequestError::KeyReused);
            }
            return Ok((Arc::clone(open), false));
        }
        if known.by_name.len() >= REQUESTS_OPEN_MAX {
            let max = REQUESTS_OPEN_MAX;
            return Err(RequestError::TooMany { max });
        }
        let open = Arc::new(Open {
            lane: lane.clone(),
            id: new.id,
            fingerprint,
            absent: new.absent,
            has_key: new.has_key,
            stored: OnceLock::new(),
            call: Mutex::new(Call::new(now_ms, new.id, left_ms(message.expires_at))),
            seen: watch::Sender::new(Seen {
                last: Step::Accepted,
                outcome: None,
            }),
            waiting: AtomicUsize::new(0),
            storing: AtomicBool::new(false),
            work: Notify::new(),
        });
        known.by_name.insert((lane, new.id), Arc::clone(&open));
        self.figures.open.set(known.by_name.len() as i64);
        Ok((open, true))
    }

    /// A request is on disk.
    fn stored(&self, open: &Arc<Open>, downlink: &Downlink) {
        let sequence = downlink.sequence;
        let _ = open.stored.set((downlink.id.clone(), sequence));
        let mut known = self.known();
        known.by_sequence.insert(sequence, Arc::clone(open));
    }

    fn leave(&self, open: &Open) {
        let mut known = self.known();
        known.by_name.remove(&(open.lane.clone(), open.id));
        if let Some((_, sequence)) = open.stored.get() {
            known.by_sequence.remove(sequence);
        }
        self.figures.open.set(known.by_name.len() as i64);
    }

    fn find(&self, lane: &LaneId, id: RequestId) -> Option<Arc<Open>> {
        self.known().by_name.get(&(lane.clone(), id)).cloned()
    }
}

impl Hub {
    /// Makes a request and waits for what becomes of it, or waits for the one that was made with the
    /// same name. Dropping the future cancels it if it has no key and nobody else waits.
    ///
    /// # Errors
    /// A [`RequestError`]: nothing was made, or the server stops.
    pub async fn request(&self, new: NewRequest) -> Result<RequestDone, RequestError> {
        let dispatch = &self.inner.dispatch;
        let (open, is_new) = dispatch.requests.enter(&new, dispatch.now_ms())?;
        open.waiting.fetch_add(1, Ordering::Relaxed);
        let waiter = Waiter {
            open,
            dispatch: Arc::clone(dispatch),
        };
        if is_new {
            let (hub, open) = (self.clone(), Arc::clone(&waiter.open));
            // On a task of its own, so that it is finished also when the caller goes away.
            tokio::spawn(async move { hub.make(open, new).await });
        }
        waiter.wait().await
    }

    /// Cancels a request that is open; says whether there was one.
    #[must_use]
    pub fn cancel_request(&self, vin: Vin, uid: Uid, id: RequestId) -> bool {
        let dispatch = &self.inner.dispatch;
        let open = dispatch.requests.find(&LaneId { vin, uid }, id);
        open.is_some_and(|open| dispatch.cancel(&open))
    }

    /// Takes up the requests that were open when the server stopped.
    pub(in crate::hub) fn resume_requests(&self) -> Result<(), StoreError> {
        let dispatch = &self.inner.dispatch;
        let late = Duration::from_millis(REQUEST_LATE_MS);
        let since = SystemTime::now().checked_sub(late);
        let since = since.unwrap_or(SystemTime::UNIX_EPOCH);
        for stored in self.inner.store.open_requests(since)? {
            let new = NewRequest {
                id: stored.id,
                message: stored.downlink.message.clone(),
                absent: Absent::Wait,
                has_key: true,
            };
            let now_ms = dispatch.now_ms();
            let Ok((open, _)) = dispatch.requests.enter(&new, now_ms) else {
                continue;
            };
            dispatch.requests.stored(&open, &stored.downlink);
            dispatch
                .requests
                .step(now_ms, stored.downlink.sequence, stored.last);
            dispatch.start_call(open);
        }
        Ok(())
    }

    /// Puts a request on disk, unless it was there before.
    async fn make(&self, open: Arc<Open>, new: NewRequest) {
        let dispatch = &self.inner.dispatch;
        let refuse = |error: SubmitError| {
            dispatch.requests.leave(&open);
            open.seen
                .send_modify(|seen| seen.outcome = Some(Err(error)));
        };
        if new.has_key {
            let LaneId { vin, uid } = open.lane.clone();
            let store = Arc::clone(&self.inner.store);
            let id = open.id;
            match read(move || store.request(&vin, &uid, id)).await {
                Err(error) => return refuse(SubmitError::Store(error)),
                Ok(Some(stored)) => return self.find_again(&open, stored),
                Ok(None) => {}
            }
        }
        if new.absent == Absent::Refuse
            && dispatch.presence().of(&open.lane.vin) == Presence::Offline
        {
            dispatch.requests.leave(&open);
            return open.end(RequestOutcome::Ended(Step::Held));
        }
        let (requests, request) = (Arc::clone(dispatch), Arc::clone(&open));
        let append =
            move |store: &dyn Store, message, now| store.append_request(request.id, message, now);
        let open_too = Arc::clone(&open);
        let queued = self.queue(new.message, append, move |downlink| {
            requests.requests.stored(&open_too, downlink);
        });
        let submitted = match queued.await {
            Ok(stored) => stored
                .await
                .unwrap_or_else(|_| Err(writer_gone()))
                .map_err(SubmitError::Store),
            Err(error) => Err(error),
        };
        match submitted {
            Ok(_) => {
                dispatch.requests.figures.made.increment();
                dispatch.start_call(open);
            }
            Err(error) => refuse(error),
        }
    }

    /// A request is on disk, and was over before this one was made.
    fn find_again(&self, open: &Open, stored: StoredRequest) {
        let dispatch = &self.inner.dispatch;
        dispatch.requests.leave(open);
        let StoredRequest {
            downlink,
            answer,
            last,
            ..
        } = stored;
        let outcome = match (answer, last) {
            _ if fingerprint(&downlink.message.envelope) != open.fingerprint => {
                Err(SubmitError::OtherRequest)
            }
            (Some(answer), _) => Ok(RequestOutcome::Answered(answer)),
            (None, Step::Told(delivery::Step::Cancelled)) => Ok(RequestOutcome::Cancelled),
            (None, Step::Expired) => Ok(RequestOutcome::TimedOut),
            (None, last) if last.is_final() => Ok(RequestOutcome::Ended(last)),
            (None, _) => Ok(RequestOutcome::TimedOut),
        };
        let _ = open.stored.set((downlink.id, downlink.sequence));
        open.seen.send_modify(|seen| {
            seen.last = last;
            seen.outcome = Some(outcome);
        });
    }
}

impl Waiter {
    async fn wait(&self) -> Result<RequestDone, RequestError> {
        let mut seen = self.open.seen.subscribe();
        let mut stopping = self.dispatch.stopping.subscribe();
        let seen = tokio::select! {
            // The sender is in what we hold.
            seen = seen.wait_for(|seen| seen.outcome.is_some()) => {
                seen.map(|seen| seen.clone()).map_err(|_| SubmitError::Stopping)?
            }
            _ = stopping.wait_for(|stop| *stop) => return Err(SubmitError::Stopping.into()),
        };
        let outcome = match seen.outcome {
            Some(Ok(outcome)) => outcome,
            Some(Err(SubmitError::OtherRequest)) => return Err(RequestError::KeyReused),
            Some(Err(error)) => return Err(error.into()),
            None => return Err(SubmitError::Stopping.into()),
        };
        match self.open.stored.get() {
            Some((id, _)) => Ok(RequestDone {
                id: id.clone(),
                outcome,
                last: seen.last,
            }),
            // Only what does not wait ends before it is on disk.
            None => Err(RequestError::Offline {
                vin: self.open.lane.vin,
            }),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let was_last = self.open.waiting.fetch_sub(1, Ordering::Relaxed) == 1;
        let is_over = self.open.seen.borrow().outcome.is_some();
        if was_last && !self.open.has_key && !is_over && !*self.dispatch.stopping.borrow() {
            self.dispatch.cancel(&self.open);
        }
    }
}

type Fingerprint = [u8; SHA256_OUTPUT_LEN];

fn fingerprint(envelope: &[u8]) -> Fingerprint {
    let hash = digest(&SHA256, envelope);
    hash.as_ref().try_into().unwrap_or([0; SHA256_OUTPUT_LEN])
}

fn left_ms(until: SystemTime) -> u64 {
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}

/// What is counted of requests.
struct Figures {
    open: Gauge,
    made: Counter,
    answered: Counter,
    repeated: Counter,
    cancelled: Counter,
    over: Counter,
}

impl Figures {
    fn new(metrics: &Metrics) -> Self {
        let counter = |what| {
            metrics.counter(
                "vinbus_requests_total",
                "Requests to apps: made, answered, answered once more, cancelled by their callers, \
                 and over, answered or not.",
                &[("what", what)],
            )
        };
        Self {
            open: metrics.gauge(
                "vinbus_requests_open",
                "Requests to apps that are open, or whose late answer would be taken.",
                &[],
            ),
            made: counter("made"),
            answered: counter("answered"),
            repeated: counter("repeated"),
            cancelled: counter("cancelled"),
            over: counter("over"),
        }
    }
}
