//! Every way in which a handshake fails, told apart; and those in which it succeeds.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use embedded_io_async::{ErrorKind, Read, Write};
use embedded_nal_async::{AddrType, Dns};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use vinbus_transport_embedded::dial::{Broker, DialError};
use vinbus_transport_embedded::tls::rand_core::CryptoRngCore;
use vinbus_transport_embedded::tls::{Client, Credentials, CredentialsError, LineError};
use vinbus_transport_embedded::{ConnectError, Mqtt};
use vinbus_transport_std::conformance::{
    Authority, BrokerUnderTest, Endpoint, Mosquitto, Validity,
};

use crate::support::host::Host;
use crate::support::pki::{Party, Request, authority, server, server_config, vehicle};
use crate::support::{Provisioned, TestLine, client, options, unix_time, with_pump};

const HOST: &str = "127.0.0.1";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A server that shakes hands and gives back what it gets.
pub(crate) async fn echo_server(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(config);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let shaking = acceptor.accept(stream);
            tokio::spawn(async move {
                let Ok(mut stream) = shaking.await else {
                    return;
                };
                let mut buffer = [0; 64];
                while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..len]).await.unwrap();
                    stream.flush().await.unwrap();
                }
                let _goodbye = stream.shutdown().await;
            });
        }
    });
    address
}

/// Says hello over the line and waits for the echo.
async fn hello(line: &TestLine) -> Result<(), LineError> {
    echoed(&mut line.dial().await?).await
}

/// The same over an open stream.
async fn echoed<S>(stream: &mut S) -> Result<(), LineError>
where
    S: Read<Error = LineError> + Write,
{
    stream.write_all(b"hello").await?;
    let mut buffer = [0; 5];
    let mut len = 0;
    while len < buffer.len() {
        match stream.read(&mut buffer[len..]).await? {
            0 => return Err(LineError::Closed),
            read => len += read,
        }
    }
    assert_eq!(&buffer, b"hello");
    Ok(())
}

/// What comes of a hello, twice over: a line recovers from everything.
async fn outcome(address: SocketAddr, provisioned: &Provisioned) -> Result<(), LineError> {
    outcome_for(HOST, address, provisioned).await
}

async fn outcome_for(
    host: &str,
    address: SocketAddr,
    provisioned: &Provisioned,
) -> Result<(), LineError> {
    let port = address.port();
    let client = client(
        Host,
        Broker { host: HOST, port },
        provisioned.credentials(host),
    );
    twice(client).await
}

async fn twice<T, D, N, R>(client: Client<'_, T, D, N, R>) -> Result<(), LineError>
where
    T: embedded_nal_async::TcpConnect,
    D: Dns,
    N: Fn() -> Option<u64>,
    R: CryptoRngCore,
{
    let line = TestLine::new();
    let test = async {
        let first = hello(&line).await;
        assert_eq!(hello(&line).await, first);
        assert_eq!(line.failure(), first.err());
        first
    };
    with_pump(&line, client, test).await
}

/// What comes of a server whose certificate is issued as requested, by the authority or somebody
/// between.
async fn shown(request: &Request<'_>, between: Option<&Request<'_>>) -> Result<(), LineError> {
    let root = Party::new(&authority(), None);
    let board = Party::new(&vehicle(), Some(&root)).provisioned(&root);
    let between = between.map(|request| Party::new(request, Some(&root)));
    let broker = Party::new(request, Some(between.as_ref().unwrap_or(&root)));
    let above: Vec<_> = between.iter().collect();
    let config = server_config(&broker, &above, &root, &TLS13);
    outcome(echo_server(config).await, &board).await
}

#[tokio::test]
async fn sound_certificates_are_accepted() {
    assert_eq!(shown(&server(), None).await, Ok(()));
    let between = Request {
        name: "between",
        ..authority()
    };
    assert_eq!(shown(&server(), Some(&between)).await, Ok(()));
}

#[tokio::test]
async fn every_fault_of_a_certificate_is_told_apart() {
    let expired = Request {
        until: SystemTime::now() - DAY,
        ..server()
    };
    assert_eq!(
        shown(&expired, None).await,
        Err(LineError::CertificateExpired)
    );
    let early = Request {
        until: SystemTime::now() + 4 * DAY,
        ..server()
    };
    assert_eq!(
        shown(&early, None).await,
        Err(LineError::CertificateNotYetValid)
    );
    for host in [None, Some("127.0.0.2"), Some("broker.example")] {
        let other = Request { host, ..server() };
        assert_eq!(shown(&other, None).await, Err(LineError::WrongHost));
    }
    let of_client = Request {
        usage: ExtendedKeyUsagePurpose::ClientAuth,
        ..server()
    };
    assert_eq!(shown(&of_client, None).await, Err(LineError::NotForServers));
    let p384 = Request {
        p384: true,
        ..server()
    };
    assert_eq!(
        shown(&p384, None).await,
        Err(LineError::UnsupportedSignature)
    );
}

#[tokio::test]
async fn faults_in_the_middle_of_a_chain_are_found() {
    // Somebody with the certificate of a vehicle makes one for the broker.
    let leaf = vehicle();
    assert_eq!(
        shown(&server(), Some(&leaf)).await,
        Err(LineError::IssuerIsNoAuthority)
    );
    let broker = server();
    assert_eq!(
        shown(&server(), Some(&broker)).await,
        Err(LineError::IssuerIsNoAuthority)
    );
    let expired = Request {
        name: "between",
        until: SystemTime::now() - DAY,
        ..authority()
    };
    assert_eq!(
        shown(&server(), Some(&expired)).await,
        Err(LineError::CertificateExpired)
    );
    let p384 = Request {
        name: "between",
        p384: true,
        ..authority()
    };
    assert_eq!(
        shown(&server(), Some(&p384)).await,
        Err(LineError::UnsupportedSignature)
    );
}

#[tokio::test]
async fn foreign_authorities_are_refused_whatever_they_call_themselves() {
    let root = Party::new(&authority(), None);
    let board = Party::new(&vehicle(), Some(&root)).provisioned(&root);
    let elsewhere = Request {
        name: "elsewhere",
        ..authority()
    };
    for foreign in [Party::new(&elsewhere, None), Party::new(&authority(), None)] {
        let broker = Party::new(&server(), Some(&foreign));
        for above in [&[][..], &[&foreign]] {
            let config = server_config(&broker, above, &root, &TLS13);
            let outcome = outcome(echo_server(config).await, &board).await;
            assert_eq!(outcome, Err(LineError::UnknownAuthority));
        }
    }
    let alone = Party::new(&server(), None);
    let config = server_config(&alone, &[], &root, &TLS13);
    let outcome = outcome(echo_server(config).await, &board).await;
    assert_eq!(outcome, Err(LineError::UnknownAuthority));
}

#[tokio::test]
async fn host_may_be_a_name() {
    let root = Party::new(&authority(), None);
    let board = Party::new(&vehicle(), Some(&root)).provisioned(&root);
    let named = Request {
        host: Some("broker.example"),
        ..server()
    };
    let broker = Party::new(&named, Some(&root));
    let address = echo_server(server_config(&broker, &[], &root, &TLS13)).await;
    assert_eq!(outcome_for("broker.example", address, &board).await, Ok(()));
    let other = outcome_for("other.example", address, &board).await;
    assert_eq!(other, Err(LineError::WrongHost));
}

#[tokio::test]
async fn certificate_that_the_broker_refuses_is_an_error_of_its_own() {
    let root = Party::new(&authority(), None);
    let elsewhere = Party::new(&authority(), None);
    let broker = Party::new(&server(), Some(&root));
    let address = echo_server(server_config(&broker, &[], &root, &TLS13)).await;
    let expired = Request {
        until: SystemTime::now() - DAY,
        ..vehicle()
    };
    for refused in [
        Party::new(&vehicle(), Some(&elsewhere)),
        Party::new(&expired, Some(&root)),
        Party::new(&server(), Some(&root)),
    ] {
        let error = outcome(address, &refused.provisioned(&root)).await.err();
        // The system may drop the alert when we write to a connection that is gone.
        assert!(
            matches!(
                error,
                Some(LineError::Refused | LineError::Dropped | LineError::Stream(_))
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn certificate_that_mosquitto_refuses_is_an_error_of_its_own() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtts);
    let foreign = Authority::new("foreign CA").client(Mosquitto::USER, Validity::Now);
    let board = Provisioned::new(&mosquitto.authority.certificate, &foreign);
    let broker = Broker {
        host: url.host(),
        port: url.port(),
    };
    let client = client(Host, broker, board.credentials(url.host()));
    let line = TestLine::new();
    let test = async {
        let (mut receive, mut send) = (vec![0; 1024], vec![0; 1024]);
        let mut mqtt = Mqtt::new(&mut receive, &mut send, &options("board")).unwrap();
        // As a rule the refusal comes when the handshake is over for this side. If it comes before
        // the last bytes are written, the system may report a broken connection and drop the alert.
        let error = match line.dial().await {
            Ok(stream) => {
                let error = mqtt.connect(stream, ["down"]).await.err();
                assert_eq!(error, Some(ConnectError::Stream));
                line.failure()
            }
            Err(error) => Some(error),
        };
        assert!(
            matches!(
                error,
                Some(LineError::Refused | LineError::Dropped | LineError::Stream(_))
            ),
            "{error:?}"
        );
    };
    with_pump(&line, client, test).await;
}

#[tokio::test]
async fn clock_decides_and_without_one_nothing_is_dialled() {
    let root = Party::new(&authority(), None);
    let board = Party::new(&vehicle(), Some(&root)).provisioned(&root);
    let broker = Party::new(&server(), Some(&root));
    let address = echo_server(server_config(&broker, &[], &root, &TLS13)).await;
    let at = async |unix_time: fn() -> Option<u64>| {
        let broker = Broker {
            host: HOST,
            port: address.port(),
        };
        let host = Host;
        twice(Client {
            unix_time,
            ..client(host, broker, board.credentials(HOST))
        })
        .await
    };
    assert_eq!(at(unix_time).await, Ok(()));
    assert_eq!(at(|| None).await, Err(LineError::NoClock));
    assert_eq!(at(|| Some(0)).await, Err(LineError::CertificateNotYetValid));
    assert_eq!(
        at(|| Some(u64::MAX)).await,
        Err(LineError::CertificateExpired)
    );
}

#[tokio::test]
async fn clock_that_jumps_leaves_a_connection_alone_and_decides_about_the_next() {
    let root = Party::new(&authority(), None);
    let board = Party::new(&vehicle(), Some(&root)).provisioned(&root);
    let broker = Party::new(&server(), Some(&root));
    let address = echo_server(server_config(&broker, &[], &root, &TLS13)).await;
    let now = Cell::new(unix_time());
    let port = address.port();
    let Client {
        tcp,
        dns,
        broker,
        credentials,
        random,
        limits,
        ..
    } = client(Host, Broker { host: HOST, port }, board.credentials(HOST));
    let client = Client {
        tcp,
        dns,
        broker,
        credentials,
        unix_time: || now.get(),
        random,
        limits,
    };
    let line = TestLine::new();
    let test = async {
        for (jump, refusal) in [
            (Some(u64::MAX), LineError::CertificateExpired),
            (Some(0), LineError::CertificateNotYetValid),
            (None, LineError::NoClock),
        ] {
            let mut stream = line.dial().await.unwrap();
            echoed(&mut stream).await.unwrap();
            now.set(jump);
            echoed(&mut stream).await.unwrap();
            drop(stream);
            assert_eq!(line.dial().await.err(), Some(refusal));
            now.set(unix_time());
        }
        assert_eq!(hello(&line).await, Ok(()));
    };
    with_pump(&line, client, test).await;
}

/// A server that answers every hello with the same bytes, and then keeps still or closes.
async fn stubborn_server(answer: &'static [u8], closes: bool) -> SocketAddr {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _hello = stream.read(&mut [0; 1024]).await;
            stream.write_all(answer).await.unwrap();
            if !closes {
                open.push(stream);
            }
        }
    });
    address
}

#[tokio::test]
async fn what_is_no_tls_1_3_is_told_apart() {
    let root = Party::new(&authority(), None);
    let board = Party::new(&vehicle(), Some(&root)).provisioned(&root);
    let broker = Party::new(&server(), Some(&root));
    let old = echo_server(server_config(&broker, &[], &root, &TLS12)).await;
    assert_eq!(outcome(old, &board).await, Err(LineError::NoCommonTls));
    for (answer, closes, expected) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            true,
            LineError::NotTls,
        ),
        (&[0x20, 3, 0, 0, 0], false, LineError::NotTls),
        (&[], true, LineError::Truncated),
        // The first half of a record.
        (&[22, 3, 3, 0, 100, 2], true, LineError::Truncated),
        // Alerts of a server that does not like the hello.
        (&[21, 3, 3, 0, 2, 2, 40], true, LineError::NoCommonTls),
        (&[21, 3, 3, 0, 2, 2, 80], true, LineError::Alert),
        // Larger than any record.
        (&[22, 3, 3, 0xff, 0xff, 2], true, LineError::NotTls),
    ] {
        let address = stubborn_server(answer, closes).await;
        assert_eq!(outcome(address, &board).await, Err(expected), "{answer:?}");
    }
}

#[tokio::test]
async fn peer_that_does_not_shake_hands_is_given_up() {
    let root = Party::new(&authority(), None);
    let board = Party::new(&vehicle(), Some(&root)).provisioned(&root);
    for answer in [&[][..], &[22, 3]] {
        let address = stubborn_server(answer, false).await;
        let broker = Broker {
            host: HOST,
            port: address.port(),
        };
        let host = Host;
        let mut impatient = client(host, broker, board.credentials(HOST));
        impatient.limits.handshake = embassy_time::Duration::from_millis(50);
        assert_eq!(twice(impatient).await, Err(LineError::HandshakeTimeout));
    }
}

/// Names that do not resolve, or never.
struct Names {
    silent: bool,
}

impl Dns for Names {
    type Error = ();

    async fn get_host_by_name(&self, _: &str, _: AddrType) -> Result<IpAddr, ()> {
        match self.silent {
            true => std::future::pending().await,
            false => Err(()),
        }
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, ()> {
        Err(())
    }
}

#[tokio::test]
async fn network_errors_are_told_apart() {
    let root = Party::new(&authority(), None);
    let board = Party::new(&vehicle(), Some(&root)).provisioned(&root);
    let named = |host: &'static str, port, silent| {
        let Client {
            tcp,
            broker,
            credentials,
            unix_time,
            random,
            mut limits,
            ..
        } = client(Host, Broker { host, port }, board.credentials(HOST));
        limits.resolve = embassy_time::Duration::from_millis(50);
        Client {
            tcp,
            dns: Names { silent },
            broker,
            credentials,
            unix_time,
            random,
            limits,
        }
    };
    let dial = |error| Err(LineError::Dial(error));
    let unknown = twice(named("broker.example", 1, false)).await;
    assert_eq!(unknown, dial(DialError::HostNotFound));
    let silent = twice(named("broker.example", 1, true)).await;
    assert_eq!(silent, dial(DialError::ResolveTimeout));

    let closed = TcpListener::bind((HOST, 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let broker = Broker {
        host: HOST,
        port: closed.port(),
    };
    let refused = twice(client(Host, broker, board.credentials(HOST))).await;
    assert_eq!(refused, dial(DialError::Refused));

    let unreachable = Broker {
        host: "255.255.255.255",
        port: 1,
    };
    let error = twice(client(Host, unreachable, board.credentials(HOST))).await;
    assert_eq!(error, dial(DialError::Unreachable(ErrorKind::Other)));
}

#[test]
fn credentials_that_do_not_fit_are_refused() {
    let root = Party::new(&authority(), None);
    let [one, other] = [(); 2].map(|()| Party::new(&vehicle(), Some(&root)));
    let p384 = Request {
        p384: true,
        ..vehicle()
    };
    let p384 = Party::new(&p384, Some(&root));
    let check = |authority: &[u8], certificate: &[u8], key: &[u8], host: &str, expected| {
        let credentials = Credentials::new(authority, certificate, key, host);
        assert_eq!(credentials.err(), expected);
    };
    let ca = &root.certificate;
    check(ca, &one.certificate, &one.key, "broker.example", None);
    check(ca, &one.certificate, &one.key, "::1", None);
    let error = Some(CredentialsError::KeyOfAnother);
    check(ca, &one.certificate, &other.key, HOST, error);
    let error = Some(CredentialsError::Authority);
    check(b"", &one.certificate, &one.key, HOST, error);
    let error = Some(CredentialsError::Certificate);
    check(ca, &p384.certificate, &p384.key, HOST, error);
    for len in 0..one.certificate.len() {
        check(ca, &one.certificate[..len], &one.key, HOST, error);
    }
    let error = Some(CredentialsError::Key);
    check(ca, &one.certificate, &one.key[1..], HOST, error);
    let error = Some(CredentialsError::Host);
    for host in ["", "no host", "a..b"] {
        check(ca, &one.certificate, &one.key, host, error);
    }
}

#[test]
fn credentials_are_not_in_debug_output() {
    let root = Party::new(&authority(), None);
    let board = Party::new(&vehicle(), Some(&root)).provisioned(&root);
    let shown = format!("{:?}", board.credentials(HOST));
    assert_eq!(shown, "Credentials { .. }");
}
