//! Every claim, over every carrier.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_time::Duration;
use embedded_io_async::{Error as _, ErrorType, Read, Write};
use tokio::io::DuplexStream;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;
use vinbus_transport_embedded::dial::{self, Broker, TimeLimits};
use vinbus_transport_embedded::nal::{Modem, ModemStream};
use vinbus_transport_embedded::net::{Tcp, TcpStream};
use vinbus_transport_embedded::tls::LineStream;
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto};

use crate::claims;
use crate::support::chip::Chip;
use crate::support::host::{Host, HostError, HostStream, Narrow};
use crate::support::lan::{PORT, leaked, with_lan};
use crate::support::{Provisioned, TestLine, client, with_pump};

/// The largest message that passes in a moment, and where each byte takes a turn of all tasks.
const QUICK: usize = PAYLOAD_BYTES_MAX;
const SLOW: usize = 4096;

/// What carries the client to the broker.
pub(crate) struct Carrier<'c> {
    way: Way<'c>,
    /// The largest message that it carries in a moment.
    pub(crate) largest: usize,
}

enum Way<'c> {
    Lan(&'c Tcp<'static>, Broker<'c>),
    Host(Broker<'c>),
    Narrow(Broker<'c>),
    Modem(&'c Modem<Chip>, Broker<'c>),
    Line(&'c TestLine),
}

/// A stream of some carrier.
pub(crate) enum CarrierStream<'c> {
    Lan(TcpStream<'c, 'static>),
    Host(HostStream<tokio::net::TcpStream>),
    Narrow(HostStream<DuplexStream>),
    Modem(ModemStream<'c, Chip>),
    Line(LineStream<'c, NoopRawMutex, 4096, 4096>),
}

impl<'c> Carrier<'c> {
    /// A stream, or why there is none.
    pub(crate) async fn open(&self) -> Result<CarrierStream<'c>, String> {
        let limits = TimeLimits::default();
        let stream = match self.way {
            Way::Host(broker) => {
                let opened = dial::open(&Host, &Host, broker, limits).await;
                CarrierStream::Host(opened.map_err(|error| error.to_string())?)
            }
            Way::Narrow(broker) => {
                let opened = dial::open(&Narrow(1), &Host, broker, limits).await;
                CarrierStream::Narrow(opened.map_err(|error| error.to_string())?)
            }
            Way::Lan(tcp, broker) => {
                let opened = dial::open(tcp, &Host, broker, limits).await;
                CarrierStream::Lan(opened.map_err(|error| error.to_string())?)
            }
            Way::Modem(modem, broker) => {
                let opened = dial::open(modem, modem, broker, limits).await;
                CarrierStream::Modem(opened.map_err(|error| error.to_string())?)
            }
            Way::Line(line) => {
                CarrierStream::Line(line.dial().await.map_err(|error| error.to_string())?)
            }
        };
        Ok(stream)
    }
}

impl ErrorType for CarrierStream<'_> {
    type Error = HostError;
}

impl Read for CarrierStream<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, HostError> {
        match self {
            Self::Host(stream) => stream.read(buffer).await,
            Self::Narrow(stream) => stream.read(buffer).await,
            Self::Lan(stream) => stream.read(buffer).await.map_err(|e| HostError(e.kind())),
            Self::Modem(stream) => stream.read(buffer).await.map_err(|e| HostError(e.kind())),
            Self::Line(stream) => stream.read(buffer).await.map_err(|e| HostError(e.kind())),
        }
    }
}

impl Write for CarrierStream<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, HostError> {
        match self {
            Self::Host(stream) => stream.write(bytes).await,
            Self::Narrow(stream) => stream.write(bytes).await,
            Self::Lan(stream) => stream.write(bytes).await.map_err(|e| HostError(e.kind())),
            Self::Modem(stream) => stream.write(bytes).await.map_err(|e| HostError(e.kind())),
            Self::Line(stream) => stream.write(bytes).await.map_err(|e| HostError(e.kind())),
        }
    }

    async fn flush(&mut self) -> Result<(), HostError> {
        match self {
            Self::Host(stream) => stream.flush().await,
            Self::Narrow(stream) => stream.flush().await,
            Self::Lan(stream) => stream.flush().await.map_err(|e| HostError(e.kind())),
            Self::Modem(stream) => stream.flush().await.map_err(|e| HostError(e.kind())),
            Self::Line(stream) => stream.flush().await.map_err(|e| HostError(e.kind())),
        }
    }
}

/// How often the modem is asked.
const INTERVAL: Duration = Duration::from_micros(100);

/// The address of an endpoint, which stays the same after a restart.
fn address(broker: &Mosquitto, endpoint: Endpoint) -> (String, u16) {
    let url = broker.url(endpoint);
    (url.host().to_owned(), url.port())
}

async fn host(claim: impl AsyncFnOnce(&mut Mosquitto, &Carrier<'_>)) {
    plain(false, claim).await;
}

async fn one_byte_at_a_time(claim: impl AsyncFnOnce(&mut Mosquitto, &Carrier<'_>)) {
    plain(true, claim).await;
}

async fn plain(narrow: bool, claim: impl AsyncFnOnce(&mut Mosquitto, &Carrier<'_>)) {
    let mut mosquitto = Mosquitto::start().await;
    let (host, port) = address(&mosquitto, Endpoint::Mqtt);
    let broker = Broker { host: &host, port };
    let (way, largest) = if narrow {
        (Way::Narrow(broker), SLOW)
    } else {
        (Way::Host(broker), QUICK)
    };
    claim(&mut mosquitto, &Carrier { way, largest }).await;
}

async fn modem(claim: impl AsyncFnOnce(&mut Mosquitto, &Carrier<'_>)) {
    let mut mosquitto = Mosquitto::start().await;
    let (_, port) = address(&mosquitto, Endpoint::Mqtt);
    let broker = Broker {
        host: "broker.test",
        port,
    };
    let modem = Modem::new(Chip::default(), INTERVAL);
    let carrier = Carrier {
        way: Way::Modem(&modem, broker),
        largest: QUICK,
    };
    claim(&mut mosquitto, &carrier).await;
    assert_eq!(modem.into_inner().open, 0, "sockets are left open");
}

async fn lan(claim: impl AsyncFnOnce(&mut Mosquitto, &Carrier<'_>)) {
    let mut mosquitto = Mosquitto::start().await;
    let (_, port) = address(&mosquitto, Endpoint::Mqtt);
    let broker = Broker {
        host: "10.0.0.1",
        port: PORT,
    };
    with_lan(([127, 0, 0, 1], port).into(), async |stack| {
        let tcp = Tcp::new(stack, leaked::<8192>(), leaked::<8192>());
        let carrier = Carrier {
            way: Way::Lan(&tcp, broker),
            largest: QUICK,
        };
        claim(&mut mosquitto, &carrier).await;
    })
    .await;
}

async fn tls_over_lan(claim: impl AsyncFnOnce(&mut Mosquitto, &Carrier<'_>)) {
    let mut mosquitto = Mosquitto::start().await;
    let (host, port) = address(&mosquitto, Endpoint::Mqtts);
    let provisioned = Provisioned::new(&mosquitto.authority.certificate, &mosquitto.client);
    // The gateway leads to the broker, whose certificate is for its own address.
    let broker = Broker {
        host: "10.0.0.1",
        port: PORT,
    };
    with_lan(([127, 0, 0, 1], port).into(), async |stack| {
        let tcp = Tcp::new(stack, leaked::<8192>(), leaked::<8192>());
        let client = client(tcp, broker, provisioned.credentials(&host));
        let line = TestLine::new();
        let carrier = Carrier {
            way: Way::Line(&line),
            largest: QUICK,
        };
        with_pump(&line, client, claim(&mut mosquitto, &carrier)).await;
    })
    .await;
}

async fn tls(claim: impl AsyncFnOnce(&mut Mosquitto, &Carrier<'_>)) {
    over_tls(Host, QUICK, claim).await;
}

async fn tls_one_byte_at_a_time(claim: impl AsyncFnOnce(&mut Mosquitto, &Carrier<'_>)) {
    over_tls(Narrow(1), SLOW, claim).await;
}

async fn tls_over_a_modem(claim: impl AsyncFnOnce(&mut Mosquitto, &Carrier<'_>)) {
    let modem = Modem::new(Chip::default(), INTERVAL);
    over_tls(modem, QUICK, claim).await;
}

async fn over_tls(
    tcp: impl embedded_nal_async::TcpConnect,
    largest: usize,
    claim: impl AsyncFnOnce(&mut Mosquitto, &Carrier<'_>),
) {
    let mut mosquitto = Mosquitto::start().await;
    let (host, port) = address(&mosquitto, Endpoint::Mqtts);
    let provisioned = Provisioned::new(&mosquitto.authority.certificate, &mosquitto.client);
    let broker = Broker { host: &host, port };
    let client = client(tcp, broker, provisioned.credentials(&host));
    let line = TestLine::new();
    let carrier = Carrier {
        way: Way::Line(&line),
        largest,
    };
    with_pump(&line, client, claim(&mut mosquitto, &carrier)).await;
}

macro_rules! over_every_carrier {
    ($($claim:ident),+ $(,)?) => {$(
        mod $claim {
            use super::*;

            #[tokio::test]
            async fn over_a_bare_stream() {
                host(claims::$claim).await;
            }

            #[tokio::test]
            async fn over_a_stream_of_one_byte_at_a_time() {
                one_byte_at_a_time(claims::$claim).await;
            }

            #[tokio::test]
            async fn over_a_modem() {
                modem(claims::$claim).await;
            }

            #[tokio::test]
            async fn over_embassy_net() {
                lan(claims::$claim).await;
            }

            #[tokio::test]
            async fn over_tls_over_embassy_net() {
                tls_over_lan(claims::$claim).await;
            }

            #[tokio::test]
            async fn over_tls() {
                tls(claims::$claim).await;
            }

            #[tokio::test]
            async fn over_tls_of_one_byte_at_a_time() {
                tls_one_byte_at_a_time(claims::$claim).await;
            }

            #[tokio::test]
            async fn over_tls_over_a_modem() {
                tls_over_a_modem(claims::$claim).await;
            }
        }
    )+};
}

over_every_carrier!(
    messages_of_every_size_come_back,
    message_larger_than_a_buffer_is_refused_and_the_connection_lives,
    messages_keep_their_order,
    session_comes_back_after_a_restart_in_mid_traffic,
    wrong_password_is_an_error_of_its_own,
    will_is_published_on_loss_and_not_on_close,
);
