//! What a board brings: a network, names, a clock, random numbers and buffers.

pub(crate) mod chip;
pub(crate) mod host;
pub(crate) mod lan;
pub(crate) mod pki;
pub(crate) mod rogue;
pub(crate) mod weather;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_nal_async::{Dns, TcpConnect};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use vinbus_transport_embedded::dial::{Broker, TimeLimits};
use vinbus_transport_embedded::tls::rand_core::CryptoRngCore;
use vinbus_transport_embedded::tls::{Client, Credentials, Line, RecordBuffers};
use vinbus_transport_embedded::{Credentials as Login, Options, tls};
use vinbus_transport_std::conformance::{Issued, Mosquitto};

use host::Host;

/// Longest time for anything to happen. Only a broken line takes it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type TestLine = Line<NoopRawMutex, 4096, 4096>;

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

pub(crate) type TestClient<'a, T> = Client<'a, T, Host, fn() -> Option<u64>, ChaCha20Rng>;

pub(crate) fn client<'a, T: TcpConnect>(
    tcp: T,
    broker: Broker<'a>,
    credentials: Credentials<'a>,
) -> TestClient<'a, T> {
    Client {
        tcp,
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
    mut client: Client<'_, C, D, N, R>,
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
    let mut buffers = RecordBuffers {
        read: &mut read,
        write: &mut write,
    };
    tokio::select! {
        never = line.run(&mut client, &mut buffers) => never,
        done = tokio::time::timeout(PATIENCE, test) => done.expect("it happens in time"),
    }
}

/// The options of the only user of the test broker.
pub(crate) fn options(client_id: &str) -> Options<'_, '_> {
    Options {
        credentials: Some(Login {
            user_name: Mosquitto::USER,
            password: Mosquitto::PASSWORD.as_bytes(),
        }),
        ..Options::new(client_id)
    }
}
