//! Another life of either end of a channel is on disk only together with what was lost with the one before:
//! whenever the server is killed, each message of the old life has its last word once, and none goes to
//! the new life that may not.

mod hub_support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use hub_support::car::{Car, speak_of_a_later_server};
use hub_support::{Server, attach_air, downlink, most_of_store_underneath, underneath};
use vinbus_host_server::broker::Outcome;
use vinbus_host_server::hub::Settings;
use vinbus_host_server::model::{
    Cursor, Downlink, MessageId, NewDownlink, NewUplink, Receipts, Step, Transfer,
};
use vinbus_host_server::store::channels::{
    Changed, ChannelChange, ChannelStore, KeptChannel, KnownChannel, LeftOut, NewPart, PartTaken,
};
use vinbus_host_server::store::fleets::FleetStore;
use vinbus_host_server::store::requests::RequestStore;
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};
use vinbus_host_server::store::{Pending, Store, StoreError};
use vinbus_protocol::delivery::{self, Endpoint, Epoch, Header, Marked, Part, Snapshot};
use vinbus_protocol::id::{AppId, Uid, Vin};

/// A store that takes everything but notes of what became of messages, from a moment on. A server that is
/// stopped then stops as if it had been killed before it noted them.
struct Noteless {
    store: SqliteStore,
    from_now: Arc<AtomicBool>,
    refused: Arc<AtomicBool>,
}

impl ChannelStore for Noteless {
    fn change_channel(&self, vin: &Vin, uid: &Uid, change: ChannelChange) -> Pending<Changed> {
        if change.steps.is_empty() || !self.from_now.load(Ordering::Relaxed) {
            return self.store.change_channel(vin, uid, change);
        }
        self.refused.store(true, Ordering::Relaxed);
        let (reply, pending) = tokio::sync::oneshot::channel();
        let detail = "the test wants it so".to_owned();
        assert!(reply.send(Err(StoreError::Failed { detail })).is_ok());
        pending
    }

    underneath! {
        channels() -> Result<Vec<KnownChannel>, StoreError>;
        channel(vin: &Vin, uid: &Uid) -> Result<Option<KeptChannel>, StoreError>;
        downlink(sequence: u64) -> Result<Option<Downlink>, StoreError>;
        transfer(sequence: u64) -> Result<Option<Transfer>, StoreError>;
        unsent_besides(vin: &Vin, uid: &Uid, after: u64, left_out: &LeftOut, limit: usize) -> Result<Vec<Downlink>, StoreError>;
        append_numbered(message: NewUplink, id: delivery::MessageId) -> Pending<Cursor>;
        append_part(part: NewPart) -> Pending<PartTaken>;
    }
}

impl FleetStore for Noteless {}
impl RequestStore for Noteless {}

impl Store for Noteless {
    most_of_store_underneath! {}

    underneath! {
        is_full() -> bool;
        append_uplink(message: NewUplink) -> Pending<Cursor>;
        uplink_received_at(cursor: Cursor) -> Result<Option<SystemTime>, StoreError>;
        unsent(vin: &Vin, uid: &Uid, after: u64, limit: usize) -> Result<Vec<Downlink>, StoreError>;
    }
}

const HELD: Step = Step::Told(delivery::Step::HeldBackground);
const TAKEN: Step = Step::Told(delivery::Step::Taken);

/// A server that can note nothing more of its messages.
struct Before {
    server: Server,
    refused: Arc<AtomicBool>,
    /// Two that the vehicle holds, and two that it has and did not answer; the second of each may be sent again.
    ids: [[MessageId; 2]; 2],
}

async fn submit(server: &Server, n: usize, receipts: Receipts) -> MessageId {
    let envelope = format!(r#"{{"idApp":"app","popup":false,"content":{{"n":{n}}}}}"#);
    let message = NewDownlink {
        envelope: envelope.into(),
        app: AppId::parse("app").unwrap(),
        receipts,
        expires_at: SystemTime::now() + Duration::from_secs(3600),
        ..downlink(1, n)
    };
    server.hub.submit_downlink(message).await.unwrap().id
}

fn told(n: usize) -> String {
    format!(r#"{{"n":{n}}}"#)
}

/// A server and a vehicle with messages, when one of them is about to begin another life.
async fn before(dir: &Path) -> (Before, Car) {
    let (from_now, refused) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (settings, keep) = (Settings::default(), StoreSettings::default());
    let server = Server::open_over(dir, settings, keep, |store| {
        Arc::new(Noteless {
            store,
            from_now: Arc::clone(&from_now),
            refused: Arc::clone(&refused),
        })
    });
    let mut car = Car::new(7, &server);
    car.meet(&server).await;
    car.step = delivery::Step::HeldBackground;
    let held = [
        submit(&server, 0, Receipts::Asked).await,
        submit(&server, 1, Receipts::Repeatable).await,
    ];
    for id in &held {
        car.until(&server, "it is held", async |_| {
            server.steps(id).await.last() == Some(&HELD)
        })
        .await;
    }
    let on_its_way = [
        submit(&server, 2, Receipts::Asked).await,
        submit(&server, 3, Receipts::Repeatable).await,
    ];
    // The vehicle gets them, and no answer is heard.
    while car.app.len() < 4 {
        let payload = car.air.recv().await.unwrap();
        car.hear(&payload);
    }
    for id in &on_its_way {
        server.has_step(id, Step::Sent).await;
    }
    from_now.store(true, Ordering::Relaxed);
    let ids = [held, on_its_way];
    (
        Before {
            server,
            refused,
            ids,
        },
        car,
    )
}

/// What is told when a life ends.
fn losses(steps: &[Step]) -> Vec<Step> {
    let of_loss = |step: &&Step| matches!(step, Step::PeerRestarted | Step::SentAgain);
    steps.iter().filter(of_loss).copied().collect()
}

/// After the kill: each message of the life before has its last word.
async fn all_are_told(server: &Server, car: &mut Car, ids: &[[MessageId; 2]; 2]) {
    for [once, again] in ids {
        car.until(server, "it is told as lost", async |_| {
            server.steps(once).await.last() == Some(&Step::PeerRestarted)
        })
        .await;
        is_taken(server, car, again).await;
        let steps = server.steps(once).await;
        assert_eq!(losses(&steps), [Step::PeerRestarted], "{steps:?}");
    }
    let [held, on_its_way] = ids;
    let steps = server.steps(&held[1]).await;
    assert_eq!(losses(&steps), [Step::SentAgain], "{steps:?}");
    // Its number was not answered, so it goes under it again.
    let steps = server.steps(&on_its_way[1]).await;
    assert_eq!(losses(&steps), [], "{steps:?}");
}

/// The next life of a vehicle, which knows of the server as one does that hears what was meant for the life before.
fn next_life(car: Car) -> Car {
    let memory = Snapshot {
        peer: car.endpoint.peer(),
        ..Snapshot::fresh(Epoch::new(8).unwrap())
    };
    let mut next = Car::on(8, car.air);
    next.endpoint = Endpoint::new(memory, 0);
    next.endpoint.handle_link(0, true);
    next
}

/// Lives until the server could not note what was lost, and had time for what does not need that.
async fn live_on(car: &mut Car, before: &Before) {
    car.until(&before.server, "the losses were to be noted", async |_| {
        before.refused.load(Ordering::Relaxed)
    })
    .await;
    for _ in 0..30 {
        car.live(&before.server).await;
    }
}

/// Kills the server, and starts another on its folder, which the vehicle has said nothing to yet.
async fn restarted(before: Before, dir: &Path, car: &mut Car) -> (Server, [[MessageId; 2]; 2]) {
    before.server.close().await;
    let server = Server::open(dir);
    car.air = attach_air(&server);
    (server, before.ids)
}

/// Lives until the next life has taken a message.
async fn is_taken(server: &Server, car: &mut Car, id: &MessageId) {
    car.until(server, "it is taken by the next life", async |_| {
        server.steps(id).await.last() == Some(&TAKEN)
    })
    .await;
}

#[tokio::test]
async fn number_for_a_vehicles_next_life_does_not_outlive_the_losses_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (before, car) = before(dir.path()).await;
    let mut next = Car::on(8, car.air);
    next.announce(&before.server);
    // A worker comes to it.
    let new = submit(&before.server, 4, Receipts::Asked).await;
    live_on(&mut next, &before).await;
    let (server, ids) = restarted(before, dir.path(), &mut next).await;
    next.announce(&server);
    all_are_told(&server, &mut next, &ids).await;
    is_taken(&server, &mut next, &new).await;
    next.app.sort();
    assert_eq!(next.app, [told(1), told(3), told(4)]);
    server.close().await;
}

#[tokio::test]
async fn message_of_a_vehicles_next_life_does_not_outlive_the_losses_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (before, car) = before(dir.path()).await;
    let mut next = next_life(car);
    next.send(&told(100));
    live_on(&mut next, &before).await;
    assert_eq!(next.endpoint.unanswered(), 1);
    let (server, ids) = restarted(before, dir.path(), &mut next).await;
    next.announce(&server);
    all_are_told(&server, &mut next, &ids).await;
    next.until(&server, "its own is confirmed", async |car| {
        car.endpoint.unanswered() == 0
    })
    .await;
    next.app.sort();
    assert_eq!(next.app, [told(1), told(3)]);
    let page = server.hub.uplink_after(Cursor(0), None, None, 1_000).await;
    let log = page.unwrap().messages.into_iter();
    let own = log.filter(|uplink| uplink.message.subtopic.is_none());
    assert_eq!(own.count(), 1);
    server.close().await;
}

#[tokio::test]
async fn part_of_a_vehicles_next_life_does_not_outlive_the_losses_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (before, car) = before(dir.path()).await;
    let mut next = next_life(car);
    let header = Header {
        epoch: next.endpoint.epoch(),
        peer: next.endpoint.peer().unwrap(),
        number: 1,
        ttl_s: 60,
        part: Some(Part::first("[1,2,3,4]")),
    };
    let mut buffer = [0; 256];
    let part = Marked::part(header, "[1,2").encode_uplink(&mut buffer);
    let part = part.unwrap().to_vec();
    let came = before.server.arrive(1, part.clone()).await;
    assert_eq!(came, Outcome::Refused);
    live_on(&mut next, &before).await;
    let (server, ids) = restarted(before, dir.path(), &mut next).await;
    next.announce(&server);
    all_are_told(&server, &mut next, &ids).await;
    assert_eq!(server.arrive(1, part).await, Outcome::Stored);
    server.close().await;
}

#[tokio::test]
async fn number_for_a_servers_own_next_life_does_not_outlive_the_losses_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (before, mut car) = before(dir.path()).await;
    let own = car.endpoint.peer().unwrap();
    speak_of_a_later_server(&before.server, own).await;
    let new = submit(&before.server, 4, Receipts::Asked).await;
    live_on(&mut car, &before).await;
    let (server, ids) = restarted(before, dir.path(), &mut car).await;
    (car.app, car.step) = (Vec::new(), delivery::Step::Taken);
    speak_of_a_later_server(&server, own).await;
    car.announce(&server);
    all_are_told(&server, &mut car, &ids).await;
    is_taken(&server, &mut car, &new).await;
    car.app.sort();
    assert_eq!(car.app, [told(1), told(3), told(4)]);
    server.close().await;
}
