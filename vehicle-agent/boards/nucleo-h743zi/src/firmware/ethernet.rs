//! The network interface: the chip's Ethernet controller, and the PHY of the board behind RMII.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_executor::Spawner;
use embassy_net::{Config, Runner, Stack, StackResources};
use embassy_stm32::eth::{self, Ethernet, GenericPhy, Sma};
use embassy_stm32::{Peri, bind_interrupts, pac, peripherals};
use static_cell::StaticCell;

use super::memory;
use super::sizes::SOCKETS_MAX;

bind_interrupts!(struct Interrupts {
    ETH => eth::InterruptHandler;
});

/// The controller with the board's PHY, an LAN8742A.
type Controller =
    Ethernet<'static, peripherals::ETH, GenericPhy<Sma<'static, peripherals::ETH_SMA>>>;

/// The controller and its pins, as the board wires them.
pub(crate) struct Parts {
    pub(crate) controller: Peri<'static, peripherals::ETH>,
    pub(crate) management: Peri<'static, peripherals::ETH_SMA>,
    pub(crate) ref_clk: Peri<'static, peripherals::PA1>,
    pub(crate) mdio: Peri<'static, peripherals::PA2>,
    pub(crate) mdc: Peri<'static, peripherals::PC1>,
    pub(crate) crs_dv: Peri<'static, peripherals::PA7>,
    pub(crate) rxd0: Peri<'static, peripherals::PC4>,
    pub(crate) rxd1: Peri<'static, peripherals::PC5>,
    pub(crate) tx_en: Peri<'static, peripherals::PG11>,
    pub(crate) txd0: Peri<'static, peripherals::PG13>,
    pub(crate) txd1: Peri<'static, peripherals::PB13>,
}

/// Starts the network; addresses come later. Does not return unless the PHY clocks the controller:
/// the watchdog ends that.
pub(crate) fn start(
    spawner: Spawner,
    parts: Parts,
    mac: [u8; 6],
    config: Config,
    seed: u64,
) -> Stack<'static> {
    let controller = Ethernet::new(
        memory::packets(),
        parts.controller,
        Interrupts,
        parts.ref_clk,
        parts.crs_dv,
        parts.rxd0,
        parts.rxd1,
        parts.txd0,
        parts.txd1,
        parts.tx_en,
        mac,
        parts.management,
        parts.mdio,
        parts.mdc,
    );
    static RESOURCES: StaticCell<StackResources<SOCKETS_MAX>> = StaticCell::new();
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) = embassy_net::new(controller, config, resources, seed);
    spawner.spawn(run(runner).expect("started once"));
    stack
}

/// Frames that were dropped since the start, as far as the controller counts: broken ones, and those that
/// found no room in its queue or in memory. Not to be called by interrupt handlers.
#[cfg_attr(
    not(feature = "agent"),
    expect(dead_code, reason = "the agent reports them")
)]
pub(crate) fn dropped_frames() -> u32 {
    static FOUND_NO_ROOM: AtomicU32 = AtomicU32::new(0);
    // Reading clears these, and not those of broken frames.
    let queue = pac::ETH.ethernet_mtl().mtlrx_qmpocr().read();
    let memory = pac::ETH.ethernet_dma().dmacmfcr().read();
    let more = at_least(queue.ovfpktcnt(), queue.ovfcntovf())
        + at_least(queue.mispktcnt(), queue.miscntovf())
        + at_least(memory.mfc(), memory.mfco());
    let found_no_room = FOUND_NO_ROOM.load(Ordering::Relaxed);
    let found_no_room = found_no_room.saturating_add(more);
    FOUND_NO_ROOM.store(found_no_room, Ordering::Relaxed);
    let mac = pac::ETH.ethernet_mac();
    let damaged = mac.rx_crc_error_packets().read().rxcrcerr();
    let misaligned = mac.rx_alignment_error_packets().read().rxalgnerr();
    found_no_room
        .saturating_add(damaged)
        .saturating_add(misaligned)
}

/// What a counter of 11 bits has counted, which says when it began anew.
fn at_least(count: u16, began_anew: bool) -> u32 {
    u32::from(count) + if began_anew { 1 << 11 } else { 0 }
}

#[embassy_executor::task]
async fn run(mut runner: Runner<'static, Controller>) -> ! {
    runner.run().await
}
