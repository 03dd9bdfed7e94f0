//! How much of the stack was ever used, and that nobody uses more than there is.
//!
//! The start-up code paints it, and use scrubs the paint off. The lowest bytes are a guard that the
//! processor's memory protection lets nobody touch, so that an overflow is a fault, which `fault.rs`
//! reports, and not somebody's data. A function that needs more than the guard at once could reach
//! over it: a board's `memory.x` puts the stack where there is no memory below.
#![expect(
    unsafe_code,
    reason = "the memory is the linker script's, no Rust object's, and what protects it a register"
)]

use core::ops::Range;

use cortex_m::peripheral::MPU;
use cortex_m_rt::STACK_PAINT_VALUE;
use vinbus_protocol::health::Usage;

unsafe extern "C" {
    /// Its address is where the stack begins, from which it grows down.
    static _stack_start: u32;
    /// Its address is as far as the stack may grow.
    static _stack_end: u32;
}

/// Bytes of the guard: a power of two.
pub(crate) const GUARD_BYTES: usize = 1024;

const _: () = assert!(GUARD_BYTES.is_power_of_two() && GUARD_BYTES >= 32);

/// Of the memory protection unit (ARMv7-M, B3.5): it is on, and memory that no region names is as it is
/// without it; a region that nobody may use, of 2 to the power of one more than its size.
const ON_BESIDE_DEFAULT: u32 = 1 << 2 | 1 << 0;
const NOBODY_EXECUTES: u32 = 1 << 28;
const REGION_ON: u32 = 1 << 0;
const GUARD_SIZE: u32 = (GUARD_BYTES.ilog2() - 1) << 1;

/// Guards the end of the stack. To be called once, by who starts.
pub fn guard() {
    let guard = room().start - GUARD_BYTES;
    // SAFETY: nobody else uses the memory protection. The region is a part of the stack that is not in
    // use yet, and nothing else lies there.
    unsafe {
        let mpu = &*MPU::PTR;
        mpu.rnr.write(0);
        mpu.rbar.write(guard as u32);
        mpu.rasr.write(NOBODY_EXECUTES | GUARD_SIZE | REGION_ON);
        mpu.ctrl.write(ON_BESIDE_DEFAULT);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}

/// The addresses of the stack, without its guard.
pub(crate) fn room() -> Range<usize> {
    let (top, bottom) = (&raw const _stack_start, &raw const _stack_end);
    bottom.addr().next_multiple_of(GUARD_BYTES) + GUARD_BYTES..top.addr()
}

/// What was used at most since the start. It reads all that was not, which takes about a millisecond.
#[must_use]
pub fn measured() -> Usage {
    let room = room();
    let mut lowest = core::ptr::with_exposed_provenance::<u32>(room.start);
    // SAFETY: in the room there is memory of whole words, and nobody minds that it is read.
    while lowest.addr() < room.end && unsafe { lowest.read_volatile() } == STACK_PAINT_VALUE {
        lowest = lowest.wrapping_add(1);
    }
    Usage {
        used: (room.end - lowest.addr()) as u32,
        size: room.len() as u32,
    }
}
