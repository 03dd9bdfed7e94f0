//! The broker of the configuration's choice, running.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocket;
use futures_util::future::BoxFuture;

use super::ServeError;
use crate::api::MqttOverWebSocket;
use crate::broker::embedded::{EmbeddedBroker, Limits, Settings, StartError, TlsSettings};
use crate::config::{BrokerChoice, Config};
use crate::hub::Hub;
use crate::identity::Identities;
use crate::metrics::Metrics;

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
        metrics: &Metrics,
    ) -> Result<Self, ServeError> {
        match &config.broker {
            BrokerChoice::Embedded {
                mqtt,
                mqtts,
                server_names,
            } => {
                let certificate = identities.server_certificate(server_names)?;
                todo!()
            }
            BrokerChoice::External(_) => todo!(),
        }
    }
}
