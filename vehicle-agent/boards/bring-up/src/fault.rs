//! What no code catches: a bad address, a stack that is full, an instruction that is none. The processor
//! takes all of them for a hard fault, as nobody has enabled the finer ones.
//!
//! The handler needs a stack, and cannot rely on the one there is: that it is full may be the fault.
//! So, before it touches it, it looks where the stack pointer is, and begins at the top again where
//! there is too little below it. What is overwritten is of no use any more: nothing returns from
//! here.
#![expect(
    unsafe_code,
    reason = "the processor jumps here by itself, with a stack pointer that may point to nowhere"
)]

use core::arch::naked_asm;
use core::mem::size_of;

use cortex_m::peripheral::SCB;
use cortex_m_rt::ExceptionFrame;

use crate::last_words;
use crate::stack;

/// The handler needs less.
const ROOM_BYTES: usize = 4 * 1024;

/// Bits of the Configurable Fault Status Register (ARMv7-M, B3.2.15): the processor could not put its
/// registers on the stack, because of the guard or because there is no memory; and which of the address
/// registers holds what could not be reached.
const STACKING_FAILED: u32 = 1 << 4 | 1 << 12;
const GUARD_ADDRESS_VALID: u32 = 1 << 7;
const BUS_ADDRESS_VALID: u32 = 1 << 15;

/// In place of the trampoline of cortex-m-rt, which goes on with the stack that there is. Tasks and
/// interrupts share the main stack.
// SAFETY: `link.x` puts it into the vector table by this name, and nobody else calls it.
#[unsafe(naked)]
#[unsafe(export_name = "HardFault")]
unsafe extern "C" fn hard_fault() {
    naked_asm!(
        "mrs r0, msp",
        "ldr r1, =_stack_end",
        "ldr r2, ={room}",
        "adds r1, r1, r2",
        "ldr r2, =_stack_start",
        "cmp r0, r1",
        "blo 1f",
        "cmp r0, r2",
        "blo 2f",
        "1:",
        "mov sp, r2",
        "2:",
        "bl {tell}",
        ".ltorg",
        room = const ROOM_BYTES,
        tell = sym tell,
    )
}

/// `frame` is where the processor put its registers, or wanted to.
extern "C" fn tell(frame: usize) -> ! {
    // SAFETY: reading these registers changes nothing.
    let (status, bad_for_guard, bad_for_bus) = unsafe {
        let scb = &*SCB::PTR;
        (scb.cfsr.read(), scb.mmfar.read(), scb.bfar.read())
    };
    let room = stack::room();
    let is_below = |valid: u32, address: u32| {
        let reach = room.start.saturating_sub(stack::GUARD_BYTES)..room.start;
        status & valid != 0 && reach.contains(&(address as usize))
    };
    let in_guard =
        is_below(GUARD_ADDRESS_VALID, bad_for_guard) || is_below(BUS_ADDRESS_VALID, bad_for_bus);
    let is_full = frame < room.start || status & STACKING_FAILED != 0 || in_guard;
    let what = if is_full {
        "stack overflow"
    } else {
        "hard fault"
    };
    let is_there = status & STACKING_FAILED == 0
        && frame >= room.start
        && frame <= room.end - size_of::<ExceptionFrame>();
    if is_there {
        // SAFETY: the processor has written it there.
        let frame = unsafe { &*core::ptr::with_exposed_provenance::<ExceptionFrame>(frame) };
        let (at, from) = (frame.pc(), frame.lr());
        last_words::end(format_args!(
            "{what} at {at:#010x}, called from {from:#010x}"
        ))
    }
    let size = room.len();
    last_words::end(format_args!(
        "{what}, the stack pointer at {frame:#010x}; the stack has {size} bytes"
    ))
}
