//! The vehicle: the way to the broker, the apps, and the agent between them.

use embassy_executor::Spawner;
use embassy_net::Stack;
use static_cell::ConstStaticCell;
use vinbus_board_bring_up::broker::{self, BrokerDial};
use vinbus_board_bring_up::reported::Reported;
use vinbus_board_bring_up::{time_of_day, vehicle};
use vinbus_vehicle_agent::provisioned::Provisioned;

use super::memory;
use super::portal::{self, BoardPortal};
use super::random;
use super::sizes::{RECEIVE_BYTES, SEND_BYTES, TCP_RECEIVE_BYTES, TCP_SEND_BYTES, UPLINKS_BYTES};
use super::watchdog::HEARTBEAT;

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
    let memory = broker::Memory {
        tcp_receive: TCP_RECEIVE.take(),
        tcp_send: TCP_SEND.take(),
        records: memory::records(),
    };
    let server = provisioned.time_server;
    let time = time_of_day::start(spawner, stack, server, None, random::bytes());
    match BrokerDial::start(spawner, stack, provisioned, memory, time, random::bytes()) {
        Ok(dial) => {
            let portal = portal::start(spawner, stack, provisioned);
            spawner.spawn(serve(provisioned, dial, portal).expect("started once"));
        }
        Err(error) => log::error!("the provisioned credentials cannot be used: {error}"),
    }
}

#[embassy_executor::task]
async fn serve(
    provisioned: &'static Provisioned<'static>,
    dial: BrokerDial,
    portal: &'static BoardPortal,
) {
    let memory = vehicle::Memory {
        receive: RECEIVE.take(),
        send: SEND.take(),
        uplinks: UPLINKS.take(),
        popups: memory::popups(),
        pending: memory::pending().each_mut().map(|app| &mut app[..]),
    };
    let mut apps = portal.apps::<{ vehicle::UPLINKS_MAX }>();
    let mut apps = Reported {
        apps: &mut apps,
        board: "nucleo-h743zi",
    };
    let alive = HEARTBEAT.beat();
    let served = vehicle::run(provisioned, memory, dial, &mut apps, random::bytes(), alive);
    if let Err(error) = served.await {
        log::error!("the provisioned block does not fit: {error}");
    }
}
