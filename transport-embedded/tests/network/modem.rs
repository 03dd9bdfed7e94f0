//! A modem whose driver hesitates, fails and hangs up.

use std::net::SocketAddr;

use embassy_time::Duration;
use embedded_io_async::{Read, Write};
use embedded_nal::{TcpClientStack, TcpError, TcpErrorKind};
use embedded_nal_async::TcpConnect;
use tokio::net::TcpListener;
use vinbus_transport_embedded::dial::{self, Broker, DialError, TimeLimits};
use vinbus_transport_embedded::nal::{Modem, ModemError};

use crate::support::PATIENCE;
use crate::support::chip::Chip;

const INTERVAL: Duration = Duration::from_micros(100);
const ANYWHERE: ([u8; 4], u16) = ([192, 0, 2, 1], 1883);

/// An answer of the driver.
#[derive(Clone, Copy)]
enum Answer {
    WouldBlock,
    Bytes(usize),
    Error(TcpErrorKind),
}

#[derive(Debug)]
struct DriverError(TcpErrorKind);

impl TcpError for DriverError {
    fn kind(&self) -> TcpErrorKind {
        self.0
    }
}

/// A driver that answers by the book, and with the last page again and again.
struct Driver {
    answers: &'static [Answer],
    open: usize,
}

impl Driver {
    fn modem(answers: &'static [Answer]) -> Modem<Self> {
        Modem::new(Self { answers, open: 0 }, INTERVAL)
    }

    fn answer(&mut self) -> nb::Result<usize, DriverError> {
        let answer = self.answers[0];
        if let [_, rest @ ..] = self.answers
            && !rest.is_empty()
        {
            self.answers = rest;
        }
        match answer {
            Answer::WouldBlock => Err(nb::Error::WouldBlock),
            Answer::Bytes(len) => Ok(len),
            Answer::Error(kind) => Err(nb::Error::Other(DriverError(kind))),
        }
    }
}

impl TcpClientStack for Driver {
    type TcpSocket = ();
    type Error = DriverError;

    fn socket(&mut self) -> Result<(), DriverError> {
        self.open += 1;
        Ok(())
    }

    fn connect(&mut self, (): &mut (), _: SocketAddr) -> nb::Result<(), DriverError> {
        self.answer().map(|_| ())
    }

    fn send(&mut self, (): &mut (), _: &[u8]) -> nb::Result<usize, DriverError> {
        self.answer()
    }

    fn receive(&mut self, (): &mut (), _: &mut [u8]) -> nb::Result<usize, DriverError> {
        self.answer()
    }

    fn close(&mut self, (): ()) -> Result<(), DriverError> {
        self.open -= 1;
        Err(DriverError(TcpErrorKind::Other))
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

#[tokio::test]
async fn would_block_and_nothing_are_asked_again() {
    use Answer::{Bytes, WouldBlock};
    let modem = Driver::modem(&[
        WouldBlock,
        WouldBlock,
        Bytes(0),
        WouldBlock,
        Bytes(0),
        Bytes(3),
    ]);
    let mut stream = in_time(modem.connect(ANYWHERE.into())).await.unwrap();
    assert_eq!(in_time(stream.read(&mut [0; 8])).await, Ok(3));
    assert_eq!(in_time(stream.write(&[0; 8])).await, Ok(3));
    assert_eq!(stream.read(&mut []).await, Ok(0));
    assert_eq!(stream.write(&[]).await, Ok(0));
    drop(stream);
    assert_eq!(modem.into_inner().open, 0);
}

#[tokio::test]
async fn closed_connection_is_an_end_for_reads_and_an_error_for_writes() {
    use Answer::{Bytes, Error};
    let modem = Driver::modem(&[Bytes(0), Error(TcpErrorKind::PipeClosed)]);
    let mut stream = in_time(modem.connect(ANYWHERE.into())).await.unwrap();
    assert_eq!(in_time(stream.read(&mut [0; 8])).await, Ok(0));
    assert_eq!(
        in_time(stream.write(&[0; 8])).await,
        Err(ModemError::Closed)
    );
}

#[tokio::test]
async fn error_of_the_driver_is_passed_on_and_the_socket_closed() {
    use Answer::{Bytes, Error};
    let modem = Driver::modem(&[Error(TcpErrorKind::Other)]);
    let refused = in_time(modem.connect(ANYWHERE.into())).await;
    assert_eq!(refused.err(), Some(ModemError::Driver));
    assert_eq!(modem.into_inner().open, 0);

    let modem = Driver::modem(&[Bytes(0), Error(TcpErrorKind::Other)]);
    let mut stream = in_time(modem.connect(ANYWHERE.into())).await.unwrap();
    let read = in_time(stream.read(&mut [0; 8])).await;
    assert_eq!(read, Err(ModemError::Driver));
}

#[tokio::test]
async fn driver_that_never_connects_is_given_up_and_the_socket_closed() {
    let modem = Driver::modem(&[Answer::WouldBlock]);
    let broker = Broker {
        host: "192.0.2.1",
        port: 1883,
    };
    let limits = TimeLimits {
        connect: Duration::from_millis(20),
        ..TimeLimits::default()
    };
    let names = Modem::new(Chip::default(), INTERVAL);
    let opened = in_time(dial::open(&modem, &names, broker, limits)).await;
    assert_eq!(opened.err(), Some(DialError::ConnectTimeout));
    assert_eq!(modem.into_inner().open, 0);
}

#[tokio::test]
async fn modem_looks_up_names() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let modem = Modem::new(Chip::default(), INTERVAL);
    for (host, expected) in [
        ("broker.test", None),
        ("other.test", Some(DialError::HostNotFound)),
    ] {
        let opened = dial::open(&modem, &modem, Broker { host, port }, TimeLimits::default());
        assert_eq!(in_time(opened).await.err(), expected);
    }
}
