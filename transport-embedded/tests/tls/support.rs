//! What a board brings: a network, names, a clock, random numbers and buffers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::net::TcpStream;
use vinbus_transport_embedded::dial::{Broker, TimeLimits};
use vinbus_transport_embedded::tls::rand_core::CryptoRngCore;
use vinbus_transport_embedded::tls::{Client, Credentials, Line, RecordBuffers};
use vinbus_transport_embedded::{TokioStream, tls};
use vinbus_transport_std::conformance::Issued;

/// Longest time for anything to happen. Only a broken line takes it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type TestLine = Line<NoopRawMutex, 4096, 4096>;

/// The network of this machine.
#[derive(Clone, Copy)]
pub(crate) struct Host;

/// A stream of tokio, or why there is none.
pub(crate) struct HostStream(TokioStream<TcpStream>);

#[derive(Debug)]
pub(crate) struct HostError(ErrorKind);

impl std::fmt::Display for HostError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for HostError {}

impl embedded_io_async::Error for HostError {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

impl HostError {
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn of(error: impl embedded_io_async::Error) -> Self {
        Self(error.kind())
    }
}

impl ErrorType for HostStream {
    type Error = HostError;
}

impl Read for HostStream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, HostError> {
        self.0.read(buffer).await.map_err(HostError::of)
    }
}

impl Write for HostStream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, HostError> {
        self.0.write(bytes).await.map_err(HostError::of)
    }

    async fn flush(&mut self) -> Result<(), HostError> {
        self.0.flush().await.map_err(HostError::of)
    }
}

impl TcpConnect for Host {
    type Error = HostError;
    type Connection<'a> = HostStream;

    async fn connect(&self, remote: SocketAddr) -> Result<HostStream, HostError> {
        match TcpStream::connect(remote).await {
            Ok(stream) => Ok(HostStream(TokioStream::new(stream))),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Err(HostError(ErrorKind::ConnectionRefused))
            }
            Err(_) => Err(HostError(ErrorKind::Other)),
        }
    }
}

impl Dns for Host {
    type Error = ();

    async fn get_host_by_name(&self, host: &str, _: AddrType) -> Result<IpAddr, ()> {
        let mut found = tokio::net::lookup_host((host, 0)).await.map_err(|_| ())?;
        found.next().map(|address| address.ip()).ok_or(())
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, ()> {
        Err(())
    }
}

pub(crate) fn unix_time() -> Option<u64> {
    Some(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
}

/// Certificates as a board has them.
pub(crate) struct Provisioned {
    pub(crate) authority: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Provisioned {
    pub(crate) fn new(authority: &str, issued: &Issued) -> Self {
        Self {
            authority: certificate_der(authority),
            certificate: certificate_der(&issued.certificate),
            key: PrivatePkcs8KeyDer::from_pem_slice(issued.key.as_bytes())
                .unwrap()
                .secret_pkcs8_der()
                .to_vec(),
        }
    }

    pub(crate) fn credentials<'a>(&'a self, host: &'a str) -> Credentials<'a> {
        Credentials::new(&self.authority, &self.certificate, &self.key, host).unwrap()
    }
}

pub(crate) fn certificate_der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

pub(crate) fn random() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(7)
}

pub(crate) type HostClient<'a> = Client<'a, Host, Host, fn() -> Option<u64>, ChaCha20Rng>;

pub(crate) fn client<'a>(broker: Broker<'a>, credentials: Credentials<'a>) -> HostClient<'a> {
    Client {
        tcp: Host,
        dns: Host,
        broker,
        credentials,
        unix_time,
        random: random(),
        limits: TimeLimits::default(),
    }
}

/// Runs `test` beside the pump.
pub(crate) async fn with_pump<C, D, N, R, T>(
    line: &TestLine,
    client: Client<'_, C, D, N, R>,
    test: impl Future<Output = T>,
) -> T
where
    C: TcpConnect,
    D: Dns,
    N: Fn() -> Option<u64>,
    R: CryptoRngCore,
{
    let (mut read, mut write) = (
        vec![0; tls::READ_RECORD_BYTES],
        vec![0; tls::WRITE_RECORD_BYTES],
    );
    let buffers = RecordBuffers {
        read: &mut read,
        write: &mut write,
    };
    tokio::select! {
        never = line.run(client, buffers) => never,
        done = tokio::time::timeout(PATIENCE, test) => done.expect("it happens in time"),
    }
}
