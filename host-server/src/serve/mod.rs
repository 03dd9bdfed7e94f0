//! `serve`: puts the server together, tells where it is, and takes it apart again.
//!
//! The order of the beginning: folder and lock, identities, ports, store, hub, broker, REST. The
//! order of the end is the reverse, so that what was taken on is on disk before the process ends:
//! no new requests, no more clients, the hub's queues empty, the store closed.

mod addresses;
mod broker;
mod welcome;

pub use addresses::ADDRESSES_FILE;
pub(crate) use addresses::Addresses;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use vinbus_transport_std::OptionsError;

use self::addresses::AddressesFile;
use self::broker::RunningBroker;
use crate::api::{self, Foundation, connections};
use crate::bridge::Bridge;
use crate::broker::embedded::StartError;
use crate::bus::{Bus, BusError};
use crate::config::{BrokerChoice, Config, Networks};
use crate::hub::{self, DeliverySettings, Hub, PresenceSource};
use crate::identity::{Identities, IdentityError, Sessions};
use crate::metrics::Metrics;
use crate::signals::Signals;
use crate::stop::StopSource;
use crate::store::StoreError;
use crate::store::lock::{DataDir, DataDirError};
use crate::store::sqlite::SqliteStore;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data folder is not ours.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Certificates or credentials cannot be made or read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A port cannot be listened on.
    #[error(
        "cannot listen on {address} (--{option}): {source}; {}",
        advice(source)
    )]
    Bind {
        /// The option that says where.
        option: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus cannot be set up.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The embedded broker cannot start.
    #[error(transparent)]
    Broker(StartError),
    /// The options for the external broker cannot be used.
    #[error("the broker cannot be used: {}", with_causes(.0))]
    ExternalBroker(#[from] OptionsError),
    /// The password for the external broker cannot be read.
    #[error("the file {} (--broker-password-file) cannot be read: {source}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Our secret at the other platform cannot be read.
    #[error("the file {} (--platform-secret-file) cannot be read: {source}", path.display())]
    PlatformSecret {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system lets us hear no signals.
    #[error("signals cannot be heard: {0}")]
    Signals(io::Error),
}

impl ServeError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::DataDir(error) => matches!(error, DataDirError::NoFolder { .. }),
            Self::Identity(error) => error.is_usage(),
            Self::Bind { .. } | Self::Store(_) | Self::Bus(_) | Self::Broker(_) => false,
            Self::ExternalBroker(_) | Self::Password { .. } => false,
            Self::PlatformSecret { .. } | Self::Signals(_) => false,
        }
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there, perhaps another host-server: stop it, or choose \
             another port (0 takes any free one)"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose another port",
        _ => "choose another address",
    }
}

/// When everything else has ended, the store has this long to empty its log into the database.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

/// What becomes of the first try to reach a broker is waited for this long, to be told at the start.
const LINK_TIME_MAX: Duration = Duration::from_secs(3);

/// Serves until SIGINT or SIGTERM; a second signal ends the process at once.
///
/// # Errors
/// A [`ServeError`] when the server did not start; what happens later goes to the log.
pub async fn run(config: Config) -> Result<(), ServeError> {
    let mut signals = Signals::listen().map_err(ServeError::Signals)?;
    let data_dir = DataDir::lock(&config.data_dir)?;
    let identities = Identities::open(&config.data_dir)?;
    identities.ensure_partner(&config.partner)?;
    warn_of_unknown_partners(&config, &identities)?;
    let http = bind("http", config.http).await?;
    if !config.http.ip().is_loopback() {
        tracing::warn!(
            address = %config.http,
            "HTTP carries tokens and passwords in clear text: put a TLS proxy in front of it"
        );
    }
    let metrics = Metrics::new();
    let store = Arc::new(SqliteStore::open(data_dir, config.store, &metrics)?);
    let store_closed = store.closed();
    let hub = hub(Arc::clone(&store), &config, &metrics)?;
    let bridge = Bridge::new(
        hub.clone(),
        Arc::clone(&store) as _,
        config.rules.clone(),
        &metrics,
    );
    let bus = Arc::new(Bus::open(
        &config.data_dir,
        store,
        identities.credentials(),
        config.bus.clone(),
    )?);
    let platform = config.platform.as_ref();
    let platform = platform.map(|choice| broker::platform(choice, &identities));
    let platform = platform.transpose()?;
    // What another platform has for vehicles is taken there.
    let intake = bridge.intake().filter(|_| platform.is_none());
    let broker = RunningBroker::start(&config, &identities, &hub, &bus, intake).await?;

    let addresses = Addresses {
        http: http.local_addr().unwrap_or(config.http),
        mqtt: broker.mqtt_address(),
        mqtts: broker.mqtts_address(),
    };
    let sessions = Arc::new(Sessions::default());
    let (stop_source, stop) = StopSource::new();
    let own = broker
        .bus_port()
        .map(|port| (config.audience.clone(), port));
    let mut bridge = bridge.start(own, platform, &stop);
    let router = api::router(Foundation {
        hub: hub.clone(),
        credentials: identities.credentials(),
        sessions: Arc::clone(&sessions),
        bus: Arc::clone(&bus),
        metrics: metrics.clone(),
        partner: config.partner.clone(),
        limits: config.limits,
        mqtt: broker.over_websocket(),
        allow_origin: config.allow_origin.clone(),
        broker_figures: broker.figures(),
        stop: stop.clone(),
    });
    let rest = tokio::spawn(async move {
        connections::serve(http, router, config.limits, &metrics, stop).await;
    });
    let file = AddressesFile::write_or_tell(&config.data_dir, &addresses);
    tracing::info!(%addresses, data_dir = %config.data_dir.display(), "ready");
    let link = tokio::time::timeout(LINK_TIME_MAX, hub.link_tried()).await;
    let link = link.unwrap_or_else(|_| Err("it has not answered yet".to_owned()));
    welcome::print(&config, &identities, &addresses, &link, &sessions);

    let signal = signals.first().await;
    tracing::info!(signal, "stopping; a second signal ends at once");
    drop(file);
    stop_source.stop();
    signals.end_at_second();
    if let Err(error) = rest.await {
        tracing::error!(%error, "the REST interface ended badly");
    }
    bridge.shutdown().await;
    broker.shutdown().await;
    hub.shutdown().await;
    drop((broker, hub, bus));
    if tokio::time::timeout(CLOSE_TIME_MAX, store_closed)
        .await
        .is_err()
    {
        tracing::warn!("the store was still in use when the server stopped; nothing is lost");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Tells of partners that the bus is to hear of and that nobody has enrolled: a slip, or done later.
fn warn_of_unknown_partners(config: &Config, identities: &Identities) -> Result<(), IdentityError> {
    let told = config.audience.listeners().map(|it| &it.uid);
    let carried = config.rules.iter().map(|rule| &rule.uid);
    let uids: BTreeSet<_> = told.chain(carried).collect();
    let credentials = identities.credentials();
    for uid in uids {
        if !credentials.has_partner(uid)? {
            tracing::warn!(%uid, "no partner is enrolled as this UID of --bus-events or [[bridge]]");
        }
    }
    Ok(())
}

async fn bind(option: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Bind {
            option,
            address,
            source,
        })
}

/// The hub over its store.
fn hub(store: Arc<SqliteStore>, config: &Config, metrics: &Metrics) -> Result<Hub, StoreError> {
    let settings = hub::Settings {
        topics: config.scheme.clone(),
        presence: match config.broker {
            BrokerChoice::Embedded { .. } => PresenceSource::Connections,
            BrokerChoice::External(_) => PresenceSource::Subtopic,
        },
        vehicle_unsent_max: config.vehicle_unsent_max,
        unsent_max: config.unsent_max,
        unsent_bytes_max: config.store.downlink_bytes_max,
        // No partner alone fills what all share.
        partner_unsent_max: config.unsent_max.div_ceil(2),
        partner_unsent_bytes_max: config.store.downlink_bytes_max.div_ceil(2),
        vehicle_rate: config.vehicle_rate,
        fleet_rate: config.fleet_rate,
        message_ttl: config.message_ttl,
        receipts_for: config.receipts_for.clone(),
        webhooks_max: config.webhooks_max,
        deliveries: DeliverySettings {
            private_allowed: config.webhook_networks == Networks::Any,
            ..DeliverySettings::default()
        },
    };
    Hub::new(store, settings, metrics)
}
