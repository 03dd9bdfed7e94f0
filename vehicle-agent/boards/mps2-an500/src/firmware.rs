//! The firmware, from the reset to the agent.
//!
//! [`start`] looks for the block that says who the vehicle is, and starts the network and the agent.
//! What is the same on every board is in the crate `vinbus-board-bring-up`; here is what this board
//! alone has: its registers and interrupts, its clock, its Ethernet controller, and the host that
//! stands in for a log, random numbers and a clock with a battery.

mod mmio;

mod clock;
mod executor;
mod host;
mod interrupts;
mod lan9118;

#[cfg_attr(not(all(feature = "portal", feature = "tls")), allow(dead_code))]
mod sizes;

#[cfg(feature = "agent")]
mod demand;
#[cfg(feature = "portal")]
mod portal;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "agent")]
mod vehicle;

use embassy_executor::Spawner;
use embassy_net::{Runner, Stack, StackResources};
use static_cell::StaticCell;
use vinbus_board_bring_up::{address, last_words, provisioning, stack};
use vinbus_vehicle_agent::provisioned::Provisioned;

use lan9118::Lan9118;
use sizes::SOCKETS_MAX;

#[cortex_m_rt::entry]
fn start() -> ! {
    let provisioned = prepare();
    executor::run(|spawner| bring_up(spawner, provisioned))
}

/// Starts what the log needs, and reads the block.
// Not inlined, because the frame of `start` stays on the stack below all tasks.
#[inline(never)]
fn prepare() -> &'static Provisioned<'static> {
    stack::guard();
    clock::start();
    host::start_log();
    log::info!("vinbus {} on mps2-an500", env!("CARGO_PKG_VERSION"));
    last_words::take();
    let provisioned = match Provisioned::decode(provisioning::memory()) {
        Ok(provisioned) => provisioned,
        Err(error) => {
            log::error!("no vehicle without a provisioned block: {error}");
            host::exit(false);
        }
    };
    log::info!("vehicle {}", provisioned.vin);
    static PROVISIONED: StaticCell<Provisioned<'static>> = StaticCell::new();
    PROVISIONED.init(provisioned)
}

/// Starts the tasks.
// Not inlined for the same reason.
#[inline(never)]
fn bring_up(spawner: Spawner, provisioned: &'static Provisioned<'static>) {
    let stack = start_network(spawner, provisioned);
    #[cfg(feature = "agent")]
    vehicle::start(spawner, stack, provisioned);
    #[cfg(not(feature = "agent"))]
    spawner.spawn(vinbus_board_bring_up::reach::reach(stack, provisioned).expect("once"));
}

/// Starts the network; addresses come later.
fn start_network(spawner: Spawner, provisioned: &Provisioned<'_>) -> Stack<'static> {
    static CONTROLLER: StaticCell<Lan9118> = StaticCell::new();
    static RESOURCES: StaticCell<StackResources<SOCKETS_MAX>> = StaticCell::new();
    let controller = match Lan9118::new(address::mac_of(&provisioned.vin)) {
        Ok(controller) => CONTROLLER.init(controller),
        Err(error) => panic!("the Ethernet controller does not answer: {error:?}"),
    };
    let seed = u64::from_le_bytes(host::random());
    let resources = RESOURCES.init(StackResources::new());
    let config = address::config_of(&provisioned.network).config();
    let (stack, runner) = embassy_net::new(controller, config, resources, seed);
    spawner.spawn(run_network(runner).expect("started once"));
    spawner.spawn(address::report(stack).expect("started once"));
    stack
}

#[embassy_executor::task]
async fn run_network(mut runner: Runner<'static, &'static mut Lan9118>) -> ! {
    runner.run().await
}
