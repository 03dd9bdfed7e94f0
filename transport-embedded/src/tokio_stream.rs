//! A stream of tokio, as a board's would look.

use core::fmt;
use std::io;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A stream of tokio under the traits of embedded-io-async. Reads and writes are cancel safe if those
/// of `S` are, which holds for TCP and for tokio-rustls.
#[derive(Debug)]
pub struct TokioStream<S>(S);

impl<S> TokioStream<S> {
    /// Wraps a stream.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self(stream)
    }
}

/// The stream broke.
#[derive(Debug)]
pub struct TokioStreamError(io::Error);

impl fmt::Display for TokioStreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::error::Error for TokioStreamError {}

impl embedded_io_async::Error for TokioStreamError {
    fn kind(&self) -> ErrorKind {
        match self.0.kind() {
            io::ErrorKind::ConnectionReset => ErrorKind::ConnectionReset,
            io::ErrorKind::TimedOut => ErrorKind::TimedOut,
            io::ErrorKind::WriteZero => ErrorKind::WriteZero,
            _ => ErrorKind::Other,
        }
    }
}

impl<S> ErrorType for TokioStream<S> {
    type Error = TokioStreamError;
}

impl<S: AsyncRead + Unpin> Read for TokioStream<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TokioStreamError> {
        self.0.read(buffer).await.map_err(TokioStreamError)
    }
}

impl<S: AsyncWrite + Unpin> Write for TokioStream<S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TokioStreamError> {
        self.0.write(bytes).await.map_err(TokioStreamError)
    }

    async fn flush(&mut self) -> Result<(), TokioStreamError> {
        self.0.flush().await.map_err(TokioStreamError)
    }
}
