//! A socket as the portal wants it: never flushed, soon shut down, and with requests that have no
//! body.
//!
//! - embassy-net's `flush` waits until the peer has acknowledged everything, and nothing needs that:
//!   what was written is sent anyway.
//! - picoserve 0.20 adds a request's `Content-Length` to a position unchecked, which panics where
//!   overflows are checked. No request to the portal has a body, so a head with that header ends
//!   there, and is answered with 400.

use picoserve::Timeouts;
use picoserve::io::embedded_io_async::{ErrorType, Write as EmbeddedWrite};
use picoserve::io::{Read, Socket, Write};
use picoserve::mem::BorrowedCursor;
use picoserve::time::{Duration, Timer};

use super::limits::CLOSE_TIMEOUT_MS;

/// The socket.
pub(super) struct Quiet<S>(pub(super) S);

impl<Runtime, S: Socket<Runtime>> Socket<Runtime> for Quiet<S> {
    type Error = S::Error;
    type ReadHalf<'a>
        = Head<S::ReadHalf<'a>>
    where
        Self: 'a;
    type WriteHalf<'a>
        = Unflushed<S::WriteHalf<'a>>
    where
        Self: 'a;

    fn split(&mut self) -> (Self::ReadHalf<'_>, Self::WriteHalf<'_>) {
        let (read, write) = self.0.split();
        let head = Head {
            inner: read,
            at: At::Name(0),
            blank: true,
        };
        (head, Unflushed(write))
    }

    async fn abort<T: Timer<Runtime>>(
        self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), picoserve::Error<Self::Error>> {
        self.0.abort(&short(timeouts), timer).await
    }

    async fn shutdown<T: Timer<Runtime>>(
        self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), picoserve::Error<Self::Error>> {
        self.0.shutdown(&short(timeouts), timer).await
    }
}

/// The time for a goodbye.
fn short(timeouts: &Timeouts) -> Timeouts {
    let limit = Duration::from_millis(CLOSE_TIMEOUT_MS);
    Timeouts {
        read_request: limit,
        write: limit,
        ..timeouts.clone()
    }
}

/// What is written.
pub(super) struct Unflushed<W>(W);

impl<W: ErrorType> ErrorType for Unflushed<W> {
    type Error = W::Error;
}

impl<W: Write> EmbeddedWrite for Unflushed<W> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.0.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl<W: Write> Write for Unflushed<W> {
    async fn write_with<F: FnOnce(BorrowedCursor<'_>) -> T, T>(
        &mut self,
        fill: F,
    ) -> Result<T, Self::Error> {
        self.0.write_with(fill).await
    }
}

/// What is read, which begins with the head of a request.
pub(super) struct Head<R> {
    inner: R,
    at: At,
    /// The line has had white space only.
    blank: bool,
}

/// Where in the head the reader is.
#[derive(Clone, Copy)]
enum At {
    /// In a header's name, of which so many bytes are those of [`FORBIDDEN`].
    Name(usize),
    /// In a line that is another header.
    Line,
    /// In the forbidden header.
    Forbidden,
    /// Behind the head.
    Body,
}

const FORBIDDEN: &[u8] = b"content-length";

impl<R> Head<R> {
    /// Moves over a byte; `false` when the head ends before it.
    fn pass(&mut self, byte: u8) -> bool {
        self.at = match (self.at, byte) {
            (At::Forbidden, _) => return false,
            (At::Body, _) => return true,
            (_, b'\n') if self.blank => At::Body,
            (_, b'\n') => At::Name(0),
            // picoserve leaves out white space around names, and zeros anywhere.
            (at, 0) => at,
            (at @ At::Name(0), byte) if byte.is_ascii_whitespace() => at,
            (At::Name(len), byte) if len == FORBIDDEN.len() => match byte {
                b':' => At::Forbidden,
                byte if byte.is_ascii_whitespace() => At::Name(len),
                _ => At::Line,
            },
            (At::Name(len), byte) if FORBIDDEN.get(len) == Some(&byte.to_ascii_lowercase()) => {
                At::Name(len + 1)
            }
            (At::Name(_) | At::Line, _) => At::Line,
        };
        self.blank = byte == b'\n' || (self.blank && byte.is_ascii_whitespace());
        !matches!(self.at, At::Forbidden)
    }
}

impl<R: ErrorType> ErrorType for Head<R> {
    type Error = R::Error;
}

impl<R: Read> Read for Head<R> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        if matches!(self.at, At::Forbidden) {
            return Ok(0);
        }
        let len = self.inner.read(buffer).await?;
        if matches!(self.at, At::Body) {
            return Ok(len);
        }
        let read = buffer.get(..len).unwrap_or_default();
        let forbidden = read.iter().position(|byte| !self.pass(*byte));
        Ok(forbidden.unwrap_or(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a head that are let through.
    fn passed(head: &str) -> usize {
        let mut reader = Head {
            inner: (),
            at: At::Name(0),
            blank: true,
        };
        let stop = head.bytes().position(|byte| !reader.pass(byte));
        stop.unwrap_or(head.len())
    }

    #[test]
    fn head_ends_at_a_content_length_however_it_is_written() {
        for header in [
            "Content-Length:",
            "content-LENGTH :",
            " \tContent-Length:",
            "Con\0tent-Length:",
        ] {
            let head = std::format!("GET / HTTP/1.1\r\nHost: x\r\n{header} 99999\r\n\r\n");
            let colon = head.rfind(':').unwrap();
            assert_eq!(passed(&head), colon, "{header:?}");
        }
    }

    #[test]
    fn other_headers_and_what_follows_the_head_pass() {
        for head in [
            "GET / HTTP/1.1\r\nContent-Lengths: 1\r\nX-Content-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\n\nContent-Length: 1\n\n",
        ] {
            assert_eq!(passed(head), head.len(), "{head:?}");
        }
    }
}
