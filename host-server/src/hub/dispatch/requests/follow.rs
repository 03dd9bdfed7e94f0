//! What is done for a request while it is open: its vehicle gets orders, its answer goes to the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time;
use vinbus_protocol::delivery;
use vinbus_protocol::envelope;
use vinbus_protocol::request::{Answer, CallState, Order};

use super::{Open, RequestOutcome};
use crate::hub::dispatch::Dispatch;
use crate::hub::dispatch::driver::random_word;
use crate::hub::lanes::LaneId;
use crate::model::Step;
use crate::store::awaited::{read, written};

impl Dispatch {
    /// Cancels a request; `false` if it is too late for that.
    pub(super) fn cancel(self: &Arc<Self>, open: &Arc<Open>) -> bool {
        let cancelled = open.call().cancel(self.now_ms());
        if cancelled {
            self.requests.figures.cancelled.increment();
            open.end(RequestOutcome::Cancelled);
            open.work.notify_one();
            let (dispatch, open) = (Arc::clone(self), Arc::clone(open));
            tokio::spawn(async move {
                if let Some((_, sequence)) = open.stored.get() {
                    dispatch.withdraw(&open.lane, *sequence).await;
                }
            });
        }
        cancelled
    }

    /// Takes a message back that was not sent yet.
    async fn withdraw(&self, lane: &LaneId, sequence: u64) {
        // A lane that is run finds out by itself when it comes to the message.
        let Some(claim) = self.change_lanes(|lanes| lanes.claim(lane)) else {
            return;
        };
        let LaneId { vin, uid } = lane.clone();
        let store = Arc::clone(&self.store);
        let unsent = read(move || store.unsent(&vin, &uid, sequence - 1, 1)).await;
        let page = match unsent {
            Ok(page) => page,
            Err(error) => {
                self.log_error(&error, "unsent messages could not be read");
                Vec::new()
            }
        };
        if let Some(downlink) = page.first().filter(|first| first.sequence == sequence) {
            let step = Step::Told(delivery::Step::Cancelled);
            let notes = vec![self.note(downlink, step)];
            self.note_finished(lane, notes).await;
        }
        self.change_lanes(|lanes| lanes.release(lane, &claim));
    }

    /// Starts the task of a request that is on disk.
    pub(super) fn start_call(self: &Arc<Self>, open: Arc<Open>) {
        let dispatch = Arc::clone(self);
        tokio::spawn(async move { dispatch.follow_call(&open).await });
    }

    /// Gives the vehicle its orders, until the request is over or the server stops.
    async fn follow_call(&self, open: &Open) {
        let mut stopping = self.stopping.subscribe();
        loop {
            let random = random_word();
            let (order, wake_ms, state) = {
                let mut call = open.call();
                let order = call.poll_transmit(self.now_ms(), random);
                (order, call.poll_timeout(), call.state())
            };
            if state == CallState::Late {
                open.end(RequestOutcome::TimedOut);
            }
            let Some(wake_ms) = wake_ms else {
                self.requests.figures.over.increment();
                return self.requests.leave(open);
            };
            if let Some(order) = order {
                self.publish_order(&open.lane, order).await;
            }
            let wake = time::sleep_until(self.begin + Duration::from_millis(wake_ms));
            tokio::select! {
                () = open.work.notified() => {}
                () = wake => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// An order that does not get through is given again.
    async fn publish_order(&self, lane: &LaneId, order: Order) {
        let mut buffer = vec![0; 256];
        let Ok(payload) = order.encode_downlink(&mut buffer) else {
            return;
        };
        let payload = Bytes::copy_from_slice(payload);
        if let Some(broker) = self.broker().filter(|_| self.is_reachable(&lane.vin))
            && let Err(error) = self.publish_to(&*broker, lane, payload).await
        {
            tracing::debug!(vin = %lane.vin, ?error, "an order for a request did not get through");
        }
    }

    /// Takes the answer to a request: `None` if nobody waits for it, else resolves when it is on disk.
    pub(in crate::hub) fn answer_arrived(
        self: &Arc<Self>,
        lane: &LaneId,
        payload: &[u8],
    ) -> Option<()> {
        let envelope = envelope::Uplink::decode(payload).ok()?;
        let answer = Answer::read(envelope.content)?;
        let open = self.requests.find(lane, answer.id)?;
        let sequence = open.stored.get()?.1;
        let answered = matches!(
            open.seen.borrow().outcome,
            Some(Ok(RequestOutcome::Answered(_)))
        );
        if answered || open.storing.swap(true, Ordering::Relaxed) {
            self.requests.figures.repeated.increment();
            return Some(());
        }
        let content = Bytes::copy_from_slice(answer.content.as_bytes());
        let pending = self.store.answer_request(sequence, content.clone());
        let dispatch = Arc::clone(self);
        // Where it cannot be stored, it is asked for again.
        tokio::spawn(async move {
            match written(pending).await {
                Ok(()) => {
                    dispatch.requests.figures.answered.increment();
                    open.call().handle_answer();
                    open.end(RequestOutcome::Answered(content));
                    open.work.notify_one();
                }
                Err(error) => {
                    dispatch.log_error(&error, "an answer could not be stored");
                    open.call().handle_answered(dispatch.now_ms());
                    open.storing.store(false, Ordering::Relaxed);
                    open.work.notify_one();
                }
            }
        });
        Some(())
    }
}
