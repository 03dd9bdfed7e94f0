//! The vehicle: the way to the broker, the apps, and the agent between them.

use embassy_executor::Spawner;
use embassy_net::Stack;
use static_cell::ConstStaticCell;
use vinbus_board_bring_up::reported::Reported;
use vinbus_board_bring_up::vehicle;
use vinbus_vehicle_agent::provisioned::{APPS_MAX, Provisioned};

use super::demand;
use super::host;
use super::lan9118;
#[cfg(feature = "portal")]
use super::portal::apps;
use super::sizes::{
    PENDING_BYTES, POPUPS_BYTES, RECEIVE_BYTES, SEND_BYTES, TCP_RECEIVE_BYTES, TCP_SEND_BYTES,
    UPLINKS_BYTES,
};
#[cfg(feature = "delivery")]
use super::sizes::{UPLINKS_WITH_RECEIPTS_BYTES, WITH_RECEIPTS_BYTES};
#[cfg(feature = "tls")]
use super::tls::{BoardDial, dial};
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
#[cfg(feature = "delivery")]
static WITH_RECEIPTS: ConstStaticCell<[u8; WITH_RECEIPTS_BYTES]> =
    ConstStaticCell::new([0; WITH_RECEIPTS_BYTES]);
#[cfg(feature = "delivery")]
static UPLINKS_WITH_RECEIPTS: ConstStaticCell<[u8; UPLINKS_WITH_RECEIPTS_BYTES]> =
    ConstStaticCell::new([0; UPLINKS_WITH_RECEIPTS_BYTES]);
static POPUPS: ConstStaticCell<[u8; POPUPS_BYTES]> = ConstStaticCell::new([0; POPUPS_BYTES]);
static PENDING: ConstStaticCell<[[u8; PENDING_BYTES]; APPS_MAX]> =
    ConstStaticCell::new([[0; PENDING_BYTES]; APPS_MAX]);

/// Starts the agent and what it needs; ends the program when the block does not fit the image.
pub(crate) fn start(
    spawner: Spawner,
    stack: Stack<'static>,
    provisioned: &'static Provisioned<'static>,
) {
    let (receive, send) = (TCP_RECEIVE.take(), TCP_SEND.take());
    match dial(spawner, stack, provisioned, receive, send) {
        Ok(dial) => spawner.spawn(serve(spawner, stack, provisioned, dial).expect("started once")),
        Err(error) => {
            log::error!("the provisioned credentials cannot be used: {error}");
            host::exit(false);
        }
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
        popups: POPUPS.take(),
        #[cfg(feature = "delivery")]
        with_receipts: WITH_RECEIPTS.take(),
        #[cfg(feature = "delivery")]
        uplinks_with_receipts: UPLINKS_WITH_RECEIPTS.take(),
        pending: PENDING.take().each_mut().map(|app| &mut app[..]),
    };
    let time = dial.time();
    let mut apps = apps(spawner, stack, provisioned);
    let mut apps = Reported::new(&mut apps, "mps2-an500", lan9118::dropped_frames);
    let seed = u32::from_le_bytes(host::random());
    let never = demand::panic_on_demand();
    let served = vehicle::run(provisioned, memory, dial, &mut apps, time, seed, never);
    if let Err(error) = served.await {
        log::error!("the provisioned block does not fit: {error}");
        host::exit(false);
    }
}
