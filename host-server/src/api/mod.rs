//! The REST interface: what partners' backends and operators ask the server over HTTP.
//!
//! [`router`] makes the whole of it out of the table in `routes`; [`connections::serve`] puts it on
//! a socket. Handlers turn requests into calls of the [`Hub`] and its answers into JSON; they know
//! neither the store nor the broker. Everything a client gets told of an error is a problem
//! document (`problem`), on the paths of
//! the bus an error as a SERMAS platform has it (`platform`). `openapi.json` describes it all, and a test holds it to the routes.
//!
//! Nothing a client does costs more than its bound: heads, bodies, pages, times, connections,
//! streams and requests a second all have one.

pub mod connections;

mod routes;

mod auth;
mod rate;

mod body;
mod parameters;
mod problem;

mod feed;

mod fleet;
mod messages;
mod requests;
mod strictness;
mod trace;

mod activity;
mod end;
mod sent;
mod stream;
mod uplink;

mod vehicles;

mod webhooks;

mod platform;

mod console;
mod health;
mod mqtt;
mod openapi;
mod origin;
mod status;

pub mod asyncapi;

pub use mqtt::MqttOverWebSocket;
pub use routes::router;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vinbus_protocol::id::Uid;
use vinbus_transport_std::guards::LogThrottle;

use crate::bus::Bus;
use crate::config::HttpLimits;
use crate::hub::Hub;
use crate::identity::{Credentials, Sessions};
use crate::metrics::{Gauge, Held, Metrics};
use crate::stop::Stop;
use rate::Rates;

/// What the REST interface stands on.
pub struct Foundation {
    /// The core.
    pub hub: Hub,
    /// Whose token is whose.
    pub credentials: Arc<Credentials>,
    /// Who is signed in to the console.
    pub sessions: Arc<Sessions>,
    /// Clients of the bus and their tokens.
    pub bus: Arc<Bus>,
    /// The figures to show.
    pub metrics: Metrics,
    /// More figures, as Prometheus text: the broker's.
    pub broker_figures: Arc<dyn Fn() -> String + Send + Sync>,
    /// The UID that the administrator sends as by default.
    pub partner: Uid,
    /// The bounds.
    pub limits: HttpLimits,
    /// Who takes MQTT over WebSocket, if anybody does.
    pub mqtt: Option<Arc<dyn MqttOverWebSocket>>,
    /// Web origins, besides the server's own, whose pages may open such a WebSocket.
    pub allow_origin: Vec<String>,
    /// Ends the streams when the server stops.
    pub stop: Stop,
}

/// The state that all handlers share.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

struct Shared {
    foundation: Foundation,
    rates: Rates,
    refused_links: LogThrottle,
    started_at: SystemTime,
    streams: Arc<Semaphore>,
    streams_open: Gauge,
}

/// The place of one event stream.
struct StreamSlot {
    _permit: OwnedSemaphorePermit,
    _open: Held,
}

impl Api {
    fn new(foundation: Foundation) -> Self {
        Self(Arc::new(Shared {
            rates: Rates::new(foundation.limits.requests_per_second_max),
            streams_open: foundation.metrics.gauge(
                "vinbus_http_streams",
                "Event streams open now.",
                &[],
            ),
            refused_links: LogThrottle::default(),
            started_at: SystemTime::now(),
            streams: Arc::new(Semaphore::new(foundation.limits.streams_max)),
            foundation,
        }))
    }

    fn hub(&self) -> &Hub {
        &self.0.foundation.hub
    }

    fn credentials(&self) -> &Credentials {
        &self.0.foundation.credentials
    }

    fn sessions(&self) -> &Sessions {
        &self.0.foundation.sessions
    }

    /// Who is not signed in to the console is told so, and the log no more often than one can read.
    fn refused_links(&self) -> &LogThrottle {
        &self.0.refused_links
    }

    fn started_at(&self) -> SystemTime {
        self.0.started_at
    }

    fn bus(&self) -> &Bus {
        &self.0.foundation.bus
    }

    fn broker_figures(&self) -> String {
        (self.0.foundation.broker_figures)()
    }

    fn metrics(&self) -> &Metrics {
        &self.0.foundation.metrics
    }

    fn partner(&self) -> &Uid {
        &self.0.foundation.partner
    }

    fn limits(&self) -> &HttpLimits {
        &self.0.foundation.limits
    }

    fn mqtt(&self) -> Option<Arc<dyn MqttOverWebSocket>> {
        self.0.foundation.mqtt.clone()
    }

    fn allow_origin(&self) -> &[String] {
        &self.0.foundation.allow_origin
    }

    fn stop(&self) -> Stop {
        self.0.foundation.stop.clone()
    }

    fn rates(&self) -> &Rates {
        &self.0.rates
    }

    /// A place for one more event stream, if there is one.
    fn stream_slot(&self) -> Option<StreamSlot> {
        let permit = Arc::clone(&self.0.streams).try_acquire_owned().ok()?;
        Some(StreamSlot {
            _permit: permit,
            _open: self.0.streams_open.hold(),
        })
    }
}
