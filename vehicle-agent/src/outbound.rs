//! What goes to the broker next, and what is on its way: one message at a time.
//!
//! | while | order |
//! |---|---|
//! | online | presence `true` to every partner, receipts, answers that are asked for again, then health when it is due, then the uplink queue |
//! | stopping | the uplink queue, then presence `false` to every partner |

use vinbus_protocol::delivery::announcement;
use vinbus_protocol::health;
use vinbus_protocol::limits::HEALTH_BYTES_MAX;
use vinbus_protocol::presence;
use vinbus_protocol::request::ANSWER_SUBTOPIC;
use vinbus_protocol::topic::TopicText;

use crate::apps::Apps;
use crate::clock::NEVER;
use crate::desk::{Desk, Frame, FrameKind, Storage};
use crate::link::{Fate, Lost, Outgoing, Session};

/// Pause after a message that the broker did not answer, in milliseconds.
const RETRY_MS: u64 = 500;

/// Where a message is written that is the agent's own. The longest is a report of health: a presence
/// report that offers receipts has less than 112 bytes, and receipts less than 768, which are 32 runs of at
/// most 17 bytes and what is around them.
type OwnMessage = heapless::Vec<u8, HEALTH_BYTES_MAX>;

/// A message, and what it is.
struct Next<'m> {
    what: InFlight,
    topic: TopicText,
    payload: &'m [u8],
}

/// The outbound side of one session.
#[derive(Debug)]
pub(crate) struct Outbound {
    stopping: bool,
    /// Partners that were told whether the vehicle is online.
    told: usize,
    in_flight: Option<InFlight>,
    retry_at_ms: Option<u64>,
    /// A message with receipts went last, so one without goes before the next: they take turns.
    had_turn: bool,
}

#[derive(Clone, Copy, Debug)]
enum InFlight {
    Presence { online: bool },
    Receipts(FrameKind),
    Answer,
    Health,
    Uplink { number: u64 },
}

impl Outbound {
    /// A session that has just come up.
    pub(crate) fn new() -> Self {
        Self {
            stopping: false,
            told: 0,
            in_flight: None,
            retry_at_ms: None,
            had_turn: false,
        }
    }

    /// From now on finishes instead of going on.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        // If the vehicle had not said that it is online, it need not say that it no longer is, but
        // that does no harm and clears what an earlier life has left behind.
        self.told = 0;
    }

    /// When [`Outbound::publish_next`] has something to try again.
    pub(crate) fn retry_at_ms(&self) -> u64 {
        self.retry_at_ms.unwrap_or(NEVER)
    }

    /// When it has something to do though nothing happens.
    pub(crate) fn deadline_ms<S, Q, const APPS: usize, const QUEUE: usize, const SENT: usize>(
        &self,
        desk: &Desk<S, Q, APPS, QUEUE, SENT>,
    ) -> u64
    where
        S: Storage,
        Q: Storage,
    {
        if self.in_flight.is_some() {
            return NEVER;
        }
        let due_ms = || desk.receipts_deadline_ms().min(desk.health_look_at_ms());
        self.retry_at_ms.unwrap_or_else(due_ms)
    }

    /// Publishes the next message if none is on its way; `false` if there is none, too.
    pub(crate) async fn publish_next<
        S,
        Q,
        const APPS: usize,
        const QUEUE: usize,
        const SENT: usize,
    >(
        &mut self,
        now_ms: u64,
        desk: &mut Desk<S, Q, APPS, QUEUE, SENT>,
        apps: &mut impl Apps,
        session: &mut impl Session,
    ) -> Result<bool, Lost>
    where
        S: Storage,
        Q: Storage,
    {
        if self.in_flight.is_some() || self.retry_at_ms.is_some_and(|at| now_ms < at) {
            return Ok(true);
        }
        self.retry_at_ms = None;
        let mut buffer = OwnMessage::new();
        let Some(next) = self.next(now_ms, desk, apps, &mut buffer) else {
            return Ok(false);
        };
        let message = Outgoing {
            topic: &next.topic,
            payload: next.payload,
            retain: matches!(next.what, InFlight::Presence { .. }),
        };
        session.publish(message).await?;
        self.had_turn = matches!(
            next.what,
            InFlight::Receipts(FrameKind::Marked(_) | FrameKind::Plain(_))
        );
        self.in_flight = Some(next.what);
        Ok(true)
    }

    /// The next message; `buffer` is where the agent's own are written.
    fn next<'m, S, Q, const APPS: usize, const QUEUE: usize, const SENT: usize>(
        &self,
        now_ms: u64,
        desk: &'m mut Desk<S, Q, APPS, QUEUE, SENT>,
        apps: &mut impl Apps,
        buffer: &'m mut OwnMessage,
    ) -> Option<Next<'m>>
    where
        S: Storage,
        Q: Storage,
    {
        let online = !self.stopping;
        let is_told = self.told >= desk.identity().uids().count();
        let (what, partner, subtopic, payload) = if !is_told && (online || desk.front().is_none()) {
            let offered = desk.offered(self.told).filter(|_| online);
            let announced = offered.and_then(|offer| announcement(offer, room(buffer)).ok());
            let payload = announced.unwrap_or(presence::payload(online).as_bytes());
            let what = InFlight::Presence { online };
            (what, self.told, Some(presence::SUBTOPIC), payload)
        } else if online
            && !(self.had_turn && desk.front().is_some())
            && let Some(Frame { partner, len, kind }) = desk.receipts(now_ms, room(buffer), apps)
        {
            let payload = match kind {
                FrameKind::Own => buffer.get(..len)?,
                FrameKind::Marked(_) | FrameKind::Plain(_) => desk.written(len),
            };
            let subtopic = desk.subtopic_of(kind);
            (InFlight::Receipts(kind), partner, subtopic, payload)
        } else if online && let Some((partner, number)) = desk.repeated_answer() {
            let payload = desk.kept_answer(number);
            (InFlight::Answer, partner, Some(ANSWER_SUBTOPIC), payload)
        } else if online && let Some(partner) = desk.health_is_due(now_ms, apps) {
            // A report fits its bound.
            let report = desk.health(now_ms, apps).encode(room(buffer));
            let payload = report.unwrap_or_default();
            (InFlight::Health, partner, Some(health::SUBTOPIC), payload)
        } else {
            desk.begin_front();
            let (waiting, uid) = desk.front()?;
            let what = InFlight::Uplink {
                number: waiting.number,
            };
            (what, desk.partner(uid)?, waiting.subtopic, waiting.payload)
        };
        let uid = desk.identity().uids().nth(partner)?;
        // The desk has checked each subtopic; were one wrong, the broker would refuse the topic.
        let topic = desk.identity().uplink_topic(uid, subtopic);
        Some(Next {
            what,
            topic: topic.unwrap_or_default(),
            payload,
        })
    }

    /// Takes the fate of the message that was on its way.
    pub(crate) fn handle_fate<S, Q, const APPS: usize, const QUEUE: usize, const SENT: usize>(
        &mut self,
        now_ms: u64,
        fate: Fate,
        desk: &mut Desk<S, Q, APPS, QUEUE, SENT>,
        apps: &mut impl Apps,
    ) where
        S: Storage,
        Q: Storage,
    {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        match (in_flight, fate) {
            (in_flight, Fate::Unknown) => {
                if let InFlight::Receipts(kind) = in_flight {
                    desk.receipts_fate(kind, None);
                }
                self.retry_at_ms = Some(now_ms + RETRY_MS);
            }
            // A broker that refuses presence messages does without them.
            (InFlight::Presence { online }, Fate::Delivered | Fate::Refused) => {
                // One that was on its way when the agent was stopped is no farewell.
                self.told += usize::from(online != self.stopping);
            }
            // What is lost is told again.
            (InFlight::Receipts(kind), Fate::Delivered) => desk.receipts_fate(kind, Some(true)),
            (InFlight::Receipts(kind), Fate::Refused) => desk.receipts_fate(kind, Some(false)),
            (InFlight::Answer, Fate::Delivered | Fate::Refused) => desk.answer_repeated(),
            (InFlight::Health, Fate::Delivered | Fate::Refused) => desk.health_told(),
            (InFlight::Uplink { number }, Fate::Delivered) => desk.confirm(number, true, apps),
            (InFlight::Uplink { number }, Fate::Refused) => desk.confirm(number, false, apps),
        }
    }
}

/// All of `message`, to be written. It is filled here, as most messages are an app's and need none of it.
#[inline(never)]
fn room(message: &mut OwnMessage) -> &mut [u8] {
    let all = message.resize_default(HEALTH_BYTES_MAX);
    debug_assert!(all.is_ok(), "it is as long as that");
    message
}
