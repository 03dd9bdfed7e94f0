//! Looks at the records that come in before the record layer does.
//!
//! The record layer takes unencrypted records at any time, so that anybody on the way could slip one
//! in. Here only those pass that have their place: see [`Phase`]. The phase is also written into the
//! record's version, which nobody reads any more, for the cipher to know it.

use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::pin::pin;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

/// Content types (RFC 8446, section 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// The largest record (RFC 8446, section 5.2).
const RECORD_BYTES_MAX: usize = 16_384 + 256;

/// An encrypted record has a content type and a tag at least.
const ENCRYPTED_BYTES_MIN: usize = 1 + 16;

const HEADER_BYTES: usize = 5;

/// The version in every record of TLS 1.3.
const VERSION: [u8; 2] = [3, 3];

/// How far the connection is.
///
/// | record | during the handshake | afterwards |
/// |---|---|---|
/// | encrypted, 17 to 16,640 bytes | passes | passes |
/// | handshake, alert, change of cipher, at most 16,640 bytes | passes | refused |
/// | any other | refused | refused |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Handshake,
    Open,
}

impl Phase {
    const fn version(self) -> [u8; 2] {
        match self {
            Self::Handshake => [3, 0xf0],
            Self::Open => [3, 0xf1],
        }
    }

    fn admits(self, content_type: u8, len: usize) -> bool {
        match (content_type, self) {
            (APPLICATION_DATA, _) => (ENCRYPTED_BYTES_MIN..=RECORD_BYTES_MAX).contains(&len),
            (CHANGE_CIPHER_SPEC | ALERT | HANDSHAKE, Self::Handshake) => len <= RECORD_BYTES_MAX,
            _ => false,
        }
    }
}

/// The phase in which a record came, and its header as it was on the wire.
pub(super) fn phase_of(header: &[u8]) -> Option<(Phase, [u8; HEADER_BYTES])> {
    let [content_type, first, second, high, low] = <[u8; HEADER_BYTES]>::try_from(header).ok()?;
    let version = [first, second];
    let phase = [Phase::Handshake, Phase::Open]
        .into_iter()
        .find(|phase| phase.version() == version)?;
    Some((phase, [content_type, VERSION[0], VERSION[1], high, low]))
}

/// A stream whose records are looked at.
pub(super) struct Records<S> {
    stream: S,
    phase: Phase,
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have come in.
    header_in: usize,
    /// Bytes of the header that have been passed on.
    header_out: usize,
    /// Bytes of the record that are still to come.
    body: usize,
    /// Nothing has come in yet.
    first: bool,
}

/// The stream of a connection failed, or carries what is no TLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordsError(ErrorKind);

impl fmt::Display for RecordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::error::Error for RecordsError {}

impl embedded_io_async::Error for RecordsError {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

impl RecordsError {
    /// A record has not its place. No stream says so of itself.
    const UNEXPECTED: Self = Self(ErrorKind::InvalidData);
    /// The same of the very first record.
    const NOT_TLS: Self = Self(ErrorKind::InvalidInput);

    fn of(error: &impl embedded_io_async::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput => Self(ErrorKind::Other),
            other => Self(other),
        }
    }
}

/// Tells a record without a place from a stream that failed.
pub(super) fn is_unexpected(kind: ErrorKind) -> bool {
    kind == RecordsError::UNEXPECTED.0
}

/// Tells a peer that does not speak TLS.
pub(super) fn is_not_tls(kind: ErrorKind) -> bool {
    kind == RecordsError::NOT_TLS.0
}

impl<S> Records<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            phase: Phase::Handshake,
            header: [0; HEADER_BYTES],
            header_in: 0,
            header_out: 0,
            body: 0,
            first: true,
        }
    }

    /// The handshake is over.
    pub(super) fn open(&mut self) {
        self.phase = Phase::Open;
    }

    /// Looks at a header that is complete, and marks it.
    fn admit(&mut self) -> Result<(), RecordsError> {
        let [content_type, _, _, high, low] = self.header;
        self.body = u16::from_be_bytes([high, low]).into();
        let first = core::mem::take(&mut self.first);
        if !self.phase.admits(content_type, self.body) {
            return Err(match first {
                true => RecordsError::NOT_TLS,
                false => RecordsError::UNEXPECTED,
            });
        }
        [self.header[1], self.header[2]] = self.phase.version();
        Ok(())
    }
}

impl<S: Read + Write> Records<S> {
    /// Cancel safe if the stream is.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, RecordsError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.body == 0 && self.header_out == HEADER_BYTES {
            (self.header_in, self.header_out) = (0, 0);
        }
        while self.header_in < HEADER_BYTES {
            let rest = &mut self.header[self.header_in..];
            match self
                .stream
                .read(rest)
                .await
                .map_err(|error| RecordsError::of(&error))?
            {
                0 => return Ok(0),
                len => self.header_in += len,
            }
        }
        if self.header_out == 0 {
            self.admit()?;
        }
        let header = &self.header[self.header_out..];
        if !header.is_empty() {
            let len = header.len().min(buffer.len());
            buffer[..len].copy_from_slice(&header[..len]);
            self.header_out += len;
            return Ok(len);
        }
        let len = self.body.min(buffer.len());
        let read = self.stream.read(&mut buffer[..len]).await;
        let len = read.map_err(|error| RecordsError::of(&error))?;
        self.body -= len;
        Ok(len)
    }
}

/// Both halves of a stream. Each poll borrows it anew, so its reads and writes have to be cancel
/// safe: what they have not finished is begun again.
pub(super) struct Half<'r, S>(pub(super) &'r RefCell<Records<S>>);

impl<S> Clone for Half<'_, S> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<S> ErrorType for Half<'_, S> {
    type Error = RecordsError;
}

impl<S: Read + Write> Read for Half<'_, S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, RecordsError> {
        poll_fn(|cx| pin!(self.0.borrow_mut().read(buffer)).poll(cx)).await
    }
}

impl<S: Read + Write> Write for Half<'_, S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, RecordsError> {
        let written = poll_fn(|cx| pin!(self.0.borrow_mut().stream.write(bytes)).poll(cx)).await;
        written.map_err(|error| RecordsError::of(&error))
    }

    async fn flush(&mut self) -> Result<(), RecordsError> {
        let flushed = poll_fn(|cx| pin!(self.0.borrow_mut().stream.flush()).poll(cx)).await;
        flushed.map_err(|error| RecordsError::of(&error))
    }
}
