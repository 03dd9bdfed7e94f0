//! Tells applications what happens, as fast as their bus takes it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use vinbus_protocol::bus::BuildError;
use vinbus_transport_std::guards::LogThrottle;

use super::events::{self, Event};
use super::intake::Refusal;
use super::log::{Log, Page};
use super::{Audience, BusPort};
use crate::hub::HubEvent;
use crate::metrics::{Counter, Metrics};
use crate::model::RECEIPT_SUBTOPIC;

/// Tells an audience over a bus.
pub(super) struct Teller {
    audience: Audience,
    port: Arc<dyn BusPort>,
    told: Counter,
    missed: Counter,
    trouble: LogThrottle,
}

impl Teller {
    pub(super) fn new(audience: Audience, port: Arc<dyn BusPort>, metrics: &Metrics) -> Self {
        Self {
            audience,
            port,
            told: metrics.counter(
                "vinbus_bus_events_told_total",
                "Events of vehicles and their messages that were told on the bus.",
                &[],
            ),
            missed: metrics.counter(
                "vinbus_bus_events_missed_total",
                "Events of vehicles and their messages that could not be told on the bus.",
                &[],
            ),
            trouble: LogThrottle::default(),
        }
    }

    pub(super) fn audience(&self) -> &Audience {
        &self.audience
    }

    /// Tells what happens in the hub, and what the intake refuses, until the hub is gone.
    pub(super) async fn tell_events(
        &self,
        mut events: broadcast::Receiver<HubEvent>,
        mut refusals: mpsc::Receiver<Refusal>,
    ) {
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                Some(refusal) = refusals.recv() => {
                    self.tell(events::refused(&refusal, SystemTime::now())).await;
                    continue;
                }
            };
            match event {
                Ok(event) => self.tell_event(&event).await,
                Err(RecvError::Lagged(count)) => self.tell_missed(count).await,
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Tells what vehicles send, until the hub is gone.
    pub(super) async fn tell_received(&self, mut log: Log) {
        while let Some(page) = log.page().await {
            let Page {
                messages,
                searched_to,
                lost,
            } = page;
            if lost > 0 {
                self.tell_missed(lost).await;
            }
            // Receipts are told as steps of their messages.
            let received = messages
                .iter()
                .filter(|uplink| uplink.message.subtopic.as_deref() != Some(RECEIPT_SUBTOPIC));
            for uplink in received {
                for app in self.audience.of_received(&uplink.message.uid) {
                    self.tell(events::received(uplink, app, SystemTime::now()))
                        .await;
                }
            }
            log.go_on(searched_to);
        }
    }

    async fn tell_event(&self, event: &HubEvent) {
        let now = SystemTime::now();
        for app in self.audience.of(event) {
            self.tell(events::of_hub(event, app, now)).await;
        }
    }

    async fn tell_missed(&self, count: u64) {
        self.missed.add(count);
        if let Some(unlogged) = self.trouble.pass(Instant::now()) {
            tracing::warn!(
                count,
                unlogged,
                "events came faster than the bus was told of them"
            );
        }
        for app in self.audience.apps() {
            self.tell(events::missed(count, app, SystemTime::now()))
                .await;
        }
    }

    async fn tell(&self, event: Result<Event, BuildError>) {
        let trouble = match event {
            Ok(Event { topic, payload }) => match self.port.publish(&topic, payload).await {
                Ok(()) => return self.told.increment(),
                Err(error) => error.to_string(),
            },
            // Names, VINs and steps are levels of a topic.
            Err(error) => error.to_string(),
        };
        self.missed.increment();
        if let Some(unlogged) = self.trouble.pass(Instant::now()) {
            tracing::warn!(trouble, unlogged, "an event could not be told on the bus");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use futures_util::future::BoxFuture;
    use serde_json::Value;
    use vinbus_protocol::id::{Uid, Vin};

    use super::*;
    use crate::bridge::{Hears, Listener, PortError};
    use crate::bus::ClientName;

    /// A bus that remembers what was published, and refuses it if told so.
    #[derive(Default)]
    struct Bus {
        heard: Mutex<Vec<(String, Value)>>,
        refuses: bool,
    }

    impl BusPort for Bus {
        fn publish<'a>(
            &'a self,
            topic: &'a str,
            payload: Bytes,
        ) -> BoxFuture<'a, Result<(), PortError>> {
            let payload = serde_json::from_slice(&payload).unwrap();
            self.heard.lock().unwrap().push((topic.to_owned(), payload));
            let answer = match self.refuses {
                true => Err(PortError::LinkDown),
                false => Ok(()),
            };
            Box::pin(std::future::ready(answer))
        }
    }

    fn refused(detail: &str) -> HubEvent {
        HubEvent::Refused {
            vin: Vin::parse("0123456789ABCDEFG").unwrap(),
            uid: Uid::parse("mine").unwrap(),
            reason: "json",
            detail: detail.to_owned(),
        }
    }

    /// What the bus hears of so many events, of which two may wait, and how many were told and missed.
    async fn told(refuses: bool, count: u64) -> (Vec<(String, Value)>, u64, u64) {
        let bus = Arc::new(Bus {
            refuses,
            ..Bus::default()
        });
        let audience = Audience::new(vec![Listener {
            app: ClientName::parse("myapp").unwrap(),
            uid: Uid::parse("mine").unwrap(),
            hears: Hears::Everything,
        }]);
        let teller = Teller::new(audience, Arc::clone(&bus) as _, &Metrics::new());
        let (sender, events) = broadcast::channel(2);
        for number in 1..=count {
            sender.send(refused(&number.to_string())).unwrap();
        }
        drop(sender);
        let (_sender, refusals) = mpsc::channel(1);
        teller.tell_events(events, refusals).await;
        let heard = std::mem::take(&mut *bus.heard.lock().unwrap());
        (heard, teller.told.value(), teller.missed.value())
    }

    #[tokio::test]
    async fn events_that_do_not_fit_are_counted_and_told_as_missed() {
        let (heard, told, missed) = told(false, 5).await;
        assert_eq!((told, missed), (3, 3));
        assert_eq!(heard[0].0, "app/myapp/vehicle/missed");
        assert_eq!(heard[0].1["count"], 3);
        assert_eq!(
            (&heard[1].1["detail"], &heard[2].1["detail"]),
            (&"4".into(), &"5".into())
        );
    }

    #[tokio::test]
    async fn events_that_the_bus_does_not_take_are_counted() {
        let (_, told, missed) = told(true, 2).await;
        assert_eq!((told, missed), (0, 2));
    }
}
