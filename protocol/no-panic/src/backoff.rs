use core::hint::black_box;

use vinbus_protocol::backoff::Backoff;

use crate::{number, used};

pub fn prove() {
    let mut backoff = Backoff::new(number() as u32, number() as u32);
    used(Backoff::next_delay_ms(
        black_box(&mut backoff),
        number() as u32,
    ));
    Backoff::reset(black_box(&mut backoff));
    used(Backoff::next_delay_ms(
        black_box(&mut backoff),
        number() as u32,
    ));
    used(Backoff::default());
}
