//! Where the block that says who the vehicle is lies: the last 64 KB of the flash.
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
pub(crate) fn memory() -> &'static [u8] {
    // SAFETY: the linker script keeps 64 KB of flash there free of anything else, of which the
    // firmware writes nothing.
    unsafe { &*(&raw const _provisioned) }
}
