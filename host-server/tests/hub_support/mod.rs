//! A hub over a real store in a temporary folder, and a broker that the test plays.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test program uses a part of it"
)]

pub(crate) mod car;
pub(crate) mod memory_store;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use vinbus_host_server::broker::{Arrival, Broker, BrokerEvents as _, Outcome, PublishError};
use vinbus_host_server::hub::{Hub, PresenceSource, Settings};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::{Downlink, MessageId, NewDownlink, Receipts, Step};
use vinbus_host_server::store::Store;
use vinbus_host_server::store::lock::DataDir;
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};
use vinbus_protocol::delivery::{self, CONTROL_SUBTOPIC, Received};
use vinbus_protocol::envelope::{Downlink as DownlinkEnvelope, DownlinkBody};
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

/// Longest time to wait for something that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Methods of a store that has another one underneath, in `store`, which does the work.
macro_rules! underneath {
    ($($name:ident($($argument:ident: $of:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $of),*) -> $result {
            self.store.$name($($argument),*)
        })*
    };
}
pub(crate) use underneath;

/// The methods of a `Store` that no test has of its own, as `underneath` does.
macro_rules! most_of_store_underneath {
    () => {
        $crate::hub_support::underneath! {
            append_downlink(message: vinbus_host_server::model::NewDownlink, now: std::time::SystemTime) -> vinbus_host_server::store::Pending<vinbus_host_server::model::Downlink>;
            note(id: &vinbus_host_server::model::MessageId, step: vinbus_host_server::model::Step, now: std::time::SystemTime) -> vinbus_host_server::store::Pending<Option<vinbus_host_server::model::Cursor>>;
            with_expired(now: std::time::SystemTime, limit: usize) -> Result<Vec<(vinbus_protocol::id::Vin, vinbus_protocol::id::Uid)>, vinbus_host_server::store::StoreError>;
            expired(vin: &vinbus_protocol::id::Vin, uid: &vinbus_protocol::id::Uid, now: std::time::SystemTime, limit: usize) -> Result<Vec<vinbus_host_server::model::Downlink>, vinbus_host_server::store::StoreError>;
            backlog() -> Result<Vec<vinbus_host_server::model::Backlog>, vinbus_host_server::store::StoreError>;
            uplink_after(cursor: vinbus_host_server::model::Cursor, uid: Option<&vinbus_protocol::id::Uid>, vin: Option<&vinbus_protocol::id::Vin>, limit: usize) -> Result<vinbus_host_server::model::UplinkPage, vinbus_host_server::store::StoreError>;
            uplink_end() -> Result<vinbus_host_server::model::Cursor, vinbus_host_server::store::StoreError>;
            trace(id: &vinbus_host_server::model::MessageId) -> Result<Option<vinbus_host_server::model::Trace>, vinbus_host_server::store::StoreError>;
            sent_before(before: u64, uid: Option<&vinbus_protocol::id::Uid>, limit: usize) -> Result<vinbus_host_server::model::SentPage, vinbus_host_server::store::StoreError>;
            add_webhook(webhook: vinbus_host_server::model::Webhook) -> vinbus_host_server::store::Pending<()>;
            webhooks() -> Result<Vec<vinbus_host_server::model::Webhook>, vinbus_host_server::store::StoreError>;
            disable_webhook(id: &str) -> vinbus_host_server::store::Pending<()>;
            remove_webhook(id: &str) -> vinbus_host_server::store::Pending<bool>;
            webhook_delivered(id: &str, cursor: vinbus_host_server::model::Cursor) -> vinbus_host_server::store::Pending<()>;
        }
    };
}
pub(crate) use most_of_store_underneath;

/// A broker that hands one vehicle what it is given.
struct Air(mpsc::UnboundedSender<Bytes>);

impl Broker for Air {
    fn publish<'a>(
        &'a self,
        _: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        assert!(payload.len() <= PAYLOAD_BYTES_MAX);
        let taken = self.0.send(payload).map_err(|_| PublishError::LinkDown);
        async move { taken }.boxed()
    }
}

/// Connects the server to a broker that hands one vehicle what it is given; what it is given.
pub(crate) fn attach_air(server: &Server) -> mpsc::UnboundedReceiver<Bytes> {
    attach_air_to(&server.hub)
}

pub(crate) fn attach_air_to(hub: &Hub) -> mpsc::UnboundedReceiver<Bytes> {
    let (sender, air) = mpsc::unbounded_channel();
    hub.attach(Arc::new(Air(sender)));
    hub.link_changed(Ok(()));
    air
}

/// A broker whose vehicles answer greetings; another one gets what is no greeting.
struct Polite {
    greetings: mpsc::UnboundedSender<(String, Bytes)>,
    others: Arc<dyn Broker>,
}

impl Broker for Polite {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        if !payload.starts_with(b"{\"idApp\":\"vinbus\"") {
            return self.others.publish(topic, payload);
        }
        // When the test is over nobody listens.
        let _ = self.greetings.send((topic.to_owned(), payload));
        async { Ok(()) }.boxed()
    }

    fn room<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), PublishError>> {
        self.others.room(topic)
    }

    fn patience(&self) -> Duration {
        self.others.patience()
    }
}

/// Connects a hub to a broker whose vehicles answer greetings; what is no greeting is handed to `others`.
pub(crate) fn attach_polite(hub: &Hub, others: Arc<dyn Broker>) {
    let (sender, mut heard) = mpsc::unbounded_channel();
    hub.attach(Arc::new(Polite {
        greetings: sender,
        others,
    }));
    hub.link_changed(Ok(()));
    let hub = hub.clone();
    tokio::spawn(async move {
        while let Some((topic, payload)) = heard.recv().await {
            let Some(answer) = answer_to(&payload) else {
                continue;
            };
            let number = topic.split("TESTV").nth(1).expect("a vehicle's topic");
            let number = number[..12].parse().expect("its number");
            let arrival = Arrival {
                topic: format!("{}{CONTROL_SUBTOPIC}", uplink_topic(number)),
                payload: answer.into(),
                retained: false,
            };
            hub.arrived(arrival).await;
        }
    });
}

/// Connects a hub to a broker that hands one vehicle what is given to it, but for greetings, which it answers.
pub(crate) fn attach_polite_air(hub: &Hub) -> mpsc::UnboundedReceiver<Bytes> {
    let (sender, air) = mpsc::unbounded_channel();
    attach_polite(hub, Arc::new(Air(sender)));
    air
}

/// A broker that takes everything.
pub(crate) struct Taker;

impl Broker for Taker {
    fn publish<'a>(&'a self, _: &'a str, _: Bytes) -> BoxFuture<'a, Result<(), PublishError>> {
        async { Ok(()) }.boxed()
    }
}

/// What a vehicle answers to a greeting.
pub(crate) fn answer_to(payload: &[u8]) -> Option<String> {
    let DownlinkBody::Data(content) = DownlinkEnvelope::decode(payload).ok()?.body else {
        return None;
    };
    let Received::Control(control) = delivery::read(content) else {
        return None;
    };
    let (own, host) = (control.peer?.number(), control.epoch.number());
    let answer = format!(r#"{{"content":{{"vinbus":{{"e":{own},"x":{host}}}}}}}"#);
    control.greeting.then_some(answer)
}

/// The vehicle of a number.
pub(crate) fn vin(number: usize) -> Vin {
    Vin::parse(&format!("TESTV{number:012}")).expect("a VIN")
}

pub(crate) fn uid() -> Uid {
    Uid::parse("partner").expect("a UID")
}

/// The uplink topic of vehicle `number`.
pub(crate) fn uplink_topic(number: usize) -> String {
    format!("psa/OVIPPartners-Dev/from/uid/partner/opa/{}/", vin(number))
}

/// A message for vehicle `number` whose payload is `n`.
pub(crate) fn downlink(number: usize, n: usize) -> NewDownlink {
    NewDownlink {
        uid: uid(),
        vin: vin(number),
        app: AppId::parse("app").expect("an app"),
        envelope: Bytes::from(n.to_string()),
        expires_at: SystemTime::now() + Duration::from_secs(3600),
        receipts: Receipts::No,
        key: None,
    }
}

/// Waits until a check holds, looking again after every change of `changes`.
pub(crate) async fn reached<T>(changes: &watch::Sender<T>, what: &str, check: impl Fn(&T) -> bool) {
    let mut changes = changes.subscribe();
    let waiting = changes.wait_for(|value| check(value));
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    let changed = waited.unwrap_or_else(|_| panic!("not reached in time: {what}"));
    changed.expect("the sender is right here");
}

/// Waits until a check of something that tells no changes holds.
pub(crate) async fn polled(what: &str, check: impl AsyncFn() -> bool) {
    let poll = async {
        let mut pause = tokio::time::interval(Duration::from_millis(2));
        while !check().await {
            pause.tick().await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, poll).await;
    waited.unwrap_or_else(|_| panic!("not reached in time: {what}"));
}

/// A hub, and what it stands on.
pub(crate) struct Server {
    pub(crate) hub: Hub,
    pub(crate) metrics: Metrics,
    store_closed: BoxFuture<'static, ()>,
}

impl Server {
    /// A server on `dir` whose broker is ours, without a broker yet.
    pub(crate) fn open(dir: &Path) -> Self {
        Self::open_with(dir, Settings::default(), StoreSettings::default())
    }

    pub(crate) fn open_with(dir: &Path, settings: Settings, keep: StoreSettings) -> Self {
        Self::open_over(dir, settings, keep, |store| Arc::new(store))
    }

    /// The same with a store of the test's own over the real one.
    pub(crate) fn open_over(
        dir: &Path,
        settings: Settings,
        keep: StoreSettings,
        over: impl FnOnce(SqliteStore) -> Arc<dyn Store>,
    ) -> Self {
        let metrics = Metrics::new();
        let dir = DataDir::lock(dir).expect("the folder of a test is its own");
        let store = SqliteStore::open(dir, keep, &metrics).expect("the store opens");
        let store_closed = Box::pin(store.closed());
        let hub = Hub::new(over(store), settings, &metrics).expect("the hub starts");
        Self {
            hub,
            metrics,
            store_closed,
        }
    }

    /// The same on a broker that others keep, where agents report their presence.
    pub(crate) fn open_external(dir: &Path) -> Self {
        let settings = Settings {
            presence: PresenceSource::Subtopic,
            ..Settings::default()
        };
        Self::open_with(dir, settings, StoreSettings::default())
    }

    /// Shuts down as a program does, until the folder is free again.
    pub(crate) async fn close(self) {
        self.hub.shutdown().await;
        let Self {
            hub, store_closed, ..
        } = self;
        drop(hub);
        let closed = tokio::time::timeout(DEADLINE, store_closed).await;
        closed.expect("the store is closed in time");
    }

    /// Waits until a message has a step.
    pub(crate) async fn has_step(&self, id: &MessageId, step: Step) {
        polled("the step is noted", async || {
            self.steps(id).await.contains(&step)
        })
        .await;
    }

    /// The steps of a message.
    pub(crate) async fn steps(&self, id: &MessageId) -> Vec<Step> {
        let trace = self.hub.trace(id.clone()).await.expect("a readable store");
        let trace = trace.expect("the message is known");
        trace.steps.into_iter().map(|(step, _)| step).collect()
    }

    /// Submits messages `0..count` for a vehicle.
    pub(crate) async fn submit(&self, number: usize, count: usize) -> Vec<Downlink> {
        let mut accepted = Vec::new();
        for n in 0..count {
            let submitted = self.hub.submit_downlink(downlink(number, n)).await;
            accepted.push(submitted.expect("it is accepted"));
        }
        accepted
    }

    /// Lets a message arrive from vehicle `number` and waits for its outcome.
    pub(crate) async fn arrive(&self, number: usize, payload: impl Into<Bytes>) -> Outcome {
        self.arrive_on(&uplink_topic(number), payload).await
    }

    pub(crate) async fn arrive_on(&self, topic: &str, payload: impl Into<Bytes>) -> Outcome {
        let arrival = Arrival {
            topic: topic.to_owned(),
            payload: payload.into(),
            retained: false,
        };
        let settled = self.hub.arrived(arrival).await;
        settled.await.expect("every arrival is settled")
    }

    /// Waits until `vinbus_delivery_total` has counted as much, and no more.
    pub(crate) async fn counts(&self, what: &str, count: u64) {
        polled(what, async || self.delivery_counted(what) >= count).await;
        assert_eq!(self.delivery_counted(what), count, "{what}");
    }

    /// What its ends of channels have counted in `vinbus_delivery_total`.
    pub(crate) fn delivery_counted(&self, what: &str) -> u64 {
        self.counted("vinbus_delivery_total", &[("what", what)])
    }

    /// The value of a counter.
    pub(crate) fn counted(&self, name: &'static str, labels: &[(&'static str, &str)]) -> u64 {
        self.metrics.counter(name, "", labels).value()
    }
}

/// What a broker answers to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Taken,
    LinkDown,
    NotListening,
    Rejected,
    /// None, ever.
    Silence,
}

/// A broker that writes down what it took and answers as the test wants.
#[derive(Clone)]
pub(crate) struct TestBroker {
    taken: Arc<watch::Sender<Vec<(Vin, usize)>>>,
    answer: Arc<Mutex<Script>>,
}

type Script = Box<dyn Fn(Vin, usize) -> Answer + Send>;

impl TestBroker {
    pub(crate) fn new() -> Self {
        Self {
            taken: Arc::new(watch::Sender::new(Vec::new())),
            answer: Arc::new(Mutex::new(Box::new(|_, _| Answer::Taken))),
        }
    }

    /// A broker that is attached to a hub and has an open link.
    pub(crate) fn attached_to(server: &Server) -> Self {
        let broker = Self::new();
        server.hub.attach(Arc::new(broker.clone()));
        server.hub.link_changed(Ok(()));
        broker
    }

    /// Answers from now on as `answer` says for a vehicle and the number in the payload.
    pub(crate) fn answer(&self, answer: impl Fn(Vin, usize) -> Answer + Send + 'static) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(answer);
    }

    /// The numbers that a vehicle got.
    pub(crate) fn taken_for(&self, number: usize) -> Vec<usize> {
        let taken = self.taken.borrow();
        let mine = taken.iter().filter(|(of, _)| *of == vin(number));
        mine.map(|(_, n)| *n).collect()
    }

    /// Waits until this many messages were taken.
    pub(crate) async fn took(&self, count: usize) {
        let what = format!("{count} messages are taken");
        reached(&self.taken, &what, |taken| taken.len() >= count).await;
    }
}

impl Broker for TestBroker {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let vin = topic.trim_end_matches('/').rsplit('/').next();
            let vin = Vin::parse(vin.expect("a level")).expect("a downlink topic");
            let n = std::str::from_utf8(&payload).expect("a number");
            let n = n.parse().expect("a number");
            let answer = {
                let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
                answer(vin, n)
            };
            match answer {
                Answer::Taken => {
                    self.taken.send_modify(|taken| taken.push((vin, n)));
                    Ok(())
                }
                Answer::LinkDown => Err(PublishError::LinkDown),
                Answer::NotListening => Err(PublishError::NotListening),
                Answer::Rejected => Err(PublishError::Rejected {
                    detail: "the test wants it so".to_owned(),
                }),
                Answer::Silence => std::future::pending().await,
            }
        }
        .boxed()
    }
}
