//! What goes to the broker next, and what is on its way: one message at a time.
//!
//! | while | order |
//! |---|---|
//! | online | presence `true` to every partner, receipts, then health when it is due, then the uplink queue |
//! | stopping | the uplink queue, then presence `false` to every partner |

use vinbus_protocol::delivery::announcement;
use vinbus_protocol::health;
use vinbus_protocol::limits::HEALTH_BYTES_MAX;
use vinbus_protocol::topic::TopicText;

use crate::apps::Apps;
use crate::desk::{Desk, Storage};
use crate::link::{Fate, Lost, Outgoing, Session};
use crate::presence;

/// Pause after a message that the broker did not answer, in milliseconds.
const RETRY_MS: u64 = 500;

/// Bytes of a presence report that offers receipts, rounded up.
const ANNOUNCEMENT_BYTES_MAX: usize = if cfg!(feature = "receipts") { 96 } else { 0 };

/// Bytes of the longest message of receipts that a vehicle sends: 32 runs of at most 17 bytes, and
/// what is around them.
const RECEIPTS_BYTES_MAX: usize = if cfg!(feature = "receipts") { 768 } else { 0 };

/// The outbound side of one session.
#[derive(Debug)]
pub(crate) struct Outbound {
    stopping: bool,
    /// Partners that were told whether the vehicle is online.
    told: usize,
    in_flight: Option<InFlight>,
    retry_at_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum InFlight {
    Presence { online: bool },
    Receipts,
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
    pub(crate) fn retry_at_ms(&self) -> Option<u64> {
        self.retry_at_ms
    }

    /// When it has something to do though nothing happens.
    pub(crate) fn deadline_ms<S, Q, const APPS: usize, const QUEUE: usize>(
        &self,
        desk: &Desk<S, Q, APPS, QUEUE>,
    ) -> Option<u64>
    where
        S: Storage,
        Q: Storage,
    {
        if self.in_flight.is_some() {
            return None;
        }
        if self.retry_at_ms.is_some() {
            return self.retry_at_ms;
        }
        let receipts = desk.receipts_deadline_ms();
        receipts.into_iter().chain([desk.health_look_at_ms()]).min()
    }

    /// Publishes the next message if none is on its way; `false` if there is none, too.
    pub(crate) async fn publish_next<S, Q, const APPS: usize, const QUEUE: usize>(
        &mut self,
        now_ms: u64,
        desk: &mut Desk<S, Q, APPS, QUEUE>,
        apps: &impl Apps,
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
        let presence_first = !self.stopping || desk.front().is_none();
        if presence_first && let Some(topic) = self.presence_topic(desk) {
            let online = !self.stopping;
            let mut buffer = [0; ANNOUNCEMENT_BYTES_MAX];
            let offered = desk.offered(self.told).filter(|_| online);
            let announced = offered.and_then(|epoch| announcement(epoch, &mut buffer).ok());
            let plain = vinbus_protocol::presence::payload(online).as_bytes();
            let message = Outgoing {
                topic: &topic,
                payload: announced.unwrap_or(plain),
                retain: true,
            };
            session.publish(message).await?;
            self.in_flight = Some(InFlight::Presence { online });
            return Ok(true);
        }
        let mut buffer = [0; RECEIPTS_BYTES_MAX];
        if !self.stopping
            && let Some((topic, payload)) = desk.receipts(now_ms, &mut buffer)
        {
            let message = Outgoing {
                topic: &topic,
                payload,
                retain: false,
            };
            session.publish(message).await?;
            self.in_flight = Some(InFlight::Receipts);
            return Ok(true);
        }
        if !self.stopping && report_health(now_ms, desk, apps, session).await? {
            self.in_flight = Some(InFlight::Health);
            return Ok(true);
        }
        desk.begin_front();
        let Some((waiting, uid)) = desk.front() else {
            return Ok(false);
        };
        // The desk has checked the subtopic; were it wrong, the broker would refuse the topic.
        let topic = desk
            .identity()
            .uplink_topic(uid, waiting.subtopic)
            .unwrap_or_default();
        let message = Outgoing {
            topic: &topic,
            payload: waiting.payload,
            retain: false,
        };
        session.publish(message).await?;
        self.in_flight = Some(InFlight::Uplink {
            number: waiting.number,
        });
        Ok(true)
    }

    /// Takes the fate of the message that was on its way.
    pub(crate) fn handle_fate<S, Q, const APPS: usize, const QUEUE: usize>(
        &mut self,
        now_ms: u64,
        fate: Fate,
        desk: &mut Desk<S, Q, APPS, QUEUE>,
        apps: &mut impl Apps,
    ) where
        S: Storage,
        Q: Storage,
    {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        match (in_flight, fate) {
            (_, Fate::Unknown) => self.retry_at_ms = Some(now_ms + RETRY_MS),
            // A broker that refuses presence messages does without them.
            (InFlight::Presence { online }, Fate::Delivered | Fate::Refused) => {
                // One that was on its way when the agent was stopped is no farewell.
                self.told += usize::from(online != self.stopping);
            }
            // What is lost is told again.
            (InFlight::Receipts, Fate::Delivered | Fate::Refused) => {}
            (InFlight::Health, Fate::Delivered | Fate::Refused) => desk.health_told(),
            (InFlight::Uplink { number }, Fate::Delivered) => desk.confirm(number, true, apps),
            (InFlight::Uplink { number }, Fate::Refused) => desk.confirm(number, false, apps),
        }
    }

    fn presence_topic<S, Q, const APPS: usize, const QUEUE: usize>(
        &self,
        desk: &Desk<S, Q, APPS, QUEUE>,
    ) -> Option<TopicText>
    where
        S: Storage,
        Q: Storage,
    {
        let identity = desk.identity();
        let uid = identity.uids().nth(self.told)?;
        presence::topic(identity, uid)
    }
}

/// Publishes a report of health if one is due; says whether it was.
async fn report_health<S, Q, const APPS: usize, const QUEUE: usize>(
    now_ms: u64,
    desk: &mut Desk<S, Q, APPS, QUEUE>,
    apps: &impl Apps,
    session: &mut impl Session,
) -> Result<bool, Lost>
where
    S: Storage,
    Q: Storage,
{
    let Some(uid) = desk.health_is_due(now_ms, apps).cloned() else {
        return Ok(false);
    };
    let topic = desk.identity().uplink_topic(&uid, Some(health::SUBTOPIC));
    let mut buffer = [0; HEALTH_BYTES_MAX];
    // A report fits its bound, and its subtopic every topic.
    let message = Outgoing {
        topic: &topic.unwrap_or_default(),
        payload: desk
            .health(now_ms, apps)
            .encode(&mut buffer)
            .unwrap_or_default(),
        retain: false,
    };
    session.publish(message).await?;
    Ok(true)
}
