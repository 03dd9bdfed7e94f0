//! Long messages from vehicles come in parts: each is acknowledged when it is on disk, the whole is one message
//! of the log, once, whatever is lost or killed, and bombs of parts do no harm. The vehicle is the protocol's
//! own, behind a broker that the test plays.

mod hub_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hub_support::{Server, attach_air, uid, uplink_topic, vin};
use tokio::sync::mpsc;
use vinbus_host_server::broker::{Broker, BrokerEvents as _, Outcome, PublishError};
use vinbus_host_server::hub::Settings;
use vinbus_host_server::model::{Cursor, NewDownlink, Presence};
use vinbus_host_server::store::sqlite::StoreSettings;
use vinbus_protocol::delivery::parts::piece;
use vinbus_protocol::delivery::{
    self, Endpoint, Epoch, Event, Header, Marked, Message, Part, Received, Snapshot, Step, Transmit,
};
use vinbus_protocol::envelope::{Content, Downlink, DownlinkBody};
use vinbus_protocol::id::Vin;
use vinbus_protocol::limits::{
    DELIVERY_LONG_BYTES_MAX, DELIVERY_PART_BYTES_MAX, DELIVERY_PARTS_MAX,
};

/// What goes under a number.
#[derive(Clone)]
enum Sent {
    Short(String),
    Part(Part, String),
}

/// A vehicle that sends long messages.
struct Car {
    number: usize,
    endpoint: Endpoint<8, 64>,
    air: mpsc::UnboundedReceiver<Bytes>,
    begin: Instant,
    /// Every n-th frame is lost, either way; 0 for none.
    loses: usize,
    frames: usize,
    /// It hears nothing.
    deaf: bool,
    sends: BTreeMap<u32, Sent>,
    /// The last step of each message.
    told: BTreeMap<u32, Step>,
    /// Where the parts began that were stored.
    offsets: Vec<u32>,
    /// What was offered to consumers of the broker.
    offered: Vec<Outcome>,
}

impl Car {
    fn new(epoch: u32, air: mpsc::UnboundedReceiver<Bytes>) -> Self {
        let mut endpoint = Endpoint::new(Snapshot::fresh(Epoch::new(epoch).unwrap()), 0);
        endpoint.handle_link(0, true);
        Self {
            number: 1,
            endpoint,
            air,
            begin: Instant::now(),
            loses: 0,
            frames: 0,
            deaf: false,
            sends: BTreeMap::new(),
            told: BTreeMap::new(),
            offsets: Vec::new(),
            offered: Vec::new(),
        }
    }

    /// Goes online, and hears what the server takes.
    async fn meets(&mut self, server: &Server) {
        self.announce(server);
        self.until(server, "it is met", |car| car.endpoint.is_established())
            .await;
        let takes = self.endpoint.peer_takes_parts();
        assert_eq!(takes, Some(DELIVERY_LONG_BYTES_MAX as u32));
    }

    fn announce(&self, server: &Server) {
        let vin = vin(self.number);
        server.hub.presence_changed(vin, Presence::Online);
        let offer = Some(self.endpoint.offer());
        server.hub.announced(vin, &uid(), offer);
    }

    fn now_ms(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    fn is_lost(&mut self) -> bool {
        self.frames += 1;
        self.loses > 0 && self.frames.is_multiple_of(self.loses)
    }

    async fn until(&mut self, server: &Server, what: &str, check: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !check(self) {
            let late = begin.elapsed() >= Duration::from_secs(60);
            assert!(!late, "not in time: {what}");
            self.live(server).await;
        }
    }

    async fn live(&mut self, server: &Server) {
        self.say(server).await;
        let due = self.endpoint.poll_timeout();
        let wait = due.map_or(10, |at| at.saturating_sub(self.now_ms()).min(10));
        let next = tokio::time::timeout(Duration::from_millis(wait.max(1)), self.air.recv());
        if let Ok(Some(payload)) = next.await
            && !self.is_lost()
            && !self.deaf
        {
            self.hear(&payload);
        }
    }

    fn hear(&mut self, payload: &[u8]) {
        let DownlinkBody::Data(content) = Downlink::decode(payload).unwrap().body else {
            panic!("no popups here");
        };
        let Received::Control(control) = delivery::read(content) else {
            panic!("nobody sends messages");
        };
        let mut told = Vec::new();
        let now_ms = self.now_ms();
        let batch = self
            .endpoint
            .handle_control(now_ms, &control, |run| told.push(run));
        for run in told {
            let numbers = run.first..run.first + run.count;
            self.told.extend(numbers.map(|number| (number, run.step)));
        }
        if let Some(batch) = batch {
            self.endpoint.acknowledge(batch);
        }
    }

    async fn say(&mut self, server: &Server) {
        let now_ms = self.now_ms();
        while let Some(event) = self.endpoint.poll_event(now_ms) {
            assert!(!matches!(event, Event::Lost { .. }), "{event:?}");
        }
        let mut buffer = vec![0; 2 * DELIVERY_PART_BYTES_MAX];
        loop {
            let mut topic = uplink_topic(self.number);
            let payload = match self.endpoint.poll_transmit(now_ms, 7) {
                None => return,
                Some(Transmit::Control(control)) => {
                    topic += delivery::CONTROL_SUBTOPIC;
                    control.encode_uplink(&mut buffer)
                }
                Some(Transmit::Message(header)) => match &self.sends[&header.number] {
                    Sent::Short(text) => {
                        let content = Content::parse(text.as_bytes()).unwrap();
                        Marked::new(header, content)
                            .unwrap()
                            .encode_uplink(&mut buffer)
                    }
                    Sent::Part(part, piece) => {
                        let part = Some(*part);
                        Marked::part(Header { part, ..header }, piece).encode_uplink(&mut buffer)
                    }
                },
            };
            let payload = payload.unwrap().to_vec();
            if !self.is_lost() {
                let outcome = server.arrive_on(&topic, payload).await;
                self.offered.push(outcome);
            }
        }
    }

    fn submit(&mut self, sent: Sent) -> u32 {
        let message = Message {
            bytes: 100,
            expires_at_ms: None,
            key: None,
            repeatable: true,
        };
        let submitted = self.endpoint.submit(self.now_ms(), message).unwrap();
        self.sends.insert(submitted.number, sent);
        submitted.number
    }

    /// Sends a part, and waits for what becomes of it.
    async fn part(&mut self, server: &Server, part: Part, piece: &str) -> Step {
        let number = self.submit(Sent::Part(part, piece.to_owned()));
        self.fate(server, number).await
    }

    async fn fate(&mut self, server: &Server, number: u32) -> Step {
        let told = |car: &Self| car.told.get(&number).is_some_and(|step| step.is_final());
        self.until(server, "it is told", told).await;
        self.told[&number]
    }

    /// Sends parts of a text from `offset` on, `count` of them at most; where it ended, and its last step.
    async fn send(
        &mut self,
        server: &Server,
        text: &str,
        offset: u32,
        count: usize,
    ) -> (u32, Step) {
        let (mut part, mut step) = (
            Part {
                offset,
                ..Part::first(text)
            },
            Step::PartStored,
        );
        for _ in 0..count {
            let piece = piece(text, part.offset as usize, DELIVERY_PART_BYTES_MAX);
            step = self.part(server, part, piece).await;
            self.offsets.push(part.offset);
            part.offset += piece.len() as u32;
            if step != Step::PartStored {
                break;
            }
        }
        (part.offset, step)
    }
}

fn open(dir: &std::path::Path) -> Server {
    Server::open_with(dir, Settings::default(), StoreSettings::default())
}

/// A broker of two vehicles.
struct Sky([(Vin, mpsc::UnboundedSender<Bytes>); 2]);

impl Broker for Sky {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        let of = self.0.iter().find(|(vin, _)| topic.contains(vin.as_str()));
        let sent = of.unwrap().1.send(payload);
        Box::pin(async move { sent.map_err(|_| PublishError::LinkDown) })
    }
}

/// A content of so many bytes, with characters that are longer in a string, and of two bytes.
fn text(len: usize) -> String {
    let begin = "[\"é\\\"\\\\\",\"";
    let end = "\"]";
    begin.to_owned() + &"x".repeat(len - begin.len() - end.len()) + end
}

/// The contents of the log.
async fn log(server: &Server) -> Vec<String> {
    let page = server.hub.uplink_after(Cursor(0), None, None, 100).await;
    let messages = page.unwrap().messages.into_iter();
    messages
        .map(|uplink| {
            let payload = String::from_utf8(uplink.message.payload.to_vec()).unwrap();
            let content = payload.strip_prefix("{\"content\":").unwrap();
            content.strip_suffix('}').unwrap().to_owned()
        })
        .collect()
}

fn parts(server: &Server, outcome: &str) -> u64 {
    server.counted("vinbus_uplink_parts_total", &[("outcome", outcome)])
}

#[tokio::test]
async fn longest_message_is_stored_whole_and_once_though_every_third_frame_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::new(7, attach_air(&server));
    car.meets(&server).await;
    car.loses = 3;
    let long = text(DELIVERY_LONG_BYTES_MAX);
    let (end, step) = car.send(&server, &long, 0, usize::MAX).await;
    assert_eq!((end as usize, step), (long.len(), Step::Confirmed));
    assert!(log(&server).await == [long], "it is stored byte for byte");
    assert_eq!(car.offsets.len(), 9);
    assert_eq!((parts(&server, "stored"), parts(&server, "whole")), (8, 1));
    assert_eq!(server.counted("vinbus_uplink_stored_total", &[]), 1);
    // Each part is offered to who listens on the broker, once.
    let offered = car.offered.iter().filter(|it| **it == Outcome::Stored);
    assert_eq!(offered.count(), 9);
}

#[tokio::test]
async fn transfer_goes_on_where_it_was_though_the_last_receipt_died_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::new(7, attach_air(&server));
    car.meets(&server).await;
    let long = text(500_000);
    let (offset, step) = car.send(&server, &long, 0, 2).await;
    assert_eq!(step, Step::PartStored);
    // The third is stored, and the vehicle does not hear of it.
    car.deaf = true;
    let third = piece(&long, offset as usize, DELIVERY_PART_BYTES_MAX);
    let part = Part {
        offset,
        ..Part::first(&long)
    };
    let number = car.submit(Sent::Part(part, third.to_owned()));
    while parts(&server, "stored") < 3 {
        car.live(&server).await;
    }
    server.close().await;
    let server = open(dir.path());
    car.air = attach_air(&server);
    car.deaf = false;
    car.announce(&server);
    assert_eq!(car.fate(&server, number).await, Step::PartStored);
    let offset = offset + third.len() as u32;
    let (_, step) = car.send(&server, &long, offset, usize::MAX).await;
    assert_eq!(step, Step::Confirmed);
    assert!(log(&server).await == [long]);
}

#[tokio::test]
async fn short_messages_between_parts_and_two_vehicles_at_once_are_not_mixed() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let ((up, air), (other_up, other_air)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let sky = Sky([(vin(1), up), (vin(2), other_up)]);
    server.hub.attach(Arc::new(sky));
    server.hub.link_changed(Ok(()));
    let mut car = Car::new(7, air);
    car.meets(&server).await;
    let long = text(300_000);
    let (offset, _) = car.send(&server, &long, 0, 1).await;
    let short = car.submit(Sent::Short("1".to_owned()));
    assert_eq!(car.fate(&server, short).await, Step::Confirmed);
    assert_eq!(log(&server).await, ["1"]);
    // Another vehicle sends one of the same length meanwhile.
    let mut other = Car::new(7, other_air);
    other.number = 2;
    other.meets(&server).await;
    let same = long.replace('x', "y");
    let (middle, _) = other.send(&server, &same, 0, 2).await;
    let (_, step) = car.send(&server, &long, offset, usize::MAX).await;
    assert_eq!(step, Step::Confirmed);
    let (_, step) = other.send(&server, &same, middle, usize::MAX).await;
    assert_eq!(step, Step::Confirmed);
    assert!(log(&server).await == ["1".to_owned(), long, same]);
}

#[tokio::test]
async fn full_store_takes_no_part_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let with_quota = |quota_bytes| {
        let settings = StoreSettings {
            quota_bytes,
            ..StoreSettings::default()
        };
        Server::open_with(dir.path(), Settings::default(), settings)
    };
    let server = with_quota(6 << 20);
    let mut car = Car::new(7, attach_air(&server));
    car.meets(&server).await;
    let long = text(500_000);
    let (offset, step) = car.send(&server, &long, 0, 1).await;
    assert_eq!(step, Step::PartStored);
    let waits = NewDownlink {
        envelope: vec![b'x'; 100_000].into(),
        ..hub_support::downlink(2, 0)
    };
    let full = loop {
        if let Err(error) = server.hub.submit_downlink(waits.clone()).await {
            break error;
        }
    };
    assert!(full.to_string().contains("the store is full"), "{full}");
    let second = piece(&long, offset as usize, DELIVERY_PART_BYTES_MAX);
    let part = Part {
        offset,
        ..Part::first(&long)
    };
    let number = car.submit(Sent::Part(part, second.to_owned()));
    let refused = |car: &Car| {
        car.offered
            .iter()
            .any(|it| matches!(it, Outcome::Failed(_)))
    };
    car.until(&server, "it is not stored", refused).await;
    assert_eq!(parts(&server, "stored"), 1);
    assert_eq!(car.told.get(&number), None, "it is to come again");
    server.close().await;
    let server = with_quota(32 << 20);
    car.air = attach_air(&server);
    car.announce(&server);
    assert_eq!(car.fate(&server, number).await, Step::PartStored);
    let offset = offset + second.len() as u32;
    let (_, step) = car.send(&server, &long, offset, usize::MAX).await;
    assert_eq!(step, Step::Confirmed);
    assert!(log(&server).await == [long]);
}

#[tokio::test]
async fn bombs_of_parts_are_refused_and_the_next_message_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::new(7, attach_air(&server));
    car.meets(&server).await;
    let nine = Part::first("[1,2,3,4]");
    let long = Part {
        total: DELIVERY_LONG_BYTES_MAX as u32,
        ..nine
    };
    let checks = [
        (0, u32::MAX, "[", Step::TooLarge),
        (0, long.total + 1, "[", Step::TooLarge),
        (3, 9, "1", Step::PartMissing),
        (u32::MAX, 9, "1", Step::PartMissing),
        (0, 9, "[1,", Step::PartStored),
        (2, 9, ",2", Step::PartMissing),
        (3, 9, "2,3", Step::PartMissing),
        (0, 9, "[1,", Step::PartStored),
        (3, 8, "2,3", Step::PartMissing),
        (0, 9, "[1,", Step::PartStored),
        (3, 9, "2,3,4,5,6,7]", Step::BadContent),
        (0, 9, "", Step::BadContent),
        (0, 0, "", Step::BadContent),
        (0, 9, "[1,2,3,5]", Step::PartMissing),
    ];
    for (offset, total, piece, expected) in checks {
        let part = Part {
            offset,
            total,
            ..nine
        };
        let step = car.part(&server, part, piece).await;
        assert_eq!(step, expected, "{part:?} {piece:?}");
    }
    let no_json = Part::first("[1,2,3,4}");
    assert_eq!(
        car.part(&server, no_json, "[1,2,3,4}").await,
        Step::BadContent
    );
    // In crumbs; and one that begins again and again.
    for offset in 0..DELIVERY_PARTS_MAX {
        let step = car.part(&server, Part { offset, ..long }, "1").await;
        assert_eq!(step, Step::PartStored);
    }
    let one_more = Part {
        offset: DELIVERY_PARTS_MAX,
        ..long
    };
    assert_eq!(car.part(&server, one_more, "1").await, Step::BadContent);
    let much = "[".to_owned() + &"1,".repeat(60_000);
    for _ in 0..40 {
        assert_eq!(car.part(&server, long, &much).await, Step::PartStored);
    }
    assert!(log(&server).await.is_empty());
    assert_eq!(car.part(&server, nine, "[1,2,3,4]").await, Step::Confirmed);
    assert_eq!(log(&server).await, ["[1,2,3,4]"]);
    assert_eq!(parts(&server, "refused"), 13);
    let kept = server.metrics.gauge("vinbus_store_bytes", "", &[]).value();
    assert!((1..500_000).contains(&kept), "the store has {kept} bytes");
}
