//! The address of a board that does not ask a DHCP server.

use core::fmt;
use core::net::Ipv4Addr;

/// DNS servers that a static configuration can name.
pub const DNS_SERVERS_MAX: usize = 3;

/// Bits of an address.
const ADDRESS_BITS: u8 = 32;

/// An address that does not change, and that a host can have.
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
    /// The address is no other host's: unspecified, broadcast, multicast or loopback.
    NotAHost(Ipv4Addr),
    /// The board's own address is that of its network, or the one that reaches all of it.
    OfTheNetwork(Ipv4Addr, u8),
    /// More than [`DNS_SERVERS_MAX`] DNS servers.
    DnsServers(usize),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrefixLen(len) => write!(f, "a prefix has 0 to 32 bits, not {len}"),
            Self::NotAHost(address) => write!(f, "{address} is not the address of a host"),
            Self::OfTheNetwork(address, len) => write!(
                f,
                "{address} is not the address of a host in a network of {len} bits"
            ),
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
        let host_bits = ADDRESS_BITS
            .checked_sub(prefix_len)
            .ok_or(AddressError::PrefixLen(prefix_len))?;
        for host in gateway.iter().chain(dns_servers).chain([&address]) {
            let reaches_all = host.is_broadcast() || host.is_multicast();
            if host.is_unspecified() || reaches_all || host.is_loopback() {
                return Err(AddressError::NotAHost(*host));
            }
        }
        // Networks of two addresses and of one have none of these (RFC 3021).
        let hosts = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
        let in_network = address.to_bits() & hosts;
        if host_bits > 1 && (in_network == 0 || in_network == hosts) {
            return Err(AddressError::OfTheNetwork(address, prefix_len));
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

    /// The address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Bits of the network's prefix, 32 at most.
    #[must_use]
    pub const fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// The way to other networks.
    #[must_use]
    pub const fn gateway(&self) -> Option<Ipv4Addr> {
        self.gateway
    }

    /// Who knows names.
    pub fn dns_servers(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.dns_servers.iter().flatten().copied()
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
            Ipv4Addr::LOCALHOST,
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

    #[test]
    fn address_of_a_network_is_no_hosts() {
        let check = |address: [u8; 4], prefix_len, usable: bool| {
            let address = Ipv4Addr::from(address);
            let fixed = StaticAddress::new(address, prefix_len, None, &[]);
            let expected = AddressError::OfTheNetwork(address, prefix_len);
            assert_eq!(fixed.err(), (!usable).then_some(expected), "{address}");
        };
        check([10, 0, 2, 0], 24, false);
        check([10, 0, 2, 255], 24, false);
        check([10, 0, 2, 255], 16, true);
        check([10, 0, 2, 4], 30, false);
        check([10, 0, 2, 4], 31, true);
        check([10, 0, 2, 4], 32, true);
    }
}
