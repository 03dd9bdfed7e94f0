//! What a vehicle may say of delivery that is not so: it changes nothing, is counted, and what is honest
//! goes on. The vehicle's frames are written by hand.

mod hub_support;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hub_support::{Server, answer_to, polled, uid, uplink_topic, vin};
use tokio::sync::mpsc;
use vinbus_host_server::broker::{Broker, BrokerEvents as _, Outcome, PublishError};
use vinbus_host_server::model::{Cursor, MessageId, NewDownlink, Presence, Receipts, Step};
use vinbus_protocol::delivery::{self, CONTROL_SUBTOPIC, Epoch, Header, Offer, Received};
use vinbus_protocol::envelope::{Downlink, DownlinkBody};
use vinbus_protocol::limits::{
    DELIVERY_IN_FLIGHT_MAX, DELIVERY_OPEN_MAX, DELIVERY_TTL_S_MAX, PAYLOAD_BYTES_MAX,
};

/// The vehicle's epoch.
const CAR: u32 = 9;

const TAKEN: Step = Step::Told(delivery::Step::Taken);
const HELD: Step = Step::Told(delivery::Step::HeldBackground);

/// Hands on what is published, with its topic.
struct Wire(mpsc::UnboundedSender<(String, Bytes)>);

impl Broker for Wire {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        let sent = self.0.send((topic.to_owned(), payload));
        async move { sent.map_err(|_| PublishError::LinkDown) }.boxed()
    }
}

/// A server, and all that it publishes.
struct Scene {
    server: Server,
    wire: mpsc::UnboundedReceiver<(String, Bytes)>,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::open(dir.path());
        let (sender, wire) = mpsc::unbounded_channel();
        server.hub.attach(Arc::new(Wire(sender)));
        server.hub.link_changed(Ok(()));
        let _dir = dir;
        Self { server, wire, _dir }
    }

    fn announce(&self, number: usize, epoch: u32) {
        self.server
            .hub
            .presence_changed(vin(number), Presence::Online);
        let offer = Offer {
            epoch: Epoch::new(epoch).unwrap(),
            long_bytes_max: 0,
        };
        self.server.hub.announced(vin(number), &uid(), Some(offer));
    }

    async fn submit(&self, expires_at: SystemTime) -> MessageId {
        let envelope = r#"{"idApp":"app","popup":false,"content":{"a":1}}"#;
        let message = NewDownlink {
            envelope: Bytes::from_static(envelope.as_bytes()),
            receipts: Receipts::Asked,
            expires_at,
            ..hub_support::downlink(1, 0)
        };
        self.server.hub.submit_downlink(message).await.unwrap().id
    }

    /// The next message with a number for vehicle 1, which answers greetings meanwhile.
    async fn sent(&mut self) -> Header {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), self.wire.recv());
            let (topic, payload) = next.await.expect("in time").unwrap();
            if !topic.contains(vin(1).as_str()) {
                continue;
            }
            if let Some(answer) = answer_to(&payload) {
                let topic = format!("{}{CONTROL_SUBTOPIC}", uplink_topic(1));
                self.server.arrive_on(&topic, answer).await;
                continue;
            }
            let DownlinkBody::Data(content) = Downlink::decode(&payload).unwrap().body else {
                panic!("no popups here");
            };
            if let Received::Message(header, _) = delivery::read(content) {
                return header;
            }
        }
    }

    /// Vehicle 1 says this, as delivery does.
    async fn say(&self, members: &str) {
        self.say_on(&uplink_topic(1), members).await;
    }

    async fn say_on(&self, topic: &str, members: &str) {
        let topic = format!("{topic}{CONTROL_SUBTOPIC}");
        let payload = format!(r#"{{"content":{{"vinbus":{{{members}}}}}}}"#);
        // Consumers are never offered it.
        let outcome = self.server.arrive_on(&topic, payload).await;
        assert_eq!(outcome, Outcome::Refused);
    }

    fn counted(&self, what: &str) -> u64 {
        self.server.delivery_counted(what)
    }

    async fn counts(&self, what: &str, count: u64) {
        self.server.counts(what, count).await;
    }

    async fn steps(&self, id: &MessageId) -> Vec<Step> {
        self.server.steps(id).await
    }

    async fn has_step(&self, id: &MessageId, step: Step) {
        self.server.has_step(id, step).await;
    }
}

fn in_an_hour() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

fn of_this_life(header: &Header) -> String {
    format!(r#""e":{CAR},"x":{}"#, header.epoch.number())
}

#[tokio::test]
async fn receipts_that_are_forged_repeated_reordered_or_overlong_change_nothing() {
    let mut scene = Scene::new();
    scene.announce(1, CAR);
    scene.announce(2, CAR);
    let ids = [
        scene.submit(in_an_hour()).await,
        scene.submit(in_an_hour()).await,
    ];
    let headers = [scene.sent().await, scene.sent().await];
    let [first, second] = headers.map(|header| header.number);
    let host = headers[0].epoch.number();
    let honest = of_this_life(&headers[0]);

    // Of messages that were never sent, and beyond every number.
    let beyond = second + 1;
    for run in [
        format!("5,{beyond},1"),
        "5,0,1".to_owned(),
        "5,4294967295,4294967295".to_owned(),
    ] {
        scene.say(&format!(r#"{honest},"k":1,"r":[{run}]"#)).await;
    }
    // Of another life of either end, of another vehicle, and to another partner.
    let receipts = format!(r#""k":1,"r":[5,{first},2]"#);
    for lives in [(CAR - 1, host), (CAR, host - 1)] {
        let lives = format!(r#""e":{},"x":{}"#, lives.0, lives.1);
        scene.say(&format!("{lives},{receipts}")).await;
    }
    let all = format!("{honest},{receipts}");
    scene.say_on(&uplink_topic(2), &all).await;
    let other = uplink_topic(1).replace("/partner/", "/other/");
    scene.say_on(&other, &all).await;
    // Too many, in one frame.
    for count in [DELIVERY_OPEN_MAX + 1, (PAYLOAD_BYTES_MAX - 200) / 6] {
        let runs = vec![format!("5,{first},1"); count].join(",");
        scene.say(&format!(r#"{honest},"k":1,"r":[{runs}]"#)).await;
    }

    // What is true is told once, however often it is said, and what is older says nothing any more.
    let taken = format!(r#"{honest},"k":2,"r":[5,{first},1,2,{second},1]"#);
    let held = format!(r#"{honest},"k":1,"r":[2,{first},1]"#);
    for frame in [&taken, &taken, &held, &taken, &held] {
        scene.say(frame).await;
    }
    let last = format!(r#"{honest},"k":3,"r":[6,{second},1]"#);
    scene.say(&last).await;
    let confirmed = Step::Told(delivery::Step::Confirmed);
    scene.has_step(&ids[1], confirmed).await;
    let steps = scene.steps(&ids[0]).await;
    assert_eq!(steps, [Step::Accepted, Step::Sent, TAKEN]);
    let steps = scene.steps(&ids[1]).await;
    assert_eq!(steps, [Step::Accepted, Step::Sent, HELD, confirmed]);
    // Each step but the first is one entry of the log.
    assert_eq!(scene.server.hub.uplink_end().await, Ok(Cursor(5)));
    let refused = [("reason", "delivery")];
    let refused = scene
        .server
        .counted("vinbus_uplink_refused_total", &refused);
    assert_eq!(refused, 2);
    scene.counts("sent", 2).await;
    // The other two channels began in the same second, or not: then the frames are of another life of them.
    polled("both are counted", async || {
        scene.counted("forged_receipt") + scene.counted("misdirected") >= 7
    })
    .await;
    let [forged, misdirected] = ["forged_receipt", "misdirected"].map(|what| scene.counted(what));
    assert!((3..=5).contains(&forged), "{forged}");
    assert_eq!(forged + misdirected, 7, "{forged}");
}

#[tokio::test]
async fn epochs_that_leap_and_go_back_cost_a_message_at_most_what_is_true() {
    let mut scene = Scene::new();
    scene.announce(1, CAR);
    let lost = scene.submit(in_an_hour()).await;
    let header = scene.sent().await;
    for epoch in CAR + 1..CAR + 1_000 {
        scene.announce(1, epoch);
    }
    scene.has_step(&lost, Step::PeerRestarted).await;
    // A life that is over can neither answer nor take the place of the one that is.
    scene.announce(1, CAR);
    let old = of_this_life(&header);
    let late = format!(r#"{old},"k":1,"r":[5,{},1]"#, header.number);
    scene.say(&late).await;
    let next = scene.submit(in_an_hour()).await;
    let sent = scene.sent().await;
    assert_eq!(sent.peer.number(), CAR + 999);
    let now = format!(r#""e":{},"x":{}"#, CAR + 999, sent.epoch.number());
    let taken = format!(r#"{now},"k":1,"r":[5,{},1]"#, sent.number);
    scene.say(&taken).await;
    scene.has_step(&next, TAKEN).await;
    let steps = scene.steps(&lost).await;
    assert_eq!(steps, [Step::Accepted, Step::Sent, Step::PeerRestarted]);
    scene.counts("misdirected", 2).await;
}

#[tokio::test]
async fn numbers_at_the_end_of_their_range_and_thousands_of_stale_ones_are_stored_once() {
    let mut scene = Scene::new();
    scene.announce(1, CAR);
    let id = scene.submit(in_an_hour()).await;
    let host = scene.sent().await.epoch.number();
    scene.has_step(&id, Step::Sent).await;
    let message = |number: u32| {
        format!(r#"{{"content":{{"vinbus":[{CAR},{host},{number},0],"content":{number}}}}}"#)
    };
    let before = scene.server.hub.uplink_end().await.unwrap();
    for number in [u32::MAX - 1, u32::MAX, u32::MAX - 1, u32::MAX] {
        scene.server.arrive(1, message(number)).await;
    }
    for number in 1..=20_000 {
        scene.server.arrive(1, message(number)).await;
    }
    let after = scene.server.hub.uplink_end().await.unwrap();
    assert_eq!(after.0 - before.0, 2);
    for (what, count) in [("came_again", 2), ("stale", 20_000)] {
        scene.counts(what, count).await;
    }
}

#[tokio::test]
async fn time_that_is_over_or_ends_in_the_year_9999_is_no_trouble() {
    let mut scene = Scene::new();
    scene.announce(1, CAR);
    let over = scene.submit(UNIX_EPOCH).await;
    let year_9999 = UNIX_EPOCH + Duration::from_secs(253_370_764_800);
    let far = scene.submit(year_9999).await;
    let sent = scene.sent().await;
    assert_eq!(sent.ttl_s, DELIVERY_TTL_S_MAX);
    scene.has_step(&far, Step::Sent).await;
    scene.has_step(&over, Step::Expired).await;
    assert_eq!(scene.steps(&over).await, [Step::Accepted, Step::Expired]);
    let this = of_this_life(&sent);
    let taken = format!(r#"{this},"k":1,"r":[5,{},1]"#, sent.number);
    scene.say(&taken).await;
    scene.has_step(&far, TAKEN).await;
}

#[tokio::test]
async fn of_a_vehicle_that_finishes_nothing_the_oldest_messages_are_given_up_and_that_is_told() {
    // As many as the server follows of one vehicle.
    const FOLLOWED: usize = DELIVERY_OPEN_MAX + DELIVERY_IN_FLIGHT_MAX;
    const MORE: usize = 12;
    let mut scene = Scene::new();
    scene.announce(1, CAR);
    let (mut ids, mut last) = (Vec::new(), 0);
    while ids.len() < FOLLOWED + MORE {
        ids.push(scene.submit(in_an_hour()).await);
        let header = loop {
            let header = scene.sent().await;
            if header.number > last {
                break header;
            }
        };
        last = header.number;
        let (this, batch) = (of_this_life(&header), ids.len());
        let held = format!(r#"{this},"k":{batch},"r":[2,{last},1]"#);
        scene.say(&held).await;
    }
    scene.has_step(ids.last().unwrap(), HELD).await;
    let (given_up, followed) = ids.split_at(MORE);
    for id in given_up {
        let steps = scene.steps(id).await;
        assert_eq!(steps, [Step::Accepted, Step::Sent, HELD, Step::GivenUp]);
    }
    for id in followed {
        let steps = scene.steps(id).await;
        assert_eq!(steps, [Step::Accepted, Step::Sent, HELD]);
    }
    // Each step but the first is one entry of the log.
    let logged = 2 * ids.len() + given_up.len();
    let logged = Ok(Cursor(logged as u64));
    assert_eq!(scene.server.hub.uplink_end().await, logged);
    let counted = [("step", "given_up")];
    let counted = scene.server.counted("vinbus_downlink_total", &counted);
    assert_eq!(counted, MORE as u64);
}
