//! The way to the broker: over a TLS line, or plain TCP where the block has no certificate.

use core::fmt;

use embassy_net::Stack;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};
use vinbus_transport_embedded::dial::{self, TimeLimits};
use vinbus_transport_embedded::net::{Resolver, Tcp, TcpStream};
use vinbus_transport_embedded::tls::{self, Credentials, CredentialsError, LineStream};
use vinbus_transport_embedded::{ConnectError, dial::Broker};
use vinbus_vehicle_agent::embedded_link::Dial;
use vinbus_vehicle_agent::provisioned::Provisioned;

/// Bytes of each of the two pipes of a line.
pub const PIPE_BYTES: usize = 4096;

/// The TLS line of a board: between tasks of one thread.
pub type Line = tls::Line<NoopRawMutex, PIPE_BYTES, PIPE_BYTES>;

/// How long a dial waits for the network to come up.
const NETWORK_LIMIT: Duration = Duration::from_secs(30);

/// Where the broker is, as the block says.
#[must_use]
pub fn broker_of<'b>(provisioned: &Provisioned<'b>) -> Broker<'b> {
    Broker {
        host: provisioned.broker.host,
        port: provisioned.broker.port,
    }
}

/// Who the vehicle is and whom it trusts, as the block says; `None` for plain MQTT. Takes a while.
///
/// # Errors
/// When the block's certificates and key are none, or do not belong together.
pub fn credentials_of<'b>(
    provisioned: &Provisioned<'b>,
) -> Result<Option<Credentials<'b>>, CredentialsError> {
    let Some(tls) = provisioned.tls else {
        return Ok(None);
    };
    let host = provisioned.broker.host;
    Credentials::new(tls.authority, tls.certificate, tls.key, host).map(Some)
}

/// How to reach the broker.
#[derive(Debug)]
pub enum Way {
    /// Over TLS; the line's task does the rest.
    Tls(&'static Line),
    /// Over TCP alone.
    Plain(&'static Tcp<'static>, Resolver<'static>),
}

/// Opens connections to the broker, and tells what goes wrong.
pub struct BrokerDial {
    stack: Stack<'static>,
    broker: Broker<'static>,
    way: Way,
}

impl fmt::Debug for BrokerDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerDial")
            .field("broker", &self.broker)
            .field("way", &self.way)
            .finish_non_exhaustive()
    }
}

impl BrokerDial {
    /// The `way` to `broker` over `stack`.
    #[must_use]
    pub fn new(stack: Stack<'static>, broker: Broker<'static>, way: Way) -> Self {
        Self { stack, broker, way }
    }

    async fn open(&self) -> Option<BrokerStream> {
        match &self.way {
            Way::Tls(line) => match line.dial().await {
                Ok(stream) => Some(BrokerStream::Tls(stream)),
                Err(error) => self.report(error, error.advice()),
            },
            Way::Plain(tcp, dns) => {
                match dial::open(*tcp, dns, self.broker, TimeLimits::default()).await {
                    Ok(stream) => Some(BrokerStream::Plain(stream)),
                    Err(error) => self.report(error, error.advice()),
                }
            }
        }
    }

    fn report<T>(&self, error: impl fmt::Display, advice: &str) -> Option<T> {
        let Broker { host, port } = self.broker;
        log::warn!("no connection to {host}:{port}: {error}; {advice}");
        None
    }

    /// Why TLS has ended, if it knows.
    fn report_line(&self) {
        if let Way::Tls(line) = self.way
            && let Some(error) = line.failure()
        {
            log::warn!("TLS: {error}; {}", error.advice());
        }
    }
}

impl Dial for BrokerDial {
    type Stream = BrokerStream;

    async fn dial(&mut self) -> Option<BrokerStream> {
        let up = with_timeout(NETWORK_LIMIT, self.stack.wait_config_up()).await;
        if up.is_err() {
            log::warn!("no network yet: check the cable, and that there is a DHCP server");
            return None;
        }
        self.open().await
    }

    fn failed(&mut self, error: ConnectError) {
        log::warn!("no session with the broker: {error}");
        self.report_line();
    }

    fn lost(&mut self) {
        log::warn!("the connection to the broker is over");
        self.report_line();
    }
}

/// An open connection. Reads and writes are cancel safe.
#[derive(Debug)]
pub enum BrokerStream {
    /// Over TLS.
    Tls(LineStream<'static, NoopRawMutex, PIPE_BYTES, PIPE_BYTES>),
    /// Over TCP alone.
    Plain(TcpStream<'static, 'static>),
}

impl ErrorType for BrokerStream {
    type Error = ErrorKind;
}

impl Read for BrokerStream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Tls(stream) => stream.read(buffer).await.map_err(|error| error.kind()),
            Self::Plain(stream) => stream.read(buffer).await.map_err(|error| error.kind()),
        }
    }
}

impl Write for BrokerStream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Tls(stream) => stream.write(bytes).await.map_err(|error| error.kind()),
            Self::Plain(stream) => stream.write(bytes).await.map_err(|error| error.kind()),
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        match self {
            Self::Tls(stream) => stream.flush().await.map_err(|error| error.kind()),
            Self::Plain(stream) => stream.flush().await.map_err(|error| error.kind()),
        }
    }
}
