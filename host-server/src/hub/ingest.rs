//! The way up: what arrives is checked, stored, and then told to consumers.
//!
//! Checking runs on the task of whoever brings the message. Storing is pipelined: the next message
//! is handed to the store without waiting for the commit of the one before, so that one commit
//! carries many. One task settles them in the order of arrival.
//!
//! Bounded by [`IN_FLIGHT_BYTES_MAX`]: who brings more waits, and so does its connection.

mod settle;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use vinbus_protocol::delivery::{
    self, CONTROL_SUBTOPIC, Carried, Header, MessageId, Offer, Part, Received, Verdict,
};
use vinbus_protocol::envelope;
use vinbus_protocol::health;
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::limits::{DELIVERY_LONG_IDLE_MS, PAYLOAD_BYTES_MAX};
use vinbus_protocol::presence;
use vinbus_protocol::request::ANSWER_SUBTOPIC;
use vinbus_protocol::topic::{Direction, TopicError, TopicScheme};
use vinbus_transport_std::guards::LogThrottle;

use self::settle::Figures;
use super::dispatch::{Dispatch, Driven};
use super::events::Events;
use super::lanes::LaneId;
use super::presence::Sign;
use super::{PresenceSource, Settings};
use crate::broker::{Arrival, Outcome};
use crate::metrics::Metrics;
use crate::model::{Cursor, NewUplink, Presence, RECEIPT_SUBTOPIC};
use crate::store::channels::{NewPart, PartTaken};
use crate::store::{Pending, Store, StoreError};

/// Bytes of messages between arrival and disk, [`MESSAGE_COST`] included: 8,192 small messages, 248
/// of the largest size. The store takes that many without being busy.
const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;

/// What a message takes of [`IN_FLIGHT_BYTES_MAX`] beside its payload.
const MESSAGE_COST: usize = 4096;

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
    /// A message with a number, as its app sent it, and its header.
    Numbered(NewUplink, Header),
    /// A part of a long message, and its header.
    Part(NewPart, Header),
    /// An envelope with a message of delivery's own.
    Delivery(Vin, Uid, Bytes),
    Presence(Vin, Uid, Presence, Option<Offer>),
    /// An envelope with the answer to a request.
    Answer(Vin, Uid, Bytes),
    /// The content of a report of its health.
    Health(Vin, Uid, Box<str>),
    Refused,
}

/// What delivery says of a message with a number.
enum Heard {
    /// It is new.
    New(Arc<Driven>, MessageId),
    /// It came before, or cannot be taken, or has none.
    Done,
    /// The store failed.
    Failed(StoreError),
}

impl Heard {
    /// What is to be settled of a message with a number; `store` stores a new one.
    fn state(self, store: impl FnOnce(Arc<Driven>, MessageId) -> EntryState) -> EntryState {
        match self {
            Self::New(channel, id) => store(channel, id),
            Self::Done => EntryState::Settled(Outcome::Refused),
            Self::Failed(error) => EntryState::Settled(Outcome::Failed(error)),
        }
    }
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
    /// A message with a number; consumers get its payload as it is here.
    StoringNumbered {
        pending: Pending<Cursor>,
        channel: Arc<Driven>,
        id: MessageId,
        payload: Bytes,
    },
    /// A part of a long message.
    StoringPart {
        pending: Pending<PartTaken>,
        channel: Arc<Driven>,
        id: MessageId,
    },
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
        tokio::spawn(settle::settle(entries, changes, figures.clone()));
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
        dispatch: &Arc<Dispatch>,
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
        let spoke = match is_live {
            true => Sign::Spoke,
            false => Sign::WasHeard,
        };
        let checked = self.check(arrival);
        let verdict = self.hear(&checked, dispatch).await;
        let queue = self.in_order.lock().unwrap_or_else(PoisonError::into_inner);
        let state = match checked {
            Checked::Message(message) => {
                on_sign(message.vin, &message.uid, spoke);
                EntryState::Storing(self.store.append_uplink(message))
            }
            Checked::Numbered(message, _) => {
                on_sign(message.vin, &message.uid, spoke);
                verdict.state(|channel, id| EntryState::StoringNumbered {
                    payload: message.payload.clone(),
                    pending: self.store.append_numbered(message, id),
                    channel,
                    id,
                })
            }
            Checked::Part(part, _) => {
                on_sign(part.vin, &part.uid, spoke);
                verdict.state(|channel, id| EntryState::StoringPart {
                    pending: self.store.append_part(part),
                    channel,
                    id,
                })
            }
            // A receipt that is lost is told again.
            Checked::Delivery(..) => EntryState::Settled(Outcome::Refused),
            Checked::Presence(vin, uid, presence, _) => {
                on_sign(vin, &uid, Sign::Reported(presence));
                EntryState::Settled(Outcome::Refused)
            }
            Checked::Answer(vin, uid, _) => {
                on_sign(vin, &uid, spoke);
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

    /// Lets delivery hear what concerns it.
    async fn hear(&self, checked: &Checked, dispatch: &Arc<Dispatch>) -> Heard {
        let lane = |vin: &Vin, uid: &Uid| LaneId {
            vin: *vin,
            uid: uid.clone(),
        };
        let numbered = async |vin: &Vin, uid: &Uid, header: &Header| match dispatch
            .numbered_arrived(&lane(vin, uid), header)
            .await
        {
            Ok(Some((Verdict::New(id), channel))) => Heard::New(channel, id),
            // Its end has counted why it is not used.
            Ok(Some(_)) => Heard::Done,
            Ok(None) => {
                self.figures.refused("partners");
                Heard::Done
            }
            Err(error) => Heard::Failed(error),
        };
        match checked {
            Checked::Numbered(message, header) => {
                numbered(&message.vin, &message.uid, header).await
            }
            Checked::Part(part, header) => numbered(&part.vin, &part.uid, header).await,
            Checked::Delivery(vin, uid, payload) => {
                if let Ok(envelope) = envelope::Uplink::decode(payload)
                    && let Received::Control(control) = delivery::read(envelope.content)
                    && let Err(error) = dispatch.control_arrived(&lane(vin, uid), &control).await
                    && let Some(unlogged) = self.log.pass(Instant::now())
                {
                    tracing::error!(%error, unlogged, "receipts could not be taken; they are told again");
                }
                Heard::Done
            }
            Checked::Answer(vin, uid, payload) => {
                if dispatch.answer_arrived(&lane(vin, uid), payload).is_none() {
                    self.figures.refused("answer");
                }
                Heard::Done
            }
            Checked::Presence(vin, uid, Presence::Online, offer) => {
                dispatch.announced(lane(vin, uid), *offer).await;
                Heard::Done
            }
            Checked::Message(_)
            | Checked::Presence(..)
            | Checked::Health(..)
            | Checked::Refused => Heard::Done,
        }
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
        let is_answer = parsed.subtopic == Some(ANSWER_SUBTOPIC);
        let is_delivery = parsed.subtopic == Some(CONTROL_SUBTOPIC);
        if parsed.subtopic == Some(RECEIPT_SUBTOPIC) {
            let detail = "receipts for partners are made by the server alone";
            return Err(Refusal::new(topic, "receipt", &detail));
        }
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
                let detail = "its content must be an object of at most 1,280 bytes";
                return Err(Refusal::new(topic, "health", &detail));
            }
            let report = envelope.content.as_str().into();
            return Ok(Checked::Health(message.vin, message.uid, report));
        }
        if is_delivery {
            return match delivery::read(envelope.content) {
                Received::Control(_) => {
                    Ok(Checked::Delivery(message.vin, message.uid, message.payload))
                }
                Received::Plain | Received::Message(..) => {
                    let detail = "it is no message of delivery (SPEC 16.6)";
                    Err(Refusal::new(topic, "delivery", &detail))
                }
            };
        }
        if is_answer {
            return Ok(Checked::Answer(message.vin, message.uid, message.payload));
        }
        if !is_presence {
            return Ok(with_receipts(&envelope, &message).unwrap_or(Checked::Message(message)));
        }
        let offer = delivery::announced(envelope.content);
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
                offer,
            )),
            (Some(false), PresenceSource::Subtopic) => Ok(Checked::Presence(
                message.vin,
                message.uid,
                Presence::Offline,
                None,
            )),
        }
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }
}

/// A message with a number, as its app sent it; `None` for an ordinary one.
fn with_receipts(envelope: &envelope::Uplink<'_>, message: &NewUplink) -> Option<Checked> {
    // Nearly all messages have none: to look for its name is cheaper than to read them again.
    if !delivery::mentioned(envelope.content.as_str().as_bytes()) {
        return None;
    }
    let Received::Message(header, carried) = delivery::read(envelope.content) else {
        return None;
    };
    if let Some(part) = header.part {
        let part = new_part(message, (&header, part), &carried);
        return Some(Checked::Part(part, header));
    }
    let [head, tail] = carried.pieces();
    let payload = ["{\"content\":", head, tail, "}"].concat();
    let message = NewUplink {
        payload: payload.into(),
        ..message.clone()
    };
    Some(Checked::Numbered(message, header))
}

fn new_part(message: &NewUplink, (header, part): (&Header, Part), text: &Carried<'_>) -> NewPart {
    let idle = Duration::from_millis(DELIVERY_LONG_IDLE_MS);
    let awaited = match header.ttl_s {
        0 => idle,
        ttl_s => Duration::from_secs(ttl_s.into()).min(idle),
    };
    NewPart {
        uid: message.uid.clone(),
        vin: message.vin,
        subtopic: message.subtopic.clone(),
        received_at: message.received_at,
        id: MessageId {
            epoch: header.epoch,
            number: header.number,
        },
        part,
        piece: text.characters().into_iter().flatten().collect(),
        awaited_until: message.received_at + awaited,
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
