//! Long messages go in parts: one after the other, again where one is lost, on from where they were over
//! a kill of the server, and never for ever. The vehicle is the protocol's own, behind a broker that the
//! test plays.

mod hub_support;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hub_support::car::Car;
use hub_support::{Server, attach_air, uid, vin};
use vinbus_host_server::broker::BrokerEvents as _;
use vinbus_host_server::hub::{PresenceSource, Settings, SubmitError};
use vinbus_host_server::model::{MessageId, NewDownlink, Receipts, Step};
use vinbus_host_server::store::sqlite::StoreSettings;
use vinbus_protocol::delivery;
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{
    DELIVERY_LONG_BEGINS_MAX, DELIVERY_LONG_BYTES_MAX, PAYLOAD_BYTES_MAX,
};

/// As fast as it goes.
fn open(dir: &std::path::Path) -> Server {
    let settings = Settings {
        vehicle_rate: None,
        ..Settings::default()
    };
    Server::open_with(dir, settings, StoreSettings::default())
}

/// A content of so many bytes, with characters that are longer in a string, and of two bytes.
fn text(len: usize) -> String {
    let begin = "[\"é\\\"\\\\\",\"";
    let end = "\"]";
    begin.to_owned() + &"x".repeat(len - begin.len() - end.len()) + end
}

fn message(content: &str, ttl_s: u64) -> NewDownlink {
    NewDownlink {
        envelope: Bytes::from(format!(
            "{{\"idApp\":\"app\",\"popup\":false,\"content\":{content}}}"
        )),
        app: AppId::parse("app").unwrap(),
        receipts: Receipts::Asked,
        expires_at: SystemTime::now() + Duration::from_secs(ttl_s),
        ..hub_support::downlink(1, 0)
    }
}

async fn submit(server: &Server, content: &str) -> MessageId {
    let submitted = server.hub.submit_downlink(message(content, 3600)).await;
    submitted.unwrap().id
}

async fn last_step(server: &Server, id: &MessageId) -> Step {
    *server.steps(id).await.last().unwrap()
}

async fn stored(server: &Server, id: &MessageId) -> (u32, u32) {
    let trace = server.hub.trace(id.clone()).await.unwrap().unwrap();
    let transfer = trace.transfer;
    transfer.map_or((0, 0), |transfer| (transfer.stored, transfer.begun))
}

/// Messages that wait, as the lanes count them.
fn unsent(server: &Server) -> i64 {
    server
        .metrics
        .gauge("vinbus_downlink_unsent", "", &[])
        .value()
}

const TAKEN: Step = Step::Told(delivery::Step::Taken);
const STORED: Step = Step::Told(delivery::Step::PartStored);
const MISSING: Step = Step::Told(delivery::Step::PartMissing);
const TOO_LARGE: Step = Step::Told(delivery::Step::TooLarge);

#[tokio::test]
async fn long_message_reaches_the_app_whole_and_once_though_every_third_frame_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::taking(7, DELIVERY_LONG_BYTES_MAX, attach_air(&server));
    car.loses = 3;
    car.announce(&server);
    let long = text(400_000);
    let id = submit(&server, &long).await;
    car.until(&server, "it is taken", async |_| {
        last_step(&server, &id).await == TAKEN
    })
    .await;
    assert!(car.app == [long], "the app has it byte for byte");
    assert_eq!(car.parts.offsets.len(), 4);
    assert!(car.parts.offsets.is_sorted(), "{:?}", car.parts.offsets);
    assert_eq!(
        server.steps(&id).await,
        [Step::Accepted, Step::Sent, STORED, TAKEN]
    );
    assert_eq!(stored(&server, &id).await, (400_000, 1));
    hub_support::polled("its place is free", async || unsent(&server) == 0).await;
}

#[tokio::test]
async fn transfer_goes_on_where_it_was_when_the_server_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::taking(7, DELIVERY_LONG_BYTES_MAX, attach_air(&server));
    car.parts.mute_after = 4;
    car.announce(&server);
    let long = text(DELIVERY_LONG_BYTES_MAX);
    let id = submit(&server, &long).await;
    car.until(&server, "four parts are stored", async |car| {
        car.parts.offsets.len() == 4 && stored(&server, &id).await.0 > car.parts.offsets[3]
    })
    .await;
    server.close().await;
    let server = open(dir.path());
    car.air = attach_air(&server);
    car.parts.mute_after = usize::MAX;
    car.announce(&server);
    car.until(&server, "it is taken", async |_| {
        last_step(&server, &id).await == TAKEN
    })
    .await;
    assert!(car.app == [long]);
    assert_eq!(car.parts.offsets.len(), 9, "none was stored twice");
    assert_eq!(stored(&server, &id).await.1, 1);
}

#[tokio::test]
async fn vehicle_that_lost_its_memory_between_two_parts_gets_all_of_it_again_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::taking(7, DELIVERY_LONG_BYTES_MAX, attach_air(&server));
    car.parts.mute_after = 2;
    car.announce(&server);
    let long = text(500_000);
    let id = submit(&server, &long).await;
    car.until(&server, "two parts are stored", async |car| {
        car.parts.offsets.len() == 2 && stored(&server, &id).await.0 > car.parts.offsets[1]
    })
    .await;
    let mut car = Car::taking(8, DELIVERY_LONG_BYTES_MAX, car.air);
    car.announce(&server);
    car.until(&server, "it is taken", async |_| {
        last_step(&server, &id).await == TAKEN
    })
    .await;
    assert!(car.app == [long]);
    assert_eq!(stored(&server, &id).await, (500_000, 2));
    assert!(server.steps(&id).await.contains(&MISSING));
}

#[tokio::test]
async fn long_message_that_may_be_repeated_and_waited_in_a_vehicle_goes_whole_to_its_next_life() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::taking(7, DELIVERY_LONG_BYTES_MAX, attach_air(&server));
    car.step = delivery::Step::HeldBackground;
    car.announce(&server);
    let long = text(300_000);
    let again = NewDownlink {
        receipts: Receipts::Repeatable,
        ..message(&long, 3600)
    };
    let id = server.hub.submit_downlink(again).await.unwrap().id;
    let held = Step::Told(delivery::Step::HeldBackground);
    car.until(&server, "it is held", async |_| {
        last_step(&server, &id).await == held
    })
    .await;
    assert!(car.app == [long.clone()]);
    let before = car.highest;
    let mut car = Car::taking(8, DELIVERY_LONG_BYTES_MAX, car.air);
    car.announce(&server);
    car.until(&server, "it is taken", async |_| {
        last_step(&server, &id).await == TAKEN
    })
    .await;
    assert!(car.app == [long], "the next life has all of it, once");
    assert_eq!(car.parts.offsets.len(), 3);
    assert_eq!(car.highest, before + 3, "its parts have new numbers");
    assert_eq!(stored(&server, &id).await, (300_000, 2));
    assert_eq!(
        server.steps(&id).await,
        [
            Step::Accepted,
            held,
            Step::SentAgain,
            Step::Sent,
            STORED,
            TAKEN
        ]
    );
    hub_support::polled("its place is free", async || unsent(&server) == 0).await;
}

#[tokio::test]
async fn vehicle_that_never_has_what_it_stored_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::taking(7, DELIVERY_LONG_BYTES_MAX, attach_air(&server));
    car.parts.forgets = true;
    car.announce(&server);
    let id = submit(&server, &text(200_000)).await;
    car.until(&server, "it is given up", async |_| {
        last_step(&server, &id).await == Step::GivenUp
    })
    .await;
    assert_eq!(car.parts.offsets, [0; DELIVERY_LONG_BEGINS_MAX as usize]);
    hub_support::polled("its place is free", async || unsent(&server) == 0).await;
    car.parts.forgets = false;
    let next = submit(&server, "1").await;
    car.until(&server, "the next is taken", async |_| {
        last_step(&server, &next).await == TAKEN
    })
    .await;
}

#[tokio::test]
async fn short_message_overtakes_and_long_ones_go_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::taking(7, DELIVERY_LONG_BYTES_MAX, attach_air(&server));
    car.parts.mute_after = 1;
    car.announce(&server);
    let (first, second) = (text(300_000), text(400_000));
    let one = submit(&server, &first).await;
    car.until(&server, "a part is stored", async |_| {
        stored(&server, &one).await.0 > 0
    })
    .await;
    let two = submit(&server, &second).await;
    let short = submit(&server, "1").await;
    car.until(&server, "the short one is taken", async |_| {
        last_step(&server, &short).await == TAKEN
    })
    .await;
    assert_eq!(car.app, ["1"]);
    assert_eq!(stored(&server, &two).await, (0, 0));
    car.parts.mute_after = usize::MAX;
    car.until(&server, "both are taken", async |_| {
        last_step(&server, &one).await == TAKEN && last_step(&server, &two).await == TAKEN
    })
    .await;
    assert!(car.app[1..] == [first, second]);
}

#[tokio::test]
async fn long_messages_of_one_length_with_short_ones_between_are_not_mixed() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::taking(7, 300_000, attach_air(&server));
    let mut sent = Vec::new();
    for n in 10..34 {
        let content = format!("\"{n}{}\"", "x".repeat(200_000));
        submit(&server, &content).await;
        submit(&server, &n.to_string()).await;
        sent.push(content);
    }
    car.announce(&server);
    car.until(&server, "all are whole", async |car| car.app.len() >= 48)
        .await;
    car.app.retain(|content| content.len() > 2);
    assert!(car.app == sent, "each is as it was sent, in its order");
}

#[tokio::test]
async fn message_that_the_vehicle_does_not_take_is_refused_with_what_it_announced() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::taking(7, 200_000, attach_air(&server));
    // Accepted while nothing is known of the vehicle.
    let early = submit(&server, &text(200_001)).await;
    car.announce(&server);
    car.until(&server, "it is refused", async |_| {
        last_step(&server, &early).await == TOO_LARGE
    })
    .await;
    let refused = server
        .hub
        .submit_downlink(message(&text(200_001), 60))
        .await;
    let error = SubmitError::VehicleTakesLess {
        vin: vin(1),
        len: 200_001,
        max: 200_000,
    };
    assert_eq!(refused.unwrap_err(), error);
    let fits = submit(&server, &text(200_000)).await;
    car.until(&server, "it is taken", async |_| {
        last_step(&server, &fits).await == TAKEN
    })
    .await;
    // One that speaks no delivery takes none.
    server.hub.announced(vin(1), &uid(), None);
    let error = async || {
        let submitted = server
            .hub
            .submit_downlink(message(&text(200_000), 60))
            .await;
        submitted.err()
    };
    hub_support::polled("it is refused", async || {
        matches!(error().await, Some(SubmitError::VehicleTakesLess { max, .. }) if max < PAYLOAD_BYTES_MAX)
    })
    .await;
    assert_eq!(car.parts.offsets.len(), 2);
}

#[tokio::test]
async fn long_message_to_a_vehicle_of_which_nothing_is_known_waits_until_it_says_what_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        presence: PresenceSource::Subtopic,
        vehicle_rate: None,
        ..Settings::default()
    };
    let server = Server::open_with(dir.path(), settings, StoreSettings::default());
    server.hub.link_changed(Ok(()));
    let mut car = Car::taking(7, DELIVERY_LONG_BYTES_MAX, attach_air(&server));
    let long = text(300_000);
    let id = submit(&server, &long).await;
    let behind = NewDownlink {
        receipts: Receipts::No,
        ..message("1", 3600)
    };
    server.hub.submit_downlink(behind).await.unwrap();
    car.until(&server, "the one behind it came", async |car| {
        car.app.len() == 1
    })
    .await;
    assert_eq!(last_step(&server, &id).await, Step::Accepted);
    car.announce(&server);
    car.until(&server, "it is taken", async |_| {
        last_step(&server, &id).await == TAKEN
    })
    .await;
    assert!(car.app == ["1", &long], "the app has both");
}

#[tokio::test]
async fn transfer_whose_time_is_over_expires_once_and_frees_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let mut car = Car::taking(7, DELIVERY_LONG_BYTES_MAX, attach_air(&server));
    car.parts.mute_after = 1;
    car.announce(&server);
    let submitted = server.hub.submit_downlink(message(&text(300_000), 2)).await;
    let id = submitted.unwrap().id;
    car.until(&server, "it expires", async |_| {
        last_step(&server, &id).await == Step::Expired
    })
    .await;
    hub_support::polled("its place is free", async || unsent(&server) == 0).await;
    car.parts.mute_after = usize::MAX;
    let long = text(150_000);
    let next = submit(&server, &long).await;
    car.until(&server, "the next is taken", async |_| {
        last_step(&server, &next).await == TAKEN
    })
    .await;
    assert!(car.app == [long]);
    assert_eq!(last_step(&server, &id).await, Step::Expired);
}
