//! Messages with receipts for apps that confirm what they are handed (SPEC 16.13a): what an app's ring in
//! the vehicle has no room for waits in the server, and nobody else waits with it. Nor do messages without
//! receipts wait for a vehicle that answers nothing.

mod hub_support;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hub_support::car::Car;
use hub_support::{Server, attach_air, downlink};
use tokio::sync::{Semaphore, mpsc};
use vinbus_host_server::broker::{Broker, BrokerEvents as _, PublishError};
use vinbus_host_server::hub::{NewRequest, RequestOutcome};
use vinbus_host_server::model::{MessageId, NewDownlink, Receipts, Step};
use vinbus_protocol::delivery::{self, Received};
use vinbus_protocol::envelope::{Downlink, DownlinkBody};
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{
    DELIVERY_ANNOUNCEMENT_MS, DELIVERY_APP_PATIENCE_MS, DELIVERY_IN_FLIGHT_MAX,
    DELIVERY_LONG_BYTES_MAX, PAYLOAD_BYTES_MAX, PENDING_MESSAGES_MAX,
};
use vinbus_protocol::request::{Absent, RequestId};

const CONFIRMED: Step = Step::Told(delivery::Step::Confirmed);

fn message(app: &str, content: &str, receipts: Receipts) -> NewDownlink {
    NewDownlink {
        envelope: Bytes::from(format!(
            "{{\"idApp\":\"{app}\",\"popup\":false,\"content\":{content}}}"
        )),
        app: AppId::parse(app).unwrap(),
        receipts,
        expires_at: SystemTime::now() + Duration::from_secs(600),
        ..downlink(1, 0)
    }
}

async fn submit(server: &Server, app: &str, numbers: Range<usize>) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for n in numbers {
        let message = message(app, &told(app, n), Receipts::Asked);
        ids.push(server.hub.submit_downlink(message).await.unwrap().id);
    }
    ids
}

fn told(app: &str, n: usize) -> String {
    format!("{{\"{app}\":{n}}}")
}

/// A server, and a vehicle in whose foreground is an app that confirms.
async fn with_car(dir: &std::path::Path) -> (Server, Car) {
    let server = Server::open(dir);
    let mut car = Car::new(7, &server);
    car.step = delivery::Step::Handed;
    car.meet(&server).await;
    (server, car)
}

async fn all_end_as(server: &Server, car: &mut Car, ids: &[MessageId], step: Step) {
    for id in ids {
        car.until(server, "it has its last word", async |_| {
            server.steps(id).await.last() == Some(&step)
        })
        .await;
    }
}

#[tokio::test]
async fn slow_app_that_confirms_gets_200_messages_in_order_and_never_more_than_its_ring_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = with_car(dir.path()).await;
    let ids = submit(&server, "slow", 0..200).await;
    while car.app.len() < 200 {
        let came = car.came;
        car.live(&server).await;
        let unconfirmed = car.unconfirmed("slow");
        assert!(unconfirmed <= PENDING_MESSAGES_MAX, "{unconfirmed}");
        // It is slower than all that comes.
        if car.came == came {
            car.confirm("slow");
        }
    }
    while car.unconfirmed("slow") > 0 {
        car.confirm("slow");
    }
    all_end_as(&server, &mut car, &ids, CONFIRMED).await;
    let expected: Vec<_> = (0..200).map(|n| told("slow", n)).collect();
    assert_eq!(car.app, expected);
}

#[tokio::test]
async fn app_that_confirms_nothing_and_reads_in_bursts_has_no_more_to_read_than_its_vehicle_keeps()
{
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = with_car(dir.path()).await;
    car.unread = Some(VecDeque::new());
    let ids = submit(&server, "slow", 0..200).await;
    let unread = |car: &Car| car.unread.as_ref().map_or(0, VecDeque::len);
    while car.app.len() < 200 || unread(&car) > 0 {
        let came = car.came;
        car.live(&server).await;
        assert!(unread(&car) <= DELIVERY_IN_FLIGHT_MAX, "{}", unread(&car));
        if car.came == came {
            car.read(13);
        }
    }
    all_end_as(&server, &mut car, &ids, Step::Told(delivery::Step::Taken)).await;
    let expected: Vec<_> = (0..200).map(|n| told("slow", n)).collect();
    assert_eq!(car.app, expected);
}

#[tokio::test]
async fn app_that_hangs_keeps_no_message_from_another_app_of_its_partner() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = with_car(dir.path()).await;
    let mut ids = Vec::new();
    for n in 0..60 {
        submit(&server, "hangs", n..n + 1).await;
        ids.extend(submit(&server, "lives", n..n + 1).await);
    }
    let confirmed = async |car: &mut Car| {
        while car.app.len() < 60 + PENDING_MESSAGES_MAX {
            car.live(&server).await;
            car.confirm("lives");
        }
    };
    confirmed(&mut car).await;
    all_end_as(&server, &mut car, &ids, CONFIRMED).await;
    assert_eq!(car.unconfirmed("hangs"), PENDING_MESSAGES_MAX);
    let lives = car.app.iter().filter(|it| it.contains("lives"));
    assert!(lives.cloned().eq((0..60).map(|n| told("lives", n))));
}

#[tokio::test]
async fn app_that_hangs_has_all_sent_to_its_ring_when_its_patience_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = with_car(dir.path()).await;
    let ids = submit(&server, "hangs", 0..20).await;
    let handed = Step::Told(delivery::Step::Handed);
    all_end_as(&server, &mut car, &ids[..10], handed).await;
    assert_eq!(car.app.len(), PENDING_MESSAGES_MAX);
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(DELIVERY_APP_PATIENCE_MS)).await;
    tokio::time::resume();
    all_end_as(&server, &mut car, &ids, handed).await;
    assert_eq!(car.app.len(), 20);
}

#[tokio::test]
async fn app_that_confirms_and_is_away_for_a_moment_has_nothing_pushed_out() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = with_car(dir.path()).await;
    let ids = submit(&server, "app", 0..50).await;
    let (handed, held) = (delivery::Step::Handed, delivery::Step::HeldBackground);
    all_end_as(&server, &mut car, &ids[..10], Step::Told(handed)).await;
    // What it confirms makes room for what comes while it is away.
    car.step = held;
    for _ in 0..10 {
        car.confirm("app");
    }
    all_end_as(&server, &mut car, &ids[10..20], Step::Told(held)).await;
    // Another app's message shows that those before it had their turn.
    let other = submit(&server, "other", 0..1).await;
    all_end_as(&server, &mut car, &other, Step::Told(held)).await;
    assert_eq!(car.unconfirmed("app"), PENDING_MESSAGES_MAX);
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(DELIVERY_APP_PATIENCE_MS)).await;
    tokio::time::resume();
    all_end_as(&server, &mut car, &ids[20..], Step::Told(held)).await;
}

#[tokio::test]
async fn app_that_had_nothing_to_confirm_for_long_and_is_away_for_a_moment_has_nothing_pushed_out()
{
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = with_car(dir.path()).await;
    let ids = submit(&server, "app", 0..1).await;
    all_end_as(&server, &mut car, &ids, Step::Told(delivery::Step::Handed)).await;
    car.confirm("app");
    all_end_as(&server, &mut car, &ids, CONFIRMED).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(DELIVERY_APP_PATIENCE_MS)).await;
    tokio::time::resume();
    let held = delivery::Step::HeldBackground;
    car.step = held;
    submit(&server, "app", 1..50).await;
    let other = submit(&server, "other", 0..1).await;
    all_end_as(&server, &mut car, &other, Step::Told(held)).await;
    assert_eq!(car.unconfirmed("app"), PENDING_MESSAGES_MAX);
}

#[tokio::test]
async fn app_that_reads_and_never_asks_for_what_waits_gets_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = with_car(dir.path()).await;
    let (held, taken) = (delivery::Step::HeldBackground, delivery::Step::Taken);
    car.step = held;
    let ids = submit(&server, "app", 0..10).await;
    all_end_as(&server, &mut car, &ids, Step::Told(held)).await;
    // It is in the foreground, and reads slowly for a moment.
    car.step = taken;
    let ids = submit(&server, "app", 10..11).await;
    all_end_as(&server, &mut car, &ids, Step::Told(taken)).await;
    car.unread = Some(VecDeque::new());
    let ids = submit(&server, "app", 11..35).await;
    let at_agent = Step::Told(delivery::Step::Received);
    all_end_as(&server, &mut car, &ids[23..], at_agent).await;
    car.read(24);
    all_end_as(&server, &mut car, &ids, Step::Told(taken)).await;
    car.unread = None;
    let next = submit(&server, "app", 35..36).await;
    all_end_as(&server, &mut car, &next, Step::Told(taken)).await;
}

#[tokio::test]
async fn what_an_app_has_not_confirmed_counts_after_a_restart_of_the_server_as_well() {
    use delivery::Step::{Confirmed, Handed};
    counts_after_a_restart(Handed, Confirmed).await;
}

#[tokio::test]
async fn what_an_app_has_not_read_counts_after_a_restart_of_the_server_as_well() {
    use delivery::Step::{Received, Taken};
    counts_after_a_restart(Received, Taken).await;
}

/// Messages of which a vehicle has told `step` count until it tells `end`.
async fn counts_after_a_restart(step: delivery::Step, end: delivery::Step) {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = with_car(dir.path()).await;
    car.step = step;
    let mut ids = submit(&server, "slow", 0..10).await;
    let handed = Step::Told(step);
    all_end_as(&server, &mut car, &ids, handed).await;
    server.close().await;
    let server = Server::open(dir.path());
    car.air = attach_air(&server);
    car.announce(&server);
    ids.extend(submit(&server, "slow", 10..12).await);
    // Another app's message shows that those before it had their turn.
    let other = submit(&server, "other", 0..1).await;
    all_end_as(&server, &mut car, &other, handed).await;
    assert_eq!(car.unconfirmed("slow"), PENDING_MESSAGES_MAX);
    car.end_oldest("slow", end);
    all_end_as(&server, &mut car, &ids[10..11], handed).await;
    assert_eq!(server.steps(&ids[11]).await, [Step::Accepted]);
}

#[tokio::test]
async fn request_waits_for_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = with_car(dir.path()).await;
    // More than a page, so that the request is found behind what waits.
    submit(&server, "slow", 0..50).await;
    let ordinary = message("slow", "\"ordinary\"", Receipts::No);
    server.hub.submit_downlink(ordinary).await.unwrap();
    let content = r#"{"vinbus":{"q":"00000000000000a7","w":1},"content":"now"}"#;
    let request = NewRequest {
        id: RequestId::new(0xa7),
        message: message("slow", content, Receipts::Asked),
        absent: Absent::Wait,
        has_key: true,
    };
    let hub = server.hub.clone();
    let asked = tokio::spawn(async move { hub.request(request).await.unwrap() });
    car.until(&server, "the request comes", async |car| {
        car.app.iter().any(|it| it == content)
    })
    .await;
    assert_eq!(car.app.len(), PENDING_MESSAGES_MAX + 1, "{:?}", car.app);
    server.hub.shutdown().await;
    let outcome = asked.await.map(|done| done.outcome);
    assert!(!matches!(outcome, Ok(RequestOutcome::Answered(_))));
}

/// Submits as many messages without receipts.
async fn submit_ordinary(server: &Server, app: &str, numbers: Range<usize>) -> Vec<String> {
    let mut contents = Vec::new();
    for n in numbers {
        let content = format!("\"ordinary {n}\"");
        let ordinary = message(app, &content, Receipts::No);
        server.hub.submit_downlink(ordinary).await.unwrap();
        contents.push(content);
    }
    contents
}

/// The next messages without receipts that come to a vehicle, which says nothing, and how many with receipts come
/// before them.
async fn ordinary(car: &mut Car, count: usize) -> (Vec<String>, usize) {
    let (mut contents, mut others) = (Vec::new(), 0);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while contents.len() < count {
        let next = tokio::time::timeout_at(deadline, car.air.recv());
        let payload = next.await.expect("they come in time").unwrap();
        let DownlinkBody::Data(content) = Downlink::decode(&payload).unwrap().body else {
            panic!("no popups here");
        };
        match delivery::read(content) {
            Received::Plain => contents.push(content.as_str().to_owned()),
            Received::Control(_) => {}
            Received::Message(..) => others += 1,
        }
    }
    (contents, others)
}

/// Another life of the server, for which the vehicle may be there, and has to answer a greeting.
async fn restarted(server: Server, mut car: Car, dir: &std::path::Path) -> (Server, Car) {
    server.close().await;
    let server = Server::open_external(dir);
    car.air = attach_air(&server);
    (server, car)
}

/// A vehicle says nothing for so long that it is not about to answer.
async fn silence() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(DELIVERY_ANNOUNCEMENT_MS)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn ordinary_message_waits_for_those_with_receipts_of_a_vehicle_that_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (server, car) = with_car(dir.path()).await;
    // It has a greeting to answer first, and then gets more than may be on their way.
    let (server, mut car) = restarted(server, car, dir.path()).await;
    for app in ["a", "b", "c", "d"] {
        submit(&server, app, 0..9).await;
    }
    let behind = submit_ordinary(&server, "e", 0..1).await;
    car.announce(&server);
    while !car.app.contains(&behind[0]) {
        car.live(&server).await;
    }
    assert_eq!(car.app.len(), 37, "{:?}", car.app);
}

#[tokio::test]
async fn ordinary_messages_pass_by_those_with_receipts_while_the_vehicle_answers_no_greeting() {
    let dir = tempfile::tempdir().unwrap();
    let (server, car) = with_car(dir.path()).await;
    let (server, mut car) = restarted(server, car, dir.path()).await;
    // More than a page, and of the same app as those behind them.
    let mut ids = submit(&server, "app", 0..50).await;
    let first = submit_ordinary(&server, "app", 0..20).await;
    silence().await;
    assert_eq!(ordinary(&mut car, 20).await, (first, 0));
    // Now it is there.
    car.announce(&server);
    ids.extend(submit(&server, "app", 50..52).await);
    let later = submit_ordinary(&server, "app", 20..60).await;
    silence().await;
    assert_eq!(ordinary(&mut car, 40).await, (later, 0));
    while car.app.len() < ids.len() {
        car.live(&server).await;
        car.confirm("app");
    }
    let expected: Vec<_> = (0..52).map(|n| told("app", n)).collect();
    assert_eq!(car.app, expected);
}

#[tokio::test]
async fn ordinary_messages_pass_by_while_as_many_are_on_their_way_as_may_be_and_none_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = with_car(dir.path()).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        for app in ["a", "b", "c", "d"] {
            ids.extend(submit(&server, app, n..n + 1).await);
        }
    }
    let behind = submit_ordinary(&server, "e", 0..2).await;
    silence().await;
    let (came, _) = ordinary(&mut car, 2).await;
    assert_eq!(came, behind);
    while car.app.len() < ids.len() {
        car.live(&server).await;
        for app in ["a", "b", "c", "d"] {
            car.confirm(app);
        }
    }
    // What it had not heard came again, in whatever order.
    car.app.sort();
    let apps = ["a", "b", "c", "d"].into_iter();
    let expected = apps.flat_map(|app| (0..10).map(move |n| told(app, n)));
    assert!(car.app.iter().cloned().eq(expected), "{:?}", car.app);
}

#[tokio::test]
async fn ordinary_messages_pass_by_a_long_one_while_the_vehicle_answers_none_of_as_many_as_may_be()
{
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::taking(7, DELIVERY_LONG_BYTES_MAX, attach_air(&server));
    car.meet(&server).await;
    for app in ["a", "b", "c", "d"] {
        submit(&server, app, 0..DELIVERY_IN_FLIGHT_MAX / 4).await;
    }
    let content = format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX));
    let long = message("long", &content, Receipts::Asked);
    let long = server.hub.submit_downlink(long).await.unwrap().id;
    let behind = submit_ordinary(&server, "e", 0..2).await;
    silence().await;
    assert_eq!(ordinary(&mut car, 2).await.0, behind);
    assert_eq!(server.steps(&long).await, [Step::Accepted]);
    let taken = Step::Told(delivery::Step::Taken);
    all_end_as(&server, &mut car, &[long], taken).await;
    assert!(car.app.contains(&content), "the app has it byte for byte");
}

/// A broker that takes messages without receipts only when it may, and all others at once.
struct Gate {
    air: mpsc::UnboundedSender<Bytes>,
    may_take: Arc<Semaphore>,
}

impl Broker for Gate {
    fn publish<'a>(
        &'a self,
        _: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        let is_plain = match Downlink::decode(&payload).unwrap().body {
            DownlinkBody::Data(content) => matches!(delivery::read(content), Received::Plain),
            DownlinkBody::Popup(_) => false,
        };
        async move {
            if is_plain {
                self.may_take.acquire().await.unwrap().forget();
            }
            self.air.send(payload).map_err(|_| PublishError::LinkDown)
        }
        .boxed()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

#[tokio::test]
async fn messages_with_receipts_go_on_before_all_that_passed_by_them_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let may_take = Arc::new(Semaphore::new(0));
    let (sender, air) = mpsc::unbounded_channel();
    server.hub.attach(Arc::new(Gate {
        air: sender,
        may_take: Arc::clone(&may_take),
    }));
    server.hub.link_changed(Ok(()));
    let mut car = Car::on(7, air);
    car.meet(&server).await;
    let mut ids = Vec::new();
    for n in 0..9 {
        for app in ["a", "b", "c", "d"] {
            ids.extend(submit(&server, app, n..n + 1).await);
        }
    }
    submit_ordinary(&server, "e", 0..100).await;
    silence().await;
    let taken = Step::Told(delivery::Step::Taken);
    all_end_as(&server, &mut car, &ids[..32], taken).await;
    let is_ordinary = |it: &&String| it.contains("ordinary");
    while car.app.iter().filter(|it| !is_ordinary(it)).count() < ids.len() {
        may_take.add_permits(1);
        car.live(&server).await;
    }
    let passed_by = car.app.iter().filter(is_ordinary).count();
    assert!(passed_by < 100, "all of them");
}

/// A server, and a vehicle with an app that was handed as much as its ring keeps.
async fn with_slow_app(dir: &std::path::Path) -> (Server, Car) {
    let (server, mut car) = with_car(dir).await;
    let ids = submit(&server, "slow", 0..PENDING_MESSAGES_MAX).await;
    let handed = Step::Told(delivery::Step::Handed);
    all_end_as(&server, &mut car, &ids, handed).await;
    (server, car)
}

/// An ordinary message for an app without room waits behind one with receipts, and one for another app goes.
async fn ordinary_one_waits_for_the_slow_app(server: &Server, car: &mut Car) {
    submit(server, "slow", 10..11).await;
    submit_ordinary(server, "slow", 0..1).await;
    let other = submit_ordinary(server, "e", 1..2).await;
    silence().await;
    assert_eq!(ordinary(car, 1).await.0, other);
}

#[tokio::test]
async fn ordinary_message_pushes_nothing_out_while_as_many_are_on_their_way_as_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = with_slow_app(dir.path()).await;
    for app in ["a", "b", "c", "d"] {
        submit(&server, app, 0..8).await;
    }
    // It has room at its app.
    submit(&server, "d", 8..9).await;
    ordinary_one_waits_for_the_slow_app(&server, &mut car).await;
}

#[tokio::test]
async fn ordinary_message_pushes_nothing_out_while_the_vehicle_answers_no_greeting() {
    let dir = tempfile::tempdir().unwrap();
    let (server, car) = with_slow_app(dir.path()).await;
    let (server, mut car) = restarted(server, car, dir.path()).await;
    ordinary_one_waits_for_the_slow_app(&server, &mut car).await;
}
