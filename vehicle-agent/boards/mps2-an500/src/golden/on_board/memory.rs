//! A heap, which the comparison of texts needs; nothing that a board runs in a vehicle has one.
#![expect(
    unsafe_code,
    reason = "memory is handed to the allocator, once and for ever"
)]

use core::mem::MaybeUninit;

// Brings the critical sections of this processor.
use cortex_m as _;
use embedded_alloc::LlffHeap as Heap;

#[global_allocator]
static HEAP: Heap = Heap::empty();

/// Ten times the largest text is needed at once; the board has 4 MB.
const HEAP_BYTES: usize = 3 * 1024 * 1024;

static mut MEMORY: [MaybeUninit<u8>; HEAP_BYTES] = [MaybeUninit::uninit(); HEAP_BYTES];

/// To be called once, before anything else.
pub(super) fn start() {
    // SAFETY: nobody else names the memory, and the allocator has none before.
    unsafe { HEAP.init((&raw mut MEMORY).expose_provenance(), HEAP_BYTES) }
}
