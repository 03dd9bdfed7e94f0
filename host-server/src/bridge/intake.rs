//! Takes messages of the bus for vehicles: on disk before anybody is told that they were taken.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::{Semaphore, mpsc};
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_transport_std::guards::LogThrottle;

use super::down::{self, DownError};
use super::rules::{Down, Rule, Rules};
use crate::broker::{BusIntake, BusRefusal, BusTaking};
use crate::bus::ClientName;
use crate::hub::{Hub, SubmitError, request_id};
use crate::metrics::{Counter, Metrics};

/// Bytes of messages on their way to the disk; the next waits. It is a part of what the store takes, so
/// that programs of the bus leave room for others.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Refusals that wait to be told; further ones are counted only.
const REFUSALS_MAX: usize = 1024;

/// Longest name of a vehicle that is told of a refusal, in bytes: that of a level.
const VEHICLE_BYTES_MAX: usize = 96;

/// A message of the bus that was not taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Whose it was.
    pub(super) app: ClientName,
    /// The partner of the rule.
    pub(super) uid: Uid,
    /// The app in the vehicle.
    pub(super) id_app: AppId,
    /// What the topic or the rule names the vehicle.
    pub(super) vehicle: String,
    /// Its `requestId`.
    pub(super) request_id: Option<Box<str>>,
    /// Why.
    pub(super) error: DownError,
}

/// What becomes of a message that has its place on the way to the disk.
pub(super) type Queued = BoxFuture<'static, Result<(), DownError>>;

/// See the module.
pub(super) struct Intake {
    hub: Hub,
    rules: Arc<Rules>,
    room: Arc<Semaphore>,
    refusals: mpsc::Sender<Refusal>,
    taken: Counter,
    refused: Counter,
    untold: Counter,
    log: LogThrottle,
}

impl Intake {
    /// The intake, and the refusals that are to be told.
    pub(super) fn new(
        hub: Hub,
        rules: Arc<Rules>,
        metrics: &Metrics,
    ) -> (Self, mpsc::Receiver<Refusal>) {
        let (refusals, to_tell) = mpsc::channel(REFUSALS_MAX);
        let of = |outcome| {
            metrics.counter(
                "vinbus_bridge_down_total",
                "Messages of the bus for vehicles, by what became of them.",
                &[("outcome", outcome)],
            )
        };
        let intake = Self {
            hub,
            rules,
            room: Arc::new(Semaphore::new(BYTES_MAX)),
            refusals,
            taken: of("taken"),
            refused: of("refused"),
            untold: metrics.counter(
                "vinbus_bus_events_missed_total",
                "Events of vehicles and their messages that could not be told on the bus.",
                &[],
            ),
            log: LogThrottle::default(),
        };
        (intake, to_tell)
    }

    /// Takes a message on, if a rule says so: when this returns, it has its place behind those before
    /// it; what comes back resolves once it is on disk, or told why not. [`Intake::settle`] is to hear
    /// of it.
    pub(super) async fn queue(&self, topic: &str, payload: &[u8]) -> Queued {
        let Some((rule, down, named)) = self.rules.taking(topic) else {
            return Box::pin(ready(Ok(())));
        };
        match self.submit(rule, down, named, payload).await {
            Ok(stored) => Box::pin(stored),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    /// Counts what became of a message; a refusal is logged and told.
    pub(super) fn settle(&self, topic: &str, payload: &[u8], outcome: &Result<(), DownError>) {
        let Some((rule, down, named)) = self.rules.taking(topic) else {
            return;
        };
        match outcome {
            Ok(()) => self.taken.increment(),
            Err(error) => self.refuse(rule, down, named, payload, error.clone()),
        }
    }

    async fn submit(
        &self,
        rule: &Rule,
        down: &Down,
        named: Option<&str>,
        payload: &[u8],
    ) -> Result<impl Future<Output = Result<(), DownError>> + Send + use<>, DownError> {
        let room = Arc::clone(&self.room).acquire_many_owned(permits(payload.len()));
        let room = room.await.map_err(|_| SubmitError::Stopping)?;
        let ttl = down.ttl.unwrap_or_else(|| self.hub.message_ttl());
        let expires_at = SystemTime::now() + ttl;
        let receipts = down.receipts;
        let receipts = receipts.unwrap_or_else(|| self.hub.receipts_for(&down.app));
        let message = down::message(rule, down, named, payload, expires_at, receipts)?;
        let stored = self.hub.queue_downlink(message).await?;
        // On a task of its own, so that there is room again whether or not anybody waits for this one.
        let stored = tokio::spawn(async move {
            let stored = stored.await;
            drop(room);
            stored.map(drop)
        });
        Ok(async {
            let stored = stored.await;
            // It is gone only with the runtime.
            stored.unwrap_or(Err(SubmitError::Stopping))?;
            Ok(())
        })
    }

    fn refuse(
        &self,
        rule: &Rule,
        down: &Down,
        named: Option<&str>,
        payload: &[u8],
        error: DownError,
    ) {
        self.refused.increment();
        if let Some(unlogged) = self.log.pass(Instant::now()) {
            let (app, uid) = (&rule.app, &rule.uid);
            tracing::warn!(%app, %uid, %error, unlogged, "a message of the bus is not taken on for a vehicle");
        }
        let fixed = rule.vin.as_ref().map(Vin::as_str);
        let mut vehicle = fixed.or(named).unwrap_or_default().to_owned();
        vehicle.truncate(vehicle.floor_char_boundary(VEHICLE_BYTES_MAX));
        let refusal = Refusal {
            app: rule.app.clone(),
            uid: rule.uid.clone(),
            id_app: down.app.clone(),
            vehicle,
            request_id: request_id(payload),
            error,
        };
        if self.refusals.try_send(refusal).is_err() {
            self.untold.increment();
        }
    }
}

impl BusIntake for Intake {
    fn wants(&self, topic: &str) -> bool {
        self.rules.taking(topic).is_some()
    }

    #[expect(
        clippy::async_yields_async,
        reason = "what is yielded is awaited by whoever acknowledges, later"
    )]
    fn take(self: Arc<Self>, topic: Arc<str>, payload: Bytes) -> BoxFuture<'static, BusTaking> {
        Box::pin(async move {
            let queued = self.queue(&topic, &payload).await;
            Box::pin(async move {
                let outcome = queued.await;
                self.settle(&topic, &payload, &outcome);
                outcome.or_else(|error| answer(&error))
            }) as BusTaking
        })
    }
}

/// What the publisher of a message that was not taken is told.
fn answer(error: &DownError) -> Result<(), BusRefusal> {
    Err(match error {
        // What a bridge has published is for everybody else on the bus.
        DownError::Bridged => return Ok(()),
        DownError::Vin(_) => BusRefusal::Topic,
        DownError::Json(_) | DownError::Reserved | DownError::Request | DownError::TooDeep(_) => {
            BusRefusal::Payload
        }
        DownError::Submit(SubmitError::Stopping | SubmitError::Store(_)) => BusRefusal::Unavailable,
        DownError::TooLarge { .. } | DownError::Submit(_) => BusRefusal::Quota,
    })
}

/// Bytes as permits; a larger message is refused later, with what it has.
fn permits(bytes: usize) -> u32 {
    bytes.min(BYTES_MAX) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bridge::Pattern;
    use crate::hub;
    use crate::store::lock::DataDir;
    use crate::store::sqlite::{SqliteStore, StoreSettings};

    #[tokio::test]
    async fn more_than_its_room_is_taken_before_anybody_asks_what_became_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (lock, metrics) = (DataDir::lock(dir.path()).unwrap(), Metrics::new());
        let store = SqliteStore::open(lock, StoreSettings::default(), &metrics).unwrap();
        let hub = Hub::new(Arc::new(store), hub::Settings::default(), &metrics).unwrap();
        let rule = Rule {
            app: ClientName::parse("myapp").unwrap(),
            uid: Uid::parse("partner").unwrap(),
            vin: Some(Vin::parse("0123456789ABCDEFG").unwrap()),
            down: Some(Down {
                from: Pattern::parse("robotics/move").unwrap(),
                app: AppId::parse("demo").unwrap(),
                ttl: None,
                receipts: None,
            }),
            up: None,
        };
        let rules = Arc::new(Rules::new(vec![rule], |place| place).unwrap());
        let (intake, _refusals) = Intake::new(hub, rules, &metrics);
        let large = format!("\"{}\"", "x".repeat(100_000));
        let mut queued = Vec::new();
        let all = async {
            for _ in 0..=BYTES_MAX / large.len() {
                queued.push(
                    intake
                        .queue("app/myapp/robotics/move", large.as_bytes())
                        .await,
                );
            }
            for queued in queued {
                queued.await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(60), all);
        in_time.await.expect("there is room again");
    }
}
