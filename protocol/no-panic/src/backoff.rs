use core::hint::black_box;
use core::num::NonZeroU32;

use vinbus_protocol::backoff::Backoff;
use vinbus_protocol::pace::Pace;
use vinbus_protocol::throttle::Throttle;

use crate::{number, used};

pub fn prove() {
    let mut backoff = Backoff::new(number() as u32, number() as u32);
    used(Backoff::next_delay_ms(
        black_box(&mut backoff),
        number() as u32,
    ));
    Backoff::handle_end(black_box(&mut backoff), number());
    Backoff::reset(black_box(&mut backoff));
    used(Backoff::next_delay_ms(
        black_box(&mut backoff),
        number() as u32,
    ));
    used(Backoff::default());
    let rate = NonZeroU32::new(number() as u32).unwrap_or(NonZeroU32::MIN);
    let mut pace = Pace::new(rate, number() as u32);
    Pace::sent(black_box(&mut pace), number(), number() as u32);
    used(Pace::ready_at_ms(black_box(&pace)));
    used(Pace::is_idle(black_box(&pace), number()));
    let mut throttle = Throttle::default();
    used(Throttle::pass(black_box(&mut throttle), number()));
}
