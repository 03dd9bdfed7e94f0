//! The time of day from the network, for boards without a clock of their own (RFC 4330, RFC 5905).
//!
//! One question to one server after the other, until one gives an answer that can be true. An answer
//! has to repeat a random number of the question, so that only somebody on the way can forge it; who
//! is on the way can, as SNTP has no signatures. A board that must not believe such a clock needs one
//! of its own.
//!
//! ```no_run
//! use core::net::SocketAddr;
//! use embassy_time::Duration;
//! use vinbus_transport_embedded::sntp::{self, Datagrams, NetworkTime};
//!
//! # async fn example(mut socket: impl Datagrams, server: SocketAddr, random: impl FnMut() -> u64) {
//! /// The day on which this firmware was built.
//! const EARLIEST_UNIX_S: u64 = 1_790_000_000;
//!
//! let limit = Duration::from_secs(5);
//! let asked = sntp::ask(&mut socket, &[server], EARLIEST_UNIX_S, random, limit).await;
//! let time: Option<NetworkTime> = asked.ok();
//! let seconds_now = time.map(|time| time.unix_s());
//! # }
//! ```

use core::fmt;
use core::net::SocketAddr;

use embassy_time::{Duration, Instant, with_deadline};

/// The UDP port of time servers.
pub const PORT: u16 = 123;

/// Bytes of a question and of an answer without authentication.
const PACKET_BYTES: usize = 48;

/// No leap warning, version 4, client.
const CLIENT: u8 = 0x23;

/// Mode of an answer, in the low bits of the first byte.
const SERVER_MODE: u8 = 4;

/// The leap indicator of a server that does not know the time itself.
const UNSYNCHRONISED: u8 = 3;

/// Servers further from a clock than this do not know the time.
const STRATUM_MAX: u8 = 15;

/// From 1900, where the timestamps begin, to 1970.
const UNIX_EPOCH_S: u64 = 2_208_988_800;

/// The socket of [`ask`].
#[expect(
    async_fn_in_trait,
    reason = "executors of boards are single-threaded; on Linux the concrete type decides about Send"
)]
pub trait Datagrams {
    /// Why a datagram cannot be sent or received.
    type Error: fmt::Debug;

    /// Sends a datagram.
    ///
    /// # Errors
    /// Those of the socket.
    async fn send(&mut self, datagram: &[u8], to: SocketAddr) -> Result<(), Self::Error>;

    /// Waits for a datagram; its length and where it is from. Cancel safe.
    ///
    /// # Errors
    /// Those of the socket.
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Self::Error>;
}

/// The time of day at some moment, and so at any later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkTime {
    unix_ms: u64,
    at: Instant,
}

impl NetworkTime {
    /// The time of day at `at`, in milliseconds since 1970.
    #[must_use]
    pub const fn new(unix_ms: u64, at: Instant) -> Self {
        Self { unix_ms, at }
    }

    /// Milliseconds since 1970, now.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        let passed = Instant::now().saturating_duration_since(self.at);
        self.unix_ms.saturating_add(passed.as_millis())
    }

    /// Seconds since 1970, now.
    #[must_use]
    pub fn unix_s(&self) -> u64 {
        self.unix_ms() / 1000
    }
}

/// Why there is no time of day; the reason of the last server that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SntpError {
    /// There is no server to ask.
    NoServer,
    /// The question could not be sent: there is no route, or no address yet.
    Network,
    /// No answer came in time.
    Timeout,
    /// The server refuses to serve us; its code, such as `RATE` or `DENY`, with `?` for what is neither a
    /// letter nor a digit.
    Refused([u8; 4]),
    /// The server does not know the time itself.
    Unsynchronised,
    /// The answer is before the earliest time that can be true; in seconds since 1970.
    Implausible(u64),
}

impl fmt::Display for SntpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer => f.write_str("no time server is configured"),
            Self::Network => f.write_str("the time server cannot be reached"),
            Self::Timeout => f.write_str("the time server did not answer in time"),
            Self::Refused(code) => {
                let code = core::str::from_utf8(code).unwrap_or("?");
                write!(f, "the time server refuses us: {code}")
            }
            Self::Unsynchronised => f.write_str("the time server does not know the time itself"),
            Self::Implausible(seconds) => {
                write!(
                    f,
                    "the time server says {seconds} s since 1970, which is long past"
                )
            }
        }
    }
}

impl core::error::Error for SntpError {}

/// Asks `servers` one after the other, each for `limit` at most, until one gives a time that is not
/// before `earliest_unix_s`. `random` makes the answers hard to forge: it has to be unpredictable.
///
/// Datagrams from others, late ones, doubled ones and malformed ones are ignored.
///
/// # Errors
/// A [`SntpError`].
pub async fn ask<S: Datagrams>(
    socket: &mut S,
    servers: &[SocketAddr],
    earliest_unix_s: u64,
    mut random: impl FnMut() -> u64,
    limit: Duration,
) -> Result<NetworkTime, SntpError> {
    let mut outcome = Err(SntpError::NoServer);
    for server in servers {
        let query = Query {
            cookie: random().to_be_bytes(),
            earliest_unix_s,
        };
        outcome = query.ask(socket, *server, limit).await;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// A question.
struct Query {
    /// What an answer has to repeat.
    cookie: [u8; 8],
    earliest_unix_s: u64,
}

impl Query {
    async fn ask<S: Datagrams>(
        &self,
        socket: &mut S,
        server: SocketAddr,
        limit: Duration,
    ) -> Result<NetworkTime, SntpError> {
        let asked = Instant::now();
        let deadline = asked + limit;
        let question = self.packet();
        let sending = socket.send(&question, server);
        match with_deadline(deadline, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(_reason)) => return Err(SntpError::Network),
            Err(_late) => return Err(SntpError::Timeout),
        }
        // An answer may be longer; nothing of the rest is of use.
        let mut buffer = [0; 128];
        loop {
            // Whoever sends without a pause leaves no moment in which time passes.
            if deadline <= Instant::now() {
                return Err(SntpError::Timeout);
            }
            let receiving = socket.receive(&mut buffer);
            let (len, from) = match with_deadline(deadline, receiving).await {
                Ok(Ok(received)) => received,
                Ok(Err(_reason)) => return Err(SntpError::Network),
                Err(_late) => return Err(SntpError::Timeout),
            };
            if from != server {
                continue;
            }
            if let Some(answer) = buffer.get(..len).and_then(|answer| self.read(answer)) {
                let now = Instant::now();
                let way = (now - asked) / 2;
                return answer.map(|ms| NetworkTime::new(ms + way.as_millis(), now));
            }
        }
    }

    fn packet(&self) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        packet[0] = CLIENT;
        packet[40..].copy_from_slice(&self.cookie);
        packet
    }

    /// The milliseconds since 1970 at which the server sent `datagram`, or why it does not tell;
    /// `None` if this is no answer to the question.
    fn read(&self, datagram: &[u8]) -> Option<Result<u64, SntpError>> {
        let packet: &[u8; PACKET_BYTES] = datagram.first_chunk()?;
        let (leap, mode) = (packet[0] >> 6, packet[0] & 7);
        if mode != SERVER_MODE || packet[24..32] != self.cookie {
            return None;
        }
        let stratum = packet[1];
        if stratum == 0 {
            let code = [packet[12], packet[13], packet[14], packet[15]];
            let shown = code.map(|byte| match byte.is_ascii_alphanumeric() {
                true => byte,
                false => b'?',
            });
            return Some(Err(SntpError::Refused(shown)));
        }
        let (_, transmitted) = packet.split_last_chunk()?;
        let transmitted = u64::from_be_bytes(*transmitted);
        if leap == UNSYNCHRONISED || stratum > STRATUM_MAX || transmitted == 0 {
            return Some(Err(SntpError::Unsynchronised));
        }
        let ms = unix_ms(transmitted);
        let seconds = ms / 1000;
        if seconds < self.earliest_unix_s {
            return Some(Err(SntpError::Implausible(seconds)));
        }
        Some(Ok(ms))
    }
}

/// Milliseconds since 1970 of a timestamp in units of 2^-32 s. Those in the upper half of the range
/// count from 1900, the others from 2036, so that this holds until 2104.
const fn unix_ms(timestamp: u64) -> u64 {
    let seconds = timestamp >> 32;
    let era = if seconds < 1 << 31 { 1 << 32 } else { 0 };
    let millis = ((timestamp & 0xffff_ffff) * 1000) >> 32;
    (seconds + era).saturating_sub(UNIX_EPOCH_S) * 1000 + millis
}
