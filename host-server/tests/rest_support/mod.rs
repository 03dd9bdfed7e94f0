//! The REST interface over a real socket, a real hub and a real store, and a broker of the test.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use vinbus_host_server::api::{self, Foundation, connections};
use vinbus_host_server::broker::{Arrival, Broker, BrokerEvents, Outcome, PublishError};
use vinbus_host_server::bus::{Bus, BusSettings};
use vinbus_host_server::config::HttpLimits;
use vinbus_host_server::hub::{self, Hub};
use vinbus_host_server::identity::{Existing, Identities, Sessions};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::Presence;
use vinbus_host_server::stop::{Stop, StopSource};
use vinbus_host_server::store::lock::DataDir;
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicScheme};

/// The vehicle of most tests.
pub(crate) const VIN: &str = "0123456789ABCDEFG";

/// Another one.
pub(crate) const OTHER_VIN: &str = "ZZZ45678901234567";

/// The partner that the administrator sends as by default.
pub(crate) const PARTNER: &str = "demo-partner";

/// Another partner.
pub(crate) const OTHER: &str = "other";

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server without processes, and its tokens.
pub(crate) struct Rest {
    pub(crate) address: SocketAddr,
    pub(crate) admin: String,
    pub(crate) partner: String,
    pub(crate) other: String,
    pub(crate) hub: Hub,
    pub(crate) sessions: Arc<Sessions>,
    /// What the hub published, in order.
    pub(crate) published: mpsc::UnboundedReceiver<(String, Bytes)>,
    http: Client,
    stop: Option<StopSource>,
    served: tokio::task::JoinHandle<()>,
    _dir: TempDir,
}

/// What may be different in a test.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) limits: HttpLimits,
    pub(crate) store: StoreSettings,
    pub(crate) hub: hub::Settings,
    pub(crate) bus: BusSettings,
    pub(crate) mqtt: Option<Arc<dyn api::MqttOverWebSocket>>,
    pub(crate) allow_origin: Vec<String>,
    pub(crate) sessions: Sessions,
}

impl Setup {
    /// Defaults with limits of the test's own.
    pub(crate) fn limits(change: impl FnOnce(&mut HttpLimits)) -> Self {
        let mut setup = Self::default();
        change(&mut setup.limits);
        setup
    }
}

/// Takes whatever the hub publishes.
struct Publications(mpsc::UnboundedSender<(String, Bytes)>);

impl Broker for Publications {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        let sent = self.0.send((topic.to_owned(), payload));
        Box::pin(async move { sent.map_err(|_| PublishError::LinkDown) })
    }
}

impl Rest {
    /// With all defaults.
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        // The first test of the process installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let lock = DataDir::lock(dir.path()).unwrap();
        let identities = Identities::open(dir.path()).unwrap();
        let token = |uid: &str| {
            let out = dir.path().join(format!("of-{uid}"));
            let uid = Uid::parse(uid).unwrap();
            identities
                .enroll_partner(&uid, &out, Existing::Refuse)
                .unwrap();
            read(&out.join("token"))
        };
        let (partner, other) = (token(PARTNER), token(OTHER));
        let metrics = Metrics::new();
        let store = Arc::new(SqliteStore::open(lock, setup.store, &metrics).unwrap());
        let (clients, credentials) = (Arc::clone(&store), identities.credentials());
        let bus = Bus::open(dir.path(), clients, credentials, setup.bus).unwrap();
        let hub = Hub::new(store, setup.hub, &metrics).unwrap();
        let (publications, published) = mpsc::unbounded_channel();
        hub.link_changed(Ok(()));
        hub.attach(Arc::new(Publications(publications)));
        let sessions = Arc::new(setup.sessions);
        let (stop_source, stop) = StopSource::new();
        let foundation = Foundation {
            hub: hub.clone(),
            credentials: identities.credentials(),
            sessions: Arc::clone(&sessions),
            bus: Arc::new(bus),
            metrics,
            broker_figures: Arc::new(String::new),
            partner: Uid::parse(PARTNER).unwrap(),
            limits: setup.limits,
            mqtt: setup.mqtt,
            allow_origin: setup.allow_origin,
            stop: stop.clone(),
        };
        let (address, served) = listen(foundation, setup.limits, stop).await;
        Self {
            address,
            admin: read(&identities.admin_token_path()),
            partner,
            other,
            hub,
            sessions,
            published,
            http: Client::new(),
            stop: Some(stop_source),
            served,
            _dir: dir,
        }
    }

    /// A request with the administrator's token.
    pub(crate) fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.admin)
    }

    /// A request with a partner's token.
    pub(crate) fn partner(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.partner)
    }

    /// A request with the other partner's token.
    pub(crate) fn other(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.other)
    }

    /// A request without a token.
    pub(crate) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.http.request(method, url)
    }

    /// Sends `body` to [`VIN`] as the administrator.
    pub(crate) async fn send(&self, body: impl Into<reqwest::Body>) -> Response {
        let path = format!("/api/v1/vehicles/{VIN}/messages");
        self.admin(Method::POST, &path)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// A page of messages from vehicles as text.
    pub(crate) async fn page(&self, query: &str) -> String {
        let path = format!("/api/v1/messages{query}");
        let answer = self.admin(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }

    /// Has a vehicle send `payload` and waits until it is on disk.
    pub(crate) async fn arrive(&self, uid: &str, vin: &str, payload: impl Into<Bytes>) {
        let uid = Uid::parse(uid).unwrap();
        let topics = TopicScheme::default();
        let topic = topics
            .publish_topic(Direction::Uplink, &uid, &Vin::parse(vin).unwrap(), None)
            .unwrap();
        let arrival = Arrival {
            topic: topic.to_string(),
            payload: payload.into(),
            retained: false,
        };
        let outcome = self.hub.arrived(arrival).await.await;
        assert_eq!(outcome, Ok(Outcome::Stored));
    }

    /// Says that a vehicle can hear us, or no longer.
    pub(crate) fn presence(&self, vin: &str, presence: Presence) {
        self.hub
            .presence_changed(Vin::parse(vin).unwrap(), presence);
    }

    /// What the hub publishes next.
    pub(crate) async fn next_published(&mut self) -> (String, Bytes) {
        within(self.published.recv()).await.unwrap()
    }

    /// A connection of the test's own.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes as they are and reads until the server closes or the answer is complete.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// Tells the server to stop, and waits until it did.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        within(&mut self.served).await.unwrap();
    }
}

async fn listen(
    foundation: Foundation,
    limits: HttpLimits,
    stop: Stop,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = foundation.metrics.clone();
    let router = api::router(foundation);
    let served = tokio::spawn(async move {
        connections::serve(listener, router, limits, &metrics, stop).await;
    });
    (address, served)
}

fn read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// Everything until the server closes.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A server that closes while we still send may reset the connection after its answer.
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits for what has to happen.
pub(crate) async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it has to happen")
}

/// The problem document of an answer, checked for its form.
pub(crate) async fn problem(answer: Response, status: u16, kind: &str) -> Value {
    assert_eq!(answer.status().as_u16(), status);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let path = answer.url().path().to_owned();
    let document: Value = answer.json().await.unwrap();
    assert_eq!(
        document["type"],
        format!("urn:vinbus:problem:{kind}"),
        "{document}"
    );
    assert_eq!(document["status"], status);
    assert_eq!(document["instance"], path);
    for member in ["title", "detail"] {
        assert!(!document[member].as_str().unwrap().is_empty(), "{document}");
    }
    document
}

/// A downlink envelope with this content.
pub(crate) fn envelope(content: &str) -> String {
    format!(r#"{{"idApp":"demo-app","popup":false,"content":{content}}}"#)
}

/// Contents that a careless implementation would change: white space, escapes, numbers that no
/// float holds, duplicate members, texts beyond ASCII.
pub(crate) const ODD_CONTENTS: &[&str] = &[
    "{ \"a\" :\t1.500 ,  \"b\":[ ] }",
    "12345678901234567890123456789.000000000000000000001e-7",
    "-0.0e+00",
    "\"\\u00e9\\u00E9é \\ud83d\\ude00 😀 \\/ / \\b\\f\\n\\r\\t\\\\ \\\"\"",
    "\"\\u0000 \u{7f} \u{2028} \u{feff}\"",
    "{\"a\":1,\"a\":2,\"\":null}",
    "[[[[[[[[[[]]]]]]]]]]",
    "null",
    "false",
    "\"\"",
];

/// Server-sent events of one answer, as they come.
pub(crate) struct Events {
    answer: Response,
    buffered: Vec<u8>,
}

impl Events {
    /// The events of a stream that was answered 200.
    pub(crate) fn of(answer: Response) -> Self {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self {
            answer,
            buffered: Vec::new(),
        }
    }

    /// The next event's id and data, empty where it has none; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some(end) = self.buffered.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.buffered.drain(..end + 2).collect();
                return Some(parse(&String::from_utf8(event).unwrap()));
            }
            let chunk = within(self.answer.chunk()).await.ok().flatten()?;
            self.buffered.extend_from_slice(&chunk);
        }
    }

    /// The next event with data.
    pub(crate) async fn next_message(&mut self) -> (String, String) {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if !event.1.is_empty() {
                return event;
            }
        }
    }
}

fn parse(event: &str) -> (String, String) {
    let field = |name| {
        event
            .lines()
            .filter_map(move |line: &str| line.strip_prefix(name))
    };
    let data: Vec<_> = field("data: ").collect();
    (
        field("id: ").next().unwrap_or_default().to_owned(),
        data.join("\n"),
    )
}
