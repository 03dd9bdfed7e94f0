//! A data folder that is put back from an older copy, as from a backup: what was sent after the copy is not
//! known to the server, and its vehicles tell it so before it sends anything.

mod hub_support;

use std::path::Path;
use std::time::{Duration, SystemTime};

use hub_support::car::{Car, speak_of_a_later_server};
use hub_support::{Server, attach_air, vin};
use vinbus_host_server::broker::BrokerEvents as _;
use vinbus_host_server::model::{Cursor, MessageId, NewDownlink, Presence, Receipts, Step};
use vinbus_protocol::delivery;
use vinbus_protocol::id::AppId;

const HANDED: Step = Step::Told(delivery::Step::Handed);
const CONFIRMED: Step = Step::Told(delivery::Step::Confirmed);
const KNOWN: Step = Step::Told(delivery::Step::Known);

const APP: &str = "app";

/// Times that a store was found to be older than what a vehicle had heard.
const OLDER: &str = "vinbus_store_older_total";

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A server on a folder, which the vehicle meets again.
async fn start(dir: &Path, car: Option<Car>) -> (Server, Car) {
    let server = Server::open(dir);
    let car = match car {
        Some(mut car) => {
            car.air = attach_air(&server);
            car.announce(&server);
            car
        }
        None => {
            let mut car = Car::new(7, &server);
            car.step = delivery::Step::Handed;
            car.meet(&server).await;
            car
        }
    };
    (server, car)
}

async fn submit(server: &Server, n: usize) -> MessageId {
    let envelope = format!(r#"{{"idApp":"{APP}","popup":false,"content":{n}}}"#);
    let message = NewDownlink {
        envelope: envelope.into(),
        app: AppId::parse(APP).unwrap(),
        receipts: Receipts::Asked,
        expires_at: SystemTime::now() + Duration::from_secs(3600),
        ..hub_support::downlink(1, n)
    };
    server.hub.submit_downlink(message).await.unwrap().id
}

/// Lives until this is the last step of a message.
async fn reaches(server: &Server, car: &mut Car, id: &MessageId, step: Step) {
    let what = format!("{step:?}");
    let last = async |_: &Car| server.steps(id).await.last() == Some(&step);
    car.until(server, &what, last).await;
}

/// A server that goes on after its folder was copied, when the vehicle's app had been handed a message.
async fn copied(folder: &Path, backup: &Path) -> (Server, Car, MessageId) {
    let (server, mut car) = start(folder, None).await;
    let handed = submit(&server, 1).await;
    reaches(&server, &mut car, &handed, HANDED).await;
    server.close().await;
    copy(folder, backup);
    let (server, car) = start(folder, Some(car)).await;
    (server, car, handed)
}

#[tokio::test]
async fn server_of_an_older_copy_loses_no_new_message_and_is_told_so_once() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [folder, backup] = dirs.each_ref().map(tempfile::TempDir::path);
    let (server, mut car, handed) = copied(folder, backup).await;
    let after = submit(&server, 2).await;
    reaches(&server, &mut car, &after, HANDED).await;
    for id in [&handed, &after] {
        car.confirm(APP);
        reaches(&server, &mut car, id, CONFIRMED).await;
    }
    assert_eq!(server.counted(OLDER, &[]), 0);
    server.close().await;

    let (server, mut car) = start(backup, Some(car)).await;
    let epoch = car.endpoint.peer();
    let new = submit(&server, 3).await;
    reaches(&server, &mut car, &new, HANDED).await;
    assert!(car.endpoint.peer() > epoch, "it goes on in the same epoch");
    assert_eq!(car.app.len(), 3, "{:?}", car.app);
    car.confirm(APP);
    reaches(&server, &mut car, &new, CONFIRMED).await;
    // What the copy counted as handed is with a life that is over.
    reaches(&server, &mut car, &handed, Step::PeerRestarted).await;
    assert_eq!(server.counted(OLDER, &[]), 1);
    server.close().await;

    // The new epoch is on disk.
    let (server, mut car) = start(backup, Some(car)).await;
    let last = submit(&server, 4).await;
    reaches(&server, &mut car, &last, HANDED).await;
    assert_eq!(server.counted(OLDER, &[]), 0);
    server.close().await;
}

#[tokio::test]
async fn message_that_an_older_copy_counts_as_handed_gets_its_last_word() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [folder, backup] = dirs.each_ref().map(tempfile::TempDir::path);
    let (server, mut car, handed) = copied(folder, backup).await;
    car.confirm(APP);
    reaches(&server, &mut car, &handed, CONFIRMED).await;
    car.until(&server, "it is acknowledged", async |car| {
        car.endpoint.open() == 0
    })
    .await;
    server.close().await;

    let (server, mut car) = start(backup, Some(car)).await;
    assert_eq!(server.steps(&handed).await.last(), Some(&HANDED));
    reaches(&server, &mut car, &handed, KNOWN).await;
    assert_eq!(server.counted(OLDER, &[]), 0, "no number was used again");
    server.close().await;
}

/// What apps of the vehicle sent, as far as it is in the log.
async fn log(server: &Server) -> Vec<String> {
    let page = server.hub.uplink_after(Cursor(0), None, None, 1_000).await;
    let messages = page.unwrap().messages.into_iter().map(|it| it.message);
    let own = messages.filter(|message| message.subtopic.is_none());
    own.map(|it| String::from_utf8(it.payload.to_vec()).unwrap())
        .collect()
}

async fn is_answered(server: &Server, car: &mut Car) {
    let answered = async |car: &Car| car.endpoint.unanswered() == 0;
    car.until(server, "all is answered", answered).await;
}

#[tokio::test]
async fn server_that_had_to_begin_another_epoch_takes_numbers_of_the_one_before_for_new() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = start(dir.path(), None).await;
    let copy_of_car = car.endpoint.snapshot();
    for n in 1..=3 {
        car.send(&format!(r#""old {n}""#));
    }
    is_answered(&server, &mut car).await;
    let own = car.endpoint.peer();
    speak_of_a_later_server(&server, own.unwrap()).await;
    car.until(&server, "it is in another epoch", async |car| {
        car.endpoint.peer() > own && car.endpoint.is_established()
    })
    .await;
    // The folder of the vehicle is put back; what the server has heard since the new epoch shows nothing of it.
    car.endpoint = delivery::Endpoint::new(copy_of_car, 7);
    car.endpoint.handle_link(0, true);
    car.sends.clear();
    car.meet(&server).await;
    server.close().await;

    for n in 1..=5 {
        car.send(&format!(r#""new {n}""#));
    }
    let (server, mut car) = start(dir.path(), Some(car)).await;
    is_answered(&server, &mut car).await;
    let log = log(&server).await;
    let new = log.iter().filter(|text| text.contains("new"));
    assert_eq!(new.count(), 5, "told as delivered: {log:?}");
    server.close().await;
}

#[tokio::test]
async fn server_of_an_older_copy_stores_once_what_is_on_its_way() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [folder, backup] = dirs.each_ref().map(tempfile::TempDir::path);
    let (server, mut car, _) = copied(folder, backup).await;
    let after = submit(&server, 2).await;
    reaches(&server, &mut car, &after, HANDED).await;
    server.close().await;

    car.sends.push(r#""mine""#.to_owned());
    let message = delivery::Message {
        bytes: 6,
        expires_at_ms: None,
        key: None,
        repeatable: true,
    };
    car.endpoint.submit(0, message).unwrap();
    // It goes before the vehicle has heard anything of the server that starts, whose greeting it answers at once.
    car.begin -= Duration::from_secs(2);
    let (server, mut car) = start(backup, Some(car)).await;
    is_answered(&server, &mut car).await;
    assert_eq!(server.counted(OLDER, &[]), 1);
    let log = log(&server).await;
    assert_eq!(log.len(), 1, "{log:?}");
    server.close().await;
}

#[tokio::test]
async fn server_that_has_met_a_vehicle_takes_at_once_what_it_sends_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut car) = start(dir.path(), None).await;
    car.send(r#""before""#);
    is_answered(&server, &mut car).await;
    car.answer(&server).await;
    server.hub.presence_changed(vin(1), Presence::Offline);
    // It sends before it answers a greeting.
    car.send(r#""after""#);
    car.begin -= Duration::from_secs(2);
    car.announce(&server);
    is_answered(&server, &mut car).await;
    assert_eq!(
        log(&server).await,
        [r#"{"content":"before"}"#, r#"{"content":"after"}"#]
    );
    assert_eq!(server.delivery_counted("busy"), 0);
    server.close().await;
}
