//! A driver of the classic embedded-nal, as modems have: it never waits, and takes and gives little.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use embedded_nal::{AddrType, Dns, TcpClientStack, TcpError, TcpErrorKind};

/// Bytes that the chip moves at once.
const PIECE_BYTES: usize = 1460;

/// A network chip on this machine's network.
#[derive(Default)]
pub(crate) struct Chip {
    /// Every other question of a kind has no answer yet.
    asked: [bool; 4],
    /// Sockets that are open.
    pub(crate) open: usize,
}

/// The chip's error.
#[derive(Debug)]
pub(crate) enum ChipError {
    Closed,
    Refused,
}

impl TcpError for ChipError {
    fn kind(&self) -> TcpErrorKind {
        match self {
            Self::Closed => TcpErrorKind::PipeClosed,
            Self::Refused => TcpErrorKind::Other,
        }
    }
}

/// Would-block of the system, of the chip, or an error.
fn not_now(error: &io::Error) -> nb::Error<ChipError> {
    match error.kind() {
        io::ErrorKind::WouldBlock => nb::Error::WouldBlock,
        _ => nb::Error::Other(ChipError::Closed),
    }
}

#[derive(Clone, Copy)]
enum Question {
    Connect,
    Send,
    Receive,
    Name,
}

impl Chip {
    fn hesitate(&mut self, question: Question) -> nb::Result<(), ChipError> {
        let asked = &mut self.asked[question as usize];
        *asked = !*asked;
        if *asked {
            Err(nb::Error::WouldBlock)
        } else {
            Ok(())
        }
    }
}

impl TcpClientStack for Chip {
    type TcpSocket = Option<TcpStream>;
    type Error = ChipError;

    fn socket(&mut self) -> Result<Option<TcpStream>, ChipError> {
        self.open += 1;
        Ok(None)
    }

    fn connect(
        &mut self,
        socket: &mut Option<TcpStream>,
        remote: SocketAddr,
    ) -> nb::Result<(), ChipError> {
        self.hesitate(Question::Connect)?;
        let Ok(stream) = TcpStream::connect(remote) else {
            return Err(nb::Error::Other(ChipError::Refused));
        };
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        *socket = Some(stream);
        Ok(())
    }

    fn send(
        &mut self,
        socket: &mut Option<TcpStream>,
        bytes: &[u8],
    ) -> nb::Result<usize, ChipError> {
        self.hesitate(Question::Send)?;
        let stream = socket.as_mut().ok_or(nb::Error::Other(ChipError::Closed))?;
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        stream.write(piece).map_err(|error| not_now(&error))
    }

    fn receive(
        &mut self,
        socket: &mut Option<TcpStream>,
        buffer: &mut [u8],
    ) -> nb::Result<usize, ChipError> {
        if self.hesitate(Question::Receive).is_err() {
            // Some drivers say so while nothing has come in.
            return Ok(0);
        }
        let stream = socket.as_mut().ok_or(nb::Error::Other(ChipError::Closed))?;
        let len = buffer.len().min(PIECE_BYTES);
        match stream.read(&mut buffer[..len]) {
            Ok(0) => Err(nb::Error::Other(ChipError::Closed)),
            Ok(len) => Ok(len),
            Err(error) => Err(not_now(&error)),
        }
    }

    fn close(&mut self, _socket: Option<TcpStream>) -> Result<(), ChipError> {
        self.open -= 1;
        Ok(())
    }
}

impl Dns for Chip {
    type Error = ChipError;

    fn get_host_by_name(&mut self, name: &str, _: AddrType) -> nb::Result<IpAddr, ChipError> {
        self.hesitate(Question::Name)?;
        match name {
            "broker.test" => Ok(IpAddr::from([127, 0, 0, 1])),
            _ => Err(nb::Error::Other(ChipError::Refused)),
        }
    }

    fn get_host_by_address(&mut self, _: IpAddr, _: &mut [u8]) -> nb::Result<usize, ChipError> {
        Err(nb::Error::Other(ChipError::Refused))
    }
}
