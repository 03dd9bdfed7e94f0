//! Whether a board could reach whom its block names. One that cannot would try for ever.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{bail, ensure};
use vinbus_transport_embedded::StaticAddress;

use crate::provisioned::{Network, Provisioned};

/// Refuses hosts that the board has no way to.
pub(super) fn check(block: &Provisioned<'_>) -> anyhow::Result<()> {
    let network = &block.network;
    if let Network::Static(fixed) = network {
        check_static(fixed)?;
    }
    check_host("--broker", block.broker.host, network)?;
    if let Some(server) = block.time_server {
        check_host("--time-server", server.host, network)?;
    }
    Ok(())
}

fn check_static(fixed: &StaticAddress) -> anyhow::Result<()> {
    let (own, bits) = (fixed.address(), fixed.prefix_len());
    if let Some(gateway) = fixed.gateway() {
        ensure!(
            gateway != own,
            "--gateway {gateway} is the board's own --address"
        );
        ensure!(
            is_near(fixed, gateway),
            "--gateway {gateway} is outside of the board's network, {own}/{bits}; it has to be inside"
        );
    }
    for server in fixed.dns_servers() {
        check_way("--name-server", server, fixed)?;
    }
    Ok(())
}

fn check_host(option: &str, host: &str, network: &Network) -> anyhow::Result<()> {
    let address = match host.parse() {
        Ok(IpAddr::V4(address)) => Some(address),
        Ok(IpAddr::V6(_)) => {
            bail!("{option} {host}: boards speak IPv4; give such an address, or a name")
        }
        Err(_) => None,
    };
    let is_board = match address {
        Some(address) => address.is_loopback() || address.is_unspecified(),
        None => is_localhost(host),
    };
    ensure!(
        !is_board,
        "{option} {host} is the board itself; give the name or the address that the server has in the board's network"
    );
    match (network, address) {
        (Network::Dhcp, _) => Ok(()),
        (Network::Static(fixed), Some(address)) => check_way(option, address, fixed),
        (Network::Static(fixed), None) => {
            ensure!(
                fixed.dns_servers().next().is_some(),
                "{option} {host} is a name, and nobody resolves it: with --address, add --name-server, \
                 or give an IPv4 address"
            );
            Ok(())
        }
    }
}

fn check_way(option: &str, to: Ipv4Addr, fixed: &StaticAddress) -> anyhow::Result<()> {
    let (own, bits) = (fixed.address(), fixed.prefix_len());
    ensure!(
        fixed.gateway().is_some() || is_near(fixed, to),
        "{option} {to} is outside of the board's network, {own}/{bits}; add --gateway, the way out of it"
    );
    Ok(())
}

/// Whether an address is in the board's own network.
fn is_near(fixed: &StaticAddress, other: Ipv4Addr) -> bool {
    let hosts = u32::MAX.checked_shr(fixed.prefix_len().into()).unwrap_or(0);
    (fixed.address().to_bits() ^ other.to_bits()) & !hosts == 0
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let top = name.rsplit('.').next();
    top.is_some_and(|top| top.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use crate::linux::provision::tests::{block_of, refused};

    const APP: [&str; 2] = ["--app", "demo=demo-partner"];

    /// Options of a board with a static address, and more.
    fn fixed<'a>(more: &[&'a str]) -> Vec<&'a str> {
        let own = ["--address", "192.168.1.20/24"];
        [&APP[..], &own[..], more].concat()
    }

    #[test]
    fn name_needs_somebody_who_resolves_it() {
        let named = ["--broker", "mqtt://broker.example"];
        let said = refused(&fixed(&named));
        assert!(said.contains("--broker broker.example is a name"), "{said}");
        let server = ["--name-server", "192.168.1.1"];
        assert_eq!(block_of(&fixed(&[named, server].concat())).err(), None);
        let timed = ["--broker=mqtt://192.168.1.2", "--time-server=pool.example"];
        let said = refused(&fixed(&timed));
        assert!(
            said.contains("--time-server pool.example is a name"),
            "{said}"
        );
        let by_dhcp = [&APP[..], &named].concat();
        assert_eq!(block_of(&by_dhcp).err(), None);
    }

    #[test]
    fn gateway_is_another_host_of_the_boards_network() {
        let broker = "--broker=mqtt://192.168.1.2";
        for (gateway, reason) in [
            (
                "10.0.0.1",
                "outside of the board's network, 192.168.1.20/24",
            ),
            ("192.168.2.1", "outside"),
            ("192.168.1.20", "the board's own"),
        ] {
            let said = refused(&fixed(&[broker, "--gateway", gateway]));
            assert!(said.contains(reason), "{said}");
        }
        let right = fixed(&[broker, "--gateway", "192.168.1.1"]);
        assert_eq!(block_of(&right).err(), None);
    }

    #[test]
    fn other_networks_need_a_gateway() {
        let near = "--broker=mqtt://192.168.1.2";
        for (far, option) in [
            (vec!["--broker=mqtt://10.0.0.9"], "--broker 10.0.0.9"),
            (
                vec![near, "--name-server=10.0.0.9"],
                "--name-server 10.0.0.9",
            ),
            (
                vec![near, "--time-server=10.0.0.9"],
                "--time-server 10.0.0.9",
            ),
        ] {
            let said = refused(&fixed(&far));
            assert!(
                said.contains(option) && said.contains("--gateway"),
                "{said}"
            );
            let right = fixed(&[&far[..], &["--gateway=192.168.1.1"]].concat());
            assert_eq!(block_of(&right).err(), None);
        }
    }

    #[test]
    fn board_itself_is_no_broker() {
        for host in [
            "localhost",
            "LOCALHOST.",
            "car.localhost",
            "127.0.0.2",
            "0.0.0.0",
        ] {
            let broker = format!("--broker=mqtt://{host}");
            let said = refused(&[&APP[..], &[&broker]].concat());
            assert!(said.contains("is the board itself"), "{said}");
        }
        let said = refused(&[&APP[..], &["--broker=mqtt://[fd00::1]"]].concat());
        assert!(said.contains("boards speak IPv4"), "{said}");
    }
}
