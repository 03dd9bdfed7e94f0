//! The way down: what was accepted is sent, once the vehicle hears, in order, and never lost.

mod hub_support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use hub_support::{Answer, Server, TestBroker, downlink, polled, uplink_topic, vin};
use vinbus_host_server::broker::{BrokerEvents as _, Outcome};
use vinbus_host_server::hub::{Settings, SubmitError};
use vinbus_host_server::model::{MessageId, NewDownlink, Presence, Step};
use vinbus_host_server::store::StoreError;
use vinbus_host_server::store::sqlite::StoreSettings;
use vinbus_protocol::id::Uid;

#[tokio::test]
async fn vehicle_online_gets_its_messages_in_the_order_of_acceptance() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let broker = TestBroker::attached_to(&server);
    server.hub.presence_changed(vin(1), Presence::Online);
    let accepted = server.submit(1, 200).await;
    broker.took(200).await;
    assert_eq!(broker.taken_for(1), (0..200).collect::<Vec<_>>());
    server.has_step(&accepted[199].id, Step::Sent).await;
    assert_eq!(
        server.steps(&accepted[0].id).await,
        [Step::Accepted, Step::Sent]
    );
}

#[tokio::test]
async fn vehicle_offline_gets_its_messages_when_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let broker = TestBroker::attached_to(&server);
    let accepted = server.submit(1, 100).await;
    for downlink in &accepted {
        server.has_step(&downlink.id, Step::Held).await;
    }
    assert_eq!(broker.taken_for(1), [0; 0]);
    server.hub.presence_changed(vin(1), Presence::Online);
    broker.took(100).await;
    assert_eq!(broker.taken_for(1), (0..100).collect::<Vec<_>>());
    server.has_step(&accepted[0].id, Step::Sent).await;
    assert_eq!(
        server.steps(&accepted[0].id).await,
        [Step::Accepted, Step::Held, Step::Sent]
    );
    assert_eq!(server.hub.counters().downlink_held, 100);
}

/// A message for vehicle 1 whose time is over after `ttl`.
fn lasting(n: usize, ttl: Duration) -> NewDownlink {
    NewDownlink {
        expires_at: SystemTime::now() + ttl,
        ..downlink(1, n)
    }
}

#[tokio::test]
async fn message_whose_time_is_over_while_the_vehicle_is_away_expires_and_frees_its_place() {
    const HOUR: Duration = Duration::from_secs(3600);
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        vehicle_unsent_max: 3,
        ..Settings::default()
    };
    let server = Server::open_with(dir.path(), settings, StoreSettings::default());
    let broker = TestBroker::attached_to(&server);
    let mut accepted = Vec::new();
    for (n, ttl) in [HOUR, Duration::ZERO, HOUR].into_iter().enumerate() {
        let submitted = server.hub.submit_downlink(lasting(n, ttl)).await;
        accepted.push(submitted.unwrap());
    }
    server.has_step(&accepted[1].id, Step::Expired).await;
    polled("its place is free", async || {
        server.hub.submit_downlink(lasting(3, HOUR)).await.is_ok()
    })
    .await;
    server.hub.presence_changed(vin(1), Presence::Online);
    broker.took(3).await;
    assert_eq!(broker.taken_for(1), [0, 2, 3]);
    let steps = server.steps(&accepted[1].id).await;
    assert_eq!(steps.last(), Some(&Step::Expired), "and it is not sent");
    assert_eq!(server.hub.counters().downlink_expired, 1);
    server.close().await;
}

#[tokio::test]
async fn message_that_expires_while_the_server_is_down_is_not_sent_after_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let short = server.hub.submit_downlink(lasting(0, Duration::ZERO)).await;
    let short = short.unwrap();
    server.submit(1, 1).await;
    server.close().await;

    let server = Server::open(dir.path());
    let broker = TestBroker::attached_to(&server);
    server.hub.presence_changed(vin(1), Presence::Online);
    broker.took(1).await;
    server.has_step(&short.id, Step::Expired).await;
    polled("the other one is noted", async || {
        server.hub.counters().downlink_sent == 1
    })
    .await;
    assert_eq!(broker.taken_for(1), [0]);
    server.close().await;
}

#[tokio::test]
async fn vehicle_of_unknown_presence_gets_its_messages_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open_external(dir.path());
    let broker = TestBroker::attached_to(&server);
    server.submit(1, 3).await;
    broker.took(3).await;
}

#[tokio::test]
async fn link_that_breaks_in_mid_flight_loses_doubles_and_reorders_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let broker = TestBroker::attached_to(&server);
    let asked = AtomicUsize::new(0);
    broker.answer(
        move |_, _| match asked.fetch_add(1, Ordering::Relaxed) % 7 {
            6 => Answer::LinkDown,
            _ => Answer::Taken,
        },
    );
    for number in 0..3 {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    let flapping = async {
        for round in 0.. {
            let up = match round % 2 {
                0 => Err("the test pulled the plug".to_owned()),
                _ => Ok(()),
            };
            server.hub.link_changed(up);
            tokio::task::yield_now().await;
        }
    };
    let traffic = async {
        tokio::join!(
            server.submit(0, 100),
            server.submit(1, 100),
            server.submit(2, 100)
        );
        broker.took(300).await;
    };
    tokio::select! {
        () = flapping => {}
        () = traffic => {}
    }
    for number in 0..3 {
        assert_eq!(broker.taken_for(number), (0..100).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_waits_for_the_link_is_sent_when_it_opens() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let broker = TestBroker::new();
    server.hub.attach(Arc::new(broker.clone()));
    server.hub.presence_changed(vin(1), Presence::Online);
    let accepted = server.submit(1, 5).await;
    assert_eq!(server.steps(&accepted[0].id).await, [Step::Accepted]);
    assert!(!server.hub.is_link_up());
    server.hub.link_changed(Ok(()));
    broker.took(5).await;
}

#[tokio::test]
async fn vehicle_whose_messages_hang_in_the_broker_delays_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let broker = TestBroker::attached_to(&server);
    broker.answer(|of, _| match of == vin(0) {
        true => Answer::Silence,
        false => Answer::Taken,
    });
    for number in 0..10 {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    server.submit(0, 10).await;
    for number in 1..10 {
        server.submit(number, 10).await;
    }
    broker.took(90).await;
    assert_eq!(broker.taken_for(0), [0; 0]);
}

#[tokio::test]
async fn messages_of_a_partner_that_is_not_listened_to_are_held_and_those_of_others_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let broker = TestBroker::attached_to(&server);
    broker.answer(|_, n| match n < 100 {
        true => Answer::NotListening,
        false => Answer::Taken,
    });
    server.hub.presence_changed(vin(1), Presence::Online);
    let unheard = server.submit(1, 40).await;
    for n in 100..103 {
        let mut other = downlink(1, n);
        other.uid = Uid::parse("other").unwrap();
        server.hub.submit_downlink(other).await.unwrap();
    }
    broker.took(3).await;
    assert_eq!(broker.taken_for(1), [100, 101, 102]);
    server.has_step(&unheard[39].id, Step::Held).await;

    broker.answer(|_, _| Answer::Taken);
    server.hub.presence_changed(vin(1), Presence::Online);
    broker.took(43).await;
    assert_eq!(broker.taken_for(1)[3..], (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn message_that_the_broker_can_never_carry_is_noted_and_those_behind_it_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let broker = TestBroker::attached_to(&server);
    broker.answer(|_, n| match n {
        1 => Answer::Rejected,
        _ => Answer::Taken,
    });
    server.hub.presence_changed(vin(1), Presence::Online);
    let accepted = server.submit(1, 3).await;
    broker.took(2).await;
    assert_eq!(broker.taken_for(1), [0, 2]);
    server.has_step(&accepted[1].id, Step::Rejected).await;
    polled("it is counted", async || {
        server.hub.counters().downlink_rejected == 1
    })
    .await;
}

#[tokio::test]
async fn vehicle_with_too_many_unsent_messages_gets_no_more_and_others_do() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        vehicle_unsent_max: 3,
        unsent_max: 5,
        ..Settings::default()
    };
    let server = Server::open_with(dir.path(), settings, StoreSettings::default());
    let broker = TestBroker::attached_to(&server);
    server.submit(1, 3).await;
    assert_eq!(
        server.hub.submit_downlink(downlink(1, 3)).await,
        Err(SubmitError::VehicleQueueFull {
            vin: vin(1),
            max: 3
        })
    );
    server.submit(2, 2).await;
    assert_eq!(
        server.hub.submit_downlink(downlink(3, 0)).await,
        Err(SubmitError::QueueFull { max: 5 })
    );
    server.hub.presence_changed(vin(1), Presence::Online);
    broker.took(3).await;
    polled("there is room again", async || {
        server.hub.submit_downlink(downlink(1, 3)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn message_over_the_size_limit_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut message = downlink(1, 0);
    message.envelope = vec![b'x'; 131_073].into();
    assert_eq!(
        server.hub.submit_downlink(message.clone()).await,
        Err(SubmitError::TooLarge {
            len: 131_073,
            max: 131_072
        })
    );
    message.envelope = vec![b'x'; 131_072].into();
    assert!(server.hub.submit_downlink(message).await.is_ok());
}

#[tokio::test]
async fn full_store_refuses_and_the_place_in_the_queue_is_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        vehicle_unsent_max: 1,
        ..Settings::default()
    };
    let keep = StoreSettings {
        quota_bytes: 0,
        ..StoreSettings::default()
    };
    let server = Server::open_with(dir.path(), settings, keep);
    for _ in 0..3 {
        let refused = server.hub.submit_downlink(downlink(1, 0)).await;
        assert!(
            matches!(refused, Err(SubmitError::Store(StoreError::Full { .. }))),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn message_whose_sender_went_away_is_sent_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let broker = TestBroker::attached_to(&server);
    server.hub.presence_changed(vin(1), Presence::Online);
    {
        let submit = server.hub.submit_downlink(downlink(1, 0));
        // Polled once: handed to the store; then dropped.
        assert!(futures_util::poll!(std::pin::pin!(submit)).is_pending());
    }
    broker.took(1).await;
}

#[tokio::test]
async fn unsent_messages_are_sent_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    for number in 0..5 {
        server.submit(number, 40).await;
    }
    server.close().await;

    let server = Server::open(dir.path());
    let broker = TestBroker::attached_to(&server);
    for number in 0..5 {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    broker.took(200).await;
    for number in 0..5 {
        assert_eq!(broker.taken_for(number), (0..40).collect::<Vec<_>>());
    }
    server.close().await;

    let server = Server::open(dir.path());
    let broker = TestBroker::attached_to(&server);
    server.hub.presence_changed(vin(9), Presence::Online);
    server.hub.presence_changed(vin(1), Presence::Online);
    server.submit(9, 1).await;
    broker.took(1).await;
    assert_eq!(
        broker.taken_for(1),
        [0; 0],
        "what was sent is not sent again"
    );
}

#[tokio::test]
async fn vehicle_with_held_messages_counts_as_offline_after_a_restart_until_it_reports() {
    let dir = tempfile::tempdir().unwrap();
    let presence = format!("{}vinbus/presence", uplink_topic(1));
    let server = Server::open_external(dir.path());
    let _broker = TestBroker::attached_to(&server);
    let report = server
        .arrive_on(&presence, &b"{\"content\":{\"online\":false}}"[..])
        .await;
    assert_eq!(report, Outcome::Refused);
    let accepted = server.submit(1, 2).await;
    server.has_step(&accepted[1].id, Step::Held).await;
    server.close().await;

    let server = Server::open_external(dir.path());
    let broker = TestBroker::attached_to(&server);
    server.submit(2, 1).await;
    broker.took(1).await;
    assert_eq!(broker.taken_for(1), [0; 0]);
    server
        .arrive_on(&presence, &b"{\"content\":{\"online\":true}}"[..])
        .await;
    broker.took(3).await;
    assert_eq!(broker.taken_for(1), [0, 1]);
}

#[tokio::test]
async fn hub_that_is_shut_down_takes_nothing_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let _broker = TestBroker::attached_to(&server);
    server.hub.shutdown().await;
    assert_eq!(
        server.hub.submit_downlink(downlink(1, 0)).await,
        Err(SubmitError::Stopping)
    );
    let outcome = server.arrive(1, &b"{\"content\":1}"[..]).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
}

const CHILD_DIR: &str = "VINBUS_TEST_HUB_DIR";

/// Not a test of its own: what the killed process does. Returns at once unless it is that process.
#[tokio::test]
async fn child_submits_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let server = Server::open(Path::new(&dir));
    let _broker = TestBroker::attached_to(&server);
    // Vehicle 0 is online, so that some are sent while the process dies.
    server.hub.presence_changed(vin(0), Presence::Online);
    let mut stdout = std::io::stdout().lock();
    for n in 0.. {
        let accepted = server.hub.submit_downlink(downlink(n % 2, n)).await;
        writeln!(stdout, "accepted {}", accepted.unwrap().id).unwrap();
    }
}

#[tokio::test]
async fn everything_accepted_is_sent_after_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_submits_until_it_is_killed", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let accepted = |line: String| Some(MessageId(line.strip_prefix("accepted ")?.to_owned()));
    let mut ids = Vec::new();
    while ids.len() < 300 {
        ids.extend(accepted(lines.next().unwrap().unwrap()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    ids.extend(lines.map_while(Result::ok).filter_map(accepted));

    let server = Server::open(dir.path());
    let _broker = TestBroker::attached_to(&server);
    for number in 0..2 {
        server.hub.presence_changed(vin(number), Presence::Online);
    }
    for id in ids.iter().filter(|id| id.0.len() == 26) {
        server.has_step(id, Step::Sent).await;
    }
}
