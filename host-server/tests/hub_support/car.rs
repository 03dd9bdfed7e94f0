//! A vehicle that speaks delivery: the protocol's own endpoint, behind a broker that the test plays.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use vinbus_host_server::broker::BrokerEvents as _;
use vinbus_host_server::model::Presence;
use vinbus_protocol::delivery::parts::Assembly;
use vinbus_protocol::delivery::{
    self, Carried, Endpoint, Epoch, Event, Marked, Message, MessageId, Part, Received, Snapshot,
    Transmit, Verdict,
};
use vinbus_protocol::envelope::{Content, Downlink, DownlinkBody};
use vinbus_protocol::limits::DELIVERY_UNWRITTEN_MAX;

use super::{Server, attach_air, uid, uplink_topic, vin};

/// What a vehicle does with the parts of long messages.
pub(crate) struct Parts {
    assembly: Assembly<Vec<u8>>,
    /// Where the parts began that were stored.
    pub(crate) offsets: Vec<u32>,
    /// No part ever follows what it has.
    pub(crate) forgets: bool,
    /// It says nothing of parts after so many.
    pub(crate) mute_after: usize,
}

impl Parts {
    fn taken(bytes_max: usize) -> Self {
        Self {
            assembly: Assembly::new(vec![0; bytes_max]),
            offsets: Vec::new(),
            forgets: false,
            mute_after: usize::MAX,
        }
    }

    /// Takes a part: what becomes of it, and the whole if it is the last, of which that becomes.
    fn take(
        &mut self,
        part: Part,
        text: &Carried<'_>,
        of_whole: delivery::Step,
    ) -> (delivery::Step, Option<String>) {
        self.offsets.push(part.offset);
        match self.assembly.add(part, text) {
            _ if self.forgets => (delivery::Step::PartMissing, None),
            Ok(false) => (delivery::Step::PartStored, None),
            Ok(true) => {
                let whole = self.assembly.whole().unwrap().as_str().to_owned();
                self.assembly.clear();
                (of_whole, Some(whole))
            }
            Err(error) => (error.step(), None),
        }
    }
}

/// A vehicle that speaks delivery.
pub(crate) struct Car {
    pub(crate) endpoint: Endpoint<8, 64>,
    pub(crate) air: mpsc::UnboundedReceiver<Bytes>,
    pub(crate) begin: Instant,
    /// Every n-th frame that comes is lost; 0 for none.
    pub(crate) loses: usize,
    pub(crate) came: usize,
    /// The greatest number of a message that came; 0 for none.
    pub(crate) highest: u32,
    /// What the apps got.
    pub(crate) app: Vec<String>,
    /// What each app was handed and has not confirmed, where that is a vehicle's step, the oldest first.
    pub(crate) handed: BTreeMap<String, VecDeque<MessageId>>,
    /// What an app that confirms nothing has yet to read, the oldest first, if it is one that reads slowly.
    pub(crate) unread: Option<VecDeque<MessageId>>,
    /// What becomes of a message.
    pub(crate) step: delivery::Step,
    pub(crate) parts: Parts,
    /// What it sends, by number.
    pub(crate) sends: Vec<String>,
}

impl Car {
    pub(crate) fn new(epoch: u32, server: &Server) -> Self {
        Self::on(epoch, attach_air(server))
    }

    pub(crate) fn on(epoch: u32, air: mpsc::UnboundedReceiver<Bytes>) -> Self {
        let mut endpoint = Endpoint::new(Snapshot::fresh(Epoch::new(epoch).unwrap()), 0);
        endpoint.handle_link(0, true);
        Self {
            endpoint,
            air,
            begin: Instant::now(),
            loses: 0,
            came: 0,
            highest: 0,
            app: Vec::new(),
            handed: BTreeMap::new(),
            unread: None,
            step: delivery::Step::Taken,
            parts: Parts::taken(0),
            sends: Vec::new(),
        }
    }

    /// One that takes long messages of up to so many bytes.
    pub(crate) fn taking(
        epoch: u32,
        bytes_max: usize,
        air: mpsc::UnboundedReceiver<Bytes>,
    ) -> Self {
        let mut car = Self::on(epoch, air);
        car.endpoint.take_parts(bytes_max as u32);
        car.parts = Parts::taken(bytes_max);
        car
    }

    fn now_ms(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    /// Goes online and offers delivery.
    pub(crate) fn announce(&self, server: &Server) {
        server.hub.presence_changed(vin(1), Presence::Online);
        server
            .hub
            .announced(vin(1), &uid(), Some(self.endpoint.offer()));
    }

    /// Goes online, and lives until both ends know that the other speaks delivery.
    pub(crate) async fn meet(&mut self, server: &Server) {
        self.announce(server);
        self.until(server, "it is known", async |car| {
            car.endpoint.is_established()
        })
        .await;
        // The server waits for its answer.
        self.answer(server).await;
    }

    /// Lives until a check holds.
    pub(crate) async fn until(
        &mut self,
        server: &Server,
        what: &str,
        check: impl AsyncFn(&Self) -> bool,
    ) {
        let begin = Instant::now();
        while !check(self).await {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "not in time: {what}"
            );
            self.live(server).await;
        }
    }

    /// Says what is due, and hears what comes next, for a little.
    pub(crate) async fn live(&mut self, server: &Server) {
        self.answer(server).await;
        let due = self.endpoint.poll_timeout();
        let wait = due.map_or(10, |at| at.saturating_sub(self.now_ms()).min(10));
        let next = tokio::time::timeout(Duration::from_millis(wait.max(1)), self.air.recv());
        if let Ok(Some(payload)) = next.await {
            self.hear(&payload);
        }
    }

    /// Messages that an app was handed and has not confirmed.
    pub(crate) fn unconfirmed(&self, app: &str) -> usize {
        self.handed.get(app).map_or(0, VecDeque::len)
    }

    /// An app confirms the oldest message that it was handed, if there is one.
    pub(crate) fn confirm(&mut self, app: &str) {
        self.end_oldest(app, delivery::Step::Confirmed);
    }

    /// This becomes of the oldest message that an app was handed, if there is one.
    pub(crate) fn end_oldest(&mut self, app: &str, step: delivery::Step) {
        if let Some(id) = self.handed.get_mut(app).and_then(VecDeque::pop_front) {
            assert!(self.endpoint.report(self.now_ms(), id, step), "{id:?}");
        }
    }

    /// An app that confirms nothing reads up to so many messages.
    pub(crate) fn read(&mut self, count: usize) {
        let now_ms = self.now_ms();
        let unread = self.unread.iter_mut().flat_map(|unread| {
            let count = count.min(unread.len());
            unread.drain(..count)
        });
        for id in unread {
            let taken = delivery::Step::Taken;
            assert!(self.endpoint.report(now_ms, id, taken), "{id:?}");
        }
    }

    /// Takes a frame.
    pub(crate) fn hear(&mut self, payload: &[u8]) {
        self.came += 1;
        if self.loses > 0 && self.came.is_multiple_of(self.loses) {
            return;
        }
        let now_ms = self.now_ms();
        let downlink = Downlink::decode(payload).unwrap();
        let DownlinkBody::Data(content) = downlink.body else {
            panic!("no popups here");
        };
        match delivery::read(content) {
            Received::Plain => self.app.push(content.as_str().to_owned()),
            Received::Control(control) => {
                assert_eq!(downlink.app.as_str(), "vinbus");
                let batch = self.endpoint.handle_control(now_ms, &control, |_| {});
                if let Some(batch) = batch {
                    self.endpoint.acknowledge(batch);
                }
            }
            Received::Message(header, carried) => {
                let parts = &mut self.parts;
                if header.part.is_some() && parts.offsets.len() >= parts.mute_after {
                    return;
                }
                self.highest = self.highest.max(header.number);
                let Verdict::New(id) = self.endpoint.handle_message(now_ms, &header) else {
                    return;
                };
                if let Some(part) = header.part {
                    let (step, whole) = parts.take(part, &carried, self.step);
                    self.app.extend(whole);
                    assert!(self.endpoint.report(now_ms, id, step));
                } else {
                    self.app.push(carried.pieces().concat());
                    if let Some(unread) = &mut self.unread {
                        unread.push_back(id);
                        if unread.len() > DELIVERY_UNWRITTEN_MAX {
                            let at_agent = delivery::Step::Received;
                            assert!(self.endpoint.report(now_ms, id, at_agent));
                        }
                        return;
                    }
                    assert!(self.endpoint.report(now_ms, id, self.step));
                    if !self.step.is_final() {
                        let app = downlink.app.as_str().to_owned();
                        self.handed.entry(app).or_default().push_back(id);
                    }
                }
            }
        }
    }

    /// Sends what is due.
    pub(crate) async fn answer(&mut self, server: &Server) {
        let now_ms = self.now_ms();
        while let Some(event) = self.endpoint.poll_event(now_ms) {
            assert!(!matches!(event, Event::Lost { .. }), "{event:?}");
        }
        let topic = uplink_topic(1);
        loop {
            let mut buffer = [0; 8192];
            let (topic, payload) = match self.endpoint.poll_transmit(now_ms, 7) {
                None => return,
                Some(Transmit::Control(control)) => {
                    let topic = format!("{topic}{}", delivery::CONTROL_SUBTOPIC);
                    (topic, control.encode_uplink(&mut buffer).unwrap())
                }
                Some(Transmit::Message(header)) => {
                    let text = &self.sends[header.number as usize - 1];
                    let content = Content::parse(text.as_bytes()).unwrap();
                    let marked = Marked::new(header, content).unwrap();
                    (topic.clone(), marked.encode_uplink(&mut buffer).unwrap())
                }
            };
            server.arrive_on(&topic, payload.to_vec()).await;
        }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.sends.push(text.to_owned());
        let message = Message {
            bytes: text.len() as u32,
            expires_at_ms: None,
            key: None,
            repeatable: false,
        };
        self.endpoint.submit(self.now_ms(), message).unwrap();
    }
}

/// Says that a vehicle is of its first life, and knows a server of a later one.
pub(crate) async fn speak_of_a_later_server(server: &Server, own: Epoch) {
    let topic = format!("{}{}", uplink_topic(1), delivery::CONTROL_SUBTOPIC);
    let later = own.number() + 1_000;
    let content = format!(r#"{{"content":{{"vinbus":{{"e":7,"x":{later},"v":1}}}}}}"#);
    server.arrive_on(&topic, content).await;
}
