//! The way to the broker: TCP, and TLS over it where the block has credentials for it.
//!
//! A TLS connection is a line that a task of its own pumps; the agent has its other end.

use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use static_cell::{ConstStaticCell, StaticCell};

use vinbus_transport_embedded::ConnectError;
use vinbus_transport_embedded::dial::{self, Broker, TimeLimits};
use vinbus_transport_embedded::net::{Resolver, Tcp, TcpStream};
use vinbus_transport_embedded::tls::{self, Credentials, CredentialsError, LineStream};
use vinbus_vehicle_agent::embedded_link::Dial;
use vinbus_vehicle_agent::provisioned::{Provisioned, Tls};

use super::host::{self, log};
use super::sizes::{
    LINE_BYTES, READ_RECORD_BYTES, TCP_RECEIVE_BYTES, TCP_SEND_BYTES, WRITE_RECORD_BYTES,
};
use super::time_of_day;

type Line = tls::Line<NoopRawMutex, LINE_BYTES, LINE_BYTES>;
type Client = tls::Client<'static, Tcp<'static>, Resolver<'static>, Now, ChaCha20Rng>;
type Now = fn() -> Option<u64>;

/// Time for the network to give the board an address before an attempt is given up.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens connections to the broker.
pub(crate) struct BoardDial {
    stack: Stack<'static>,
    broker: Broker<'static>,
    way: Way,
}

enum Way {
    Plain {
        tcp: &'static Tcp<'static>,
        dns: Resolver<'static>,
    },
    Tls(&'static Line),
}

impl BoardDial {
    /// Gets ready to dial, and starts the line if there is to be TLS.
    ///
    /// # Errors
    /// When the block has credentials that cannot be used.
    pub(crate) fn new(
        spawner: Spawner,
        stack: Stack<'static>,
        provisioned: &Provisioned<'static>,
    ) -> Result<Self, CredentialsError> {
        static RECEIVE: ConstStaticCell<[u8; TCP_RECEIVE_BYTES]> =
            ConstStaticCell::new([0; TCP_RECEIVE_BYTES]);
        static SEND: ConstStaticCell<[u8; TCP_SEND_BYTES]> =
            ConstStaticCell::new([0; TCP_SEND_BYTES]);
        static TCP: StaticCell<Tcp<'static>> = StaticCell::new();
        let (host, port) = (provisioned.broker.host, provisioned.broker.port);
        let broker = Broker { host, port };
        let tcp = Tcp::new(stack, RECEIVE.take(), SEND.take());
        let dns = Resolver::new(stack);
        let way = match provisioned.tls {
            None => Way::Plain {
                tcp: TCP.init(tcp),
                dns,
            },
            Some(Tls {
                authority,
                certificate,
                key,
            }) => {
                let credentials = Credentials::new(authority, certificate, key, host)?;
                Way::Tls(start_line(
                    spawner,
                    tls::Client {
                        tcp,
                        dns,
                        broker,
                        credentials,
                        unix_time: time_of_day::unix_s,
                        random: ChaCha20Rng::from_seed(host::random()),
                        limits: TimeLimits::default(),
                    },
                ))
            }
        };
        Ok(Self { stack, broker, way })
    }

    async fn open(&self) -> Option<BrokerStream> {
        match &self.way {
            Way::Plain { tcp, dns } => {
                match dial::open(*tcp, dns, self.broker, TimeLimits::default()).await {
                    Ok(stream) => return Some(BrokerStream::Plain(stream)),
                    Err(error) => log!("no connection: {error}; {}", error.advice()),
                }
            }
            Way::Tls(line) => match line.dial().await {
                Ok(stream) => return Some(BrokerStream::Tls(stream)),
                Err(error) => log!("no connection: {error}; {}", error.advice()),
            },
        }
        None
    }

    /// Why the line has ended, if there is one and it knows.
    fn tell_failure(&self) -> bool {
        let Way::Tls(line) = &self.way else {
            return false;
        };
        let failure = line.failure();
        if let Some(error) = failure {
            log!("disconnected: {error}; {}", error.advice());
        }
        failure.is_some()
    }
}

fn start_line(spawner: Spawner, client: Client) -> &'static Line {
    static LINE: StaticCell<Line> = StaticCell::new();
    let line = LINE.init_with(Line::new);
    spawner.spawn(pump(line, client).expect("started once"));
    line
}

#[embassy_executor::task]
async fn pump(line: &'static Line, client: Client) -> ! {
    static READ: ConstStaticCell<[u8; READ_RECORD_BYTES]> =
        ConstStaticCell::new([0; READ_RECORD_BYTES]);
    static WRITE: ConstStaticCell<[u8; WRITE_RECORD_BYTES]> =
        ConstStaticCell::new([0; WRITE_RECORD_BYTES]);
    let buffers = tls::RecordBuffers {
        read: READ.take(),
        write: WRITE.take(),
    };
    line.run(client, buffers).await
}

impl Dial for BoardDial {
    type Stream = BrokerStream;

    async fn dial(&mut self) -> Option<BrokerStream> {
        if with_timeout(ADDRESS_TIMEOUT, self.stack.wait_config_up())
            .await
            .is_err()
        {
            log!("no connection: the network gives no address; check the cable and DHCP");
            return None;
        }
        self.open().await
    }

    fn failed(&mut self, error: ConnectError) {
        if !self.tell_failure() {
            log!("no session: {error}");
        }
    }

    fn lost(&mut self) {
        if !self.tell_failure() {
            log!("disconnected: the broker closed the connection, or does not answer");
        }
    }
}

/// A connection to the broker, whose reads are cancel safe.
pub(crate) enum BrokerStream {
    Plain(TcpStream<'static, 'static>),
    Tls(LineStream<'static, NoopRawMutex, LINE_BYTES, LINE_BYTES>),
}

impl ErrorType for BrokerStream {
    type Error = ErrorKind;
}

impl Read for BrokerStream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Plain(stream) => stream.read(buffer).await.map_err(|error| error.kind()),
            Self::Tls(stream) => stream.read(buffer).await.map_err(|error| error.kind()),
        }
    }
}

impl Write for BrokerStream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Plain(stream) => stream.write(bytes).await.map_err(|error| error.kind()),
            Self::Tls(stream) => stream.write(bytes).await.map_err(|error| error.kind()),
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        match self {
            Self::Plain(stream) => stream.flush().await.map_err(|error| error.kind()),
            Self::Tls(stream) => stream.flush().await.map_err(|error| error.kind()),
        }
    }
}
