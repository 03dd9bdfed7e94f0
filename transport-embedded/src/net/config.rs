//! How a board gets its address.

use embassy_net::{Config, Ipv4Cidr, StaticConfigV4};

use crate::address::StaticAddress;

/// Where the address of a board comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressConfig {
    /// From a DHCP server.
    #[default]
    Dhcp,
    /// From its settings.
    Static(StaticAddress),
}

impl AddressConfig {
    /// The configuration of the network stack.
    #[must_use]
    pub fn config(&self) -> Config {
        match self {
            Self::Dhcp => Config::dhcpv4(embassy_net::DhcpConfig::default()),
            Self::Static(fixed) => Config::ipv4_static(StaticConfigV4 {
                address: Ipv4Cidr::new(fixed.address(), fixed.prefix_len()),
                gateway: fixed.gateway(),
                dns_servers: fixed.dns_servers().collect(),
            }),
        }
    }
}
