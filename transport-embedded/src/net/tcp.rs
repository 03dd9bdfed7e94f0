//! One TCP socket, dialled again and again.

use core::cell::Cell;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use embassy_net::tcp::{ConnectError, State, TcpSocket};
use embassy_net::{IpAddress, Stack};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::TcpConnect;

/// A peer that acknowledges nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How often a connection without traffic is probed, so that [`SILENCE_MAX`] can tell.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long a new connection waits for the goodbye of the one before.
const GOODBYE: Duration = Duration::from_secs(1);

/// A socket that opens one connection at a time, over buffers of the caller.
pub struct Tcp<'d> {
    /// Absent while a connection has it.
    socket: Cell<Option<TcpSocket<'d>>>,
}

impl fmt::Debug for Tcp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp").finish_non_exhaustive()
    }
}

impl<'d> Tcp<'d> {
    /// A socket of `stack`. Larger buffers let more bytes be on their way; 8 KiB each is good.
    #[must_use]
    pub fn new(stack: Stack<'d>, receive: &'d mut [u8], send: &'d mut [u8]) -> Self {
        let mut socket = TcpSocket::new(stack, receive, send);
        socket.set_timeout(Some(SILENCE_MAX));
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_nagle_enabled(false);
        Self {
            socket: Cell::new(Some(socket)),
        }
    }
}

/// Why a connection does not come up or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpError {
    /// The socket has a connection already.
    InUse,
    /// Only IPv4 addresses can be dialled.
    NoIpv6,
    /// The network has no route, or no address yet.
    NoRoute,
    /// Nothing listens at the port.
    Refused,
    /// The peer does not answer.
    TimedOut,
    /// The peer broke the connection, or acknowledges nothing any more.
    Reset,
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "the socket has a connection already",
            Self::NoIpv6 => "only IPv4 addresses can be dialled",
            Self::NoRoute => "the network has no route, or no address yet",
            Self::Refused => "nothing listens at the port",
            Self::TimedOut => "the peer does not answer",
            Self::Reset => "the peer broke the connection",
        })
    }
}

impl core::error::Error for TcpError {}

impl embedded_io_async::Error for TcpError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse => ErrorKind::AddrInUse,
            Self::NoIpv6 => ErrorKind::Unsupported,
            Self::NoRoute => ErrorKind::AddrNotAvailable,
            Self::Refused => ErrorKind::ConnectionRefused,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Reset => ErrorKind::ConnectionReset,
        }
    }
}

impl<'d> TcpConnect for Tcp<'d> {
    type Error = TcpError;
    type Connection<'a>
        = TcpStream<'a, 'd>
    where
        Self: 'a;

    async fn connect(&self, remote: SocketAddr) -> Result<TcpStream<'_, 'd>, TcpError> {
        let IpAddr::V4(address) = remote.ip() else {
            return Err(TcpError::NoIpv6);
        };
        // From here on, whatever happens, the socket comes back to its place.
        let mut stream = TcpStream {
            home: &self.socket,
            socket: Some(self.socket.take().ok_or(TcpError::InUse)?),
        };
        let socket = stream.socket()?;
        if !matches!(socket.state(), State::Closed | State::TimeWait) {
            let _goodbye_or_late = with_timeout(GOODBYE, socket.flush()).await;
            socket.abort();
            // The reset leaves with the next turn of the network; one that has no way out is forgotten.
            let _gone_or_late = with_timeout(GOODBYE, socket.flush()).await;
        }
        let connected = socket.connect((IpAddress::Ipv4(address), remote.port()));
        connected.await.map_err(|error| match error {
            ConnectError::ConnectionReset => TcpError::Refused,
            ConnectError::TimedOut => TcpError::TimedOut,
            ConnectError::NoRoute => TcpError::NoRoute,
            ConnectError::InvalidState => TcpError::InUse,
        })?;
        Ok(stream)
    }
}

/// An open connection. Reads and writes are cancel safe.
pub struct TcpStream<'a, 'd> {
    home: &'a Cell<Option<TcpSocket<'d>>>,
    /// Present until this is dropped.
    socket: Option<TcpSocket<'d>>,
}

impl fmt::Debug for TcpStream<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream").finish_non_exhaustive()
    }
}

impl<'d> TcpStream<'_, 'd> {
    fn socket(&mut self) -> Result<&mut TcpSocket<'d>, TcpError> {
        self.socket.as_mut().ok_or(TcpError::Reset)
    }
}

impl Drop for TcpStream<'_, '_> {
    fn drop(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            socket.close();
            self.home.set(Some(socket));
        }
    }
}

impl ErrorType for TcpStream<'_, '_> {
    type Error = TcpError;
}

impl Read for TcpStream<'_, '_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        let read = self.socket()?.read(buffer).await;
        read.map_err(|_reset| TcpError::Reset)
    }
}

impl Write for TcpStream<'_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TcpError> {
        let written = self.socket()?.write(bytes).await;
        written.map_err(|_reset| TcpError::Reset)
    }

    /// Does nothing: what is written is sent anyway. The stack's own flush waits until the peer
    /// has acknowledged everything, which would cost MQTT a round trip for each packet.
    async fn flush(&mut self) -> Result<(), TcpError> {
        Ok(())
    }
}
