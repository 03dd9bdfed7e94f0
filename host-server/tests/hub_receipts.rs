//! Messages with receipts: repeated until the vehicle answers, told step by step, kept over a kill.
//! The vehicle is the protocol's own endpoint, behind a broker that the test plays.

mod hub_support;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hub_support::car::Car;
use hub_support::{Server, attach_air, uid, uplink_topic, vin};
use tokio::sync::mpsc;
use vinbus_host_server::broker::{BrokerEvents as _, Outcome};
use vinbus_host_server::hub::{PresenceSource, Settings};
use vinbus_host_server::model::{
    Cursor, Key, MessageId, NewDownlink, Presence, RECEIPT_SUBTOPIC, Receipts, Step,
};
use vinbus_host_server::store::sqlite::StoreSettings;
use vinbus_protocol::delivery::{self, Header, Marked};
use vinbus_protocol::envelope::Content;
use vinbus_protocol::id::AppId;

fn message(n: usize, receipts: Receipts, ttl: Duration) -> NewDownlink {
    NewDownlink {
        envelope: Bytes::from(format!(
            "{{\"idApp\":\"app\",\"popup\":false,\"content\":{{\"n\":{n}}}}}"
        )),
        app: AppId::parse("app").unwrap(),
        receipts,
        expires_at: SystemTime::now() + ttl,
        ..hub_support::downlink(1, n)
    }
}

async fn submit_keyed(server: &Server, n: usize, key: &str) -> MessageId {
    let message = NewDownlink {
        key: Some(Key::parse(key).unwrap()),
        ..message(n, Receipts::Asked, HOUR)
    };
    server.hub.submit_downlink(message).await.unwrap().id
}

const HOUR: Duration = Duration::from_secs(3600);

async fn submit(server: &Server, numbers: std::ops::Range<usize>) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for n in numbers {
        let submitted = server
            .hub
            .submit_downlink(message(n, Receipts::Asked, HOUR));
        ids.push(submitted.await.unwrap().id);
    }
    ids
}

async fn last_step(server: &Server, id: &MessageId) -> Step {
    *server.steps(id).await.last().unwrap()
}

fn told(n: usize) -> String {
    format!("{{\"n\":{n}}}")
}

const TAKEN: Step = Step::Told(delivery::Step::Taken);

#[tokio::test]
async fn message_with_receipts_is_told_step_by_step_in_the_trace_and_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    car.announce(&server);
    let id = submit(&server, 0..1).await.remove(0);
    car.until(&server, "it is taken", async |_| {
        last_step(&server, &id).await == TAKEN
    })
    .await;
    assert_eq!(car.app, [told(0)]);
    assert_eq!(server.steps(&id).await, [Step::Accepted, Step::Sent, TAKEN]);
    let mut changes = server.hub.uplink_changes();
    changes
        .wait_for(|cursor| *cursor >= Cursor(2))
        .await
        .unwrap();
    let page = server
        .hub
        .uplink_after(Cursor(0), None, None, 10)
        .await
        .unwrap();
    let log: Vec<_> = page
        .messages
        .iter()
        .map(|uplink| {
            assert_eq!(uplink.message.subtopic.as_deref(), Some(RECEIPT_SUBTOPIC));
            let text = std::str::from_utf8(&uplink.message.payload).unwrap();
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(value["content"]["id"], id.0);
            assert_eq!(value["content"]["idApp"], "app");
            value["content"]["step"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(log, ["sent", "taken"]);
}

#[tokio::test]
async fn hundreds_of_messages_reach_the_app_once_though_every_third_frame_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    car.meet(&server).await;
    car.loses = 3;
    let ids = submit(&server, 0..300).await;
    (0..8).for_each(|n| car.send(&told(n)));
    car.until(&server, "all are taken", async |car| {
        car.app.len() >= 300 && last_step(&server, &ids[299]).await == TAKEN
    })
    .await;
    for id in &ids {
        car.until(&server, "it is taken", async |_| {
            last_step(&server, id).await == TAKEN
        })
        .await;
    }
    car.app.sort();
    let mut expected: Vec<_> = (0..300).map(told).collect();
    expected.sort();
    assert_eq!(car.app, expected);
    car.until(&server, "its messages are confirmed", async |car| {
        car.endpoint.unanswered() == 0
    })
    .await;
    let page = server
        .hub
        .uplink_after(Cursor(0), None, None, 10_000)
        .await
        .unwrap();
    let came = page
        .messages
        .iter()
        .filter(|uplink| uplink.message.subtopic.is_none());
    let came: Vec<_> = came.map(|uplink| uplink.message.payload.clone()).collect();
    let expected: Vec<_> = (0..8)
        .map(|n| format!("{{\"content\":{}}}", told(n)))
        .collect();
    let mut came: Vec<_> = came
        .iter()
        .map(|it| std::str::from_utf8(it).unwrap())
        .collect();
    came.sort_unstable();
    assert_eq!(came, expected);
}

#[tokio::test]
async fn vehicle_that_offers_nothing_gets_an_ordinary_message() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    server.hub.presence_changed(vin(1), Presence::Online);
    server.hub.announced(vin(1), &uid(), None);
    let id = submit(&server, 0..1).await.remove(0);
    car.until(&server, "it comes", async |car| !car.app.is_empty())
        .await;
    assert_eq!(car.app, [told(0)]);
    server.has_step(&id, Step::Sent).await;
    let went_without = async |id: &MessageId| {
        let trace = server.hub.trace(id.clone()).await.unwrap().unwrap();
        trace.without_receipts
    };
    assert!(went_without(&id).await);
    // One that has spoken delivery, and does not any more.
    car.meet(&server).await;
    let id = submit(&server, 1..2).await.remove(0);
    car.until(&server, "it is taken", async |_| {
        last_step(&server, &id).await == TAKEN
    })
    .await;
    assert!(!went_without(&id).await);
    server.hub.announced(vin(1), &uid(), None);
    submit(&server, 2..3).await;
    car.until(&server, "it comes", async |car| car.app.len() == 3)
        .await;
    // What was still in the air says nothing of the last message.
    assert_eq!((car.highest, &car.app[2]), (1, &told(2)));
}

#[tokio::test]
async fn message_on_its_way_when_the_server_stops_is_sent_again_and_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    car.meet(&server).await;
    let ids = submit(&server, 0..3).await;
    // The app gets it, and no receipt comes back.
    car.step = delivery::Step::Confirmed;
    for _ in 0..3 {
        let payload = car.air.recv().await.unwrap();
        car.hear(&payload);
    }
    server.close().await;
    let server = Server::open(dir.path());
    car.air = attach_air(&server);
    car.announce(&server);
    let confirmed = Step::Told(delivery::Step::Confirmed);
    for id in &ids {
        car.until(&server, "it is confirmed", async |_| {
            last_step(&server, id).await == confirmed
        })
        .await;
    }
    assert_eq!(car.app, [told(0), told(1), told(2)]);
}

#[tokio::test]
async fn vehicle_that_lost_its_memory_is_told_and_gets_only_what_may_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    car.announce(&server);
    car.step = delivery::Step::HeldBackground;
    let once = submit(&server, 0..1).await.remove(0);
    let held = Step::Told(delivery::Step::HeldBackground);
    car.until(&server, "it is held", async |_| {
        last_step(&server, &once).await == held
    })
    .await;
    let air = std::mem::replace(&mut car.air, mpsc::unbounded_channel().1);
    let mut car = Car::on(8, air);
    car.announce(&server);
    car.until(&server, "it is lost", async |_| {
        last_step(&server, &once).await == Step::PeerRestarted
    })
    .await;
    assert!(car.app.is_empty());
    let again = message(1, Receipts::Repeatable, HOUR);
    let again = server.hub.submit_downlink(again).await.unwrap().id;
    let payload = loop {
        let payload = car.air.recv().await.unwrap();
        if payload.windows(3).any(|it| it == b"\"n\"") {
            break payload;
        }
        car.hear(&payload);
        car.answer(&server).await;
    };
    drop(payload);
    let mut car = Car::on(9, car.air);
    car.announce(&server);
    car.until(&server, "it is taken", async |_| {
        last_step(&server, &again).await == TAKEN
    })
    .await;
    assert_eq!(car.app, [told(1)]);
}

#[tokio::test]
async fn what_may_be_repeated_and_waited_in_a_vehicle_goes_to_its_next_lives_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    car.announce(&server);
    car.step = delivery::Step::HeldBackground;
    let held = Step::Told(delivery::Step::HeldBackground);
    let mut ids = Vec::new();
    for n in 0..2 {
        let again = message(n, Receipts::Repeatable, HOUR);
        ids.push(server.hub.submit_downlink(again).await.unwrap().id);
    }
    for id in &ids {
        car.until(&server, "it is held", async |_| {
            last_step(&server, id).await == held
        })
        .await;
    }
    // The vehicle loses its memory while the server runs, and then while it does not.
    let air = std::mem::replace(&mut car.air, mpsc::unbounded_channel().1);
    let mut car = Car::on(8, air);
    car.step = delivery::Step::HeldBackground;
    car.announce(&server);
    for id in &ids {
        car.until(&server, "it is held again", async |_| {
            let steps = server.steps(id).await;
            steps == [Step::Accepted, Step::SentAgain, Step::Sent, held]
        })
        .await;
    }
    assert_eq!(car.app, [told(0), told(1)]);
    server.close().await;
    let server = Server::open(dir.path());
    let mut car = Car::new(9, &server);
    car.announce(&server);
    for id in &ids {
        car.until(&server, "it is taken", async |_| {
            last_step(&server, id).await == TAKEN
        })
        .await;
        let steps = server.steps(id).await;
        let whole = [Step::Accepted, held, Step::SentAgain, Step::Sent, TAKEN];
        assert_eq!(steps, whole);
    }
    assert_eq!(car.app, [told(0), told(1)]);
    let unsent = server.metrics.gauge("vinbus_downlink_unsent", "", &[]);
    assert_eq!(unsent.value(), 0);
    let sent_again = server.counted("vinbus_downlink_total", &[("step", "sent_again")]);
    assert_eq!(sent_again, 2);
}

#[tokio::test]
async fn message_that_is_never_answered_expires_and_frees_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    car.meet(&server).await;
    car.loses = 1;
    let mut ids = Vec::new();
    for n in 0..40 {
        let message = message(n, Receipts::Asked, Duration::from_secs(2));
        ids.push(server.hub.submit_downlink(message).await.unwrap().id);
    }
    // It is on its way, and may be answered.
    server.has_step(&ids[0], Step::Sent).await;
    let trace = server.hub.trace(ids[0].clone()).await.unwrap().unwrap();
    assert!(!trace.without_receipts);
    for id in &ids {
        car.until(&server, "it has expired", async |_| {
            last_step(&server, id).await == Step::Expired
        })
        .await;
    }
    // What is in the air is lost as well.
    while car.air.try_recv().is_ok() {}
    car.loses = 0;
    let id = submit(&server, 99..100).await.remove(0);
    car.until(&server, "it is taken", async |_| {
        last_step(&server, &id).await == TAKEN
    })
    .await;
    assert_eq!(car.app, [told(99)]);
}

#[tokio::test]
async fn offer_of_delivery_comes_in_time_for_the_first_message() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        presence: PresenceSource::Connections,
        ..Settings::default()
    };
    let server = Server::open_with(dir.path(), settings, StoreSettings::default());
    let mut car = Car::new(7, &server);
    let id = submit(&server, 0..1).await.remove(0);
    server.has_step(&id, Step::Held).await;
    // The vehicle is there, and its report is on its way.
    server.hub.presence_changed(vin(1), Presence::Online);
    server
        .hub
        .announced(vin(1), &uid(), Some(car.endpoint.offer()));
    car.until(&server, "it is taken", async |_| {
        last_step(&server, &id).await == TAKEN
    })
    .await;
    assert_eq!(
        server.steps(&id).await,
        [Step::Accepted, Step::Held, Step::Sent, TAKEN]
    );
}

#[tokio::test]
async fn receipts_that_a_vehicle_forges_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let topic = uplink_topic(1);
    let forged = format!("{topic}{RECEIPT_SUBTOPIC}");
    let content = r#"{"content":{"id":"x","step":"confirmed"}}"#;
    assert_eq!(server.arrive_on(&forged, content).await, Outcome::Refused);
    let control = format!("{topic}{}", delivery::CONTROL_SUBTOPIC);
    assert_eq!(server.arrive_on(&control, content).await, Outcome::Refused);
    let reason = |reason| server.counted("vinbus_uplink_refused_total", &[("reason", reason)]);
    assert_eq!((reason("receipt"), reason("delivery")), (1, 1));
    assert_eq!(server.hub.uplink_end().await, Ok(Cursor(0)));
}

#[tokio::test]
async fn message_whose_reserved_member_is_written_with_an_escape_is_taken_once_and_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    car.meet(&server).await;
    let header = Header {
        epoch: car.endpoint.epoch(),
        peer: car.endpoint.peer().unwrap(),
        number: 1,
        ttl_s: 60,
        part: None,
    };
    let content = Content::parse(br#"{"n":1}"#).unwrap();
    let mut buffer = [0; 256];
    let payload = Marked::new(header, content)
        .unwrap()
        .encode_uplink(&mut buffer)
        .unwrap();
    let payload = str::from_utf8(payload).unwrap();
    let escaped = payload.replace(delivery::RESERVED_MEMBER, r"v\u0069nbus");
    assert_ne!(escaped, payload);
    let as_sent = Outcome::StoredAs(Bytes::from_static(br#"{"content":{"n":1}}"#));
    assert_eq!(server.arrive(1, escaped.clone()).await, as_sent);
    assert_eq!(server.arrive(1, escaped).await, Outcome::Refused);
}

#[tokio::test]
async fn of_the_values_of_a_key_that_wait_for_a_vehicle_it_gets_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    server.hub.presence_changed(vin(1), Presence::Offline);
    let _air = attach_air(&server);
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(submit_keyed(&server, n, "position").await);
    }
    server.has_step(&ids[2], Step::Held).await;
    let other = submit_keyed(&server, 9, "color").await;
    server.close().await;
    let server = Server::open(dir.path());
    server.hub.presence_changed(vin(1), Presence::Offline);
    let mut car = Car::new(7, &server);
    for n in 3..5 {
        ids.push(submit_keyed(&server, n, "position").await);
    }
    for id in &ids[..4] {
        assert_eq!(last_step(&server, id).await, Step::Superseded);
    }
    assert_eq!(
        server.counted("vinbus_downlink_total", &[("step", "superseded")]),
        2
    );
    car.announce(&server);
    for id in [&other, &ids[4]] {
        car.until(&server, "it is taken", async |_| {
            last_step(&server, id).await == TAKEN
        })
        .await;
    }
    assert_eq!(car.app, [told(9), told(4)]);
    let page = server.hub.uplink_after(Cursor(0), None, None, 100).await;
    let told = page.unwrap().messages.into_iter().filter(|uplink| {
        let text = std::str::from_utf8(&uplink.message.payload).unwrap();
        text.contains("\"superseded\"")
    });
    assert_eq!(told.count(), 4);
}

#[tokio::test]
async fn newer_value_waits_for_the_answer_to_the_one_on_its_way_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut car = Car::new(7, &server);
    car.meet(&server).await;
    let mut ids = vec![submit_keyed(&server, 0, "position").await];
    server.has_step(&ids[0], Step::Sent).await;
    for n in 1..3 {
        ids.push(submit_keyed(&server, n, "position").await);
        // It has its number, and is the endpoint's.
        let unsent = || {
            server
                .metrics
                .gauge("vinbus_downlink_unsent", "", &[])
                .value()
        };
        hub_support::polled("it is numbered", async || unsent() == 0).await;
    }
    server.has_step(&ids[1], Step::Superseded).await;
    server.close().await;
    let server = Server::open(dir.path());
    car.air = attach_air(&server);
    car.announce(&server);
    // The values come in order although a third is lost.
    car.loses = 3;
    ids.push(submit_keyed(&server, 3, "position").await);
    car.until(&server, "the newest is taken", async |_| {
        last_step(&server, &ids[3]).await == TAKEN
    })
    .await;
    assert_eq!(
        (car.app.first(), car.app.last()),
        (Some(&told(0)), Some(&told(3)))
    );
    assert!(car.app.is_sorted(), "{:?}", car.app);
    assert!(!car.app.contains(&told(1)));
}
