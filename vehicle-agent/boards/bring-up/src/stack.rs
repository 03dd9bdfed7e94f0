//! How much of the stack was ever used: the start-up code paints it, and use scrubs the paint off.
#![expect(
    unsafe_code,
    reason = "the memory is the linker script's, no Rust object's"
)]

use cortex_m_rt::STACK_PAINT_VALUE;
use vinbus_protocol::health::Stack;

unsafe extern "C" {
    /// Its address is where the stack begins, from which it grows down.
    static _stack_start: u32;
    /// Its address is as far as the stack may grow.
    static _stack_end: u32;
}

/// What was used at most since the start. It reads all that was not, which takes about a millisecond.
#[must_use]
pub fn measured() -> Stack {
    let (top, bottom) = (&raw const _stack_start, &raw const _stack_end);
    let mut lowest = bottom;
    // SAFETY: from end to start there is memory of whole words, and nobody minds that it is read.
    while lowest < top && unsafe { lowest.read_volatile() } == STACK_PAINT_VALUE {
        lowest = lowest.wrapping_add(1);
    }
    let bytes_from = |place: *const u32| (top.addr() - place.addr()) as u32;
    Stack {
        used: bytes_from(lowest),
        size: bytes_from(bottom),
    }
}
