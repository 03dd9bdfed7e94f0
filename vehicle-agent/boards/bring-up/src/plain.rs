//! The way to the broker over TCP alone.

use core::fmt;

use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use static_cell::StaticCell;
use vinbus_transport_embedded::ConnectError;
use vinbus_transport_embedded::dial::{self, Broker, TimeLimits};
use vinbus_transport_embedded::net::{Resolver, Tcp, TcpStream};
use vinbus_vehicle_agent::embedded_link::Dial;
use vinbus_vehicle_agent::provisioned::Provisioned;

/// Time for the network to give the board an address before an attempt is given up.
const ADDRESS_LIMIT: Duration = Duration::from_secs(30);

/// Opens connections to the broker, and tells what goes wrong.
pub struct PlainDial {
    stack: Stack<'static>,
    broker: Broker<'static>,
    tcp: &'static Tcp<'static>,
    dns: Resolver<'static>,
}

impl PlainDial {
    /// Gets ready to dial. 8 KiB are good for what is received and for what is sent.
    ///
    /// # Panics
    /// If it is called twice.
    pub fn start(
        stack: Stack<'static>,
        provisioned: &Provisioned<'static>,
        receive: &'static mut [u8],
        send: &'static mut [u8],
    ) -> Self {
        static TCP: StaticCell<Tcp<'static>> = StaticCell::new();
        let (host, port) = (provisioned.broker.host, provisioned.broker.port);
        Self {
            stack,
            broker: Broker { host, port },
            tcp: TCP.init(Tcp::new(stack, receive, send)),
            dns: Resolver::new(stack),
        }
    }
}

/// In place of a board's function of this name, in an image without TLS.
///
/// # Errors
/// When the block wants TLS.
pub fn dial(
    _: Spawner,
    stack: Stack<'static>,
    provisioned: &Provisioned<'static>,
    receive: &'static mut [u8],
    send: &'static mut [u8],
) -> Result<PlainDial, &'static str> {
    match provisioned.tls {
        Some(_) => Err("this image has no TLS"),
        None => Ok(PlainDial::start(stack, provisioned, receive, send)),
    }
}

/// The first session of a life begins later after its start than this. So no two lives begin in the same
/// second by the time of day, which numbers them (SPEC 16.9).
const LIFE_BEGINS: Instant = Instant::from_secs(2);

/// Waits until the board has an address; `false`, and a word in the log, when there is none in time.
pub(crate) async fn has_address(stack: Stack<'static>) -> bool {
    Timer::at(LIFE_BEGINS).await;
    let up = with_timeout(ADDRESS_LIMIT, stack.wait_config_up()).await;
    if up.is_err() {
        log::warn!("no connection: the network gives no address; check the cable and DHCP");
    }
    up.is_ok()
}

impl PlainDial {
    /// In place of the dial's with TLS: nobody tells the time of day.
    pub fn time(&self) -> impl Fn() -> Option<u64> + use<> {
        || None
    }
}

impl fmt::Debug for PlainDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainDial")
            .field("broker", &self.broker)
            .finish_non_exhaustive()
    }
}

impl Dial for PlainDial {
    type Stream = TcpStream<'static, 'static>;

    async fn dial(&mut self) -> Option<Self::Stream> {
        if !has_address(self.stack).await {
            return None;
        }
        let opened = dial::open(self.tcp, &self.dns, self.broker, TimeLimits::default()).await;
        opened
            .inspect_err(|error| log::warn!("no connection: {error}; {}", error.advice()))
            .ok()
    }

    fn failed(&mut self, error: ConnectError) {
        tell_failed(error);
    }

    fn lost(&mut self) {
        tell_lost();
    }
}

/// There is a connection and no session.
pub(crate) fn tell_failed(error: ConnectError) {
    log::warn!("no session: {error}");
}

/// There was a session.
pub(crate) fn tell_lost() {
    log::warn!("disconnected: the broker closed the connection, or does not answer");
}
