//! The time of day, which TLS needs to judge certificates: from a time server if the block names
//! one, else from the board's own clock.

use core::cell::Cell;
use core::net::{IpAddr, SocketAddr};

use critical_section::Mutex;
use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_time::{Duration, Timer};
use static_cell::ConstStaticCell;

use vinbus_transport_embedded::dial::resolve;
use vinbus_transport_embedded::net::{Resolver, Udp, UdpBuffers};
use vinbus_transport_embedded::sntp::{self, NetworkTime};

use super::host::{self, log};

/// 1 November 2026: no certificate is checked against an earlier time.
const EARLIEST_UNIX_S: u64 = 1_793_491_200;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_secs(10);
const REFRESH: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone, Copy)]
enum Source {
    Board,
    Network(Option<NetworkTime>),
}

static SOURCE: Mutex<Cell<Source>> = Mutex::new(Cell::new(Source::Board));

/// Seconds since 1970; `None` as long as the time server has not told.
pub(crate) fn unix_s() -> Option<u64> {
    match critical_section::with(|cs| SOURCE.borrow(cs).get()) {
        Source::Board => Some(host::unix_time()),
        Source::Network(time) => time.map(|time| time.unix_s()),
    }
}

fn set(source: Source) {
    critical_section::with(|cs| SOURCE.borrow(cs).set(source));
}

/// Asks the time server, if there is one, now and then.
pub(crate) fn start(spawner: Spawner, stack: Stack<'static>, server: Option<&'static str>) {
    if let Some(server) = server {
        set(Source::Network(None));
        spawner.spawn(ask(stack, server).expect("started once"));
    }
}

#[embassy_executor::task]
async fn ask(stack: Stack<'static>, server: &'static str) -> ! {
    static BUFFERS: ConstStaticCell<UdpBuffers> = ConstStaticCell::new(UdpBuffers::new());
    let dns = Resolver::new(stack);
    let mut socket = match Udp::new(stack, BUFFERS.take()) {
        Ok(socket) => socket,
        Err(error) => panic!("no socket for the time server: {error}"),
    };
    loop {
        stack.wait_config_up().await;
        match resolve(&dns, server, ANSWER_TIMEOUT).await {
            Ok(address) => {
                if let Some(time) = ask_at(&mut socket, address).await {
                    set(Source::Network(Some(time)));
                    Timer::after(REFRESH).await;
                    continue;
                }
            }
            Err(error) => log!("no time of {server}: {error}; {}", error.advice()),
        }
        Timer::after(ASK_AGAIN).await;
    }
}

async fn ask_at(socket: &mut Udp<'_>, address: IpAddr) -> Option<NetworkTime> {
    let servers = [SocketAddr::new(address, sntp::PORT)];
    let random = || u64::from_le_bytes(host::random());
    match sntp::ask(socket, &servers, EARLIEST_UNIX_S, random, ANSWER_TIMEOUT).await {
        Ok(time) => {
            log!("the time is {} s since 1970", time.unix_s());
            Some(time)
        }
        Err(error) => {
            log!("no time: {error}");
            None
        }
    }
}
