//! Opens a TCP connection to a broker that is named by host and port.
//!
//! The stack is anything behind [`embedded_nal_async`]: `net::Tcp` on a board with its own
//! network interface, `nal::Modem` behind a driver of the classic embedded-nal.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use embassy_time::{Duration, with_timeout};
use embedded_io_async::{Error as _, ErrorKind};
use embedded_nal_async::{AddrType, Dns, TcpConnect};

/// Where the broker listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broker<'a> {
    /// A host name or an IP address. An address needs no DNS.
    pub host: &'a str,
    /// The TCP port.
    pub port: u16,
}

/// How long the steps to an open connection may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// Looking up the host name.
    pub resolve: Duration,
    /// Opening the TCP connection.
    pub connect: Duration,
    /// The TLS handshake, where there is one.
    pub handshake: Duration,
}

impl Default for TimeLimits {
    /// 10 s each for the name and for TCP, 20 s for TLS: slow networks need most of it.
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(20),
        }
    }
}

/// Why there is no TCP connection; to be tried again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError {
    /// The host name does not resolve.
    HostNotFound,
    /// The resolver did not answer in time.
    ResolveTimeout,
    /// Nothing listens at the port.
    Refused,
    /// The address cannot be reached, or the stack has no room; the stack's reason.
    Unreachable(ErrorKind),
    /// The broker's host did not answer in time.
    ConnectTimeout,
}

impl DialError {
    /// What to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::HostNotFound => "check the broker's host name and the DNS settings",
            Self::ResolveTimeout => "check the network and the DNS settings",
            Self::Refused => "check the port, and that the broker is running and listens on it",
            Self::Unreachable(_) => "check the network, the address settings and the route",
            Self::ConnectTimeout => "check the address, the network and the firewalls in between",
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostNotFound => "the broker's host name does not resolve",
            Self::ResolveTimeout => "the resolver did not answer in time",
            Self::Refused => "the broker's host refused the TCP connection",
            Self::Unreachable(kind) => {
                return write!(f, "the broker's address cannot be reached: {kind}");
            }
            Self::ConnectTimeout => "the broker's host did not answer in time",
        })
    }
}

impl core::error::Error for DialError {}

/// Opens a connection to `broker`, within `limits`.
///
/// # Errors
/// A [`DialError`].
pub async fn open<'t, T: TcpConnect, D: Dns>(
    tcp: &'t T,
    dns: &D,
    broker: Broker<'_>,
    limits: TimeLimits,
) -> Result<T::Connection<'t>, DialError> {
    let address = resolve(dns, broker.host, limits.resolve).await?;
    let connecting = tcp.connect(SocketAddr::new(address, broker.port));
    match with_timeout(limits.connect, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => DialError::Refused,
            ErrorKind::TimedOut => DialError::ConnectTimeout,
            other => DialError::Unreachable(other),
        }),
        Err(_late) => Err(DialError::ConnectTimeout),
    }
}

/// The address of `host`, which may be one already.
///
/// # Errors
/// A [`DialError`].
pub async fn resolve(dns: &impl Dns, host: &str, limit: Duration) -> Result<IpAddr, DialError> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    match with_timeout(limit, dns.get_host_by_name(host, AddrType::Either)).await {
        Ok(Ok(address)) => Ok(address),
        Ok(Err(_reason)) => Err(DialError::HostNotFound),
        Err(_late) => Err(DialError::ResolveTimeout),
    }
}
