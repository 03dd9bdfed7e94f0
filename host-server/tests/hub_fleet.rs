//! Fleet messages: each vehicle gets its message once, when it can hear us, whatever happens to the server.

mod hub_support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hub_support::{Answer, Server, TestBroker, polled, uid, vin};
use vinbus_host_server::broker::BrokerEvents as _;
use vinbus_host_server::hub::{FLEET_VEHICLES_MAX, FleetError, Settings};
use vinbus_host_server::model::{Presence, Receipts, Step};
use vinbus_host_server::store::fleets::{FleetProgress, FleetState, NewFleet};
use vinbus_host_server::store::sqlite::StoreSettings;
use vinbus_protocol::id::{AppId, Uid, Vin};

const HOUR: Duration = Duration::from_secs(3600);

/// A message with the payload 7 for vehicles of these numbers.
fn fleet(vehicles: std::ops::Range<usize>, ttl: Duration) -> NewFleet {
    NewFleet {
        uid: uid(),
        app: AppId::parse("app").unwrap(),
        envelope: Bytes::from_static(b"7"),
        expires_at: SystemTime::now() + ttl,
        receipts: Receipts::No,
        per_second: u32::MAX,
        vins: vehicles.map(vin).collect(),
    }
}

fn server(dir: &Path) -> Server {
    let settings = Settings {
        fleet_rate: 100_000,
        vehicle_unsent_max: 3,
        ..Settings::default()
    };
    Server::open_with(dir, settings, StoreSettings::default())
}

async fn progress(server: &Server, of: &FleetProgress) -> FleetProgress {
    let found = server.hub.fleet(of.fleet.id.clone()).await.unwrap();
    found.expect("it is kept")
}

async fn until(server: &Server, of: &FleetProgress, step: Step, count: usize) {
    let what = format!("{count} are {}", step.name());
    polled(&what, async || {
        progress(server, of).await.steps.contains(&(step, count))
    })
    .await;
}

async fn until_state(server: &Server, of: &FleetProgress, state: FleetState) {
    polled(state.name(), async || {
        progress(server, of).await.fleet.state == state
    })
    .await;
}

/// Vehicles, and how often each got something.
fn got(broker: &TestBroker, vehicles: usize) -> BTreeMap<usize, usize> {
    let counts = (0..vehicles).map(|number| (number, broker.taken_for(number).len()));
    counts.filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn vehicles_get_it_as_they_come_and_what_became_of_each_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let broker = TestBroker::attached_to(&server);
    for number in 0..300 {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    let made = server.hub.submit_fleet(fleet(0..500, HOUR)).await.unwrap();
    assert_eq!((made.waiting(), made.fleet.vehicles), (500, 500));
    until(&server, &made, Step::Sent, 300).await;
    assert_eq!(progress(&server, &made).await.waiting(), 200);
    for number in 300..500 {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    until(&server, &made, Step::Sent, 500).await;
    until_state(&server, &made, FleetState::Finished).await;
    assert_eq!(
        got(&broker, 501),
        (0..500).map(|number| (number, 1)).collect()
    );
    let vehicles = server
        .hub
        .fleet_vehicles(made.fleet.number, Some(vin(9)), 2)
        .await;
    let vehicles = vehicles.unwrap();
    let named: Vec<Vin> = vehicles.iter().map(|(vin, _)| *vin).collect();
    assert_eq!(named, [vin(10), vin(11)]);
    let (id, step) = vehicles[0].1.clone().unwrap();
    assert_eq!(step, Step::Sent);
    let trace = server.hub.trace(id).await.unwrap().unwrap();
    assert_eq!(trace.fleet, Some(made.fleet.id));
    server.close().await;
}

#[tokio::test]
async fn restart_in_the_middle_puts_nothing_twice_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let first = server(dir.path());
    let broker = TestBroker::attached_to(&first);
    let made = first.hub.submit_fleet(fleet(0..400, HOUR)).await.unwrap();
    let paused = first.hub.submit_fleet(fleet(0..10, HOUR)).await.unwrap();
    let pause = first
        .hub
        .set_fleet_state(paused.fleet.number, FleetState::Paused);
    pause.await.unwrap();
    for number in 0..200 {
        first.hub.presence_changed(vin(number), Presence::Online);
    }
    broker.took(100).await;
    first.close().await;

    let second = server(dir.path());
    let again = TestBroker::attached_to(&second);
    for number in 0..400 {
        second.hub.presence_changed(vin(number), Presence::Online);
    }
    until(&second, &made, Step::Sent, 400).await;
    let mut all = got(&broker, 400);
    for (number, count) in got(&again, 400) {
        *all.entry(number).or_default() += count;
    }
    assert_eq!(all, (0..400).map(|number| (number, 1)).collect());
    let paused_now = progress(&second, &paused).await;
    assert_eq!(paused_now.fleet.state, FleetState::Paused);
    assert_eq!(paused_now.waiting(), 10);
    let resume = second
        .hub
        .set_fleet_state(paused.fleet.number, FleetState::Running);
    resume.await.unwrap();
    until(&second, &paused, Step::Sent, 10).await;
    second.close().await;
}

#[tokio::test]
async fn cancelled_one_sends_nothing_more_not_even_what_waits_for_a_vehicle_that_left() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let broker = TestBroker::attached_to(&server);
    broker.answer(|_, _| Answer::NotListening);
    for number in 0..20 {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    let made = server.hub.submit_fleet(fleet(0..50, HOUR)).await.unwrap();
    until(&server, &made, Step::Held, 20).await;
    let number = made.fleet.number;
    let cancel = server.hub.set_fleet_state(number, FleetState::Cancelled);
    cancel.await.unwrap();
    until(&server, &made, Step::Expired, 20).await;
    broker.answer(|_, _| Answer::Taken);
    for number in 0..50 {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    // One that is sent shows that those before it would have been.
    let probe = server.hub.submit_fleet(fleet(49..50, HOUR)).await.unwrap();
    until(&server, &probe, Step::Sent, 1).await;
    assert_eq!(got(&broker, 50), [(49, 1)].into());
    assert_eq!(progress(&server, &made).await.waiting(), 30);
    let resumed = server
        .hub
        .set_fleet_state(number, FleetState::Running)
        .await;
    let state = FleetState::Cancelled;
    assert_eq!(resumed, Err(FleetError::Over { state }));
    server.close().await;
}

#[tokio::test]
async fn one_whose_time_is_over_is_finished_and_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let broker = TestBroker::attached_to(&server);
    let made = server
        .hub
        .submit_fleet(fleet(0..5, Duration::ZERO))
        .await
        .unwrap();
    until_state(&server, &made, FleetState::Finished).await;
    for number in 0..5 {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    let probe = server.hub.submit_fleet(fleet(4..5, HOUR)).await.unwrap();
    until(&server, &probe, Step::Sent, 1).await;
    assert_eq!(got(&broker, 5), [(4, 1)].into());
    assert_eq!(progress(&server, &made).await.waiting(), 5);
    server.close().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let nobody = server.hub.submit_fleet(fleet(0..0, HOUR)).await;
    assert_eq!(nobody, Err(FleetError::Nobody));
    let count = FLEET_VEHICLES_MAX + 1;
    let many = server.hub.submit_fleet(fleet(0..count, HOUR)).await;
    assert_eq!(many, Err(FleetError::TooManyVehicles { count }));
    for of in 0..32 {
        let partner = Uid::parse(&format!("partner-{}", of / 8)).unwrap();
        let one = NewFleet {
            uid: partner.clone(),
            ..fleet(0..1, HOUR)
        };
        server.hub.submit_fleet(one.clone()).await.unwrap();
        if of == 7 {
            let refused = server.hub.submit_fleet(one).await;
            assert_eq!(refused, Err(FleetError::PartnerTooMany { uid: partner }));
        }
    }
    let refused = server.hub.submit_fleet(fleet(0..1, HOUR)).await;
    assert_eq!(refused, Err(FleetError::TooMany));
    server.close().await;
}

#[tokio::test]
async fn partners_other_messages_find_room_beside_a_fleet_message() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        fleet_rate: 100_000,
        partner_unsent_max: 20,
        ..Settings::default()
    };
    let server = Server::open_with(dir.path(), settings, StoreSettings::default());
    let broker = TestBroker::attached_to(&server);
    broker.answer(|_, _| Answer::NotListening);
    for number in 0..30 {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    let made = server.hub.submit_fleet(fleet(0..30, HOUR)).await.unwrap();
    until(&server, &made, Step::Held, 10).await;
    assert_eq!(server.submit(99, 10).await.len(), 10);
    assert_eq!(progress(&server, &made).await.waiting(), 20);
    broker.answer(|_, _| Answer::Taken);
    for number in (0..30).chain([99]) {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    until(&server, &made, Step::Sent, 30).await;
    server.close().await;
}
