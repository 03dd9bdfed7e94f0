//! Random numbers of the chip's own generator, good enough for keys.

use core::cell::RefCell;

use critical_section::Mutex;
use embassy_stm32::{Peri, bind_interrupts, peripherals, rng};
use vinbus_transport_embedded::tls::rand_core::{CryptoRng, Error, RngCore};

bind_interrupts!(struct Interrupts {
    RNG => rng::InterruptHandler<peripherals::RNG>;
});

type Generator = rng::Rng<'static, peripherals::RNG>;

static GENERATOR: Mutex<RefCell<Option<Generator>>> = Mutex::new(RefCell::new(None));

/// Starts the generator.
pub(crate) fn start(peripheral: Peri<'static, peripherals::RNG>) -> BoardRandom {
    let generator = Generator::new(peripheral, Interrupts);
    critical_section::with(|cs| GENERATOR.replace(cs, Some(generator)));
    BoardRandom(())
}

/// The generator, once it has been started; there is one, and everybody may have it.
#[derive(Clone, Copy)]
pub(crate) struct BoardRandom(());

impl RngCore for BoardRandom {
    fn next_u32(&mut self) -> u32 {
        critical_section::with(|cs| match &mut *GENERATOR.borrow_ref_mut(cs) {
            Some(generator) => generator.next_u32(),
            None => unreachable!("only `start` makes a `BoardRandom`"),
        })
    }

    fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) << 32 | u64::from(self.next_u32())
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.next_u32().to_le_bytes()[..chunk.len()]);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for BoardRandom {}
