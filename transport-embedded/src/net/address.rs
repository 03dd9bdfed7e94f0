//! How a board gets its address.

use core::fmt;
use core::net::Ipv4Addr;

use embassy_net::{Config, Ipv4Cidr, StaticConfigV4};

/// DNS servers that a static configuration can name.
pub const DNS_SERVERS_MAX: usize = 3;

/// Where the address of a board comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressConfig {
    /// From a DHCP server.
    #[default]
    Dhcp,
    /// From its settings.
    Static(StaticAddress),
}

/// An address that does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticAddress {
    address: Ipv4Addr,
    prefix_len: u8,
    gateway: Option<Ipv4Addr>,
    dns_servers: [Option<Ipv4Addr>; DNS_SERVERS_MAX],
}

/// A static address cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// A prefix of more than 32 bits.
    PrefixLen(u8),
    /// The address is no host's: unspecified, broadcast or multicast.
    NotAHost(Ipv4Addr),
    /// More than [`DNS_SERVERS_MAX`] DNS servers.
    DnsServers(usize),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrefixLen(len) => write!(f, "a prefix has 0 to 32 bits, not {len}"),
            Self::NotAHost(address) => write!(f, "{address} is not the address of a host"),
            Self::DnsServers(count) => {
                write!(f, "{count} DNS servers: at most {DNS_SERVERS_MAX} fit")
            }
        }
    }
}

impl core::error::Error for AddressError {}

impl StaticAddress {
    /// An address in a network of `prefix_len` bits, the way out of it, and who knows names.
    ///
    /// # Errors
    /// An [`AddressError`].
    pub fn new(
        address: Ipv4Addr,
        prefix_len: u8,
        gateway: Option<Ipv4Addr>,
        dns_servers: &[Ipv4Addr],
    ) -> Result<Self, AddressError> {
        if prefix_len > 32 {
            return Err(AddressError::PrefixLen(prefix_len));
        }
        for host in gateway.iter().chain(dns_servers).chain([&address]) {
            if host.is_unspecified() || host.is_broadcast() || host.is_multicast() {
                return Err(AddressError::NotAHost(*host));
            }
        }
        if dns_servers.len() > DNS_SERVERS_MAX {
            return Err(AddressError::DnsServers(dns_servers.len()));
        }
        let mut servers = [None; DNS_SERVERS_MAX];
        for (place, server) in servers.iter_mut().zip(dns_servers) {
            *place = Some(*server);
        }
        Ok(Self {
            address,
            prefix_len,
            gateway,
            dns_servers: servers,
        })
    }
}

impl AddressConfig {
    /// The configuration of the network stack.
    #[must_use]
    pub fn config(&self) -> Config {
        match self {
            Self::Dhcp => Config::dhcpv4(embassy_net::DhcpConfig::default()),
            Self::Static(fixed) => Config::ipv4_static(StaticConfigV4 {
                address: Ipv4Cidr::new(fixed.address, fixed.prefix_len),
                gateway: fixed.gateway,
                dns_servers: fixed.dns_servers.iter().flatten().copied().collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_address_is_checked() {
        let host = Ipv4Addr::new(10, 0, 2, 15);
        assert!(StaticAddress::new(host, 24, Some(host), &[host]).is_ok());
        let check = |error, result: Result<StaticAddress, _>| assert_eq!(result, Err(error));
        check(
            AddressError::PrefixLen(33),
            StaticAddress::new(host, 33, None, &[]),
        );
        for nobody in [
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::BROADCAST,
            Ipv4Addr::new(224, 0, 0, 1),
        ] {
            let error = AddressError::NotAHost(nobody);
            check(error, StaticAddress::new(nobody, 24, None, &[]));
            check(error, StaticAddress::new(host, 24, Some(nobody), &[]));
            check(error, StaticAddress::new(host, 24, None, &[nobody]));
        }
        check(
            AddressError::DnsServers(4),
            StaticAddress::new(host, 24, None, &[host; 4]),
        );
    }
}
