//! A link in memory, and the clock.

use std::cell::Cell;

use tokio::sync::{Notify, mpsc};

use vinbus_protocol::delivery::Epoch;
use vinbus_vehicle_agent::clock::Clock;
use vinbus_vehicle_agent::identity::Identity;
use vinbus_vehicle_agent::link::{Event, Fate, Link, Lost, NotConnected, Outgoing, Session};

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub(crate) struct TestClock {
    now_ms: Cell<u64>,
    moved: Notify,
    /// What it makes of the time of day.
    pub(crate) epoch: Cell<Option<Epoch>>,
}

impl TestClock {
    pub(crate) fn advance(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
        self.moved.notify_waiters();
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    async fn sleep_until(&self, deadline_ms: u64) {
        while self.now_ms.get() < deadline_ms {
            self.moved.notified().await;
        }
    }

    fn epoch(&self) -> Option<Epoch> {
        self.epoch.get()
    }
}

/// A message on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnWire {
    pub(crate) topic: String,
    pub(crate) payload: String,
}

/// The vehicle's end of a wire that never breaks.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Nothing comes up before this is told.
    pub(crate) up: Option<tokio::sync::oneshot::Receiver<()>>,
    pub(crate) to_vehicle: mpsc::UnboundedReceiver<OnWire>,
    pub(crate) from_vehicle: mpsc::UnboundedSender<OnWire>,
}

impl Link for Wire {
    type Session<'s> = WireSession<'s>;

    const PACES_ITSELF: bool = true;

    async fn connect<const APPS: usize>(
        &mut self,
        _: &Identity<APPS>,
    ) -> Result<WireSession<'_>, NotConnected> {
        if let Some(up) = &mut self.up {
            let _ = up.await;
        }
        self.up = None;
        Ok(WireSession {
            wire: self,
            received: None,
            fate: None,
        })
    }
}

/// A session on it.
#[derive(Debug)]
pub(crate) struct WireSession<'s> {
    wire: &'s mut Wire,
    received: Option<OnWire>,
    /// The fate of the last message, until it is told.
    fate: Option<Fate>,
}

/// The subtopic of messages that the broker refuses.
pub(crate) const REFUSED: &str = "refused";

impl Session for WireSession<'_> {
    async fn next(&mut self) -> Result<Event<'_>, Lost> {
        if let Some(fate) = self.fate.take() {
            return Ok(Event::Published(fate));
        }
        let message = self.wire.to_vehicle.recv().await.ok_or(Lost)?;
        let OnWire { topic, payload } = self.received.insert(message);
        Ok(Event::Received {
            topic,
            payload: payload.as_bytes(),
        })
    }

    async fn publish(&mut self, message: Outgoing<'_>) -> Result<(), Lost> {
        if message.topic.ends_with(REFUSED) {
            self.fate = Some(Fate::Refused);
            return Ok(());
        }
        self.fate = Some(Fate::Delivered);
        let topic = message.topic.to_owned();
        let payload = String::from_utf8(message.payload.to_vec()).unwrap();
        let _ = self.wire.from_vehicle.send(OnWire { topic, payload });
        Ok(())
    }

    async fn close(self) {}
}
