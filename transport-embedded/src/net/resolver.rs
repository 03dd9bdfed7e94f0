//! Host names through the DNS client of the network stack.

use core::fmt;
use core::net::IpAddr;

use embassy_net::Stack;
use embassy_net::dns::DnsSocket;
use embedded_nal_async::{AddrType, Dns};

/// Looks up host names. The stack needs one more socket for it.
pub struct Resolver<'d>(DnsSocket<'d>);

impl fmt::Debug for Resolver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").finish_non_exhaustive()
    }
}

impl<'d> Resolver<'d> {
    /// Asks the DNS servers that `stack` has been told of.
    #[must_use]
    pub fn new(stack: Stack<'d>) -> Self {
        Self(DnsSocket::new(stack))
    }
}

/// A name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// It is not a host name.
    InvalidName,
    /// No server knows it, or none answers.
    NotFound,
    /// Names of addresses are not looked up.
    Unsupported,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidName => "this is not a host name",
            Self::NotFound => "no server knows the host name, or none answers",
            Self::Unsupported => "names of addresses are not looked up",
        })
    }
}

impl core::error::Error for ResolveError {}

impl Dns for Resolver<'_> {
    type Error = ResolveError;

    async fn get_host_by_name(
        &self,
        host: &str,
        addr_type: AddrType,
    ) -> Result<IpAddr, ResolveError> {
        use embassy_net::dns::Error;
        let found = self.0.get_host_by_name(host, addr_type).await;
        found.map_err(|error| match error {
            Error::InvalidName | Error::NameTooLong => ResolveError::InvalidName,
            Error::Failed => ResolveError::NotFound,
        })
    }

    async fn get_host_by_address(
        &self,
        _address: IpAddr,
        _name: &mut [u8],
    ) -> Result<usize, ResolveError> {
        Err(ResolveError::Unsupported)
    }
}
