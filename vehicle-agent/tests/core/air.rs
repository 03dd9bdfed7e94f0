//! A link that breaks, and the broker behind it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use vinbus_protocol::delivery::Epoch;
use vinbus_vehicle_agent::clock::Clock;
use vinbus_vehicle_agent::identity::Identity;
use vinbus_vehicle_agent::link::{Event, Fate, Link, Lost, NotConnected, Outgoing, Session};

use crate::dice::Dice;

/// tokio's paused clock.
#[derive(Debug)]
pub(crate) struct VirtualClock(pub(crate) Instant);

impl Clock for VirtualClock {
    fn now_ms(&self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }

    async fn sleep_until(&self, deadline_ms: u64) {
        sleep_until(self.0 + Duration::from_millis(deadline_ms)).await;
    }

    fn epoch(&self) -> Option<Epoch> {
        None
    }
}

/// What is between the vehicle and its partners.
#[derive(Debug)]
pub(crate) struct Air {
    dice: Dice,
    /// The broker takes and answers every message.
    pub(crate) kind: bool,
    /// The broker takes no message, and says nothing.
    pub(crate) deaf: bool,
    /// How often the link is broken; a session lives while it stays the same.
    breaks: u64,
    pub(crate) connected: bool,
    /// Attempts to connect, each with its time.
    pub(crate) attempts: Vec<Instant>,
    pub(crate) filters: Vec<String>,
    inbound: VecDeque<(String, Vec<u8>)>,
    /// What the broker has: topic, payload, retained.
    pub(crate) published: Vec<(String, String, bool)>,
    /// Sessions that were closed in the middle of a message.
    pub(crate) cut: u32,
    pub(crate) changed: Rc<Notify>,
}

pub(crate) type SharedAir = Rc<RefCell<Air>>;

impl Air {
    pub(crate) fn new(seed: u64) -> SharedAir {
        Rc::new(RefCell::new(Self {
            dice: Dice(seed),
            kind: false,
            deaf: false,
            breaks: 0,
            connected: false,
            attempts: Vec::new(),
            filters: Vec::new(),
            inbound: VecDeque::new(),
            published: Vec::new(),
            cut: 0,
            changed: Rc::default(),
        }))
    }

    /// Breaks the link; what was under way is gone.
    pub(crate) fn break_link(&mut self) {
        self.breaks += 1;
        self.connected = false;
        self.inbound.clear();
        self.changed.notify_waiters();
    }

    /// Sends a message to the vehicle; QoS 0 loses it while there is no session.
    pub(crate) fn send(&mut self, topic: &str, payload: Vec<u8>) {
        if self.connected {
            self.inbound.push_back((topic.to_owned(), payload));
            self.changed.notify_waiters();
        }
    }
}

/// The way through the air.
#[derive(Debug)]
pub(crate) struct FakeLink(pub(crate) SharedAir);

impl Link for FakeLink {
    type Session<'s> = FakeSession;

    const PACES_ITSELF: bool = false;

    async fn connect<const APPS: usize>(
        &mut self,
        identity: &Identity<APPS>,
    ) -> Result<FakeSession, NotConnected> {
        let (takes, fails) = {
            let mut air = self.0.borrow_mut();
            air.attempts.push(Instant::now());
            air.filters = identity
                .filters()
                .map(|filter| filter.to_string())
                .collect();
            (air.dice.roll(3000), air.dice.once_in(3))
        };
        sleep(Duration::from_millis(takes)).await;
        if fails {
            return Err(NotConnected);
        }
        let mut air = self.0.borrow_mut();
        air.connected = true;
        Ok(FakeSession {
            air: Rc::clone(&self.0),
            breaks: air.breaks,
            open: None,
            cut: false,
            received: None,
        })
    }
}

/// A session until the link breaks.
#[derive(Debug)]
pub(crate) struct FakeSession {
    air: SharedAir,
    breaks: u64,
    /// When the fate of the open message is told, and which.
    open: Option<(Instant, Fate)>,
    /// Set while a message is written, and so after that was dropped.
    cut: bool,
    received: Option<(String, Vec<u8>)>,
}

impl Session for FakeSession {
    async fn next(&mut self) -> Result<Event<'_>, Lost> {
        self.received = None;
        loop {
            let changed = Rc::clone(&self.air.borrow().changed);
            let changed = changed.notified();
            if self.cut || self.air.borrow().breaks != self.breaks {
                return Err(Lost);
            }
            if let Some(message) = self.air.borrow_mut().inbound.pop_front() {
                let (topic, payload) = self.received.insert(message);
                return Ok(Event::Received { topic, payload });
            }
            let Some((at, fate)) = self.open else {
                changed.await;
                continue;
            };
            // Not left to tokio, whose choice no seed repeats.
            let fate_first = self.air.borrow_mut().dice.once_in(2);
            tokio::select! {
                biased;
                () = sleep_until(at), if fate_first => {}
                () = changed => continue,
                () = sleep_until(at) => {}
            }
            self.open = None;
            return Ok(Event::Published(fate));
        }
    }

    async fn publish(&mut self, message: Outgoing<'_>) -> Result<(), Lost> {
        assert!(self.open.is_none(), "one message at a time");
        if std::mem::replace(&mut self.cut, true) {
            return Err(Lost);
        }
        self.until_the_broker_takes_it().await?;
        self.cut = false;
        let mut air = self.air.borrow_mut();
        let fate = match air.dice.roll(20) {
            _ if air.kind => Fate::Delivered,
            0 => Fate::Refused,
            1 => Fate::Unknown,
            _ => Fate::Delivered,
        };
        let at = Instant::now() + Duration::from_millis(air.dice.roll(500));
        // The broker may have a message whose answer is lost.
        if fate == Fate::Delivered || (fate == Fate::Unknown && air.dice.once_in(2)) {
            let payload = String::from_utf8(message.payload.to_vec()).unwrap();
            air.published
                .push((message.topic.to_owned(), payload, message.retain));
        }
        self.open = Some((at, fate));
        Ok(())
    }

    async fn close(self) {
        let mut air = self.air.borrow_mut();
        air.connected = false;
        air.cut += u32::from(self.cut);
    }
}

impl FakeSession {
    /// A deaf broker is waited for until the link breaks.
    async fn until_the_broker_takes_it(&self) -> Result<(), Lost> {
        loop {
            let changed = Rc::clone(&self.air.borrow().changed);
            let changed = changed.notified();
            if self.air.borrow().breaks != self.breaks {
                return Err(Lost);
            }
            if !self.air.borrow().deaf {
                return Ok(());
            }
            changed.await;
        }
    }
}
