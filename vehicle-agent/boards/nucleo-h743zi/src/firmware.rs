//! The firmware, from the reset to the agent.
//!
//! [`start`] makes memory and chip ready and tells how the last run ended. [`bring_up`] looks for the
//! block that says who the vehicle is, lets the watchdog loose, and starts the tasks. What is the
//! same on every board is in the crate `vinbus-board-bring-up`. All `unsafe` is in `memory`.

mod chip;
mod log_sink;
#[cfg_attr(not(all(feature = "portal", feature = "tls")), allow(dead_code))]
mod memory;
mod random;
#[cfg_attr(not(all(feature = "portal", feature = "tls")), allow(dead_code))]
mod sizes;
mod watchdog;

mod ethernet;
#[cfg(feature = "portal")]
mod portal;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "agent")]
mod vehicle;

use embassy_executor::{Executor, Spawner};
use embassy_stm32::Peripherals;
use static_cell::StaticCell;
use vinbus_board_bring_up::{address, last_words, provisioning, stack};
use vinbus_vehicle_agent::provisioned::Provisioned;

#[cortex_m_rt::entry]
fn start() -> ! {
    memory::start();
    stack::guard();
    let peripherals = chip::start();
    log_sink::start();
    log::info!("vinbus {} on nucleo-h743zi", env!("CARGO_PKG_VERSION"));
    if chip::was_reset_by_watchdog() {
        log::error!("the last run was ended by the watchdog");
        last_words::note("ended by the watchdog");
    }
    last_words::take();
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    EXECUTOR
        .init(Executor::new())
        .run(|spawner| bring_up(spawner, peripherals))
}

// Not inlined, because the frame of `start` stays on the stack below all tasks.
#[inline(never)]
fn bring_up(spawner: Spawner, p: Peripherals) {
    let provisioned = match Provisioned::decode(provisioning::memory()) {
        Ok(provisioned) => provisioned,
        Err(error) => {
            log::error!("no vehicle without a provisioned block: {error}");
            return;
        }
    };
    log::info!("vehicle {}", provisioned.vin);
    watchdog::start(spawner, p.IWDG1);
    random::start(p.RNG);
    let parts = ethernet::Parts {
        controller: p.ETH,
        management: p.ETH_SMA,
        ref_clk: p.PA1,
        mdio: p.PA2,
        mdc: p.PC1,
        crs_dv: p.PA7,
        rxd0: p.PC4,
        rxd1: p.PC5,
        tx_en: p.PG11,
        txd0: p.PG13,
        txd1: p.PB13,
    };
    let mac = address::mac_of(&provisioned.vin);
    let config = address::config_of(&provisioned.network).config();
    let seed = u64::from_le_bytes(random::bytes());
    let stack = ethernet::start(spawner, parts, mac, config, seed);
    spawner.spawn(address::report(stack).expect("started once"));
    static PROVISIONED: StaticCell<Provisioned<'static>> = StaticCell::new();
    let provisioned = PROVISIONED.init(provisioned);
    #[cfg(feature = "agent")]
    vehicle::start(spawner, stack, provisioned);
    #[cfg(not(feature = "agent"))]
    spawner.spawn(vinbus_board_bring_up::reach::reach(stack, provisioned).expect("once"));
}
