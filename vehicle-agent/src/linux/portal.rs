//! The portal: WebSockets at `/portal` through which any local program is an app (SPEC 8), and the
//! page in which the apps of browsers run.
//!
//! [`Listening::serve`] is the server, `connections` what it takes, `pages` and `app_files` what browsers get, `socket`
//! one WebSocket, `outbox` what waits for it, and `hub` what the agent sees of all of them. Nothing an
//! app does makes another one wait: each socket has its own task, rate and outbox, and the agent never
//! waits for any.

mod app_files;
mod connections;
mod hub;
#[cfg(test)]
mod order_tests;
mod origin;
mod outbox;
mod pages;
#[cfg(test)]
mod slow_tests;
mod socket;
mod untold;
#[cfg(test)]
mod written_tests;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::ws::{Utf8Bytes, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::DELIVERY_LONG_BYTES_MAX;
use vinbus_transport_std::guards::LogThrottle;

pub(crate) use self::origin::LOCALHOST;
use self::origin::Origins;
use self::outbox::Outbox;
use self::pages::Served;
pub(crate) use self::pages::{AppPage, AppPages, PagesAlone};
use crate::app_interface::client_frame::{Role, shown};
use crate::app_interface::refusal::Refusal;
use crate::linux::status::Status;

pub(crate) use self::connections::ConnectionBounds;
pub(crate) use self::hub::SocketApps;
pub(crate) use self::untold::Untold;

/// Longest frame that the portal reads: the longest content that goes in parts, the names around it, and
/// the escapes of a subtopic.
pub(crate) const FRAME_BYTES_MAX: usize = DELIVERY_LONG_BYTES_MAX + 4096;

/// Sockets at a time, those included that have not said hello.
pub(crate) const SOCKETS_MAX: usize = 64;

/// Frames that wait for the agent, 16 MiB at most; a socket whose frame finds no room reads no further.
const NEWS_MAX: usize = 16;

/// What a socket tells the agent.
#[derive(Debug)]
pub(crate) struct FromSocket {
    socket: u64,
    peer: Peer,
    news: News,
}

#[derive(Debug)]
enum News {
    /// It said hello.
    Opened(Arc<Outbox>),
    /// It sent a frame that was parsed without a refusal.
    Frame(Utf8Bytes),
    /// Something is written that the agent waits for: a message, or for the room that it leaves in the outbox.
    Written,
    /// It has ended; its outbox holds what was not written.
    Gone,
}

/// Whose socket it is.
#[derive(Clone, Copy, Debug)]
enum Peer {
    App {
        slot: AppSlot,
        background: bool,
        confirms: bool,
    },
    Screen,
}

/// What all sockets of a portal share.
#[derive(Debug)]
struct Shared {
    apps: Vec<AppId>,
    news: mpsc::Sender<FromSocket>,
    places: Arc<Semaphore>,
    sockets: AtomicU64,
    frames_per_second: u32,
    origins: Origins,
    refused_origins: LogThrottle,
    status: Arc<Status>,
}

impl Shared {
    fn next_socket(&self) -> u64 {
        self.sockets.fetch_add(1, Ordering::Relaxed)
    }

    fn peer(&self, role: Role<'_>) -> Result<Peer, Refusal> {
        let Role::App {
            app,
            background,
            confirm: confirms,
        } = role
        else {
            return Ok(Peer::Screen);
        };
        let slot = self.slot(|installed| app.is(installed));
        let slot = slot.ok_or_else(|| Refusal::UnknownApp(shown(app.chars())))?;
        Ok(Peer::App {
            slot,
            background,
            confirms,
        })
    }

    fn slot(&self, is: impl Fn(&str) -> bool) -> Option<AppSlot> {
        let index = self.apps.iter().position(|app| is(app.as_str()))?;
        u8::try_from(index).ok().map(AppSlot::new)
    }
}

/// The settings of a portal.
#[derive(Debug)]
pub(crate) struct PortalOptions {
    /// The installed apps, in the order of their slots.
    pub(crate) apps: Vec<AppId>,
    /// Frames that a socket may send in a second, and twice as many at once.
    pub(crate) frames_per_second: u32,
    /// Web origins that may connect besides the portal's own.
    pub(crate) origins: Vec<String>,
    /// Of connections that are no socket yet, or none at all.
    pub(crate) bounds: ConnectionBounds,
    /// The apps with pages for browsers.
    pub(crate) pages: AppPages,
}

/// A portal that listens, and the channel on which its sockets speak.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: TcpListener,
    bounds: ConnectionBounds,
    shared: Arc<Shared>,
    served: Arc<Served>,
}

impl Listening {
    /// A portal on a bound socket; the receiver is for [`SocketApps::new`].
    pub(crate) fn new(
        listener: TcpListener,
        address: SocketAddr,
        options: PortalOptions,
        status: Arc<Status>,
    ) -> (Self, mpsc::Receiver<FromSocket>) {
        let (news, received) = mpsc::channel(NEWS_MAX);
        let origins = Origins::new(address, options.pages.domain(), options.origins);
        let served = Served::new(options.pages, &origins);
        let shared = Shared {
            apps: options.apps,
            news,
            places: Arc::new(Semaphore::new(SOCKETS_MAX)),
            sockets: AtomicU64::new(0),
            frames_per_second: options.frames_per_second,
            origins,
            refused_origins: LogThrottle::default(),
            status,
        };
        let portal = Self {
            listener,
            bounds: options.bounds,
            shared: Arc::new(shared),
            served: Arc::new(served),
        };
        (portal, received)
    }

    /// The address at which a browser opens the portal, without a path.
    pub(crate) fn home(&self) -> &str {
        self.served.home()
    }

    /// Serves until `stop` completes; sockets that are open then go on until they end.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) {
        let status = Arc::clone(&self.shared.status);
        let served = Arc::clone(&self.served);
        let known_hosts = middleware::from_fn_with_state(served, pages::known_hosts);
        let pages = Router::new()
            .route("/apps", get(pages::apps).layer(known_hosts.clone()))
            .fallback(pages::portal_page)
            .with_state(Arc::clone(&self.served));
        let router = Router::new()
            .route("/portal", get(open))
            .route("/status", get(tell_status).layer(known_hosts))
            .with_state(self.shared)
            .merge(pages)
            .layer(middleware::from_fn_with_state(
                self.served,
                pages::app_hosts,
            ));
        connections::serve(self.listener, router, self.bounds, Some(status), stop).await;
    }
}

#[derive(Deserialize)]
struct OpenQuery {
    app: Option<String>,
}

async fn open(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<OpenQuery>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Some(origin) = headers.get(header::ORIGIN)
        && !shared.origins.allow(origin.as_bytes())
    {
        shared.status.count(|portal| &mut portal.refused_origin);
        if let Some(more) = shared.refused_origins.pass(Instant::now()) {
            let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
            tracing::warn!(origin, more, "refused a web page of another origin");
        }
        let text = "web pages of other origins may not be apps; see --allow-origin\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else {
        shared.status.count(|portal| &mut portal.refused_full);
        let text = format!("the portal has {SOCKETS_MAX} sockets already; close one\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    upgrade
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .on_upgrade(async move |socket| {
            socket::serve(socket, shared, query.app).await;
            drop(place);
        })
}

async fn tell_status(State(shared): State<Arc<Shared>>) -> Response {
    axum::Json(shared.status.report()).into_response()
}
