//! The broker of the configuration's choice, running.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocket;
use futures_util::future::BoxFuture;

use super::ServeError;
use crate::api::MqttOverWebSocket;
use crate::broker::embedded::{BrokerCounters, EmbeddedBroker, Settings, StartError, TlsSettings};
use crate::config::{BrokerChoice, Config};
use crate::hub::Hub;
use crate::identity::Identities;

/// A broker that carries messages.
pub(super) enum RunningBroker {
    /// Our own.
    Embedded(EmbeddedBroker),
}

impl RunningBroker {
    /// Starts the broker and attaches it to the hub.
    pub(super) async fn start(
        config: &Config,
        identities: &Identities,
        hub: &Hub,
    ) -> Result<Self, ServeError> {
        match &config.broker {
            BrokerChoice::Embedded {
                mqtt,
                mqtts,
                server_names,
            } => {
                let tls = TlsSettings {
                    server: identities.server_certificate(server_names)?,
                    client_ca: identities.authority().certificate().to_owned(),
                };
                let settings = Settings {
                    topics: config.scheme.clone(),
                    mqtt: *mqtt,
                    mqtts: mqtts.map(|address| (address, tls)),
                    ..Settings::default()
                };
                let events = Arc::new(hub.clone());
                let broker = EmbeddedBroker::start(settings, identities.credentials(), events)
                    .await
                    .map_err(|error| refused(error, *mqtt))?;
                hub.attach(Arc::new(broker.clone()));
                Ok(Self::Embedded(broker))
            }
            BrokerChoice::External(_) => unreachable!(),
        }
    }

    /// Where plain MQTT is listened for.
    pub(super) fn mqtt_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Embedded(broker) => broker.mqtt_address(),
        }
    }

    /// Where MQTT over TLS is listened for.
    pub(super) fn mqtts_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Embedded(broker) => broker.mqtts_address(),
        }
    }

    /// What takes MQTT over WebSocket.
    pub(super) fn over_websocket(&self) -> Option<Arc<dyn MqttOverWebSocket>> {
        match self {
            Self::Embedded(broker) => Some(Arc::new(OverWebSocket(broker.clone()))),
        }
    }

    /// The broker's figures as Prometheus text.
    pub(super) fn figures(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        match self {
            Self::Embedded(broker) => {
                let counters = broker.counters();
                Arc::new(move || render(&counters))
            }
        }
    }

    /// Says goodbye to all clients.
    pub(super) async fn shutdown(&self) {
        match self {
            Self::Embedded(broker) => broker.shutdown().await,
        }
    }
}

/// The embedded broker, as the REST interface hands WebSockets to it.
struct OverWebSocket(EmbeddedBroker);

impl MqttOverWebSocket for OverWebSocket {
    fn serve(&self, socket: WebSocket, peer: SocketAddr) -> BoxFuture<'_, ()> {
        Box::pin(self.0.websocket(socket, peer))
    }
}

/// A port that cannot be listened on is told with the option that names it.
fn refused(error: StartError, mqtt: Option<SocketAddr>) -> ServeError {
    match error {
        StartError::Bind {
            address, source, ..
        } => ServeError::Bind {
            option: if Some(address) == mqtt {
                "mqtt"
            } else {
                "mqtts"
            },
            address,
            source,
        },
        other => ServeError::Broker(other),
    }
}

/// The figures that are levels; all others only grow.
const LEVELS: [&str; 2] = ["connections", "wildcard_filters"];

fn render(counters: &BrokerCounters) -> String {
    let mut text = String::new();
    for (name, value) in counters.snapshot().iter() {
        let (kind, unit) = if LEVELS.contains(&name) {
            ("gauge", "")
        } else {
            ("counter", "_total")
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "# TYPE vinbus_broker_{name}{unit} {kind}\nvinbus_broker_{name}{unit} {value}"
        );
    }
    text
}
