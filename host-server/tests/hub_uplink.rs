//! The way up: what arrives is on disk before anybody hears of it, or is refused and counted.

mod hub_support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use hub_support::memory_store::MemoryStore;
use hub_support::{
    DEADLINE, Server, most_of_store_underneath, polled, uid, underneath, uplink_topic, vin,
};
use tokio::sync::oneshot;
use vinbus_host_server::broker::{Arrival, BrokerEvents as _, Outcome};
use vinbus_host_server::hub::{Hub, Settings};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::{Cursor, Downlink, NewUplink, Presence, Uplink};
use vinbus_host_server::store::channels::{ChannelStore, LeftOut};
use vinbus_host_server::store::fleets::FleetStore;
use vinbus_host_server::store::requests::RequestStore;
use vinbus_host_server::store::sqlite::StoreSettings;
use vinbus_host_server::store::{Pending, Store, StoreError};
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::limits::HEALTH_BYTES_MAX;

fn arrival(number: usize, payload: &str) -> Arrival {
    Arrival {
        topic: uplink_topic(number),
        payload: payload.to_owned().into(),
        retained: false,
    }
}

async fn payloads(hub: &Hub) -> Vec<String> {
    let page = hub.uplink_after(Cursor(0), None, None, 100_000).await;
    let text = |uplink: Uplink| String::from_utf8(uplink.message.payload.to_vec()).unwrap();
    page.unwrap().messages.into_iter().map(text).collect()
}

#[tokio::test]
async fn stored_message_is_told_to_consumers_and_read_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut changes = server.hub.uplink_changes();
    let payload = "{ \"content\" : {\"a\": 1.0e3, \"é\":\"\\u0041\"} }";
    let topic = format!("{}sub/topic", uplink_topic(7));
    let outcome = server.arrive_on(&topic, payload).await;
    assert_eq!(outcome, Outcome::Stored);
    assert_eq!(
        *changes.wait_for(|end| end.0 == 1).await.unwrap(),
        Cursor(1)
    );
    let page = server
        .hub
        .uplink_after(Cursor(0), None, Some(vin(7)), 10)
        .await;
    let message = &page.unwrap().messages[0].message;
    assert_eq!(message.payload, payload);
    assert_eq!(message.subtopic.as_deref(), Some("sub/topic"));
    assert_eq!(message.uid.as_str(), "partner");
}

#[tokio::test]
async fn what_breaks_the_protocol_is_refused_and_counted_by_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let check = async |topic: &str, payload: Vec<u8>, reason: &'static str| {
        let labels = [("reason", reason)];
        let before = server.counted("vinbus_uplink_refused_total", &labels);
        let outcome = server.arrive_on(topic, payload).await;
        assert_eq!(outcome, Outcome::Refused, "{reason}");
        let after = server.counted("vinbus_uplink_refused_total", &labels);
        assert_eq!(after, before + 1, "{reason}");
    };
    let good = || b"{\"content\":1}".to_vec();
    let topic = uplink_topic(1);
    check(&topic, Vec::new(), "empty").await;
    check(&topic, b"{}".to_vec(), "missing_member").await;
    check(&topic, b"[1]".to_vec(), "not_an_object").await;
    check(&topic, b"{\"content\":\xff}".to_vec(), "not_utf8").await;
    check(&topic, vec![b' '; 131_073], "too_large").await;
    let deep = format!("{{\"content\":{}{}}}", "[".repeat(200), "]".repeat(200));
    check(&topic, deep.into_bytes(), "json_too_deep").await;
    check(
        "psa/OVIPPartners-Dev/from/uid/u/opa/1/",
        good(),
        "topic_vin",
    )
    .await;
    check(
        "psa/OVIPPartners-Dev/x/uid/u/opa/1/",
        good(),
        "topic_direction",
    )
    .await;
    check("elsewhere/from/uid/u/opa/1/", good(), "topic_prefix").await;
    check(&topic.replace("/from/", "/to/"), good(), "direction").await;
    check(&format!("{topic}vinbus/presence"), good(), "presence").await;
    for bad in ["{\"content\":", "{\"content\":01}", "nonsense", "\u{0}"] {
        assert_eq!(server.arrive(1, bad).await, Outcome::Refused, "{bad}");
    }
    assert_eq!(server.hub.counters().uplink_refused, 15);
    assert_eq!(payloads(&server.hub).await, [""; 0]);
}

#[tokio::test]
async fn of_a_duplicate_member_the_last_counts_and_the_payload_is_kept_as_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let payload = "{\"content\":1,\"content\":{\"a\":1,\"a\":2}}";
    assert_eq!(server.arrive(1, payload).await, Outcome::Stored);
    assert_eq!(payloads(&server.hub).await, [payload]);
}

#[tokio::test]
async fn largest_message_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let payload = format!("{{\"content\":\"{}\"}}", "x".repeat(131_072 - 14));
    assert_eq!(payload.len(), 131_072);
    assert_eq!(server.arrive(1, payload.clone()).await, Outcome::Stored);
    assert_eq!(payloads(&server.hub).await, [payload]);
}

#[tokio::test]
async fn messages_that_arrive_together_share_commits_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut settled = Vec::new();
    for n in 0..3000 {
        let arrival = arrival(n % 10, &format!("{{\"content\":{n}}}"));
        settled.push(server.hub.arrived(arrival).await);
    }
    for outcome in join_all(settled).await {
        assert_eq!(outcome, Ok(Outcome::Stored));
    }
    let expected: Vec<_> = (0..3000).map(|n| format!("{{\"content\":{n}}}")).collect();
    assert_eq!(payloads(&server.hub).await, expected);
    let commits = server.counted("vinbus_store_commits_total", &[]);
    assert!(commits <= 300, "3000 messages took {commits} commits");
}

#[tokio::test]
async fn consumer_that_never_reads_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let lazy: Vec<_> = (0..100).map(|_| server.hub.uplink_changes()).collect();
    for n in 0..500 {
        let outcome = server.arrive(1, format!("{{\"content\":{n}}}")).await;
        assert_eq!(outcome, Outcome::Stored);
    }
    assert_eq!(payloads(&server.hub).await.len(), 500);
    assert_eq!(*lazy[0].borrow(), Cursor(500));
}

#[tokio::test]
async fn presence_reports_are_believed_of_an_external_broker_and_never_stored() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open_external(dir.path());
    let topic = format!("{}vinbus/presence", uplink_topic(1));
    let presence = || {
        server
            .hub
            .vehicle(&vin(1), None)
            .map(|known| known.presence)
    };
    assert_eq!(presence(), None);
    for (online, expected) in [(true, Presence::Online), (false, Presence::Offline)] {
        let report = format!("{{\"content\":{{\"online\":{online}}}}}");
        server.arrive_on(&topic, report).await;
        assert_eq!(presence(), Some(expected));
    }
    assert_eq!(payloads(&server.hub).await, [""; 0]);
    assert_eq!(server.hub.counters().uplink_refused, 0);
}

#[tokio::test]
async fn last_report_of_health_is_kept_for_those_who_may_know_and_none_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let topic = format!("{}vinbus/health", uplink_topic(1));
    let health = |uid: Option<&Uid>| {
        let health = server.hub.vehicle_health(&vin(1), uid);
        health.map(|health| health.report)
    };
    assert_eq!(health(None), None);
    for report in [r#"{"uptimeS":1}"#, r#"{ "uptimeS" : 2 , "later":[] }"#] {
        let payload = format!(r#"{{"content":{report}}}"#);
        assert_eq!(server.arrive_on(&topic, payload).await, Outcome::Noted);
        assert_eq!(health(Some(&uid())).as_deref(), Some(report));
    }
    assert_eq!(health(Some(&Uid::parse("other").unwrap())), None);
    let long = format!(r#"{{"crash":"{}"}}"#, "x".repeat(HEALTH_BYTES_MAX));
    for content in ["[]", "null", &long] {
        let payload = format!(r#"{{"content":{content}}}"#);
        assert_eq!(server.arrive_on(&topic, payload).await, Outcome::Refused);
    }
    let labels = [("reason", "health")];
    assert_eq!(server.counted("vinbus_uplink_refused_total", &labels), 3);
    assert!(health(None).is_some(), "a bad report is no news");
    assert_eq!(payloads(&server.hub).await, [""; 0]);
}

#[tokio::test]
async fn presence_reports_are_ignored_where_connections_tell() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let topic = format!("{}vinbus/presence", uplink_topic(1));
    let report = &b"{\"content\":{\"online\":true}}"[..];
    assert_eq!(server.arrive_on(&topic, report).await, Outcome::Refused);
    assert_eq!(server.hub.vehicle(&vin(1), None), None);
    server.hub.presence_changed(vin(1), Presence::Online);
    let known = server.hub.vehicles(None, None, 10).0;
    assert_eq!((known.len(), known[0].presence), (1, Presence::Online));
    assert_eq!(payloads(&server.hub).await, [""; 0]);
}

#[tokio::test]
async fn full_store_fails_arrivals_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let keep = StoreSettings {
        quota_bytes: 0,
        ..StoreSettings::default()
    };
    let server = Server::open_with(dir.path(), Settings::default(), keep);
    let outcome = server.arrive(1, &b"{\"content\":1}"[..]).await;
    assert!(
        matches!(outcome, Outcome::Failed(StoreError::Full { .. })),
        "{outcome:?}"
    );
    assert_eq!(server.hub.counters().uplink_failed, 1);
    assert_eq!(*server.hub.uplink_changes().borrow(), Cursor(0));
}

#[tokio::test]
async fn shutdown_waits_until_what_arrived_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path());
    let mut settled = Vec::new();
    for n in 0..1000 {
        settled.push(
            server
                .hub
                .arrived(arrival(1, &format!("{{\"content\":{n}}}")))
                .await,
        );
    }
    server.hub.shutdown().await;
    for mut outcome in settled {
        assert_eq!(outcome.try_recv(), Ok(Outcome::Stored));
    }
}

/// A store whose disk is as slow as the test wants: appends wait until the test answers them.
#[derive(Clone, Default)]
struct SlowStore {
    store: Arc<MemoryStore>,
    appends: Arc<Mutex<Vec<Reply>>>,
    /// How often it was asked when an entry of the log arrived.
    asked: Arc<AtomicUsize>,
    /// Where the answers come from.
    received_at: Arc<Mutex<Option<mpsc::Receiver<SystemTime>>>>,
}

type Reply = oneshot::Sender<Result<Cursor, StoreError>>;

impl SlowStore {
    fn waiting(&self) -> usize {
        self.appends.lock().unwrap().len()
    }

    /// Answers the append at `place` among those that wait.
    fn answer(&self, place: usize, result: Result<Cursor, StoreError>) {
        let append = self.appends.lock().unwrap().remove(place);
        append.send(result).unwrap();
    }
}

impl ChannelStore for SlowStore {
    underneath! {
        unsent_besides(vin: &Vin, uid: &Uid, after: u64, left_out: &LeftOut, limit: usize) -> Result<Vec<Downlink>, StoreError>;
    }
}
impl FleetStore for SlowStore {}
impl RequestStore for SlowStore {}

impl Store for SlowStore {
    fn is_full(&self) -> bool {
        false
    }

    fn append_uplink(&self, _: NewUplink) -> Pending<Cursor> {
        let (reply, pending) = oneshot::channel();
        self.appends.lock().unwrap().push(reply);
        pending
    }

    fn uplink_received_at(&self, _: Cursor) -> Result<Option<SystemTime>, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answers = self.received_at.lock().unwrap();
        Ok(answers.as_ref().and_then(|answers| answers.recv().ok()))
    }

    most_of_store_underneath! {}

    underneath! {
        unsent(vin: &Vin, uid: &Uid, after: u64, limit: usize) -> Result<Vec<Downlink>, StoreError>;
    }
}

fn slow() -> (SlowStore, Hub) {
    let store = SlowStore::default();
    let hub = Hub::new(
        Arc::new(store.clone()),
        Settings::default(),
        &Metrics::new(),
    );
    (store, hub.unwrap())
}

#[tokio::test]
async fn outcomes_resolve_in_the_order_of_arrival_and_only_when_on_disk() {
    let (store, hub) = slow();
    let mut changes = hub.uplink_changes();
    let first = hub.arrived(arrival(1, "{\"content\":1}")).await;
    let mut refused = hub.arrived(arrival(1, "nonsense")).await;
    let mut second = hub.arrived(arrival(1, "{\"content\":2}")).await;
    assert_eq!(store.waiting(), 2, "both are handed over before a commit");
    // The second is on disk first, and still has to wait for its turn.
    store.answer(1, Ok(Cursor(2)));
    tokio::task::yield_now().await;
    assert!(refused.try_recv().is_err() && second.try_recv().is_err());
    assert_eq!(*changes.borrow_and_update(), Cursor(0));
    store.answer(0, Ok(Cursor(1)));
    assert_eq!(first.await, Ok(Outcome::Stored));
    assert_eq!(refused.await, Ok(Outcome::Refused));
    assert_eq!(second.await, Ok(Outcome::Stored));
    assert!(changes.wait_for(|end| end.0 == 2).await.is_ok());
}

#[tokio::test]
async fn failed_append_is_no_outcome_of_those_beside_it() {
    let (store, hub) = slow();
    let first = hub.arrived(arrival(1, "{\"content\":1}")).await;
    let second = hub.arrived(arrival(1, "{\"content\":2}")).await;
    let error = StoreError::Failed {
        detail: "the test wants it so".to_owned(),
    };
    store.answer(0, Err(error.clone()));
    store.answer(0, Ok(Cursor(1)));
    assert_eq!(first.await, Ok(Outcome::Failed(error)));
    assert_eq!(second.await, Ok(Outcome::Stored));
}

#[tokio::test]
async fn newest_position_is_told_without_its_stamp_while_the_store_does_not_answer() {
    let (store, hub) = slow();
    let (answer, answers) = mpsc::channel();
    *store.received_at.lock().unwrap() = Some(answers);
    let _stored = hub.arrived(arrival(1, "{\"content\":1}")).await;
    store.answer(0, Ok(Cursor(1)));
    let mut changes = hub.uplink_changes();
    assert!(changes.wait_for(|end| end.0 == 1).await.is_ok());
    let newest = async || {
        let newest = tokio::time::timeout(DEADLINE, hub.newest()).await;
        newest.expect("it is told").to_string()
    };
    for _ in 0..3 {
        assert_eq!(newest().await, "1");
    }
    let asked = || store.asked.load(Ordering::Relaxed);
    assert_eq!(asked(), 1, "one waits for all who ask");
    answer.send(UNIX_EPOCH + Duration::from_micros(7)).unwrap();
    polled("the stamp", async || newest().await == "1-000007").await;
    assert_eq!(asked(), 1, "it is known from then on");
}

#[tokio::test]
async fn store_that_stopped_fails_arrivals_instead_of_hanging() {
    let (store, hub) = slow();
    let settled = hub.arrived(arrival(1, "{\"content\":1}")).await;
    store.appends.lock().unwrap().clear();
    let outcome = settled.await.unwrap();
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
}

#[tokio::test]
async fn arrivals_beyond_what_may_be_in_flight_wait_for_room() {
    let (store, hub) = slow();
    let mut settled = Vec::new();
    loop {
        let mut arrived = hub.arrived(arrival(1, "{\"content\":1}"));
        if let Some(outcome) = tokio::task::unconstrained(&mut arrived).now_or_never() {
            settled.push(outcome);
            continue;
        }
        assert!(
            (8000..9000).contains(&store.waiting()),
            "{}",
            store.waiting()
        );
        store.answer(0, Ok(Cursor(1)));
        arrived.await;
        break;
    }
    assert_eq!(settled.swap_remove(0).await, Ok(Outcome::Stored));
}
