//! Random numbers of the chip's own generator, good enough for keys.

use core::cell::RefCell;

use critical_section::Mutex;
use embassy_stm32::{Peri, bind_interrupts, peripherals, rng};

bind_interrupts!(struct Interrupts {
    RNG => rng::InterruptHandler<peripherals::RNG>;
});

type Generator = rng::Rng<'static, peripherals::RNG>;

static GENERATOR: Mutex<RefCell<Option<Generator>>> = Mutex::new(RefCell::new(None));

/// Starts the generator.
pub(crate) fn start(peripheral: Peri<'static, peripherals::RNG>) {
    let generator = Generator::new(peripheral, Interrupts);
    critical_section::with(|cs| GENERATOR.replace(cs, Some(generator)));
}

/// Random bytes. Waits for as long as the generator finds its own numbers bad.
///
/// # Panics
/// Unless it was started.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    critical_section::with(|cs| {
        let mut generator = GENERATOR.borrow_ref_mut(cs);
        let generator = generator.as_mut().expect("the generator was started");
        generator.fill_bytes(&mut bytes);
    });
    bytes
}
