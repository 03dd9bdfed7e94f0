//! The tasks: the time of day, the line to the broker, and the vehicle.

use embassy_executor::Spawner;
use embassy_net::Stack;
use static_cell::{ConstStaticCell, StaticCell};
use vinbus_board_bring_up::broker::{self, BrokerDial, Line, Way};
use vinbus_board_bring_up::time_of_day::TimeOfDay;
use vinbus_board_bring_up::{address, vehicle};
use vinbus_transport_embedded::dial::TimeLimits;
use vinbus_transport_embedded::net::{Resolver, Tcp, Udp, UdpBuffers};
use vinbus_transport_embedded::tls::{
    Client, Credentials, READ_RECORD_BYTES, RecordBuffers, WRITE_RECORD_BYTES,
};
use vinbus_vehicle_agent::provisioned::Provisioned;

use super::memory;
use super::random::BoardRandom;
use super::sizes::{RECEIVE_BYTES, SEND_BYTES, TCP_RECEIVE_BYTES, TCP_SEND_BYTES, UPLINKS_BYTES};
use super::watchdog::HEARTBEAT;

static TCP_RECEIVE: ConstStaticCell<[u8; TCP_RECEIVE_BYTES]> =
    ConstStaticCell::new([0; TCP_RECEIVE_BYTES]);
static TCP_SEND: ConstStaticCell<[u8; TCP_SEND_BYTES]> = ConstStaticCell::new([0; TCP_SEND_BYTES]);
static READ_RECORD: ConstStaticCell<[u8; READ_RECORD_BYTES]> =
    ConstStaticCell::new([0; READ_RECORD_BYTES]);
static WRITE_RECORD: ConstStaticCell<[u8; WRITE_RECORD_BYTES]> =
    ConstStaticCell::new([0; WRITE_RECORD_BYTES]);
static RECEIVE: ConstStaticCell<[u8; RECEIVE_BYTES]> = ConstStaticCell::new([0; RECEIVE_BYTES]);
static SEND: ConstStaticCell<[u8; SEND_BYTES]> = ConstStaticCell::new([0; SEND_BYTES]);
static UPLINKS: ConstStaticCell<[u8; UPLINKS_BYTES]> = ConstStaticCell::new([0; UPLINKS_BYTES]);

type Block = &'static Provisioned<'static>;

/// Starts all of them.
pub(crate) fn start(spawner: Spawner, stack: Stack<'static>, block: Block, random: BoardRandom) {
    static TIME: StaticCell<TimeOfDay> = StaticCell::new();
    static LINE: StaticCell<Line> = StaticCell::new();
    static TCP: StaticCell<Tcp<'static>> = StaticCell::new();
    let credentials = match broker::credentials_of(block) {
        Ok(credentials) => credentials,
        Err(error) => {
            log::error!("no way to the broker with the provisioned block: {error}");
            return;
        }
    };
    spawner.spawn(report_address(stack).expect("started once"));
    let tcp = Tcp::new(stack, TCP_RECEIVE.take(), TCP_SEND.take());
    let way = match credentials {
        None => Way::Plain(TCP.init(tcp), Resolver::new(stack)),
        Some(credentials) => {
            let time = TIME.init(TimeOfDay::new());
            match block.time_server {
                Some(server) => {
                    spawner.spawn(keep_time(stack, time, server, random).expect("started once"));
                }
                None => log::error!(
                    "no TLS, as this board has no clock and the provisioned block no time server"
                ),
            }
            let line = LINE.init(Line::new());
            let pump = pump(stack, line, tcp, block, credentials, time, random);
            spawner.spawn(pump.expect("started once"));
            Way::Tls(line)
        }
    };
    let dial = BrokerDial::new(stack, broker::broker_of(block), way);
    spawner.spawn(serve(block, dial, random).expect("started once"));
}

#[embassy_executor::task]
async fn report_address(stack: Stack<'static>) -> ! {
    address::report(stack).await
}

#[embassy_executor::task]
async fn keep_time(
    stack: Stack<'static>,
    time: &'static TimeOfDay,
    server: &'static str,
    random: BoardRandom,
) {
    static BUFFERS: ConstStaticCell<UdpBuffers> = ConstStaticCell::new(UdpBuffers::new());
    match Udp::new(stack, BUFFERS.take()) {
        Ok(socket) => time.keep(stack, socket, server, random).await,
        Err(error) => log::error!("no time of day: {error}"),
    }
}

#[embassy_executor::task]
async fn pump(
    stack: Stack<'static>,
    line: &'static Line,
    tcp: Tcp<'static>,
    block: Block,
    credentials: Credentials<'static>,
    time: &'static TimeOfDay,
    random: BoardRandom,
) -> ! {
    let client = Client {
        tcp,
        dns: Resolver::new(stack),
        broker: broker::broker_of(block),
        credentials,
        unix_time: || time.unix_s(),
        random,
        limits: TimeLimits::default(),
    };
    let buffers = RecordBuffers {
        read: READ_RECORD.take(),
        write: WRITE_RECORD.take(),
    };
    line.run(client, buffers).await
}

#[embassy_executor::task]
async fn serve(block: Block, dial: BrokerDial, random: BoardRandom) {
    let memory = vehicle::Memory {
        receive: RECEIVE.take(),
        send: SEND.take(),
        uplinks: UPLINKS.take(),
        popups: memory::popups(),
        pending: memory::pending().each_mut().map(|app| &mut app[..]),
    };
    let served = vehicle::run(block, memory, dial, &mut NoApps, random, HEARTBEAT.beat()).await;
    if let Err(error) = served {
        log::error!("the provisioned block does not fit: {error}");
    }
}

// TEMP
struct NoApps;
use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::AppMessage;
use vinbus_protocol::record_ring::Record;
use vinbus_vehicle_agent::apps::*;
use vinbus_vehicle_agent::desk::{Counters, DownlinkRefusal};
impl Apps for NoApps {
    async fn next(&mut self) -> Request<'_> {
        core::future::pending().await
    }
    fn deliver(&mut self, _: AppSlot, _: AppMessage<'_>) {}
    fn hand_out<'r>(&mut self, _: AppSlot, _: impl Iterator<Item = Record<'r>>, _: bool) {}
    fn answer(&mut self, _: AppSlot, _: Result<(), SendRefusal>) {}
    fn tell(&mut self, _: AppSlot, _: Notice<'_>) {}
    fn link_changed(&mut self, _: bool) {}
    fn downlink_refused(&mut self, _: &str, _: DownlinkRefusal) {}
    fn counted(&mut self, _: &Counters) {}
}
