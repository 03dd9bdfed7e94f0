//! The apps: programs that connect to the board's portal, as they do to the one on Linux (SPEC 8).

use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use static_cell::{ConstStaticCell, StaticCell};
use vinbus_board_bring_up::vehicle::{BoardClock, UPLINKS_MAX};
use vinbus_vehicle_agent::board_portal::{KeptTexts, PlaceBuffers, Portal, PortalApps, Settings};
use vinbus_vehicle_agent::provisioned::{APPS_MAX, Provisioned};

use super::memory;
use super::sizes::{
    PLACES_MAX, PORTAL_HEAD_BYTES, PORTAL_TASKS, PORTAL_TCP_RECEIVE_BYTES, PORTAL_TCP_SEND_BYTES,
};

/// Where programs connect.
const PORT: u16 = 8090;

static TCP_RECEIVE: ConstStaticCell<[[u8; PORTAL_TCP_RECEIVE_BYTES]; PORTAL_TASKS]> =
    ConstStaticCell::new([[0; PORTAL_TCP_RECEIVE_BYTES]; PORTAL_TASKS]);
static TCP_SEND: ConstStaticCell<[[u8; PORTAL_TCP_SEND_BYTES]; PORTAL_TASKS]> =
    ConstStaticCell::new([[0; PORTAL_TCP_SEND_BYTES]; PORTAL_TASKS]);
static HEADS: ConstStaticCell<[[u8; PORTAL_HEAD_BYTES]; PORTAL_TASKS]> =
    ConstStaticCell::new([[0; PORTAL_HEAD_BYTES]; PORTAL_TASKS]);
static KEPT_TEXTS: ConstStaticCell<KeptTexts<UPLINKS_MAX>> = ConstStaticCell::new(KeptTexts::new());

/// The portal of this board.
type BoardPortal = Portal<'static, APPS_MAX, PLACES_MAX>;

/// Starts to listen; the apps.
pub(crate) fn apps(
    spawner: Spawner,
    stack: Stack<'static>,
    provisioned: &Provisioned<'_>,
) -> PortalApps<'static, 'static, APPS_MAX, PLACES_MAX, UPLINKS_MAX> {
    static PORTAL: StaticCell<BoardPortal> = StaticCell::new();
    let apps = provisioned.apps.iter().map(|(app, _)| app.clone());
    let place = PlaceBuffers {
        receive: memory::portal_receive(),
        outbox: memory::portal_outbox(),
    };
    let portal = Portal::new(provisioned.vin, apps, [place], Settings::default());
    let portal: &'static BoardPortal = PORTAL.init(portal);
    let sockets = TCP_RECEIVE.take().iter_mut().zip(TCP_SEND.take());
    for ((receive, send), head) in sockets.zip(HEADS.take()) {
        let buffers = SocketBuffers {
            receive,
            send,
            head,
        };
        spawner.spawn(serve(stack, portal, buffers).expect("as many tasks as sockets"));
    }
    portal.apps(KEPT_TEXTS.take())
}

/// What a socket keeps bytes in that are on their way, and the head of its request.
struct SocketBuffers {
    receive: &'static mut [u8],
    send: &'static mut [u8],
    head: &'static mut [u8],
}

#[embassy_executor::task(pool_size = PORTAL_TASKS)]
async fn serve(stack: Stack<'static>, portal: &'static BoardPortal, buffers: SocketBuffers) -> ! {
    loop {
        let mut socket = TcpSocket::new(stack, &mut *buffers.receive, &mut *buffers.send);
        socket.set_nagle_enabled(false);
        if socket.accept(PORT).await.is_ok() {
            portal.serve(socket, buffers.head, &BoardClock).await;
        }
    }
}
