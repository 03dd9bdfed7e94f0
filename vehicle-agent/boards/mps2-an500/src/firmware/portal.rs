//! The portal's memory and tasks.

use embassy_executor::Spawner;
use embassy_net::Stack;
use static_cell::{ConstStaticCell, StaticCell};
use vinbus_board_bring_up::portal::{self, BoardApps, BoardPortal, Socket, Sockets};
use vinbus_board_bring_up::vehicle::UPLINKS_MAX;
use vinbus_vehicle_agent::board_portal::{KeptTexts, PlaceBuffers};
use vinbus_vehicle_agent::provisioned::Provisioned;

use super::host;
use super::sizes::{PLACES_MAX, PORTAL_OUTBOX_BYTES, PORTAL_RECEIVE_BYTES, PORTAL_TASKS};

static RECEIVE: ConstStaticCell<[[u8; PORTAL_RECEIVE_BYTES]; PLACES_MAX]> =
    ConstStaticCell::new([[0; PORTAL_RECEIVE_BYTES]; PLACES_MAX]);
static OUTBOXES: ConstStaticCell<[[u8; PORTAL_OUTBOX_BYTES]; PLACES_MAX]> =
    ConstStaticCell::new([[0; PORTAL_OUTBOX_BYTES]; PLACES_MAX]);
static SOCKETS: ConstStaticCell<Sockets<PORTAL_TASKS>> = ConstStaticCell::new(Sockets::new());
static KEPT_TEXTS: ConstStaticCell<KeptTexts<UPLINKS_MAX>> = ConstStaticCell::new(KeptTexts::new());

/// Starts to listen; the apps.
pub(crate) fn apps(
    spawner: Spawner,
    stack: Stack<'static>,
    provisioned: &'static Provisioned<'static>,
) -> BoardApps<PLACES_MAX> {
    static PORTAL: StaticCell<BoardPortal<PLACES_MAX>> = StaticCell::new();
    let mut outboxes = OUTBOXES.take().iter_mut();
    let places = RECEIVE.take().each_mut().map(|receive| PlaceBuffers {
        receive,
        outbox: outboxes.next().map_or(&mut [][..], |outbox| outbox),
        for_screen: false,
    });
    let life = u64::from_le_bytes(host::random());
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
