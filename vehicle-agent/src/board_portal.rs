//! The portal on a board: the apps' WebSockets (SPEC 8) without a heap.
//!
//! The frames are those of the portal on Linux. [`Portal::serve`] serves one connection,
//! [`Portal::apps`] is what the agent sees of all of them. Both run on one thread, and nothing an app
//! does makes another one wait: each socket has its own place, rate and outbox, and the agent never
//! waits for any.
//!
//! | file | holds |
//! |---|---|
//! | [`limits`] | every bound |
//! | `http`, `request`, `accept_key` | the HTTP request and its answer |
//! | `pages` | what browsers get, with the feature `board-page` |
//! | `connection` | one WebSocket, from hello to goodbye |
//! | `message`, `frames`, `pieces` | its frames, in and out |
//! | `place`, `outbox` | what a socket and the agent tell each other, and the memory for it |
//! | `seats`, `from_sockets`, `to_sockets` | who sits where, what they say, what they are told |
//!
//! # Memory
//! A place has [`limits::RECEIVE_BYTES`] (135,293) for the largest frame that an app sends, and an
//! outbox of at least [`limits::OUTBOX_BYTES_MIN`] (135,883) for the largest message that it gets:
//! 271,176 bytes for messages of every size, and no more is needed to send them, as WebSocket
//! fragments are written from the outbox into the socket. Shorter buffers bound the messages of
//! their socket and nothing else. On a Cortex-M a place takes 272 bytes besides them, the future of
//! [`Portal::serve`] 0.8 KB and the head of its request 2 KiB, [`PortalApps`] 90 bytes for each app,
//! and [`KeptTexts`] 4.1 KB (a popup's text) and 136 bytes for each message that may wait for the
//! broker.
//!
//! # On embassy-net
//! As many tasks serve as there are places, and one more that tells the next one that there are no
//! more.
//!
//! ```text
//! #[embassy_executor::task(pool_size = PLACES + 1)]
//! async fn serve_app(
//!     stack: Stack<'static>,
//!     portal: &'static Portal<'static, APPS, PLACES>,
//!     buffers: Buffers, // in statics: 2 KiB, 4 KiB and the head of a request
//! ) -> ! {
//!     loop {
//!         let mut socket = TcpSocket::new(stack, &mut *buffers.receive, &mut *buffers.send);
//!         socket.set_nagle_enabled(false);
//!         if socket.accept(8090).await.is_ok() {
//!             let (reader, writer) = socket.split();
//!             portal.serve(reader, writer, buffers.head, &BoardClock).await;
//!             close(socket).await;
//!         }
//!     }
//! }
//!
//! let portal = PORTAL.init(Portal::new(vin, [&demo_app], [PlaceBuffers { receive, outbox, for_screen: false }], Settings::default()));
//! let mut apps = portal.apps(KEPT_TEXTS.take());
//! agent::run(&mut desk, World { apps: &mut apps, .. }, stop).await
//! ```

mod accept_key;
mod connection;
mod frames;
mod from_sockets;
mod http;
pub mod limits;
mod message;
#[cfg(test)]
mod order_tests;
mod outbox;
#[cfg(feature = "board-page")]
mod pages;
mod pieces;
mod place;
mod request;
mod seats;
mod to_sockets;

use core::cell::Cell;

use embedded_io_async::{Read, Write};
use heapless::Vec;
use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::id::{AppId, Vin};

use self::http::Door;
use self::limits::FRAMES_PER_SECOND;
#[cfg(feature = "board-page")]
use self::pages::is_own;
pub use self::place::PlaceBuffers;
use self::place::{Bell, Place};
use self::request::Request;
pub use self::seats::{KeptTexts, PortalApps};
#[cfg(feature = "board-page")]
use crate::app_page::AppPage;
use crate::clock::Clock;
use crate::desk::Counters;

/// What may be set.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'b> {
    /// Frames that a socket may send in a second, and twice as many at once.
    pub frames_per_second: u32,
    /// Web origins that may connect, such as `http://10.0.0.2`, besides that of the portal's own page.
    /// Programs send no origin and are let in: whoever is in the vehicle's network may be an app.
    pub origins: &'b [&'b str],
    /// The pages of the apps, in their order, of those that have any.
    #[cfg(feature = "board-page")]
    pub pages: &'b [Option<AppPage<'b>>],
    /// A number that differs from one start of the board to the next: the numbers of messages mean
    /// something for as long as it is the same.
    pub life: u64,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            frames_per_second: FRAMES_PER_SECOND,
            origins: &[],
            #[cfg(feature = "board-page")]
            pages: &[],
            life: 0,
        }
    }
}

/// What the portal has refused and ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounters {
    /// Sockets refused with 503, as every place was taken.
    pub refused_full: u64,
    /// Sockets refused with 403, as a web page of another origin asked for them.
    pub refused_origin: u64,
    /// Connections that did not bring a whole request of HTTP.
    pub refused_request: u64,
    /// Sockets ended because they did not read.
    pub slow_readers: u64,
    /// Sockets ended for what they did or did not do, the slow readers among them.
    pub ended: u64,
    /// Frames answered by an error.
    pub refused_frames: u64,
    /// Messages that found no room in an outbox, as it was shorter or the socket was being ended:
    /// lost.
    pub evicted: u64,
}

/// The portal of up to `APPS` apps, with `PLACES` for sockets.
pub struct Portal<'b, const APPS: usize, const PLACES: usize> {
    vin: Vin,
    /// In the order of their slots.
    apps: Vec<&'b AppId, APPS>,
    places: [Place<'b>; PLACES],
    settings: Settings<'b>,
    /// For the agent: a socket has something for it.
    news: Bell,
    counters: CellCounters,
    agent: Cell<Counters>,
    link_up: Cell<bool>,
    apps_given: Cell<bool>,
}

impl<'b, const APPS: usize, const PLACES: usize> Portal<'b, APPS, PLACES> {
    /// A portal for the first `APPS` of `apps`, in the order in which they were installed at the desk,
    /// that serves as many sockets at a time as there are `places`.
    pub fn new(
        vin: Vin,
        apps: impl IntoIterator<Item = &'b AppId>,
        places: [PlaceBuffers<'b>; PLACES],
        settings: Settings<'b>,
    ) -> Self {
        Self {
            vin,
            apps: apps.into_iter().take(APPS).collect(),
            places: places.map(Place::new),
            settings,
            news: Bell::new(),
            counters: CellCounters::default(),
            agent: Cell::default(),
            link_up: Cell::new(false),
            apps_given: Cell::new(false),
        }
    }

    /// Serves a connection that was accepted until it ends. `buffer` holds the head of its request and
    /// then what is about to be written: [`limits::HTTP_HEAD_BYTES_MAX`]. `clock` is the agent's.
    ///
    /// The caller then says that nothing more comes, and reads what still comes for
    /// [`limits::CLOSE_TIMEOUT_MS`]: a connection that is reset may lose the last words.
    pub fn serve<'s>(
        &'s self,
        reader: impl Read,
        writer: impl Write,
        buffer: &'s mut [u8],
        clock: &'s impl Clock,
    ) -> impl Future<Output = ()> {
        let door = Door {
            portal: self,
            clock,
        };
        door.serve(reader, writer, buffer)
    }

    /// The apps as the agent sees them. `texts` has room for the frame ids of `QUEUE` messages: as
    /// many as may wait at the agent's desk.
    ///
    /// # Panics
    /// If it is called twice: there is one agent.
    pub fn apps<'p, const QUEUE: usize>(
        &'p self,
        texts: &'p mut KeptTexts<QUEUE>,
    ) -> PortalApps<'p, 'b, APPS, PLACES, QUEUE> {
        assert!(!self.apps_given.replace(true), "a portal has one agent");
        PortalApps::new(self, texts)
    }

    /// What has been refused and ended so far.
    pub fn counters(&self) -> SocketCounters {
        let mut counters = self.counters.0.get();
        // Those of the sockets that are open are still where they were counted.
        let outboxes = self.places.iter().map(|place| place.outbox.borrow());
        counters.evicted += outboxes.map(|outbox| outbox.evicted()).sum::<u64>();
        counters
    }

    fn slot(&self, is: impl Fn(&str) -> bool) -> Option<AppSlot> {
        let index = self.apps.iter().position(|app| is(app.as_str()))?;
        u8::try_from(index).ok().map(AppSlot::new)
    }

    fn allows(&self, origin: &str, request: &Request<'_>) -> bool {
        let mut allowed = self.settings.origins.iter();
        allowed.any(|allowed| allowed.eq_ignore_ascii_case(origin)) || is_own(origin, request)
    }
}

impl<const APPS: usize, const PLACES: usize> core::fmt::Debug for Portal<'_, APPS, PLACES> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Portal")
            .field("apps", &self.apps)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

/// Without a page, no origin is its own.
#[cfg(not(feature = "board-page"))]
fn is_own(_: &str, _: &Request<'_>) -> bool {
    false
}

/// The counters, for whoever counts.
#[derive(Debug, Default)]
struct CellCounters(Cell<SocketCounters>);

impl CellCounters {
    fn count(&self, which: impl FnOnce(&mut SocketCounters) -> &mut u64) {
        self.add(which, 1);
    }

    fn add(&self, which: impl FnOnce(&mut SocketCounters) -> &mut u64, more: u64) {
        let mut counters = self.0.get();
        let counter = which(&mut counters);
        *counter = counter.saturating_add(more);
        self.0.set(counters);
    }
}
