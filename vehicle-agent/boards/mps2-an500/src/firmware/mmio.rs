//! The registers of the board's devices.
//!
//! This file alone reads and writes memory by address. It is sound because every block below is a
//! device of the AN500 image that answers over its whole length, is no memory of any Rust object,
//! and reaches no memory by itself: none of them does DMA. The last two are plain memory that no
//! section of `memory.x` lies in.
#![expect(
    unsafe_code,
    reason = "a register is memory that no Rust object stands for"
)]

/// A device: a block of registers of 32 bits.
pub(crate) struct Device {
    base: usize,
    bytes: usize,
}

/// The timer that counts the time.
pub(crate) const TIMER0: Device = Device::new(0x4000_0000, 0x10);

/// The timer that rings.
pub(crate) const TIMER1: Device = Device::new(0x4000_1000, 0x10);

/// The Ethernet controller.
pub(crate) const LAN9118: Device = Device::new(0xA000_0000, 0x100);

/// The start of the memory beside the RAM, where whoever starts QEMU may have left a word; it is 0
/// otherwise. See `clock.rs`.
pub(crate) const SPEED: Device = Device::new(0x6000_0000, 0x4);

/// The word behind it, where a debugger may leave that it wants to see a panic. See `demand.rs`.
#[cfg(feature = "agent")]
pub(crate) const PANIC: Device = Device::new(0x6000_0004, 0x4);

impl Device {
    const fn new(base: usize, bytes: usize) -> Self {
        Self { base, bytes }
    }

    pub(crate) fn read(&self, offset: usize) -> u32 {
        let address = self.address(offset);
        // SAFETY: see the head of this file; `address` is aligned and in the device.
        unsafe { address.read_volatile() }
    }

    pub(crate) fn write(&self, offset: usize, value: u32) {
        let address = self.address(offset);
        // SAFETY: see the head of this file; `address` is aligned and in the device.
        unsafe { address.write_volatile(value) }
    }

    #[inline]
    fn address(&self, offset: usize) -> *mut u32 {
        assert!(offset < self.bytes && offset.is_multiple_of(4));
        core::ptr::with_exposed_provenance_mut(self.base + offset)
    }
}
