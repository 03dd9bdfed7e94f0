//! The apps: programs that connect to the board's portal, as they do to the one on Linux (SPEC 8).

use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use static_cell::StaticCell;
use vinbus_board_bring_up::vehicle::{BoardClock, UPLINKS_MAX};
use vinbus_vehicle_agent::board_portal::{PlaceBuffers, Portal, PortalApps, Settings};
use vinbus_vehicle_agent::provisioned::{APPS_MAX, Provisioned};

use super::memory;
use super::sizes::{PLACES_MAX, PORTAL_TASKS, PORTAL_TCP_RECEIVE_BYTES, PORTAL_TCP_SEND_BYTES};

/// Where programs connect.
const PORT: u16 = 8090;

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
    for _ in 0..PORTAL_TASKS {
        spawner.spawn(serve(stack, portal).expect("as many tasks as there may be"));
    }
    portal.apps()
}

#[embassy_executor::task(pool_size = PORTAL_TASKS)]
async fn serve(stack: Stack<'static>, portal: &'static BoardPortal) -> ! {
    let mut receive = [0; PORTAL_TCP_RECEIVE_BYTES];
    let mut send = [0; PORTAL_TCP_SEND_BYTES];
    loop {
        let mut socket = TcpSocket::new(stack, &mut receive, &mut send);
        socket.set_nagle_enabled(false);
        if socket.accept(PORT).await.is_ok() {
            portal.serve(socket, &BoardClock).await;
        }
    }
}
