//! Takes messages of the bus for vehicles: on disk before anybody is told that they were taken.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_transport_std::guards::LogThrottle;

use super::down::{self, DownError};
use super::rules::{Down, Rule, Rules};
use crate::broker::{BusIntake, BusRefusal};
use crate::bus::ClientName;
use crate::hub::{Hub, SubmitError, request_id};
use crate::metrics::{Counter, Metrics};

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

/// See the module.
pub(super) struct Intake {
    hub: Hub,
    rules: Arc<Rules>,
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

    /// Takes a message on, if a rule says so; when this returns `Ok`, it is on disk. A refusal is
    /// logged, counted and told.
    pub(super) async fn take_on(&self, topic: &str, payload: &[u8]) -> Result<(), DownError> {
        let Some((rule, down, named)) = self.rules.taking(topic) else {
            return Ok(());
        };
        let taken = self.submit(rule, down, named, payload).await;
        match &taken {
            Ok(()) => self.taken.increment(),
            Err(error) => self.refuse(rule, down, named, payload, error.clone()),
        }
        taken
    }

    async fn submit(
        &self,
        rule: &Rule,
        down: &Down,
        named: Option<&str>,
        payload: &[u8],
    ) -> Result<(), DownError> {
        let ttl = down.ttl.unwrap_or_else(|| self.hub.message_ttl());
        let expires_at = SystemTime::now() + ttl;
        let receipts = down.receipts;
        let receipts = receipts.unwrap_or_else(|| self.hub.receipts_for(&down.app));
        let message = down::message(rule, down, named, payload, expires_at, receipts)?;
        self.hub.submit_downlink(message).await?;
        Ok(())
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

    fn take<'a>(
        &'a self,
        topic: &'a str,
        payload: &'a [u8],
    ) -> BoxFuture<'a, Result<(), BusRefusal>> {
        Box::pin(async move {
            match self.take_on(topic, payload).await {
                // What a bridge has published is for everybody else on the bus.
                Ok(()) | Err(DownError::Bridged) => Ok(()),
                Err(DownError::Vin(_)) => Err(BusRefusal::Topic),
                Err(DownError::Json(_) | DownError::Reserved | DownError::TooDeep(_)) => {
                    Err(BusRefusal::Payload)
                }
                Err(DownError::Submit(SubmitError::Stopping | SubmitError::Store(_))) => {
                    Err(BusRefusal::Unavailable)
                }
                Err(DownError::TooLarge { .. } | DownError::Submit(_)) => Err(BusRefusal::Quota),
            }
        })
    }
}
