//! The addresses of a board: the one on the wire, and the one in the network.

use embassy_net::Stack;
use vinbus_protocol::id::Vin;
use vinbus_transport_embedded::net::AddressConfig;
use vinbus_vehicle_agent::provisioned::Network;

/// A MAC address of our own making (its second bit says so) that is the same at every start.
#[must_use]
pub fn mac_of(vin: &Vin) -> [u8; 6] {
    // FNV-1a.
    let hash = vin
        .as_str()
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
    let [a, b, c, d, e, ..] = hash.to_le_bytes();
    [0x02, a, b, c, d, e]
}

/// Where the board gets its address, as its block says.
#[must_use]
pub fn config_of(network: &Network) -> AddressConfig {
    match *network {
        Network::Dhcp => AddressConfig::Dhcp,
        Network::Static(fixed) => AddressConfig::Static(fixed),
    }
}

/// Tells when there is an address, and when there no longer is.
#[embassy_executor::task]
pub async fn report(stack: Stack<'static>) -> ! {
    loop {
        stack.wait_config_up().await;
        if let Some(config) = stack.config_v4() {
            log::info!("address {}", config.address);
        }
        stack.wait_config_down().await;
        log::warn!("no address any more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_address_is_of_one_board_of_our_own_making() {
        let vin = |text| Vin::parse(text).expect("it is a VIN");
        let mac = mac_of(&vin("0123456789ABCDEFG"));
        assert_eq!(mac, mac_of(&vin("0123456789ABCDEFG")));
        assert_ne!(mac, mac_of(&vin("0123456789ABCDEFH")));
        assert_eq!(mac[0] & 0b11, 0b10, "neither a maker's nor a group's");
    }
}
