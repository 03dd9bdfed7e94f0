use core::hint::black_box;

use vinbus_protocol::backoff::Backoff;

use crate::{number, used};

pub fn prove() {
    let mut backoff = black_box(Backoff::new(number() as u32, number() as u32));
    used(backoff.next_delay_ms(number() as u32));
    black_box(&mut backoff).reset();
    used(black_box(&mut backoff).next_delay_ms(number() as u32));
    used(Backoff::default().next_delay_ms(number() as u32));
}
