//! What becomes of arrivals, told in their order: to who brought them, to consumers, and to delivery.

use std::time::Instant;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use vinbus_protocol::delivery;
use vinbus_transport_std::guards::LogThrottle;

use super::{Entry, EntryState};
use crate::broker::Outcome;
use crate::hub::dispatch::advance;
use crate::metrics::{Counter, DURATION_BOUNDS_S, Histogram, Metrics};
use crate::model::Cursor;
use crate::store::awaited::writer_gone;
use crate::store::channels::{PartFate, PartTaken};
use crate::store::{Pending, StoreError};

/// Entries that the settling task takes at once.
const SETTLE_AT_ONCE: usize = 1024;

/// Settles entries in order; ends when the queue is closed and empty.
pub(super) async fn settle(
    mut entries: mpsc::UnboundedReceiver<Entry>,
    changes: watch::Sender<Cursor>,
    figures: Figures,
) {
    let log = LogThrottle::default();
    let mut taken = Vec::with_capacity(SETTLE_AT_ONCE);
    let mut news = News {
        changes,
        stored: None,
    };
    while entries.recv_many(&mut taken, SETTLE_AT_ONCE).await > 0 {
        for entry in taken.drain(..) {
            let outcome = match entry.state {
                EntryState::Settled(outcome) => outcome,
                EntryState::Storing(pending) => {
                    let result = news.written(pending).await;
                    news.tell(result.as_ref().ok());
                    figures.outcome(result, entry.arrived, &log)
                }
                EntryState::StoringNumbered {
                    pending,
                    channel,
                    id,
                    payload,
                } => {
                    let result = news.written(pending).await;
                    news.tell(result.as_ref().ok());
                    let outcome = figures.outcome(result, entry.arrived, &log);
                    let is_stored = outcome == Outcome::Stored;
                    channel.stored(id, is_stored);
                    match is_stored {
                        true => Outcome::StoredAs(payload),
                        false => outcome,
                    }
                }
                EntryState::StoringPart {
                    pending,
                    channel,
                    id,
                } => {
                    let taken = news.written(pending).await;
                    if let Ok(PartTaken { fate, dropped }) = taken {
                        figures.part(fate, dropped, &log);
                    }
                    match taken.map(|taken| taken.fate) {
                        Ok(PartFate::Whole(cursor)) => {
                            news.tell(Some(&cursor));
                            channel.stored(id, true);
                            figures.outcome(Ok(cursor), entry.arrived, &log)
                        }
                        // It is offered to consumers as it came: on a broker that is not ours they hear
                        // no more, either.
                        Ok(PartFate::Stored) => {
                            channel.over(id, delivery::Step::PartStored);
                            Outcome::Stored
                        }
                        Ok(PartFate::Refused(step)) => {
                            channel.over(id, step);
                            Outcome::Refused
                        }
                        Ok(PartFate::NoRoom) => {
                            channel.stored(id, false);
                            Outcome::Refused
                        }
                        Err(error) => {
                            channel.stored(id, false);
                            figures.outcome(Err(error), entry.arrived, &log)
                        }
                    }
                }
            };
            // The connection that brought it may have gone.
            let _ = entry.outcome.send(outcome);
        }
        news.publish();
    }
}

/// What is on disk and not yet told to consumers.
struct News {
    changes: watch::Sender<Cursor>,
    stored: Option<Cursor>,
}

impl News {
    /// Waits for an append. While a commit is on its way, what is on disk already need not wait for it.
    async fn written<T>(&mut self, mut pending: Pending<T>) -> Result<T, StoreError> {
        let result = match (&mut pending).now_or_never() {
            Some(result) => result,
            None => {
                self.publish();
                pending.await
            }
        };
        result.unwrap_or_else(|_| Err(writer_gone()))
    }

    fn tell(&mut self, stored: Option<&Cursor>) {
        self.stored = stored.copied().or(self.stored);
    }

    fn publish(&mut self) {
        if let Some(cursor) = self.stored.take() {
            advance(&self.changes, cursor);
        }
    }
}

/// What the way up counts.
#[derive(Clone)]
pub(in crate::hub) struct Figures {
    metrics: Metrics,
    pub(in crate::hub) stored: Counter,
    pub(in crate::hub) failed: Counter,
    pub(in crate::hub) refused: Counter,
    parts: [Counter; 4],
    gave_way: Counter,
    seconds: Histogram,
}

impl Figures {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let parts = |outcome| {
            metrics.counter(
                "vinbus_uplink_parts_total",
                "Parts of long messages from vehicles, by what became of them: stored, the last of a \
                 whole message, refused, or without room for one more incomplete message.",
                &[("outcome", outcome)],
            )
        };
        Self {
            metrics: metrics.clone(),
            stored: metrics.counter(
                "vinbus_uplink_stored_total",
                "Messages from vehicles that are on disk.",
                &[],
            ),
            failed: metrics.counter(
                "vinbus_uplink_failed_total",
                "Messages from vehicles that the store failed to keep; they were not acknowledged.",
                &[],
            ),
            refused: Counter::default(),
            parts: ["stored", "whole", "refused", "no_room"].map(parts),
            gave_way: metrics.counter(
                "vinbus_uplink_incomplete_dropped_total",
                "Incomplete messages from vehicles that were silent and gave way to others.",
                &[],
            ),
            seconds: metrics.histogram(
                "vinbus_uplink_seconds",
                "Time from the arrival of a message from a vehicle until it is on disk.",
                &DURATION_BOUNDS_S,
                &[],
            ),
        }
    }

    /// Counts what became of an append.
    pub(super) fn outcome(
        &self,
        result: Result<Cursor, StoreError>,
        arrived: Instant,
        log: &LogThrottle,
    ) -> Outcome {
        match result {
            Ok(_) => {
                self.stored.increment();
                self.seconds.observe_duration(arrived.elapsed());
                Outcome::Stored
            }
            Err(error) => {
                self.failed.increment();
                if let Some(unlogged) = log.pass(Instant::now()) {
                    tracing::error!(%error, unlogged, "uplink message not stored");
                }
                Outcome::Failed(error)
            }
        }
    }

    /// Counts what became of a part.
    fn part(&self, fate: PartFate, dropped: u64, log: &LogThrottle) {
        let [stored, whole, refused, no_room] = &self.parts;
        match fate {
            PartFate::Stored => stored.increment(),
            PartFate::Whole(_) => whole.increment(),
            PartFate::Refused(_) => refused.increment(),
            PartFate::NoRoom => no_room.increment(),
        }
        self.gave_way.add(dropped);
        if fate == PartFate::NoRoom
            && let Some(unlogged) = log.pass(Instant::now())
        {
            tracing::warn!(
                unlogged,
                "as many messages from vehicles are incomplete as may be; one more has to wait"
            );
        }
    }

    pub(super) fn refused(&self, reason: &str) {
        self.refused.increment();
        self.metrics
            .counter(
                "vinbus_uplink_refused_total",
                "Messages from vehicles that broke the protocol, by reason.",
                &[("reason", reason)],
            )
            .increment();
    }
}
