//! The broker of the configuration's choice, running.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::ws::WebSocket;
use futures_util::future::BoxFuture;
use vinbus_transport_std::bus::BusOptions;
use vinbus_transport_std::{ClientOptions, MqttVersion, Pem, TlsOptions};

use super::ServeError;
use crate::api::MqttOverWebSocket;
use crate::bridge::{Audience, BusPort, Platform};
use crate::broker::BusIntake;
use crate::broker::embedded::{self, BrokerCounters, EmbeddedBroker, StartError, TlsSettings};
use crate::broker::external::{self, ExternalBroker};
use crate::bus::Bus;
use crate::config::{self, BrokerChoice, Config};
use crate::hub::Hub;
use crate::identity::Identities;

/// A broker that carries messages.
pub(super) enum RunningBroker {
    /// Our own.
    Embedded(EmbeddedBroker),
    /// Somebody else's.
    External(ExternalBroker),
}

impl RunningBroker {
    /// Starts the broker and attaches it to the hub.
    pub(super) async fn start(
        config: &Config,
        identities: &Identities,
        hub: &Hub,
        bus: &Arc<Bus>,
        intake: Option<Arc<dyn BusIntake>>,
    ) -> Result<Self, ServeError> {
        let events = Arc::new(hub.clone());
        match &config.broker {
            BrokerChoice::Embedded {
                mqtt,
                mqtts,
                server_names,
                limits,
            } => {
                // The rules are about our own bus, unless there is a platform.
                let of_rules = match &config.platform {
                    None => Audience::of_rules(&config.rules),
                    Some(_) => Audience::default(),
                };
                let settings = embedded::Settings {
                    limits: limits.clone(),
                    bus: Some(Arc::clone(bus)),
                    intake,
                    audience: config.audience.clone().and(of_rules),
                    ..embedded(config, identities, *mqtt, *mqtts, server_names)?
                };
                let broker = EmbeddedBroker::start(settings, identities.credentials(), events)
                    .await
                    .map_err(|error| refused(error, *mqtt))?;
                hub.attach(Arc::new(broker.clone()));
                Ok(Self::Embedded(broker))
            }
            BrokerChoice::External(choice) => {
                let settings = external(config, identities, choice)?;
                let broker = ExternalBroker::connect(settings, events)?;
                hub.attach(Arc::new(broker.clone()));
                Ok(Self::External(broker))
            }
        }
    }

    /// Where plain MQTT is listened for.
    pub(super) fn mqtt_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Embedded(broker) => broker.mqtt_address(),
            Self::External(_) => None,
        }
    }

    /// Where MQTT over TLS is listened for.
    pub(super) fn mqtts_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Embedded(broker) => broker.mqtts_address(),
            Self::External(_) => None,
        }
    }

    /// What takes MQTT over WebSocket.
    pub(super) fn over_websocket(&self) -> Option<Arc<dyn MqttOverWebSocket>> {
        match self {
            Self::Embedded(broker) => Some(Arc::new(OverWebSocket(broker.clone()))),
            Self::External(_) => None,
        }
    }

    /// The way onto the bus, if it is ours.
    pub(super) fn bus_port(&self) -> Option<Arc<dyn BusPort>> {
        match self {
            Self::Embedded(broker) => Some(Arc::new(broker.clone())),
            Self::External(_) => None,
        }
    }

    /// The broker's figures as Prometheus text.
    pub(super) fn figures(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        match self {
            Self::Embedded(broker) => {
                let counters = broker.counters();
                Arc::new(move || render(&counters))
            }
            Self::External(broker) => {
                let dropped = broker.retained_dropped();
                Arc::new(move || {
                    let name = "vinbus_broker_retained_dropped_total";
                    let dropped = dropped.load(Ordering::Relaxed);
                    format!("# TYPE {name} counter\n{name} {dropped}\n")
                })
            }
        }
    }

    /// Says goodbye to all clients, or to the broker.
    pub(super) async fn shutdown(&self) {
        match self {
            Self::Embedded(broker) => broker.shutdown().await,
            Self::External(broker) => broker.shutdown().await,
        }
    }
}

fn embedded(
    config: &Config,
    identities: &Identities,
    mqtt: Option<SocketAddr>,
    mqtts: Option<SocketAddr>,
    server_names: &[String],
) -> Result<embedded::Settings, ServeError> {
    let tls = TlsSettings {
        server: identities.server_certificate(server_names)?,
        client_ca: identities.authority().certificate().to_owned(),
    };
    Ok(embedded::Settings {
        topics: config.scheme.clone(),
        mqtt,
        mqtts: mqtts.map(|address| (address, tls)),
        ..embedded::Settings::default()
    })
}

fn external(
    config: &Config,
    identities: &Identities,
    choice: &config::ExternalBroker,
) -> Result<external::Settings, ServeError> {
    let version = match choice.version {
        config::MqttVersion::V5 => MqttVersion::V5,
        config::MqttVersion::V311 => MqttVersion::V311,
    };
    let client_id = client_id(&[identities.authority().certificate()]);
    let mut options = ClientOptions::new(choice.url.clone(), client_id).version(version);
    if let Some(ca) = &choice.ca {
        options = options.ca_file(ca);
    }
    if let Some((certificate, key)) = &choice.identity {
        options = options.identity_files(certificate, key);
    }
    if let Some((user_name, file)) = &choice.credentials {
        let password = fs::read_to_string(file).map_err(|source| ServeError::Password {
            path: file.clone(),
            source,
        })?;
        options = options.credentials(user_name, password.trim_end_matches(['\r', '\n']));
    }
    Ok(external::Settings {
        options,
        topics: config.scheme.clone(),
        uids: choice.uids.clone(),
    })
}

/// The other platform of the configuration's choice.
pub(super) fn platform(
    choice: &config::PlatformChoice,
    identities: &Identities,
) -> Result<Platform, ServeError> {
    let path = &choice.secret_file;
    let secret = fs::read_to_string(path).map_err(|source| ServeError::PlatformSecret {
        path: path.clone(),
        source,
    })?;
    let (app, client) = (choice.app.as_str(), &*choice.client);
    let secret = secret.trim_end_matches(['\r', '\n']);
    let name = choice.to_string();
    let client_id = client_id(&[identities.authority().certificate(), &name]);
    let mut options = BusOptions::new(choice.url.clone(), app, client, secret)
        .mqtt_client_id(client_id)
        .renewal_in_place(choice.is_vinbus);
    if let Some(ca) = &choice.ca {
        options = options.tls(TlsOptions {
            ca: Some(Pem::File(ca.clone())),
            identity: None,
        });
    }
    Ok(Platform { options, name })
}

/// Names our session at a broker: the same for a data folder's authority, and what else is told, for
/// ever, another for every other. 23 characters, which every broker takes (MQTT 3.1.1, 3.1.3.1).
fn client_id(of: &[&str]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, of.concat().as_bytes());
    let mut id = "vinbus-".to_owned();
    for byte in &hash.as_ref()[..8] {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
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
    for (name, help, value) in counters.snapshot().iter() {
        let (kind, unit) = if LEVELS.contains(&name) {
            ("gauge", "")
        } else {
            ("counter", "_total")
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "# HELP vinbus_broker_{name}{unit} {help}\n# TYPE vinbus_broker_{name}{unit} {kind}\n\
             vinbus_broker_{name}{unit} {value}"
        );
    }
    text
}
