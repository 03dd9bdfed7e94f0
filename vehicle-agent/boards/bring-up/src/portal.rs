//! The portal: apps are programs that connect to the board, as they do to the one on Linux (SPEC 8).
//!
//! The board brings memory and tasks, as only it knows how many there are:
//!
//! ```ignore
//! static SOCKETS: ConstStaticCell<Sockets<TASKS>> = ConstStaticCell::new(Sockets::new());
//! static PORTAL: StaticCell<BoardPortal<PLACES>> = StaticCell::new();
//!
//! let portal = PORTAL.init(portal::of(provisioned, places));
//! for socket in SOCKETS.take().each() {
//!     spawner.spawn(serve(stack, portal, socket).expect("as many tasks as sockets"));
//! }
//!
//! #[embassy_executor::task(pool_size = TASKS)]
//! async fn serve(stack: Stack<'static>, portal: &'static BoardPortal<PLACES>, socket: Socket) -> ! {
//!     portal::serve(stack, portal, socket).await
//! }
//! ```

use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, with_timeout};
use vinbus_vehicle_agent::board_portal::limits::{CLOSE_TIMEOUT_MS, HTTP_HEAD_BYTES_MAX};
use vinbus_vehicle_agent::board_portal::{PlaceBuffers, Portal, PortalApps, Settings};
use vinbus_vehicle_agent::provisioned::{APPS_MAX, Provisioned};

use crate::vehicle::{BoardClock, UPLINKS_MAX};

/// Where programs connect.
pub const PORT: u16 = 8090;

/// How long a program has to take what was written last and to say goodbye.
const GOODBYE: Duration = Duration::from_millis(CLOSE_TIMEOUT_MS);

/// Buffers of a program's socket.
const RECEIVE_BYTES: usize = 2 * 1024;
const SEND_BYTES: usize = 4 * 1024;

/// What a [`Socket`] takes, in bytes.
pub const SOCKET_BYTES: usize = RECEIVE_BYTES + SEND_BYTES + HTTP_HEAD_BYTES_MAX;

/// The portal of a board that serves `PLACES` programs at a time.
pub type BoardPortal<const PLACES: usize> = Portal<'static, APPS_MAX, PLACES>;

/// The apps of such a portal, as the agent sees them.
pub type BoardApps<const PLACES: usize> =
    PortalApps<'static, 'static, APPS_MAX, PLACES, UPLINKS_MAX>;

/// The memory of `N` sockets.
#[derive(Debug)]
pub struct Sockets<const N: usize> {
    receive: [[u8; RECEIVE_BYTES]; N],
    send: [[u8; SEND_BYTES]; N],
    heads: [[u8; HTTP_HEAD_BYTES_MAX]; N],
}

/// What a socket keeps bytes in that are on their way, and the head of its request.
#[derive(Debug)]
pub struct Socket {
    receive: &'static mut [u8],
    send: &'static mut [u8],
    head: &'static mut [u8],
}

impl<const N: usize> Sockets<N> {
    /// As it is before anything has come.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it is too large for anything but a static"
    )]
    pub const fn new() -> Self {
        Self {
            receive: [[0; RECEIVE_BYTES]; N],
            send: [[0; SEND_BYTES]; N],
            heads: [[0; HTTP_HEAD_BYTES_MAX]; N],
        }
    }

    /// Each of them.
    pub fn each(&'static mut self) -> impl Iterator<Item = Socket> {
        let sockets = self.receive.iter_mut().zip(&mut self.send);
        let sockets = sockets.zip(&mut self.heads);
        sockets.map(|((receive, send), head)| Socket {
            receive,
            send,
            head,
        })
    }
}

/// The portal for the apps of a vehicle, with these places for programs.
pub fn of<const PLACES: usize>(
    provisioned: &'static Provisioned<'static>,
    places: [PlaceBuffers<'static>; PLACES],
) -> BoardPortal<PLACES> {
    let apps = provisioned.apps.iter().map(|(app, _)| app);
    Portal::new(provisioned.vin, apps, places, Settings::default())
}

/// Serves one program after the other, for ever.
pub async fn serve<const PLACES: usize>(
    stack: Stack<'static>,
    portal: &BoardPortal<PLACES>,
    memory: Socket,
) -> ! {
    loop {
        let mut socket = TcpSocket::new(stack, &mut *memory.receive, &mut *memory.send);
        socket.set_nagle_enabled(false);
        if socket.accept(PORT).await.is_ok() {
            let (reader, writer) = socket.split();
            portal.serve(reader, writer, memory.head, &BoardClock).await;
            hang_up(socket).await;
        }
    }
}

/// Ends a connection so that what was written last arrives: says that nothing more comes, and reads
/// what still comes. A peer that does not say goodbye in time is cut off.
async fn hang_up(mut socket: TcpSocket<'_>) {
    socket.close();
    let goodbye = async {
        let mut rest = [0; 64];
        while let Ok(1..) = socket.read(&mut rest).await {}
        socket.flush().await
    };
    if let Ok(Ok(())) = with_timeout(GOODBYE, goodbye).await {
        return;
    }
    socket.abort();
    // The reset leaves with the next turn of the network; one that has no way out is forgotten.
    let _gone_or_late = with_timeout(GOODBYE, socket.flush()).await;
}
