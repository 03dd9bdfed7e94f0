//! The chip: its clocks, its caches, and why it was reset.

use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, HSIPrescaler, Hsi48Config, Pll, PllDiv, PllMul, PllPreDiv,
    PllSource, Sysclk, VoltageScale,
};
use embassy_stm32::{Config, Peripherals, pac};

/// Starts the clocks and hands out the peripherals.
///
/// | clock | MHz | of |
/// |---|---|---|
/// | processor | 400 | PLL 1 |
/// | AXI, AHB | 200 | |
/// | APB | 100 | |
/// | PLL 1 | 400 | the internal oscillator of 64 MHz, so that no crystal has to be fitted |
/// | random numbers | 48 | an oscillator of their own |
///
/// The instruction cache is on. The data cache stays off: buffers that the Ethernet controller
/// writes need no care then, and what is used most, the stack, lies in memory that needs no cache.
pub(crate) fn start() -> Peripherals {
    let mut config = Config::default();
    let rcc = &mut config.rcc;
    rcc.hsi = Some(HSIPrescaler::DIV1);
    rcc.csi = true;
    rcc.hsi48 = Some(Hsi48Config::default());
    rcc.pll1 = Some(Pll {
        source: PllSource::HSI,
        prediv: PllPreDiv::DIV4,
        mul: PllMul::MUL50,
        fracn: None,
        divp: Some(PllDiv::DIV2),
        divq: None,
        divr: None,
    });
    rcc.sys = Sysclk::PLL1_P;
    rcc.ahb_pre = AHBPrescaler::DIV2;
    rcc.apb1_pre = APBPrescaler::DIV2;
    rcc.apb2_pre = APBPrescaler::DIV2;
    rcc.apb3_pre = APBPrescaler::DIV2;
    rcc.apb4_pre = APBPrescaler::DIV2;
    rcc.voltage_scale = VoltageScale::Scale1;
    let peripherals = embassy_stm32::init(config);
    if let Some(mut core) = cortex_m::Peripherals::take() {
        core.SCB.enable_icache();
    }
    peripherals
}

/// Whether the watchdog ended the last run. Forgets it.
pub(crate) fn was_reset_by_watchdog() -> bool {
    let by_watchdog = pac::RCC.rsr().read().iwdg1rstf();
    pac::RCC.rsr().modify(|w| w.set_rmvf(true));
    by_watchdog
}
