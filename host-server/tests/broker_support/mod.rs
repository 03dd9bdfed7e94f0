//! An embedded broker with a recording core behind it, and an MQTT client that sends exactly the
//! bytes it is told.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses its part of it"
)]

pub mod raw;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use vinbus_host_server::broker::embedded::{
    BrokerCounts, EmbeddedBroker, Limits, Settings, TlsSettings,
};
use vinbus_host_server::broker::{Arrival, BrokerEvents, BusIntake, Outcome};
use vinbus_host_server::bus::{Bus, BusSettings};
use vinbus_host_server::identity::{Existing, Identities};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::Presence;
use vinbus_host_server::store::lock::DataDir;
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};
use vinbus_protocol::delivery::Offer;
use vinbus_protocol::id::{Uid, Vin};

pub const VIN: &str = "0123456789ABCDEFG";
pub const OTHER_VIN: &str = "0123456789ABCDEFH";
pub const UID: &str = "acme";
pub const OTHER_UID: &str = "other";

/// How long a test waits for what must happen; spent on failure only.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what must happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

pub fn vin() -> Vin {
    Vin::parse(VIN).unwrap()
}

pub fn uid() -> Uid {
    Uid::parse(UID).unwrap()
}

pub fn uplink(uid: &str, vin: &str) -> String {
    format!("psa/OVIPPartners-Dev/from/uid/{uid}/opa/{vin}/")
}

pub fn downlink(uid: &str, vin: &str) -> String {
    format!("psa/OVIPPartners-Dev/to/uid/{uid}/opa/{vin}/")
}

/// A core that notes what it hears and answers as the test says.
#[derive(Default)]
pub struct Recorder {
    state: watch::Sender<Recorded>,
    waiting: Mutex<Vec<oneshot::Sender<Outcome>>>,
}

#[derive(Clone, Default)]
pub struct Recorded {
    pub arrivals: Vec<Arrival>,
    pub presence: Vec<(Vin, Presence)>,
    pub introduced: Vec<(Vin, Uid)>,
    pub links: Vec<Result<(), String>>,
    /// Outcomes wait for the test instead of being `Stored` at once.
    manual: bool,
}

impl BrokerEvents for Recorder {
    fn arrived(&self, arrival: Arrival) -> BoxFuture<'_, oneshot::Receiver<Outcome>> {
        let (outcome, known) = oneshot::channel();
        if self.state.borrow().manual {
            self.waiting.lock().unwrap().push(outcome);
        } else {
            outcome.send(Outcome::Stored).unwrap();
        }
        self.state.send_modify(|state| state.arrivals.push(arrival));
        Box::pin(std::future::ready(known))
    }

    fn presence_changed(&self, vin: Vin, presence: Presence) {
        self.state
            .send_modify(|state| state.presence.push((vin, presence)));
    }

    fn introduced(&self, vin: Vin, uid: &Uid) {
        self.state
            .send_modify(|state| state.introduced.push((vin, uid.clone())));
    }

    fn announced(&self, _: Vin, _: &Uid, _: Option<Offer>) {}

    fn link_changed(&self, up: Result<(), String>) {
        self.state.send_modify(|state| state.links.push(up));
    }
}

impl Recorder {
    /// From now on, outcomes wait for [`Recorder::resolve`].
    pub fn hold_outcomes(&self) {
        self.state.send_modify(|state| state.manual = true);
    }

    /// Outcomes are `Stored` at once again.
    pub fn store_at_once(&self) {
        self.state.send_modify(|state| state.manual = false);
    }

    /// Resolves the oldest outcome that waits.
    pub fn resolve(&self, outcome: Outcome) {
        let oldest = self.waiting.lock().unwrap().remove(0);
        // The broker may have gone meanwhile.
        let _ = oldest.send(outcome);
    }

    /// Waits until what was recorded satisfies the test.
    pub async fn until(&self, what: &str, wanted: impl FnMut(&Recorded) -> bool) -> Recorded {
        let mut state = self.state.subscribe();
        let reached = within(what, state.wait_for(wanted)).await.unwrap();
        reached.clone()
    }

    pub fn recorded(&self) -> Recorded {
        self.state.borrow().clone()
    }

    pub async fn until_arrivals(&self, count: usize) -> Vec<Arrival> {
        self.until("arrivals", |state| state.arrivals.len() >= count)
            .await
            .arrivals
    }

    /// Waits until so many messages have arrived; of many, that costs less than to show them.
    pub async fn until_count(&self, count: usize) {
        let mut state = self.state.subscribe();
        let arrived = state.wait_for(|state| state.arrivals.len() >= count);
        drop(within("arrivals", arrived).await.unwrap());
    }

    /// Waits until the last that was told about the link satisfies the test.
    pub async fn until_link(&self, what: &str, wanted: impl Fn(&Result<(), String>) -> bool) {
        self.until(what, |state| state.links.last().is_some_and(&wanted))
            .await;
    }

    /// Waits until the last that was told about the vehicle is `presence`.
    pub async fn until_presence(&self, presence: Presence) {
        self.until("presence", |state| {
            state.presence.last() == Some(&(vin(), presence))
        })
        .await;
    }
}

/// A broker on free ports, with a vehicle and two partners enrolled.
pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub identities: Identities,
    pub events: Arc<Recorder>,
    pub broker: EmbeddedBroker,
    /// Where the broker takes clients of the bus.
    pub bus: Option<Arc<Bus>>,
}

impl Fixture {
    pub async fn start() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub async fn with_limits(limits: Limits) -> Self {
        let events = Arc::new(Recorder::default());
        Self::over(Arc::clone(&events) as _, events, limits).await
    }

    /// A broker that takes clients of the bus as well.
    pub async fn with_bus(settings: BusSettings, intake: Option<Arc<dyn BusIntake>>) -> Self {
        let events = Arc::new(Recorder::default());
        let core = Arc::clone(&events) as _;
        Self::build(core, events, Limits::default(), Some(settings), intake).await
    }

    /// A broker with a core of the test's choice behind it; `events` records nothing then.
    pub async fn over(core: Arc<dyn BrokerEvents>, events: Arc<Recorder>, limits: Limits) -> Self {
        Self::build(core, events, limits, None, None).await
    }

    async fn build(
        core: Arc<dyn BrokerEvents>,
        events: Arc<Recorder>,
        limits: Limits,
        bus: Option<BusSettings>,
        intake: Option<Arc<dyn BusIntake>>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identities = Identities::open(&folder.path().join("data")).unwrap();
        for vin in [VIN, OTHER_VIN] {
            let out = folder.path().join(vin);
            identities
                .enroll_vehicle(&Vin::parse(vin).unwrap(), &out, Existing::Refuse)
                .unwrap();
        }
        for uid in [UID, OTHER_UID] {
            let out = folder.path().join(uid);
            identities
                .enroll_partner(&Uid::parse(uid).unwrap(), &out, Existing::Refuse)
                .unwrap();
        }
        let settings = Settings {
            mqtt: Some(([127, 0, 0, 1], 0).into()),
            mqtts: Some((([127, 0, 0, 1], 0).into(), tls_settings(&identities))),
            limits,
            bus: bus.map(|settings| open_bus(&identities, &folder.path().join("data"), settings)),
            intake,
            ..Settings::default()
        };
        let bus = settings.bus.clone();
        let broker = EmbeddedBroker::start(settings, identities.credentials(), core)
            .await
            .unwrap();
        Self {
            folder,
            identities,
            events,
            broker,
            bus,
        }
    }

    /// Where `name`, a VIN or UID, has its credentials.
    pub fn files_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn password_of(&self, uid: &str) -> String {
        std::fs::read_to_string(self.files_of(uid).join("password")).unwrap()
    }

    pub fn admin_token(&self) -> String {
        std::fs::read_to_string(self.identities.admin_token_path()).unwrap()
    }

    pub fn counts(&self) -> BrokerCounts {
        self.broker.counters().snapshot()
    }

    /// Waits until the counters satisfy the test.
    pub async fn until_counts(&self, what: &str, wanted: impl Fn(&BrokerCounts) -> bool) {
        within(what, async {
            while !wanted(&self.counts()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// A connected vehicle, over mutual TLS.
    pub async fn vehicle(&self, vin: &str) -> raw::Client {
        let mut client = self.tls(vin).await.unwrap();
        client.enter(&raw::Connect::new(vin)).await;
        client
    }

    /// A connected vehicle that listens to its downlink.
    pub async fn listening_vehicle(&self) -> raw::Client {
        let mut client = self.vehicle(VIN).await;
        client.subscribe(&downlink(UID, VIN), 1).await;
        self.events.until_presence(Presence::Online).await;
        client
    }

    /// A connected partner who hears all of its vehicles.
    pub async fn listening_partner(&self) -> raw::Client {
        let mut partner = self.partner(UID, "partner").await;
        let all = format!("psa/OVIPPartners-Dev/from/uid/{UID}/opa/#");
        partner.subscribe(&all, 2).await;
        partner
    }

    /// A connected partner, over the plain port.
    pub async fn partner(&self, uid: &str, client_id: &str) -> raw::Client {
        let mut client = self.plain().await;
        let password = self.password_of(uid);
        let connect = raw::Connect::new(client_id).login(uid, &password);
        client.enter(&connect).await;
        client
    }

    /// The connected administrator, over the plain port.
    pub async fn admin(&self, client_id: &str) -> raw::Client {
        let mut client = self.plain().await;
        let token = self.admin_token();
        let connect = raw::Connect::new(client_id).login("admin", &token);
        client.enter(&connect).await;
        client
    }

    /// A connection to the plain port.
    pub async fn plain(&self) -> raw::Client {
        raw::Client::tcp(self.broker.mqtt_address().unwrap()).await
    }

    /// As [`Fixture::tls`], from another address of this machine.
    pub async fn tls_from(&self, from: [u8; 4], name: &str) -> std::io::Result<raw::Client> {
        let files = self.files_of(name);
        raw::Client::tls_from(
            from.into(),
            self.broker.mqtts_address().unwrap(),
            &self.files_of("data").join("ca.pem"),
            (&files.join("cert.pem"), &files.join("key.pem")),
        )
        .await
    }

    /// A connection to the TLS port with the certificate of `name`.
    pub async fn tls(&self, name: &str) -> std::io::Result<raw::Client> {
        let files = self.files_of(name);
        raw::Client::tls(
            self.broker.mqtts_address().unwrap(),
            &self.files_of("data").join("ca.pem"),
            Some((&files.join("cert.pem"), &files.join("key.pem"))),
        )
        .await
    }
}

fn open_bus(identities: &Identities, data_dir: &Path, settings: BusSettings) -> Arc<Bus> {
    let lock = DataDir::lock(data_dir).unwrap();
    let store = SqliteStore::open(lock, StoreSettings::default(), &Metrics::new()).unwrap();
    let credentials = identities.credentials();
    Arc::new(Bus::open(data_dir, Arc::new(store), credentials, settings).unwrap())
}

pub fn tls_settings(identities: &Identities) -> TlsSettings {
    TlsSettings {
        server: identities.server_certificate(&[]).unwrap(),
        client_ca: identities.authority().certificate().to_owned(),
    }
}
