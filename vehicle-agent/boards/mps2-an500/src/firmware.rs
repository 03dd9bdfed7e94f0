//! The firmware, from the reset to the agent.
//!
//! [`start`] looks for the block that says who the vehicle is, and starts three tasks: the network,
//! the line to the broker and the agent. What the board itself brings is in files of their own; all
//! `unsafe` of the firmware is in `mmio`, `interrupts`, `executor`, `provisioning` and `last_words`.

mod mmio;

mod clock;
mod executor;
mod interrupts;
mod lan9118;

mod host;
mod last_words;
mod provisioning;
mod sizes;

mod broker;
mod network;
mod portal;
mod time_of_day;
mod vehicle;

use static_cell::StaticCell;

use vinbus_vehicle_agent::provisioned::Provisioned;

use host::log;

#[cortex_m_rt::entry]
fn start() -> ! {
    clock::start();
    log!("vinbus {} on mps2-an500", env!("CARGO_PKG_VERSION"));
    if let Some(words) = last_words::take() {
        log!("the last run ended in a panic: {}", words.as_str());
    }
    let provisioned = match Provisioned::decode(provisioning::memory()) {
        Ok(provisioned) => provisioned,
        Err(error) => {
            log!("no vehicle without a provisioned block: {error}");
            host::exit(false);
        }
    };
    log!("vehicle {}", provisioned.vin);
    static PROVISIONED: StaticCell<Provisioned<'static>> = StaticCell::new();
    let provisioned = PROVISIONED.init(provisioned);
    executor::run(|spawner| {
        let stack = network::start(spawner, provisioned);
        time_of_day::start(spawner, stack, provisioned.time_server);
        vehicle::start(spawner, stack, provisioned);
    })
}
