//! Somebody who may publish as a host does, and says what no host would.

use std::collections::BTreeMap;
use std::time::Instant;

use vinbus_protocol::delivery::{
    self, Endpoint as End, Epoch, Header, Marked, Message, Part, Received, Snapshot, Step, Transmit,
};
use vinbus_protocol::envelope::{Content, Uplink};
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicScheme, TopicText};

use super::{BrokerUnderTest, Endpoint, Mosquitto, connected, published, received, subscribed};
use crate::{Client, Inbox, Qos};

/// Speaks delivery with one agent by the book (SPEC 16), but for the parts of long messages: it sends
/// those that it is told to, whether they make sense or not.
pub struct Forger {
    client: Client,
    inbox: Inbox,
    downlink: TopicText,
    end: End<8, 8>,
    begin: Instant,
    /// The last step of each message.
    told: BTreeMap<u32, Step>,
}

impl Forger {
    /// Connects, and hears what the agent of `vin` says to `uid` from then on.
    ///
    /// # Panics
    ///
    /// Panics if `uid` or `vin` is none, or if the broker refuses it.
    pub async fn on(broker: &Mosquitto, uid: &str, vin: &str) -> Self {
        let uid = Uid::parse(uid).expect("a UID");
        let vin = Vin::parse(vin).expect("a VIN");
        let topics = TopicScheme::default();
        let options = broker.options(Endpoint::Mqtt, broker.url(Endpoint::Mqtt), "forger");
        let (client, inbox) = connected(options).await;
        let uplink = topics.subtree_filter(Direction::Uplink, &uid, &vin);
        subscribed(&client, &uplink, Qos::AtMostOnce).await;
        let downlink = topics.publish_topic(Direction::Downlink, &uid, &vin, None);
        let mut end = End::new(Snapshot::fresh(Epoch::FIRST), 0);
        end.handle_link(0, true);
        Self {
            client,
            inbox,
            downlink: downlink.expect("a topic without a subtopic"),
            end,
            begin: Instant::now(),
            told: BTreeMap::new(),
        }
    }

    /// Waits until both ends know that the other speaks delivery; the longest content that the agent
    /// takes in parts, in bytes.
    ///
    /// # Panics
    ///
    /// Panics if the agent says nothing.
    pub async fn meets(&mut self) -> u32 {
        while !self.end.is_established() {
            self.hear().await;
            self.say(None).await;
        }
        self.end.peer_takes_parts().expect("it has announced that")
    }

    /// Sends an app a content; what becomes of it.
    ///
    /// # Panics
    ///
    /// Panics if `app` is none, if `content` is no JSON, or if the agent says nothing.
    pub async fn message(&mut self, app: &str, content: &str) -> Step {
        self.submit(app, content, None).await
    }

    /// Sends an app this piece as this part; what becomes of it.
    ///
    /// # Panics
    ///
    /// Panics if `app` is none, or if the agent says nothing.
    pub async fn part(&mut self, app: &str, part: Part, piece: &str) -> Step {
        self.submit(app, piece, Some(part)).await
    }

    async fn submit(&mut self, app: &str, content: &str, part: Option<Part>) -> Step {
        let app = AppId::parse(app).expect("an app");
        let message = Message {
            bytes: content.len() as u32,
            expires_at_ms: None,
            key: None,
            repeatable: false,
        };
        let accepted = self.end.submit(self.now_ms(), message);
        let number = accepted.expect("room, as no other waits").number;
        loop {
            self.say(Some((&app, content, part))).await;
            if let Some(step) = self.told.get(&number) {
                return *step;
            }
            self.hear().await;
        }
    }

    fn now_ms(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    /// Takes what the agent says next.
    async fn hear(&mut self) {
        let payload = received(&mut self.inbox).await.payload;
        let content = Uplink::decode(&payload).expect("an envelope").content;
        let now_ms = self.now_ms();
        if let Some(offer) = delivery::announced(content) {
            self.end.handle_announcement(now_ms, offer);
        } else if let Received::Control(control) = delivery::read(content) {
            let told = &mut self.told;
            let batch = self.end.handle_control(now_ms, &control, |run| {
                told.extend((run.first..run.first + run.count).map(|number| (number, run.step)));
            });
            if let Some(batch) = batch {
                self.end.acknowledge(batch);
            }
        }
    }

    /// Says what is due. Of messages, only the last one can be: all before it were answered.
    async fn say(&mut self, last: Option<(&AppId, &str, Option<Part>)>) {
        while let Some(transmit) = self.end.poll_transmit(self.now_ms(), 7) {
            let mut buffer = vec![0; 512 * 1024];
            let payload = match transmit {
                Transmit::Control(control) => control.encode_downlink(&mut buffer),
                Transmit::Message(header) => {
                    let (app, content, part) = last.expect("a message was submitted");
                    let marked = match part {
                        Some(_) => Marked::part(Header { part, ..header }, content),
                        None => {
                            let content = Content::parse(content.as_bytes()).expect("JSON");
                            Marked::new(header, content).expect("room for the header")
                        }
                    };
                    marked.encode_downlink(app, &mut buffer)
                }
            };
            let payload = payload.expect("room in the buffer").to_vec().into();
            published(&self.client, &self.downlink, payload, Qos::AtLeastOnce).await;
        }
    }
}
