//! Datagrams, for the clock.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpAddress, Stack};

use crate::sntp::Datagrams;

/// Datagrams that wait in either direction.
const PACKETS: usize = 4;

/// Room for the datagrams of one socket.
#[derive(Debug)]
pub struct UdpBuffers {
    receive_metadata: [PacketMetadata; PACKETS],
    receive: [u8; 512],
    send_metadata: [PacketMetadata; PACKETS],
    send: [u8; 256],
}

impl UdpBuffers {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            receive_metadata: [PacketMetadata::EMPTY; PACKETS],
            receive: [0; 512],
            send_metadata: [PacketMetadata::EMPTY; PACKETS],
            send: [0; 256],
        }
    }
}

impl Default for UdpBuffers {
    fn default() -> Self {
        Self::new()
    }
}

/// A datagram cannot be sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpError {
    /// No local port is free.
    NoPort,
    /// There is no route to the peer, or it is not at an IPv4 address.
    NoRoute,
    /// The datagram exceeds a buffer.
    TooLong,
}

impl fmt::Display for UdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPort => "no local UDP port is free",
            Self::NoRoute => "there is no route to the peer",
            Self::TooLong => "the datagram exceeds a buffer",
        })
    }
}

impl core::error::Error for UdpError {}

/// A UDP socket of the network stack. Each datagram is sent from another port, and forgets what had
/// not been sent or received before.
pub struct Udp<'d>(UdpSocket<'d>);

impl fmt::Debug for Udp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Udp").finish_non_exhaustive()
    }
}

impl<'d> Udp<'d> {
    /// A socket over `buffers`.
    ///
    /// # Errors
    /// A [`UdpError`] when no port is free.
    pub fn new(stack: Stack<'d>, buffers: &'d mut UdpBuffers) -> Result<Self, UdpError> {
        let mut socket = UdpSocket::new(
            stack,
            &mut buffers.receive_metadata,
            &mut buffers.receive,
            &mut buffers.send_metadata,
            &mut buffers.send,
        );
        socket.bind(0).map_err(|_| UdpError::NoPort)?;
        Ok(Self(socket))
    }
}

impl Datagrams for Udp<'_> {
    type Error = UdpError;

    async fn send(&mut self, datagram: &[u8], to: SocketAddr) -> Result<(), UdpError> {
        use embassy_net::udp::SendError;
        let IpAddr::V4(address) = to.ip() else {
            return Err(UdpError::NoRoute);
        };
        // A datagram to somebody who cannot be found would hold up this one.
        self.0.close();
        self.0.bind(0).map_err(|_| UdpError::NoPort)?;
        let sent = self
            .0
            .send_to(datagram, (IpAddress::Ipv4(address), to.port()));
        sent.await.map_err(|error| match error {
            SendError::NoRoute | SendError::SocketNotBound => UdpError::NoRoute,
            SendError::PacketTooLarge => UdpError::TooLong,
        })
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), UdpError> {
        loop {
            // What exceeds the buffer is nothing that was asked for.
            if let Ok((len, from)) = self.0.recv_from(buffer).await {
                let IpAddress::Ipv4(address) = from.endpoint.addr;
                return Ok((len, SocketAddr::from((address, from.endpoint.port))));
            }
        }
    }
}
