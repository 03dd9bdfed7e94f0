//! The conformance suite of our own client, against the embedded broker.

mod broker_support;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use broker_support::{Recorder, VIN, tls_settings, uplink};
use tokio::runtime::Runtime;
use vinbus_host_server::broker::embedded::{EmbeddedBroker, Settings, WEBSOCKET_PROTOCOL};
use vinbus_host_server::identity::{Existing, Identities};
use vinbus_transport_std::conformance::{self, BrokerUnderTest, Endpoint};
use vinbus_transport_std::{BrokerUrl, ClientOptions};

struct Embedded {
    folder: tempfile::TempDir,
    identities: Arc<Identities>,
    mqtt: SocketAddr,
    mqtts: SocketAddr,
    http: SocketAddr,
    /// All of the broker's tasks; gone with it, as if the process had been killed.
    runtime: Option<Runtime>,
}

impl Embedded {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identities = Identities::open(&folder.path().join("data")).unwrap();
        let out = folder.path().join("admin");
        identities.enroll_admin(&out, Existing::Refuse).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut broker = Self {
            folder,
            identities: Arc::new(identities),
            mqtt: any,
            mqtts: any,
            http: any,
            runtime: None,
        };
        broker.start().await;
        broker
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn upgrade(
    State(broker): State<EmbeddedBroker>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .protocols([WEBSOCKET_PROTOCOL])
        .on_upgrade(move |socket| async move { broker.websocket(socket, peer).await })
}

impl BrokerUnderTest for Embedded {
    fn endpoints(&self) -> Vec<Endpoint> {
        vec![Endpoint::Mqtt, Endpoint::Mqtts, Endpoint::Ws]
    }

    fn url(&self, endpoint: Endpoint) -> BrokerUrl {
        let url = match endpoint {
            Endpoint::Mqtt => format!("mqtt://localhost:{}", self.mqtt.port()),
            Endpoint::Mqtts => format!("mqtts://localhost:{}", self.mqtts.port()),
            Endpoint::Ws => format!("ws://localhost:{}/mqtt", self.http.port()),
            Endpoint::Wss => unreachable!("not among the endpoints"),
        };
        url.parse().unwrap()
    }

    fn options(&self, endpoint: Endpoint, url: BrokerUrl, name: &str) -> ClientOptions {
        let token = std::fs::read_to_string(self.identities.admin_token_path()).unwrap();
        let options = ClientOptions::new(url, name).credentials("admin", token);
        let options = conformance::impatient(options);
        if endpoint != Endpoint::Mqtts {
            return options;
        }
        let folder = self.folder.path().join("admin");
        options
            .ca_file(folder.join("ca.pem"))
            .identity_files(folder.join("cert.pem"), folder.join("key.pem"))
    }

    fn topic(&self, name: &str) -> String {
        format!("{}{name}", uplink("suite", VIN))
    }

    async fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            let stopping = tokio::task::spawn_blocking(move || drop(runtime));
            stopping.await.unwrap();
        }
    }

    async fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let identities = Arc::clone(&self.identities);
        let settings = Settings {
            mqtt: Some(self.mqtt),
            mqtts: Some((self.mqtts, tls_settings(&identities))),
            ..Settings::default()
        };
        let http = self.http;
        let starting = runtime.spawn(async move {
            let events = Arc::<Recorder>::default();
            let broker = EmbeddedBroker::start(settings, identities.credentials(), events)
                .await
                .unwrap();
            let listener = tokio::net::TcpListener::bind(http).await.unwrap();
            let http = listener.local_addr().unwrap();
            let app = Router::new()
                .route("/mqtt", get(upgrade))
                .with_state(broker.clone())
                .into_make_service_with_connect_info::<SocketAddr>();
            tokio::spawn(async move { axum::serve(listener, app).await });
            (broker, http)
        });
        let (broker, http) = starting.await.unwrap();
        self.mqtt = broker.mqtt_address().unwrap();
        self.mqtts = broker.mqtts_address().unwrap();
        self.http = http;
        self.runtime = Some(runtime);
    }
}

#[tokio::test]
async fn every_endpoint_and_version_echoes() {
    conformance::every_endpoint_and_version_echoes(&Embedded::new().await).await;
}

#[tokio::test]
async fn the_largest_payload_passes_and_one_byte_more_is_refused() {
    let broker = Embedded::new().await;
    conformance::the_largest_payload_passes_and_one_byte_more_is_refused(&broker).await;
}

#[tokio::test]
async fn messages_keep_their_order() {
    conformance::messages_keep_their_order(&Embedded::new().await).await;
}

#[tokio::test]
async fn subscriptions_survive_a_restart_in_mid_traffic() {
    let mut broker = Embedded::new().await;
    conformance::subscriptions_survive_a_restart_in_mid_traffic(&mut broker).await;
}

#[tokio::test]
async fn the_will_is_published_on_loss_and_not_on_close() {
    conformance::the_will_is_published_on_loss_and_not_on_close(&Embedded::new().await).await;
}

#[tokio::test]
async fn a_wrong_password_is_an_error_of_its_own() {
    conformance::a_wrong_password_is_an_error_of_its_own(&Embedded::new().await).await;
}

#[tokio::test]
async fn a_refused_client_certificate_is_an_error_of_its_own() {
    conformance::a_refused_client_certificate_is_an_error_of_its_own(&Embedded::new().await).await;
}

#[tokio::test]
async fn an_unknown_authority_is_an_error_of_its_own() {
    conformance::an_unknown_authority_is_an_error_of_its_own(&Embedded::new().await).await;
}
