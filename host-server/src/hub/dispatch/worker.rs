//! The workers, which take lanes in turn.
//!
//! A worker reads a page of the lane's unsent messages, hands them to the broker one after the other, and
//! notes each as sent; it goes on only when the notes are on disk, so a message is sent twice only if the
//! process dies in between. For a vehicle that is offline, or does not listen to this partner, it notes the
//! messages as held; the next report of the vehicle's presence wakes the lane. A worker waits for one vehicle
//! only as long as [`Broker::patience`] says; then the lane rests, and the worker takes another.
//!
//! A message with receipts whose app has no room waits (see `rings`), with all others for that app but
//! requests, and those of other apps pass by. Where no message with receipts may go, the lane waits for the vehicle's
//! answer; when it has left something unanswered for 10 seconds, those with receipts wait on in their order, and those
//! without pass by, but for apps that have no room. Nor does one without receipts go before those with a number are sent:
//! the lane waits for the channel's task. It is run anew as soon as some that were passed by may go.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time;
use vinbus_protocol::delivery;

use super::admission::Admission;
use super::notes::Note;
use super::parts::LongAdmission;
use super::{Dispatch, until};
use crate::broker::{Broker, PublishError};
use crate::hub::lanes::{LaneId, Run};
use crate::model::{Downlink, Presence, Receipts, Step};
use crate::store::StoreError;
use crate::store::awaited::read;
use crate::store::channels::LeftOut;

/// Messages read at once for one lane.
pub(super) const PAGE_MESSAGES: usize = 32;

/// Why a worker leaves a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nothing more can be done until something changes.
    Done,
    /// It is stuck, and worth trying again later.
    Stuck,
    /// The vehicle's link is behind: its turn comes then.
    Paced(time::Instant),
}

/// Messages that a worker has passed by, as they wait for something else than it.
#[derive(Debug, Default)]
struct Passed {
    /// The last of them, or one behind it.
    to: u64,
    /// Those for apps that have no room, and those with receipts as long as none of them may go: the lane is
    /// woken when that changes.
    left_out: LeftOut,
    /// A long message waits for its turn.
    a_long_one: bool,
}

impl Passed {
    fn is_nothing(&self) -> bool {
        self.to == 0
    }
}

/// Why the messages of a page were not all handed to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// There is no way to the broker, or the vehicle takes nothing.
    Stuck,
    /// The vehicle does not listen to this partner.
    Deaf,
    /// The vehicle's link is behind.
    Paced(time::Instant),
    /// Some that were passed by may go now, and are not to wait for all that is behind them.
    Woken,
}

impl Dispatch {
    /// One worker: takes lanes until the server stops.
    pub(super) async fn work(self: &Arc<Self>, broker: &dyn Broker) {
        let mut stopping = self.stopping.subscribe();
        while !self.is_stopping() {
            let (taken, next_rested) = {
                let mut lanes = self.lanes();
                (lanes.take(time::Instant::now()), lanes.next_rested())
            };
            let Some((run, more)) = taken else {
                tokio::select! {
                    () = self.work.notified() => {}
                    () = until(next_rested) => {}
                    _ = stopping.wait_for(|stop| *stop) => {}
                }
                continue;
            };
            if more {
                self.work.notify_one();
            }
            let lane = run.lane.clone();
            let mut held_to = run.held_to;
            let left = self.run_lane(broker, run, &mut held_to).await;
            self.change_lanes(|lanes| match left {
                Left::Done => lanes.park(&lane, held_to),
                Left::Stuck => lanes.rest(&lane, held_to, time::Instant::now()),
                Left::Paced(until) => lanes.rest_until(&lane, held_to, until),
            });
        }
    }

    async fn run_lane(self: &Arc<Self>, broker: &dyn Broker, run: Run, held_to: &mut u64) -> Left {
        let Run {
            lane, mut fresh, ..
        } = run;
        let mut is_deaf = false;
        let mut passed = Passed::default();
        while !self.is_stopping() {
            let is_away = is_deaf || self.is_offline(&lane);
            if !is_away && !self.is_link_up() {
                return Left::Done;
            }
            if is_away {
                passed = Passed::default();
            }
            // What was sent is not among the unsent any more.
            let after = if is_away { *held_to } else { passed.to };
            let page = match fresh.take() {
                // One may be before it that is between two parts.
                Some(downlink) if !downlink.message.is_long() => vec![downlink],
                _ => match self.unsent(&lane, after, &passed.left_out).await {
                    Ok(page) => page,
                    Err(error) => {
                        self.log_error(&error, "unsent messages could not be read");
                        return Left::Stuck;
                    }
                },
            };
            let Some(last) = page.last() else {
                return Left::Done;
            };
            if is_away {
                *held_to = last.sequence;
                self.hold(&page).await;
                continue;
            }
            let (notes, stop) = self.publish(broker, &lane, &page, &mut passed).await;
            self.note_finished(&lane, notes).await;
            match stop {
                Some(Stop::Stuck) => return Left::Stuck,
                Some(Stop::Deaf) => is_deaf = true,
                Some(Stop::Paced(until)) => return Left::Paced(until),
                // It is run again from its beginning.
                Some(Stop::Woken) => return Left::Done,
                None => {}
            }
        }
        Left::Done
    }

    fn is_offline(&self, lane: &LaneId) -> bool {
        self.presence().of(&lane.vin) == Presence::Offline
    }

    /// A page of the unsent after a sequence, but for those that are left out.
    pub(super) async fn unsent(
        &self,
        lane: &LaneId,
        after: u64,
        left_out: &LeftOut,
    ) -> Result<Vec<Downlink>, StoreError> {
        let store = Arc::clone(&self.store);
        let (LaneId { vin, uid }, left_out) = (lane.clone(), left_out.clone());
        let page = move || match left_out.is_nothing() {
            true => store.unsent(&vin, &uid, after, PAGE_MESSAGES),
            false => store.unsent_besides(&vin, &uid, after, &left_out, PAGE_MESSAGES),
        };
        read(page).await
    }

    async fn hold(&self, page: &[Downlink]) {
        let notes: Vec<_> = page
            .iter()
            .map(|downlink| self.note(downlink, Step::Held))
            .collect();
        self.settle(notes).await;
        self.figures.held.add(page.len() as u64);
    }

    /// Hands messages to the broker until one cannot be, the vehicle goes, or the server stops.
    async fn publish<'p>(
        self: &Arc<Self>,
        broker: &dyn Broker,
        lane: &LaneId,
        page: &'p [Downlink],
        passed: &mut Passed,
    ) -> (Vec<Note<'p>>, Option<Stop>) {
        let mut notes = Vec::with_capacity(page.len());
        let mut stopping = self.stopping.subscribe();
        let mut numbered = 0;
        for (index, downlink) in page.iter().enumerate() {
            if index < numbered {
                continue;
            }
            if self.is_offline(lane) {
                break;
            }
            let is_over = downlink.message.expires_at <= SystemTime::now();
            let is_request = || self.requests.is_open(downlink.sequence);
            if !is_over && passed.left_out.apps.contains(&downlink.message.app) && !is_request() {
                // Those before it are not to be overtaken.
                passed.to = downlink.sequence;
                continue;
            }
            if downlink.message.is_long() {
                // The one before it may be between two parts by now, and a vehicle joins what it gets.
                let waits = passed.a_long_one || passed.left_out.only_without_receipts;
                if waits && !is_over {
                    passed.to = downlink.sequence;
                    continue;
                }
                let step = match self.admit_long(lane, downlink).await {
                    LongAdmission::Waits => {
                        passed.a_long_one = true;
                        passed.to = downlink.sequence;
                        continue;
                    }
                    LongAdmission::TooLarge => Step::Told(delivery::Step::TooLarge),
                    LongAdmission::Expired => Step::Expired,
                    LongAdmission::Until(until) => return (notes, Some(Stop::Paced(until))),
                    LongAdmission::Later => return (notes, Some(Stop::Stuck)),
                    LongAdmission::Full => {
                        self.leave_out_with_receipts(lane, downlink, passed);
                        continue;
                    }
                };
                notes.push(self.note(downlink, step));
                continue;
            }
            if is_over {
                notes.push(self.note(downlink, Step::Expired));
                continue;
            }
            if self.requests.is_cancelled(downlink.sequence) {
                let step = Step::Told(delivery::Step::Cancelled);
                notes.push(self.note(downlink, step));
                continue;
            }
            if downlink.message.receipts != Receipts::No {
                if passed.left_out.only_without_receipts {
                    passed.to = downlink.sequence;
                    continue;
                }
                match self
                    .admit(lane, &page[index..], &passed.left_out.apps)
                    .await
                {
                    // What the vehicle would not answer is no request.
                    Admission::Ordinary if is_request() => {
                        notes.push(self.note(downlink, Step::Unsupported));
                        continue;
                    }
                    Admission::Ordinary => {}
                    Admission::Until(until) => return (notes, Some(Stop::Paced(until))),
                    Admission::Later => return (notes, Some(Stop::Stuck)),
                    Admission::Full => {
                        self.leave_out_with_receipts(lane, downlink, passed);
                        continue;
                    }
                    Admission::Numbered { looked_at, full } => {
                        numbered = index + looked_at;
                        if !full.is_empty() {
                            passed.to = page[numbered - 1].sequence;
                            passed.left_out.apps.extend(full);
                        }
                        continue;
                    }
                }
            }
            if let Some(until) = self.others_go_first_until(lane) {
                return (notes, Some(Stop::Paced(until)));
            }
            if let Err(until) = self.ask_pace(lane) {
                return (notes, Some(Stop::Paced(until)));
            }
            let published = tokio::select! {
                published = self.publish_to(broker, lane, downlink.message.envelope.clone()) => published,
                _ = stopping.wait_for(|stop| *stop) => break,
            };
            let step = match published {
                Ok(()) => Step::Sent,
                Err(PublishError::LinkDown) => return (notes, Some(Stop::Stuck)),
                Err(PublishError::NotListening) => return (notes, Some(Stop::Deaf)),
                Err(PublishError::Rejected { detail }) => {
                    let (id, vin) = (&downlink.id, &lane.vin);
                    tracing::error!(%id, %vin, detail, "the broker cannot carry a message");
                    Step::Rejected
                }
            };
            notes.push(self.note(downlink, step));
            if !passed.is_nothing() && self.lanes().is_woken(lane) {
                return (notes, Some(Stop::Woken));
            }
        }
        (notes, None)
    }

    /// No message with receipts may go for now: this one and all behind it wait. Those without pass by, unless
    /// their app has no room: they would push out what it was handed.
    fn leave_out_with_receipts(&self, lane: &LaneId, first: &Downlink, passed: &mut Passed) {
        passed.to = first.sequence;
        passed.left_out.only_without_receipts = true;
        if let Some(driven) = self.loaded(lane) {
            let full = driven.lock().await_room_of_full(self.now_ms());
            // It has to know when one of them counts as an app that hangs.
            driven.work.notify_one();
            passed.left_out.apps.extend(full);
        }
    }
}
