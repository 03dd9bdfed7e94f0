//! The way to the broker: over a TLS line, or plain TCP where the block has no certificate.

use core::fmt;

use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};
use static_cell::StaticCell;
use vinbus_transport_embedded::ConnectError;
use vinbus_transport_embedded::dial::{Broker, TimeLimits};
use vinbus_transport_embedded::net::{Resolver, Tcp, TcpStream};
use vinbus_transport_embedded::tls::{
    self, Credentials, CredentialsError, LineError, LineStream, RecordBuffers,
};
use vinbus_vehicle_agent::embedded_link::Dial;
use vinbus_vehicle_agent::provisioned::{Provisioned, Tls};

use crate::plain::{PlainDial, has_address, tell_failed, tell_lost};
use crate::random::Random;
use crate::time_of_day::{self, TimeOfDay};

/// Bytes of each of the two pipes between MQTT and TLS.
pub const PIPE_BYTES: usize = 4 * 1024;

type Line = tls::Line<NoopRawMutex, PIPE_BYTES, PIPE_BYTES>;

/// What a board keeps bytes in that are on their way.
#[derive(Debug)]
pub struct Memory {
    /// For the TCP socket, from the broker: 8 KiB are good.
    pub tcp_receive: &'static mut [u8],
    /// To the broker: as many.
    pub tcp_send: &'static mut [u8],
    /// The records of TLS.
    pub records: RecordBuffers<'static>,
}

/// Opens connections to the broker, and tells what goes wrong.
#[derive(Debug)]
pub struct BrokerDial(Way);

enum Way {
    Plain {
        dial: PlainDial,
        clock: Option<fn() -> u64>,
    },
    Tls {
        stack: Stack<'static>,
        line: &'static Line,
        time: &'static TimeOfDay,
    },
}

impl BrokerDial {
    /// Gets ready to dial. If there is to be TLS, it starts the line, and sees to the time of day: that of
    /// the time server in the block, else that of `clock`, the board's own, in seconds since 1970.
    /// `random` has to be good enough for keys.
    ///
    /// # Errors
    /// When the block has credentials that cannot be used.
    ///
    /// # Panics
    /// If it is called twice.
    pub fn start(
        spawner: Spawner,
        stack: Stack<'static>,
        provisioned: &Provisioned<'static>,
        memory: Memory,
        clock: Option<fn() -> u64>,
        random: fn() -> [u8; 32],
    ) -> Result<Self, CredentialsError> {
        static LINE: StaticCell<Line> = StaticCell::new();
        let (receive, send) = (memory.tcp_receive, memory.tcp_send);
        let Some(Tls {
            authority,
            certificate,
            key,
        }) = provisioned.tls
        else {
            let dial = PlainDial::start(stack, provisioned, receive, send);
            return Ok(Self(Way::Plain { dial, clock }));
        };
        let (host, port) = (provisioned.broker.host, provisioned.broker.port);
        let credentials = Credentials::new(authority, certificate, key, host)?;
        let time = time_of_day::start(spawner, stack, provisioned.time_server, clock, random());
        let client = Client {
            tcp: Tcp::new(stack, receive, send),
            dns: Resolver::new(stack),
            broker: Broker { host, port },
            credentials,
            time,
            random: Random::from_seed(random()),
        };
        let line = LINE.init_with(Line::new);
        spawner.spawn(pump(line, client, memory.records).expect("started once"));
        Ok(Self(Way::Tls { stack, line, time }))
    }

    /// What tells the time of day, in seconds since 1970, once it is known. Whoever has TLS knows it when
    /// there is a connection.
    pub fn time(&self) -> impl Fn() -> Option<u64> + use<> {
        let (clock, time) = match self.0 {
            Way::Plain { clock, .. } => (clock, None),
            Way::Tls { time, .. } => (None, Some(time)),
        };
        move || match time {
            Some(time) => time.unix_s(),
            None => clock.map(|clock| clock()),
        }
    }

    /// Tells why the line has ended, if there is one and it knows.
    fn tell_failure(&self) -> bool {
        let Way::Tls { line, .. } = &self.0 else {
            return false;
        };
        let failure = line.failure();
        if let Some(error) = failure {
            log::warn!("disconnected: {error}; {}", error.advice());
        }
        failure.is_some()
    }
}

struct Client {
    tcp: Tcp<'static>,
    dns: Resolver<'static>,
    broker: Broker<'static>,
    credentials: Credentials<'static>,
    time: &'static TimeOfDay,
    random: Random,
}

// No `async fn`, which would keep its arguments beside what is made of them.
#[embassy_executor::task]
fn pump(
    line: &'static Line,
    client: Client,
    mut records: RecordBuffers<'static>,
) -> impl Future<Output = ()> {
    let time = client.time;
    let mut client = tls::Client {
        tcp: client.tcp,
        dns: client.dns,
        broker: client.broker,
        credentials: client.credentials,
        unix_time: || time.unix_s(),
        random: client.random,
        limits: TimeLimits::default(),
    };
    async move { line.run(&mut client, &mut records).await }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain { dial, .. } => dial.fmt(f),
            Self::Tls { line, .. } => line.fmt(f),
        }
    }
}

impl Dial for BrokerDial {
    type Stream = BrokerStream;

    async fn dial(&mut self) -> Option<BrokerStream> {
        match &mut self.0 {
            Way::Plain { dial, .. } => dial.dial().await.map(BrokerStream::Plain),
            Way::Tls { stack, line, time } => {
                if !has_address(*stack).await {
                    return None;
                }
                let error = match line.dial().await {
                    Ok(stream) => return Some(BrokerStream::Tls(stream)),
                    Err(error) => error,
                };
                log::warn!("no connection: {error}; {}", error.advice());
                if let LineError::CertificateExpired | LineError::CertificateNotYetValid = error {
                    time.doubt();
                }
                None
            }
        }
    }

    fn failed(&mut self, error: ConnectError) {
        if !self.tell_failure() {
            tell_failed(error);
        }
    }

    fn lost(&mut self) {
        if !self.tell_failure() {
            tell_lost();
        }
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
