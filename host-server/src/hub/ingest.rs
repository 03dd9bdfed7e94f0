//! The way up: what arrives is checked, stored, and then told to consumers.
//!
//! Checking runs on the task of whoever brings the message. Storing is pipelined: the next message
//! is handed to the store without waiting for the commit of the one before, so that one commit
//! carries many. One task settles them in the order of arrival.
//!
//! Bounded by [`IN_FLIGHT_BYTES_MAX`]: who brings more waits, and so does its connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use vinbus_protocol::envelope;
use vinbus_protocol::health;
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;
use vinbus_protocol::presence;
use vinbus_protocol::topic::{Direction, TopicError, TopicScheme};
use vinbus_transport_std::guards::LogThrottle;

use super::events::Events;
use super::presence::Sign;
use super::{PresenceSource, Settings};
use crate::broker::{Arrival, Outcome};
use crate::metrics::{Counter, DURATION_BOUNDS_S, Histogram, Metrics};
use crate::model::{Cursor, NewUplink, Presence};
use crate::store::awaited::writer_gone;
use crate::store::{Pending, Store, StoreError};

/// Bytes of messages between arrival and disk, [`MESSAGE_COST`] included: 8,192 small messages, 248
/// of the largest size. The store takes that many without being busy.
const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;

/// What a message takes of [`IN_FLIGHT_BYTES_MAX`] beside its payload.
const MESSAGE_COST: usize = 4096;

/// Entries that the settling task takes at once.
const SETTLE_AT_ONCE: usize = 1024;

/// The first half of the way up: checks and hands over.
pub(super) struct Ingest {
    topics: TopicScheme,
    presence: PresenceSource,
    store: Arc<dyn Store>,
    room: Arc<Semaphore>,
    /// Locked while a message is handed to the store and to the settling task, so that both have
    /// the same order.
    in_order: Mutex<mpsc::UnboundedSender<Entry>>,
    events: Events,
    figures: Figures,
    log: LogThrottle,
}

/// What an arrival is.
enum Checked {
    Message(NewUplink),
    Presence(Vin, Uid, Presence),
    /// The content of a report of its health.
    Health(Vin, Uid, Box<str>),
    Refused,
}

struct Entry {
    state: EntryState,
    arrived: Instant,
    outcome: oneshot::Sender<Outcome>,
    /// Room is given back when the entry is settled.
    _room: Option<OwnedSemaphorePermit>,
}

enum EntryState {
    Storing(Pending<Cursor>),
    Settled(Outcome),
}

impl Ingest {
    /// Starts the settling task, which tells `changes` every position that is on disk.
    pub(super) fn start(
        store: Arc<dyn Store>,
        settings: &Settings,
        changes: watch::Sender<Cursor>,
        events: Events,
        metrics: &Metrics,
    ) -> Self {
        let (queue, entries) = mpsc::unbounded_channel();
        let figures = Figures::new(metrics);
        tokio::spawn(settle(entries, changes, figures.clone()));
        Self {
            topics: settings.topics.clone(),
            presence: settings.presence,
            store,
            room: Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX)),
            in_order: Mutex::new(queue),
            events,
            figures,
            log: LogThrottle::default(),
        }
    }

    /// Takes an arrival on, when there is room; `on_sign` gets what it says about presence.
    pub(super) async fn take_on(
        &self,
        arrival: Arrival,
        on_sign: impl FnOnce(Vin, &Uid, Sign),
    ) -> oneshot::Receiver<Outcome> {
        let arrived = Instant::now();
        let cost = MESSAGE_COST + arrival.payload.len().min(PAYLOAD_BYTES_MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(cost as u32).await;
        let (outcome, settled) = oneshot::channel();
        let Ok(room) = room else {
            let stopping = StoreError::Failed {
                detail: "the server is shutting down".to_owned(),
            };
            // The receiver is right here.
            let _ = outcome.send(Outcome::Failed(stopping));
            return settled;
        };
        let is_live = !arrival.retained && self.presence == PresenceSource::Subtopic;
        let checked = self.check(arrival);
        let queue = self.in_order.lock().unwrap_or_else(PoisonError::into_inner);
        let state = match checked {
            Checked::Message(message) => {
                let sign = match is_live {
                    true => Sign::Spoke,
                    false => Sign::WasHeard,
                };
                on_sign(message.vin, &message.uid, sign);
                EntryState::Storing(self.store.append_uplink(message))
            }
            Checked::Presence(vin, uid, presence) => {
                on_sign(vin, &uid, Sign::Reported(presence));
                EntryState::Settled(Outcome::Refused)
            }
            Checked::Health(vin, uid, report) => {
                on_sign(vin, &uid, Sign::Examined(report));
                EntryState::Settled(Outcome::Noted)
            }
            Checked::Refused => EntryState::Settled(Outcome::Refused),
        };
        // The settling task ends only when the queue is closed, which is when this is dropped.
        let _ = queue.send(Entry {
            state,
            arrived,
            outcome,
            _room: Some(room),
        });
        drop(queue);
        settled
    }

    /// Takes nothing more on, and returns when everything that was taken on is settled.
    pub(super) async fn shutdown(&self) {
        let all = self.room.acquire_many(IN_FLIGHT_BYTES_MAX as u32).await;
        self.room.close();
        drop(all);
    }

    fn check(&self, arrival: Arrival) -> Checked {
        match self.parse(arrival) {
            Ok(checked) => checked,
            Err(refusal) => {
                self.figures.refused(refusal.reason);
                self.tell_refusal(&refusal);
                if let Some(unlogged) = self.log.pass(Instant::now()) {
                    let Refusal { topic, reason, .. } = &refusal;
                    let topic: String = topic.chars().take(200).collect();
                    let detail = &refusal.detail;
                    tracing::warn!(?topic, reason, detail, unlogged, "uplink message refused");
                }
                Checked::Refused
            }
        }
    }

    /// Tells those of a refusal whom the message was for, where its topic says so.
    fn tell_refusal(&self, refusal: &Refusal) {
        if let Ok(parsed) = self.topics.parse(&refusal.topic)
            && parsed.direction == Direction::Uplink
        {
            let Refusal { reason, detail, .. } = refusal;
            self.events.refused(parsed.vin, parsed.uid, reason, detail);
        }
    }

    fn parse(&self, Arrival { topic, payload, .. }: Arrival) -> Result<Checked, Refusal> {
        let parsed = match self.topics.parse(&topic) {
            Ok(parsed) => parsed,
            Err(error) => return Err(Refusal::new(topic, topic_reason(error), &error)),
        };
        if parsed.direction == Direction::Downlink {
            let detail = "this topic is for messages to vehicles";
            return Err(Refusal::new(topic, "direction", &detail));
        }
        let (is_presence, is_health) = (parsed.is_presence(), parsed.is_health());
        let message = NewUplink {
            uid: parsed.uid,
            vin: parsed.vin,
            subtopic: parsed.subtopic.map(str::to_owned),
            payload,
            received_at: SystemTime::now(),
        };
        let envelope = match envelope::Uplink::decode(&message.payload) {
            Ok(envelope) => envelope,
            Err(error) => return Err(Refusal::new(topic, error.reason.name(), &error)),
        };
        if is_health {
            if health::reported(envelope.content).is_none() {
                let detail = "its content must be an object of at most 1,024 bytes";
                return Err(Refusal::new(topic, "health", &detail));
            }
            let report = envelope.content.as_str().into();
            return Ok(Checked::Health(message.vin, message.uid, report));
        }
        if !is_presence {
            return Ok(Checked::Message(message));
        }
        match (presence::reported(envelope.content), self.presence) {
            (None, _) => {
                let detail = "its content must be {\"online\":true} or {\"online\":false}";
                Err(Refusal::new(topic, "presence", &detail))
            }
            // Connections are the truth; the report is dropped.
            (Some(_), PresenceSource::Connections) => Ok(Checked::Refused),
            (Some(true), PresenceSource::Subtopic) => Ok(Checked::Presence(
                message.vin,
                message.uid,
                Presence::Online,
            )),
            (Some(false), PresenceSource::Subtopic) => Ok(Checked::Presence(
                message.vin,
                message.uid,
                Presence::Offline,
            )),
        }
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }
}

struct Refusal {
    topic: String,
    reason: &'static str,
    detail: String,
}

impl Refusal {
    fn new(topic: String, reason: &'static str, detail: &dyn std::fmt::Display) -> Self {
        Self {
            topic,
            reason,
            detail: detail.to_string(),
        }
    }
}

fn topic_reason(error: TopicError) -> &'static str {
    match error {
        TopicError::Prefix => "topic_prefix",
        TopicError::Direction => "topic_direction",
        TopicError::Shape => "topic_shape",
        TopicError::Uid(_) => "topic_uid",
        TopicError::Vin(_) => "topic_vin",
        TopicError::Subtopic(_) => "topic_subtopic",
    }
}

/// Settles entries in order; ends when the queue is closed and empty.
async fn settle(
    mut entries: mpsc::UnboundedReceiver<Entry>,
    changes: watch::Sender<Cursor>,
    figures: Figures,
) {
    let log = LogThrottle::default();
    let mut taken = Vec::with_capacity(SETTLE_AT_ONCE);
    while entries.recv_many(&mut taken, SETTLE_AT_ONCE).await > 0 {
        let mut stored = None;
        for entry in taken.drain(..) {
            let outcome = match entry.state {
                EntryState::Settled(outcome) => outcome,
                EntryState::Storing(mut pending) => {
                    let result = match (&mut pending).now_or_never() {
                        Some(result) => result,
                        None => {
                            // A commit is on its way; what is on disk already need not wait for it.
                            publish(&changes, stored.take());
                            pending.await
                        }
                    };
                    let result = result.unwrap_or_else(|_| Err(writer_gone()));
                    stored = result.clone().ok().or(stored);
                    figures.outcome(result, entry.arrived, &log)
                }
            };
            // The connection that brought it may have gone.
            let _ = entry.outcome.send(outcome);
        }
        publish(&changes, stored);
    }
}

fn publish(changes: &watch::Sender<Cursor>, stored: Option<Cursor>) {
    if let Some(cursor) = stored {
        changes.send_replace(cursor);
    }
}

/// What the way up counts.
#[derive(Clone)]
pub(super) struct Figures {
    metrics: Metrics,
    pub(super) stored: Counter,
    pub(super) failed: Counter,
    pub(super) refused: Counter,
    seconds: Histogram,
}

impl Figures {
    fn new(metrics: &Metrics) -> Self {
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
            seconds: metrics.histogram(
                "vinbus_uplink_seconds",
                "Time from the arrival of a message from a vehicle until it is on disk.",
                &DURATION_BOUNDS_S,
                &[],
            ),
        }
    }

    /// Counts what became of an append.
    fn outcome(
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

    fn refused(&self, reason: &str) {
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
