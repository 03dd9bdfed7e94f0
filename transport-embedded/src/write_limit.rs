//! A stream that gives up on a peer that takes nothing.

use core::fmt;

use embassy_time::{Duration, with_timeout};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

/// A stream whose writes end in an error when they take too long. Reads wait as long as they like:
/// the keep-alive of MQTT looks after them.
#[derive(Debug)]
pub(crate) struct WriteLimit<IO> {
    stream: IO,
    limit: Duration,
}

impl<IO> WriteLimit<IO> {
    pub(crate) const fn new(stream: IO, limit: Duration) -> Self {
        Self { stream, limit }
    }
}

/// Why a stream cannot be used any more.
#[derive(Debug)]
pub(crate) enum WriteLimitError<E> {
    /// The stream's own error.
    Stream(E),
    /// The peer takes nothing.
    Stalled,
}

impl<E: fmt::Display> fmt::Display for WriteLimitError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(error) => error.fmt(f),
            Self::Stalled => f.write_str("the peer takes nothing"),
        }
    }
}

impl<E: core::error::Error> core::error::Error for WriteLimitError<E> {}

impl<E: embedded_io_async::Error> embedded_io_async::Error for WriteLimitError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Stream(error) => error.kind(),
            Self::Stalled => ErrorKind::TimedOut,
        }
    }
}

impl<IO: ErrorType> ErrorType for WriteLimit<IO> {
    type Error = WriteLimitError<IO::Error>;
}

impl<IO: Read> Read for WriteLimit<IO> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let read = self.stream.read(buffer).await;
        read.map_err(WriteLimitError::Stream)
    }
}

impl<IO: Write> Write for WriteLimit<IO> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        match with_timeout(self.limit, self.stream.write(bytes)).await {
            Ok(written) => written.map_err(WriteLimitError::Stream),
            Err(_late) => Err(WriteLimitError::Stalled),
        }
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        match with_timeout(self.limit, self.stream.flush()).await {
            Ok(flushed) => flushed.map_err(WriteLimitError::Stream),
            Err(_late) => Err(WriteLimitError::Stalled),
        }
    }
}
