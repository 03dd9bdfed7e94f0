//! Messages of the bus that are taken for vehicles: what is read, acknowledged and heard while they are on
//! their way to the disk.

mod broker_support;
mod bus_support;

use std::sync::Arc;

use broker_support::raw::{Client, Packet};
use broker_support::within;
use bus_support::{BusFixture, hear};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use vinbus_host_server::broker::{BusIntake, BusRefusal, BusTaking};

const TAKEN: &str = "app/myapp/robotics/move";
const OTHER: &str = "app/myapp/robotics/status";

/// What the test says in place of the disk.
type Outcome = Result<(), BusRefusal>;

/// A disk that answers as the test says.
struct Disk(mpsc::UnboundedSender<(Bytes, oneshot::Sender<Outcome>)>);

impl BusIntake for Disk {
    fn wants(&self, topic: &str) -> bool {
        topic == TAKEN
    }

    fn take(self: Arc<Self>, _topic: Arc<str>, payload: Bytes) -> BoxFuture<'static, BusTaking> {
        let (answer, outcome) = oneshot::channel();
        self.0.send((payload, answer)).unwrap();
        let taking: BusTaking = Box::pin(async { outcome.await.unwrap() });
        Box::pin(std::future::ready(taking))
    }
}

/// A broker, a client that hears everything, and what was taken and waits for the disk.
struct Waiting {
    it: BusFixture,
    hearer: Client,
    taken: mpsc::UnboundedReceiver<(Bytes, oneshot::Sender<Outcome>)>,
}

impl Waiting {
    async fn start() -> Self {
        let (disk, taken) = mpsc::unbounded_channel();
        let it = BusFixture::with_intake(Arc::new(Disk(disk))).await;
        let mut hearer = it.entered("myapp", "hearer", &["robotics.*"]).await;
        for topic in [TAKEN, OTHER] {
            assert_eq!(hearer.subscribe(topic, 0).await, 0);
        }
        Self { it, hearer, taken }
    }

    /// The next message that waits for the disk, which has this payload.
    async fn taken(&mut self, payload: &str) -> oneshot::Sender<Outcome> {
        let (got, answer) = within("a message is taken", self.taken.recv())
            .await
            .unwrap();
        assert_eq!(got, payload);
        answer
    }
}

/// The packet identifier and reason of the next packet, a PUBACK.
async fn acknowledged(client: &mut Client) -> (u16, u8) {
    let Packet { body, .. } = client.expect(4).await;
    let id = u16::from_be_bytes([body[0], body[1]]);
    (id, body.get(2).copied().unwrap_or_default())
}

#[tokio::test]
async fn messages_go_to_the_disk_together_and_are_acknowledged_in_their_order() {
    let mut it = Waiting::start().await;
    let mut speaker = it.it.entered("myapp", "speaker", &["robotics.*"]).await;
    let mut ids = Vec::new();
    for payload in ["1", "2", "3"] {
        ids.push(speaker.publish(TAKEN, payload.as_bytes(), 1, false).await);
    }
    let mut answers = Vec::new();
    for payload in ["1", "2", "3"] {
        answers.push(it.taken(payload).await);
    }
    // What is not taken waits for no disk.
    let other = speaker.publish(OTHER, b"other", 1, false).await;
    assert_eq!(hear(&mut it.hearer).await.1, b"other");
    let [one, two, three] = <[_; 3]>::try_from(answers).unwrap();
    three.send(Ok(())).unwrap();
    two.send(Err(BusRefusal::Payload)).unwrap();
    it.hearer.ping().await;
    one.send(Ok(())).unwrap();
    let expected = [(ids[0], 0), (ids[1], 0x99), (ids[2], 0), (other, 0)];
    for expected in expected {
        assert_eq!(acknowledged(&mut speaker).await, expected);
    }
    for heard in [b"1", b"3"] {
        assert_eq!(hear(&mut it.hearer).await.1, heard);
    }
    it.hearer.ping().await;
    assert_eq!(it.it.counts().publishes_denied, 1);
}

#[tokio::test]
async fn what_was_taken_is_heard_though_its_publisher_is_gone() {
    let mut it = Waiting::start().await;
    let mut speaker = it.it.entered("myapp", "speaker", &["robotics.*"]).await;
    speaker.publish(TAKEN, b"last words", 0, false).await;
    let answer = it.taken("last words").await;
    speaker.leave().await;
    answer.send(Ok(())).unwrap();
    assert_eq!(hear(&mut it.hearer).await.1, b"last words");
}

#[tokio::test]
async fn each_refusal_is_told_by_its_reason_where_it_can_be_told() {
    let mut it = Waiting::start().await;
    let client = it.it.make("myapp", "speaker", &["robotics.*"]).await;
    let mut five = it.it.enter(&client, "five").await;
    let mut three = it.it.plain().await;
    let connect = it.it.connect(&client, "three");
    three.enter(&connect.v311()).await;
    for (refusal, reason) in [
        (BusRefusal::Topic, 0x90),
        (BusRefusal::Payload, 0x99),
        (BusRefusal::Quota, 0x97),
        (BusRefusal::Unavailable, 0x80),
    ] {
        let id = five.publish(TAKEN, b"5", 1, false).await;
        it.taken("5").await.send(Err(refusal)).unwrap();
        assert_eq!(acknowledged(&mut five).await, (id, reason));
        let id = three.publish(TAKEN, b"3", 1, false).await;
        it.taken("3").await.send(Err(refusal)).unwrap();
        if refusal == BusRefusal::Unavailable {
            // An acknowledgement would be a promise.
            assert_eq!(three.packet().await, None);
        } else {
            assert_eq!(acknowledged(&mut three).await, (id, 0));
        }
    }
    assert_eq!(it.it.counts().unacknowledged, 1);
    it.hearer.ping().await;
}
