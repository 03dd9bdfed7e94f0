//! The vehicle: the way to the broker, the apps, and the agent between them.

use embassy_executor::Spawner;
use embassy_net::Stack;
use static_cell::ConstStaticCell;
use vinbus_board_bring_up::reported::Reported;
use vinbus_board_bring_up::vehicle;
use vinbus_vehicle_agent::provisioned::Provisioned;

use super::ethernet;
use super::memory;
#[cfg(feature = "portal")]
use super::portal::apps;
use super::random;
use super::sizes::{RECEIVE_BYTES, SEND_BYTES, TCP_RECEIVE_BYTES, TCP_SEND_BYTES, UPLINKS_BYTES};
#[cfg(feature = "tls")]
use super::tls::{BoardDial, dial};
use super::watchdog::HEARTBEAT;
#[cfg(not(feature = "portal"))]
use vinbus_board_bring_up::no_apps::apps;
#[cfg(not(feature = "tls"))]
use vinbus_board_bring_up::plain::{PlainDial as BoardDial, dial};

static TCP_RECEIVE: ConstStaticCell<[u8; TCP_RECEIVE_BYTES]> =
    ConstStaticCell::new([0; TCP_RECEIVE_BYTES]);
static TCP_SEND: ConstStaticCell<[u8; TCP_SEND_BYTES]> = ConstStaticCell::new([0; TCP_SEND_BYTES]);
static RECEIVE: ConstStaticCell<[u8; RECEIVE_BYTES]> = ConstStaticCell::new([0; RECEIVE_BYTES]);
static SEND: ConstStaticCell<[u8; SEND_BYTES]> = ConstStaticCell::new([0; SEND_BYTES]);
static UPLINKS: ConstStaticCell<[u8; UPLINKS_BYTES]> = ConstStaticCell::new([0; UPLINKS_BYTES]);

/// Starts the agent and what it needs; it gives up when the block does not fit the image.
pub(crate) fn start(
    spawner: Spawner,
    stack: Stack<'static>,
    provisioned: &'static Provisioned<'static>,
) {
    let (receive, send) = (TCP_RECEIVE.take(), TCP_SEND.take());
    match dial(spawner, stack, provisioned, receive, send) {
        Ok(dial) => spawner.spawn(serve(spawner, stack, provisioned, dial).expect("started once")),
        Err(error) => log::error!("the provisioned credentials cannot be used: {error}"),
    }
}

#[embassy_executor::task]
async fn serve(
    spawner: Spawner,
    stack: Stack<'static>,
    provisioned: &'static Provisioned<'static>,
    dial: BoardDial,
) {
    let memory = vehicle::Memory {
        receive: RECEIVE.take(),
        send: SEND.take(),
        uplinks: UPLINKS.take(),
        popups: memory::popups(),
        #[cfg(feature = "delivery")]
        with_receipts: memory::with_receipts(),
        #[cfg(feature = "delivery")]
        uplinks_with_receipts: memory::uplinks_with_receipts(),
        pending: memory::pending().each_mut().map(|app| &mut app[..]),
    };
    let time = dial.time();
    let mut apps = apps(spawner, stack, provisioned);
    let mut apps = Reported::new(&mut apps, "nucleo-h743zi", ethernet::dropped_frames);
    let alive = HEARTBEAT.beat();
    let seed = u32::from_le_bytes(random::bytes());
    let served = vehicle::run(provisioned, memory, dial, &mut apps, time, seed, alive);
    if let Err(error) = served.await {
        log::error!("the provisioned block does not fit: {error}");
    }
}
