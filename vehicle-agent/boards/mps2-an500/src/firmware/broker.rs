//! The way to the broker.

use embassy_net::Stack;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::client::{TcpClient, TcpClientState, TcpConnection};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{ErrorType, Read, Write};
use embedded_nal_async::TcpConnect as _;
use static_cell::StaticCell;
use vinbus_transport_embedded::{ConnectError, Lost};
use vinbus_vehicle_agent::embedded_link::Dial;
use vinbus_vehicle_agent::provisioned::Broker;

use super::host::log;
use super::sizes::{CONNECTIONS_MAX, TCP_RECEIVE_BYTES, TCP_SEND_BYTES};

type Client = TcpClient<'static, CONNECTIONS_MAX, TCP_SEND_BYTES, TCP_RECEIVE_BYTES>;
type State = TcpClientState<CONNECTIONS_MAX, TCP_SEND_BYTES, TCP_RECEIVE_BYTES>;
type Connection = TcpConnection<'static, CONNECTIONS_MAX, TCP_SEND_BYTES, TCP_RECEIVE_BYTES>;

const TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) struct PlainDial {
    stack: Stack<'static>,
    client: &'static Client,
    broker: Broker<'static>,
}

impl PlainDial {
    pub(crate) fn new(stack: Stack<'static>, broker: Broker<'static>) -> Self {
        static STATE: StaticCell<State> = StaticCell::new();
        static CLIENT: StaticCell<Client> = StaticCell::new();
        let mut client = TcpClient::new(stack, STATE.init_with(State::new));
        client.set_timeout(Some(Duration::from_secs(30)));
        Self {
            stack,
            client: CLIENT.init(client),
            broker,
        }
    }

    async fn open(&self) -> Option<Connection> {
        self.stack.wait_config_up().await;
        let ip = match self.broker.host.parse() {
            Ok(ip) => ip,
            Err(_) => {
                let found = self
                    .stack
                    .dns_query(self.broker.host, DnsQueryType::A)
                    .await;
                let embassy_net::IpAddress::Ipv4(ip) = *found.ok()?.first()?;
                core::net::IpAddr::V4(ip)
            }
        };
        self.client
            .connect((ip, self.broker.port).into())
            .await
            .ok()
    }
}

impl Dial for PlainDial {
    type Stream = Unflushed;

    async fn dial(&mut self) -> Option<Unflushed> {
        let opened = with_timeout(TIMEOUT, self.open()).await.ok().flatten();
        if opened.is_none() {
            log!("no connection to {}:{}", self.broker.host, self.broker.port);
        }
        opened.map(Unflushed)
    }

    fn failed(&mut self, error: ConnectError) {
        log!("no session: {error}");
    }

    fn lost(&mut self, why: Lost) {
        log!("{why}");
    }
}

/// A connection whose `flush` does not wait for the peer.
pub(crate) struct Unflushed(Connection);

impl ErrorType for Unflushed {
    type Error = embassy_net::tcp::Error;
}

impl Read for Unflushed {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        self.0.read(buffer).await
    }
}

impl Write for Unflushed {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.0.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
