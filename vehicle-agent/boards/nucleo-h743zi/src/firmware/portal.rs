//! The portal's memory and tasks.

use embassy_executor::Spawner;
use embassy_net::Stack;
use static_cell::{ConstStaticCell, StaticCell};
use vinbus_board_bring_up::portal::{self, BoardApps, BoardPortal, Socket, Sockets};
use vinbus_board_bring_up::vehicle::UPLINKS_MAX;
use vinbus_vehicle_agent::board_portal::{KeptTexts, PlaceBuffers};
use vinbus_vehicle_agent::provisioned::Provisioned;

use super::memory;
use super::random;
use super::sizes::{PLACES_MAX, PORTAL_TASKS};

static SOCKETS: ConstStaticCell<Sockets<PORTAL_TASKS>> = ConstStaticCell::new(Sockets::new());
static KEPT_TEXTS: ConstStaticCell<KeptTexts<UPLINKS_MAX>> = ConstStaticCell::new(KeptTexts::new());

/// Starts to listen; the apps.
pub(crate) fn apps(
    spawner: Spawner,
    stack: Stack<'static>,
    provisioned: &'static Provisioned<'static>,
) -> BoardApps<PLACES_MAX> {
    static PORTAL: StaticCell<BoardPortal<PLACES_MAX>> = StaticCell::new();
    let places = [
        PlaceBuffers {
            receive: memory::portal_receive(),
            outbox: memory::portal_outbox(),
            for_screen: false,
        },
        PlaceBuffers {
            receive: memory::screen_receive(),
            outbox: memory::screen_outbox(),
            for_screen: true,
        },
    ];
    let life = u64::from_le_bytes(random::bytes());
    let portal = &*PORTAL.init(portal::of(provisioned, places, life));
    for socket in SOCKETS.take().each() {
        spawner.spawn(serve(stack, portal, socket).expect("as many tasks as sockets"));
    }
    portal.apps(KEPT_TEXTS.take())
}

#[embassy_executor::task(pool_size = PORTAL_TASKS)]
async fn serve(
    stack: Stack<'static>,
    portal: &'static BoardPortal<PLACES_MAX>,
    socket: Socket,
) -> ! {
    portal::serve(stack, portal, socket).await
}
