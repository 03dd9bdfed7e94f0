//! The vehicle: the way to the broker, the apps, and the agent between them.

use core::future::pending;

use embassy_executor::Spawner;
use embassy_net::Stack;
use static_cell::ConstStaticCell;
use vinbus_board_bring_up::broker::{self, BrokerDial};
use vinbus_board_bring_up::reported::Reported;
use vinbus_board_bring_up::{time_of_day, vehicle};
use vinbus_transport_embedded::tls::RecordBuffers;
use vinbus_vehicle_agent::provisioned::{APPS_MAX, Provisioned};

use super::host;
use super::portal::{self, BoardPortal};
use super::sizes::{
    PENDING_BYTES, POPUPS_BYTES, READ_RECORD_BYTES, RECEIVE_BYTES, SEND_BYTES, TCP_RECEIVE_BYTES,
    TCP_SEND_BYTES, UPLINKS_BYTES, WRITE_RECORD_BYTES,
};

static TCP_RECEIVE: ConstStaticCell<[u8; TCP_RECEIVE_BYTES]> =
    ConstStaticCell::new([0; TCP_RECEIVE_BYTES]);
static TCP_SEND: ConstStaticCell<[u8; TCP_SEND_BYTES]> = ConstStaticCell::new([0; TCP_SEND_BYTES]);
static READ: ConstStaticCell<[u8; READ_RECORD_BYTES]> =
    ConstStaticCell::new([0; READ_RECORD_BYTES]);
static WRITE: ConstStaticCell<[u8; WRITE_RECORD_BYTES]> =
    ConstStaticCell::new([0; WRITE_RECORD_BYTES]);
static RECEIVE: ConstStaticCell<[u8; RECEIVE_BYTES]> = ConstStaticCell::new([0; RECEIVE_BYTES]);
static SEND: ConstStaticCell<[u8; SEND_BYTES]> = ConstStaticCell::new([0; SEND_BYTES]);
static UPLINKS: ConstStaticCell<[u8; UPLINKS_BYTES]> = ConstStaticCell::new([0; UPLINKS_BYTES]);
static POPUPS: ConstStaticCell<[u8; POPUPS_BYTES]> = ConstStaticCell::new([0; POPUPS_BYTES]);
static PENDING: ConstStaticCell<[[u8; PENDING_BYTES]; APPS_MAX]> =
    ConstStaticCell::new([[0; PENDING_BYTES]; APPS_MAX]);

/// Starts the agent and what it needs; ends the program when the block does not fit the image.
pub(crate) fn start(
    spawner: Spawner,
    stack: Stack<'static>,
    provisioned: &'static Provisioned<'static>,
) {
    let memory = broker::Memory {
        tcp_receive: TCP_RECEIVE.take(),
        tcp_send: TCP_SEND.take(),
        records: RecordBuffers {
            read: READ.take(),
            write: WRITE.take(),
        },
    };
    let (server, clock) = (
        provisioned.time_server,
        Some(host::unix_time as fn() -> u64),
    );
    let time = time_of_day::start(spawner, stack, server, clock, host::random());
    match BrokerDial::start(spawner, stack, provisioned, memory, time, host::random()) {
        Ok(dial) => {
            let portal = portal::start(spawner, stack, provisioned);
            spawner.spawn(serve(provisioned, dial, portal).expect("started once"));
        }
        Err(error) => {
            log::error!("the provisioned credentials cannot be used: {error}");
            host::exit(false);
        }
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
        popups: POPUPS.take(),
        pending: PENDING.take().each_mut().map(|app| &mut app[..]),
    };
    let mut apps = portal.apps::<{ vehicle::UPLINKS_MAX }>();
    let mut apps = Reported {
        apps: &mut apps,
        board: "mps2-an500",
    };
    let (seed, never) = (host::random(), pending());
    let served = vehicle::run(provisioned, memory, dial, &mut apps, seed, never);
    if let Err(error) = served.await {
        log::error!("the provisioned block does not fit: {error}");
        host::exit(false);
    }
}
