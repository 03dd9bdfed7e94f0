//! The network: the Ethernet controller under embassy-net.

use embassy_executor::Spawner;
use embassy_net::{Runner, Stack, StackResources};
use static_cell::StaticCell;

use vinbus_protocol::id::Vin;
use vinbus_transport_embedded::net::{AddressConfig, StaticAddress};
use vinbus_vehicle_agent::provisioned::{Network, Provisioned};

use super::host::{self, log};
use super::lan9118::Lan9118;
use super::sizes::SOCKETS_MAX;

/// Starts the network; addresses come later.
pub(crate) fn start(spawner: Spawner, provisioned: &Provisioned<'_>) -> Stack<'static> {
    static CONTROLLER: StaticCell<Lan9118> = StaticCell::new();
    static RESOURCES: StaticCell<StackResources<SOCKETS_MAX>> = StaticCell::new();
    let controller = match Lan9118::new(mac_of(&provisioned.vin)) {
        Ok(controller) => CONTROLLER.init(controller),
        Err(error) => panic!("the Ethernet controller does not answer: {error:?}"),
    };
    let seed = u64::from_le_bytes(host::random());
    let resources = RESOURCES.init(StackResources::new());
    let config = config(&provisioned.network).config();
    let (stack, runner) = embassy_net::new(controller, config, resources, seed);
    spawner.spawn(run(runner).expect("started once"));
    spawner.spawn(report(stack).expect("started once"));
    stack
}

#[embassy_executor::task]
async fn run(mut runner: Runner<'static, &'static mut Lan9118>) -> ! {
    runner.run().await
}

/// Tells when there is an address, and when there no longer is.
#[embassy_executor::task]
async fn report(stack: Stack<'static>) -> ! {
    loop {
        stack.wait_config_up().await;
        if let Some(config) = stack.config_v4() {
            log!("address {}", config.address);
        }
        stack.wait_config_down().await;
        log!("no address any more");
    }
}

fn config(network: &Network) -> AddressConfig {
    match *network {
        Network::Dhcp => AddressConfig::Dhcp,
        Network::Static {
            address,
            prefix_bits,
            gateway,
            name_server,
        } => {
            let servers = name_server.as_slice();
            match StaticAddress::new(address, prefix_bits, gateway, servers) {
                Ok(fixed) => AddressConfig::Static(fixed),
                Err(error) => {
                    log!("the provisioned address cannot be used: {error}; asking DHCP instead");
                    AddressConfig::Dhcp
                }
            }
        }
    }
}

/// An address of our own making (its second bit says so) that is the same at every start.
fn mac_of(vin: &Vin) -> [u8; 6] {
    let hash = vin
        .as_str()
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
    let [a, b, c, d, e, ..] = hash.to_le_bytes();
    [0x02, a, b, c, d, e]
}
