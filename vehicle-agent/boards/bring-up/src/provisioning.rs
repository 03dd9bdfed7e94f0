//! Where the block that says who the vehicle is lies: a part of the flash that the board's `memory.x`
//! keeps free.
#![expect(
    unsafe_code,
    reason = "the memory is the linker script's, no Rust object's"
)]

use vinbus_vehicle_agent::provisioned::BLOCK_BYTES_MAX;

unsafe extern "C" {
    /// Its address is the block's; see `memory.x`.
    static _provisioned: [u8; BLOCK_BYTES_MAX];
}

/// The memory of the block, with or without one.
#[must_use]
pub fn memory() -> &'static [u8] {
    // SAFETY: the linker script keeps at least as much flash there free of anything else, and the
    // firmware writes none.
    unsafe { &_provisioned }
}
