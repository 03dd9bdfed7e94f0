//! The embedded broker: MQTT 3.1.1 and 5 over TCP, mutual TLS and WebSocket, for vehicles, partners
//! and the administrator. The only place that names the library `mqtt5`.
//!
//! On the vehicle tree it behaves like the OEM's broker: every QoS is acknowledged, everything is
//! delivered at QoS 0. On the bus, what was published and subscribed at QoS 1 is delivered so. Nothing
//! is kept for clients that are away (sessions end with their connections). What arrives
//! from vehicles goes to the core first and is acknowledged and offered to MQTT consumers when it is
//! on disk.
//!
//! Begin with `connection` (what a client may do and what becomes of it) and `access` (the topic
//! rules of the vehicle tree). `bus_traffic` routes on the bus, `backlog` ends who does not keep up with it, and
//! `announce` tells there of its clients, `listen` accepts, `stream` holds acknowledgements back, `forward` offers to consumers,
//! `registry` knows who is connected, `quotas` what each has taken of what is scarce. Every bound is in `limits`, every counter in `counters`.
//!
//! The library logs under the target `mqtt5` without limit and with what peers sent; leave it off.

mod access;
mod announce;
mod backlog;
mod bus_traffic;
mod connection;
mod counters;
mod downlinks;
mod forward;
mod library;
mod limits;
mod listen;
mod open_files;
mod quiet;
mod quotas;
mod registry;
mod stream;
mod tls;
mod websocket;

pub use access::Denial;
pub use counters::{BrokerCounters, BrokerCounts};
pub use limits::Limits;
pub use tls::TlsSettings;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::ws::WebSocket;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use mqtt5::QoS;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::transport::BrokerTransport;
use mqtt5::packet::publish::PublishPacket;
use tokio::sync::{Semaphore, broadcast, watch};
use vinbus_protocol::id::Vin;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;
use vinbus_protocol::topic::{Direction, TopicScheme};

use self::access::Access;
use self::bus_traffic::{BusTraffic, NoRoom};
use self::connection::Connection;
use self::counters::add;
use self::downlinks::Downlinks;
use self::forward::{Forwarder, permits, tracked};
use self::library::Library;
use self::limits::{
    CONSUMERS_BYTES_MAX, SWEEP_INTERVAL, VEHICLE_MESSAGE_BYTES_MIN, VEHICLE_WINDOW_BYTES,
    VEHICLES_BYTES_MAX,
};
use self::quiet::Quiet;
use self::quotas::Quotas;
use self::registry::{Place, Registry};
use self::stream::{Io, PeerStream, WriteRules};
use super::{Broker, BrokerEvents, BusIntake, PublishError};
use crate::bridge::{Audience, BusPort, PortError};
use crate::bus::{Bus, ClientKey};
use crate::identity::{Credentials, Identity};

/// The WebSocket subprotocol of MQTT, to be chosen when a WebSocket is accepted.
pub const WEBSOCKET_PROTOCOL: &str = "mqtt";

/// What the embedded broker is told at start.
#[derive(Clone, Default)]
pub struct Settings {
    /// How topics are spelt.
    pub topics: TopicScheme,
    /// Where to listen for plain MQTT: a loopback address, or nowhere.
    pub mqtt: Option<SocketAddr>,
    /// Where to listen for MQTT over mutual TLS, or nowhere.
    pub mqtts: Option<(SocketAddr, TlsSettings)>,
    /// Its bounds.
    pub limits: Limits,
    /// Clients of the bus and their tokens; without, no token is accepted.
    pub bus: Option<Arc<Bus>>,
    /// What takes messages of the bus before they are routed.
    pub intake: Option<Arc<dyn BusIntake>>,
    /// Which applications of the bus are told of vehicles.
    pub audience: Audience,
}

/// Why the embedded broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Plain MQTT would carry passwords and messages in the clear over a network.
    #[error(
        "plain MQTT is for this machine only, and {address} is not a loopback address: listen on \
         127.0.0.1, or let clients connect by TLS"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The port cannot be listened on.
    #[error("cannot listen on {address} for {port}: {source}")]
    Bind {
        /// What for: `MQTT` or `MQTT over TLS`.
        port: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error("the certificates for MQTT over TLS cannot be used: {detail}")]
    Tls {
        /// What is wrong.
        detail: String,
    },
}

/// The embedded broker; a handle that is cheap to clone.
#[derive(Clone)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
    mqtt: Option<SocketAddr>,
    mqtts: Option<SocketAddr>,
}

/// What all connections share.
struct Shared {
    access: Access,
    limits: Limits,
    credentials: Arc<Credentials>,
    events: Arc<dyn BrokerEvents>,
    counters: Arc<BrokerCounters>,
    registry: Arc<Registry>,
    quotas: Quotas,
    router: Arc<MessageRouter>,
    bus: Option<Arc<Bus>>,
    intake: Option<Arc<dyn BusIntake>>,
    audience: Audience,
    bus_traffic: BusTraffic,
    forwarder: Forwarder,
    downlinks: Downlinks,
    quiet: Quiet,
    /// Bytes that may wait for all MQTT consumers.
    consumers: Arc<Semaphore>,
    library: Library,
    next_id: AtomicU64,
    /// Says goodbye to every client.
    goodbye: broadcast::Sender<()>,
    /// True from the beginning of the shutdown.
    stopping: watch::Sender<bool>,
    /// Connections that are being served.
    serving: watch::Sender<usize>,
}

/// Why a client may not do something, in words for the log.
enum Denied {
    /// By the rules of the vehicle tree.
    Vehicle(Denial),
    /// By the rules of the bus.
    Bus(String),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vehicle(denial) => denial.fmt(f),
            Self::Bus(denial) => quiet::Shown(denial).fmt(f),
        }
    }
}

/// What to do about a vehicle that takes messages slower than they come.
#[derive(Clone, Copy)]
enum Delivery {
    /// Wait for it.
    Patient,
    /// Give up.
    NowOrNever,
}

impl EmbeddedBroker {
    /// Starts the broker; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A [`StartError`]; nothing listens then.
    pub async fn start(
        settings: Settings,
        credentials: Arc<Credentials>,
        events: Arc<dyn BrokerEvents>,
    ) -> Result<Self, StartError> {
        let plain = match settings.mqtt {
            Some(address) if !address.ip().is_loopback() => {
                return Err(StartError::NotLoopback { address });
            }
            Some(address) => Some(listen::bind("MQTT", address).await?),
            None => None,
        };
        let tls = match &settings.mqtts {
            Some((address, tls)) => {
                let config =
                    tls::server_config(tls).map_err(|detail| StartError::Tls { detail })?;
                let (listener, bound) = listen::bind("MQTT over TLS", *address).await?;
                Some((listener, bound, config))
            }
            None => None,
        };
        open_files::make_room(settings.limits.connections_max + settings.limits.unknown_max);
        let shared = Arc::new(Shared::new(settings, credentials, events));
        tokio::spawn(sweep(Arc::clone(&shared)));
        if let Some(bus) = &shared.bus {
            tokio::spawn(announce::announce(Arc::clone(&shared), bus.events()));
        }
        let broker = Self {
            mqtt: plain.as_ref().map(|(_, bound)| *bound),
            mqtts: tls.as_ref().map(|(_, bound, _)| *bound),
            shared: Arc::clone(&shared),
        };
        if let Some((listener, _)) = plain {
            tokio::spawn(listen::plain(Arc::clone(&shared), listener));
        }
        if let Some((listener, _, config)) = tls {
            tokio::spawn(listen::tls(Arc::clone(&shared), listener, config));
        }
        shared.events.link_changed(Ok(()));
        Ok(broker)
    }

    /// Where plain MQTT is listened for.
    #[must_use]
    pub fn mqtt_address(&self) -> Option<SocketAddr> {
        self.mqtt
    }

    /// Where MQTT over TLS is listened for.
    #[must_use]
    pub fn mqtts_address(&self) -> Option<SocketAddr> {
        self.mqtts
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Arc<BrokerCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// Serves MQTT on a WebSocket that was accepted with the subprotocol [`WEBSOCKET_PROTOCOL`],
    /// until it ends. User name and password are required, as on the plain port.
    pub async fn websocket(&self, socket: WebSocket, peer: SocketAddr) {
        let Some(place) = self.shared.registry.admit(peer.ip()) else {
            return;
        };
        let io = Box::new(websocket::WebSocketIo::new(socket));
        Arc::clone(&self.shared).serve(io, peer, place, None).await;
    }

    /// Accepts nothing more, says goodbye to every client (MQTT 5: DISCONNECT 0x8B, server shutting
    /// down), and returns when they are gone or [`Limits::shutdown_time_max`] is over.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        shared.stopping.send_replace(true);
        // Nobody listens when nobody is connected.
        let _ = shared.goodbye.send(());
        let mut serving = shared.serving.subscribe();
        let gone = serving.wait_for(|count| *count == 0);
        // Whoever does not go in time is left to the end of the process.
        let _ = tokio::time::timeout(shared.limits.shutdown_time_max, gone).await;
    }
}

impl Broker for EmbeddedBroker {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            let rejected = |detail: String| Err(PublishError::Rejected { detail });
            let vin = self.shared.vehicle_of(topic)?;
            if payload.len() > PAYLOAD_BYTES_MAX {
                let len = payload.len();
                return rejected(format!(
                    "it has {len} bytes, at most {PAYLOAD_BYTES_MAX} are allowed"
                ));
            }
            self.shared
                .deliver(&vin, topic, payload, Delivery::Patient)
                .await
        })
    }

    fn room<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            let vin = self.shared.vehicle_of(topic)?;
            let way = self.shared.registry.way_to(&vin, topic);
            let way = way.ok_or(PublishError::NotListening)?;
            let room = way.window.acquire_many(permits(PAYLOAD_BYTES_MAX)).await;
            room.map(drop).map_err(|_| PublishError::NotListening)
        })
    }
}

impl BusPort for EmbeddedBroker {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let published = self.shared.bus_traffic.publish(topic, payload).await;
            published.map_err(|NoRoom| PortError::LinkDown)
        })
    }
}

impl Shared {
    fn new(
        settings: Settings,
        credentials: Arc<Credentials>,
        events: Arc<dyn BrokerEvents>,
    ) -> Self {
        let counters = Arc::<BrokerCounters>::default();
        let router = Arc::new(library::router());
        Self {
            access: Access::new(settings.topics),
            registry: Arc::new(Registry::new(
                settings.limits.clone(),
                Arc::clone(&counters),
                Arc::clone(&events),
            )),
            quotas: Quotas::new(settings.limits.clone(), Arc::clone(&counters)),
            limits: settings.limits,
            credentials,
            events,
            bus: settings.bus,
            intake: settings.intake,
            audience: settings.audience,
            bus_traffic: BusTraffic::new(Arc::clone(&router), Arc::clone(&counters)),
            forwarder: Forwarder::start(Arc::clone(&router), Arc::clone(&counters)),
            downlinks: Downlinks::new(VEHICLES_BYTES_MAX, Arc::clone(&counters)),
            router,
            counters,
            quiet: Quiet::default(),
            consumers: Arc::new(Semaphore::new(CONSUMERS_BYTES_MAX)),
            library: Library::new(),
            next_id: AtomicU64::new(0),
            goodbye: broadcast::channel(1).0,
            stopping: watch::channel(false).0,
            serving: watch::channel(0).0,
        }
    }

    /// Resolves when the shutdown begins.
    async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Serves one client until its connection ends.
    async fn serve(
        self: Arc<Self>,
        io: Box<dyn Io>,
        peer: SocketAddr,
        place: Place,
        certificate: Option<Identity>,
    ) {
        let goodbye = self.goodbye.subscribe();
        if *self.stopping.borrow() {
            return;
        }
        let rules = Arc::new(WriteRules::default());
        let stream = PeerStream::new(
            io,
            peer,
            Arc::clone(&rules),
            Arc::clone(&self.consumers),
            self.limits.write_stall_max,
            Arc::clone(&self.counters),
        );
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = Connection::new(Arc::clone(&self), id, peer, place, certificate, rules);
        let _served = Served::new(Arc::clone(&self), Arc::clone(&connection));
        let mut config = self.library.config.clone();
        config.event_handler = Some(Arc::clone(&connection) as _);
        let handler = ClientHandler::new(
            BrokerTransport::WebSocket(Box::new(stream)),
            peer,
            Arc::new(config),
            Arc::clone(&self.router),
            connection,
            None,
            Arc::clone(&self.library.stats),
            Arc::clone(&self.library.monitor),
            goodbye,
        );
        if let Err(error) = handler.run().await {
            let error = error.to_string();
            tracing::debug!(%peer, error = %quiet::Shown(&error), "connection ended");
        }
    }

    /// The vehicle of a downlink topic.
    fn vehicle_of(&self, topic: &str) -> Result<Vin, PublishError> {
        let rejected = |detail: String| Err(PublishError::Rejected { detail });
        match self.access.topics().parse(topic) {
            Ok(parsed) if parsed.direction == Direction::Downlink => Ok(parsed.vin),
            Ok(_) => rejected("it is not on a downlink topic".to_owned()),
            Err(error) => rejected(error.to_string()),
        }
    }

    /// Routes a downlink message to its vehicle, at QoS 0.
    async fn deliver(
        &self,
        vin: &Vin,
        topic: &str,
        payload: Bytes,
        delivery: Delivery,
    ) -> Result<(), PublishError> {
        let way = self
            .registry
            .way_to(vin, topic)
            .ok_or(PublishError::NotListening)?;
        // Type, length, topic length, topic and no properties: what the smallest packet takes.
        let packet_bytes = 1 + 4 + 2 + topic.len() + 1 + payload.len();
        if let Some(max) = way.packet_bytes_max
            && packet_bytes > max as usize
        {
            return Err(PublishError::Rejected {
                detail: format!(
                    "it makes a packet of {packet_bytes} bytes, and the vehicle accepts {max}"
                ),
            });
        }
        let cost = permits(payload.len().max(VEHICLE_MESSAGE_BYTES_MIN));
        let room = match delivery {
            Delivery::Patient => Arc::clone(&way.window).acquire_many_owned(cost).await.ok(),
            Delivery::NowOrNever => Arc::clone(&way.window).try_acquire_many_owned(cost).ok(),
        };
        let room = room.ok_or(PublishError::NotListening)?;
        let is_first = way.window.available_permits() + cost as usize >= VEHICLE_WINDOW_BYTES;
        let of_all = self.downlinks.take(cost as usize, is_first, delivery).await;
        let rooms = (room, of_all.ok_or(PublishError::NotListening)?);
        let packet = PublishPacket::new(topic, tracked(payload, rooms), QoS::AtMostOnce);
        self.router.route_message(&packet, None).await;
        add(&self.counters.messages_out);
        Ok(())
    }
}

/// A connection that is being served; cleans up however serving ends.
struct Served {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
}

impl Served {
    fn new(shared: Arc<Shared>, connection: Arc<Connection>) -> Self {
        shared.serving.send_modify(|count| *count += 1);
        Self { shared, connection }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.connection.closed();
        self.shared.serving.send_modify(|count| *count -= 1);
    }
}

/// Sweeps out what is kept of clients that are gone.
async fn sweep(shared: Arc<Shared>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            _ = interval.tick() => {
                shared.router.sweep_sessions().await;
                if let Some(bus) = &shared.bus {
                    let is_there = |key: &ClientKey| bus.clients.find(key).is_some();
                    shared.quotas.forget_clients(is_there);
                }
            }
            () = shared.stopped() => return,
        }
    }
}
