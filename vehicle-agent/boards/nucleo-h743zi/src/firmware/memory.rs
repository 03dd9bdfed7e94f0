//! Memory besides the one that the start-up code prepares (`memory.x`).
#![expect(
    unsafe_code,
    reason = "memory that no Rust code has used yet is made ready, in the places the linker chose"
)]

use core::ptr::write_volatile;

use embassy_stm32::eth::PacketQueue;
use embassy_stm32::pac;
use static_cell::ConstStaticCell;
use vinbus_transport_embedded::tls::{READ_RECORD_BYTES, RecordBuffers, WRITE_RECORD_BYTES};
use vinbus_vehicle_agent::provisioned::APPS_MAX;

use super::sizes::{
    PACKETS_IN, PACKETS_OUT, PENDING_BYTES, POPUPS_BYTES, PORTAL_OUTBOX_BYTES,
    PORTAL_RECEIVE_BYTES, SCREEN_OUTBOX_BYTES, SCREEN_RECEIVE_BYTES,
};
#[cfg(feature = "delivery")]
use super::sizes::{UPLINKS_WITH_RECEIPTS_BYTES, WITH_RECEIPTS_BYTES};

type Packets = PacketQueue<PACKETS_OUT, PACKETS_IN>;
type Pending = [[u8; PENDING_BYTES]; APPS_MAX];

#[unsafe(link_section = ".dtcm")]
static READ_RECORD: ConstStaticCell<[u8; READ_RECORD_BYTES]> =
    ConstStaticCell::new([0; READ_RECORD_BYTES]);

#[unsafe(link_section = ".dtcm")]
static WRITE_RECORD: ConstStaticCell<[u8; WRITE_RECORD_BYTES]> =
    ConstStaticCell::new([0; WRITE_RECORD_BYTES]);

#[cfg(feature = "delivery")]
#[unsafe(link_section = ".dtcm")]
static WITH_RECEIPTS: ConstStaticCell<[u8; WITH_RECEIPTS_BYTES]> =
    ConstStaticCell::new([0; WITH_RECEIPTS_BYTES]);

#[cfg(feature = "delivery")]
#[unsafe(link_section = ".dtcm")]
static UPLINKS_WITH_RECEIPTS: ConstStaticCell<[u8; UPLINKS_WITH_RECEIPTS_BYTES]> =
    ConstStaticCell::new([0; UPLINKS_WITH_RECEIPTS_BYTES]);

#[unsafe(link_section = ".sram_d2")]
static PACKETS: ConstStaticCell<Packets> = ConstStaticCell::new(PacketQueue::new());

#[unsafe(link_section = ".sram_d2")]
static PORTAL_RECEIVE: ConstStaticCell<[u8; PORTAL_RECEIVE_BYTES]> =
    ConstStaticCell::new([0; PORTAL_RECEIVE_BYTES]);

#[unsafe(link_section = ".sram_d2")]
static PORTAL_OUTBOX: ConstStaticCell<[u8; PORTAL_OUTBOX_BYTES]> =
    ConstStaticCell::new([0; PORTAL_OUTBOX_BYTES]);

#[unsafe(link_section = ".sram_d3")]
static PENDING: ConstStaticCell<Pending> = ConstStaticCell::new([[0; PENDING_BYTES]; APPS_MAX]);

#[unsafe(link_section = ".sram_d3")]
static POPUPS: ConstStaticCell<[u8; POPUPS_BYTES]> = ConstStaticCell::new([0; POPUPS_BYTES]);

#[unsafe(link_section = ".sram_d3")]
static SCREEN_RECEIVE: ConstStaticCell<[u8; SCREEN_RECEIVE_BYTES]> =
    ConstStaticCell::new([0; SCREEN_RECEIVE_BYTES]);

#[unsafe(link_section = ".sram_d3")]
static SCREEN_OUTBOX: ConstStaticCell<[u8; SCREEN_OUTBOX_BYTES]> =
    ConstStaticCell::new([0; SCREEN_OUTBOX_BYTES]);

/// A register that decides how many reads the AXI memory may have open at a time.
const AXI_TARGET_7_FUNCTION: *mut u32 = 0x5100_8108 as *mut u32;

unsafe extern "C" {
    static mut _dtcm_start: u64;
    static mut _dtcm_end: u64;
    static mut _sram_d2_start: u64;
    static mut _sram_d2_end: u64;
    static mut _sram_d3_start: u64;
    static mut _sram_d3_end: u64;
}

/// Makes all memory usable. To be called first, and once.
pub(crate) fn start() {
    pac::RCC.ahb2enr().modify(|w| {
        w.set_sram1en(true);
        w.set_sram2en(true);
        w.set_sram3en(true);
    });
    // A write takes effect before the memory is used: reading back waits for it.
    pac::RCC.ahb2enr().read();
    // SAFETY: the register exists in every STM32H743, and is written as ST's own start-up code does
    // for the older ones, of which some reads of this memory would be wrong (errata sheet, 2.2.9).
    // Newer ones lose no more than a little speed.
    unsafe { write_volatile(AXI_TARGET_7_FUNCTION, 1) };
    // SAFETY: the linker script puts nothing there but statics that are all zeros, none of which has
    // been used yet, and aligns both ends to 8 bytes.
    unsafe {
        clear(&raw mut _dtcm_start, &raw mut _dtcm_end);
        clear(&raw mut _sram_d2_start, &raw mut _sram_d2_end);
        clear(&raw mut _sram_d3_start, &raw mut _sram_d3_end);
    }
}

/// The records of TLS, which the processor alone works on.
pub(crate) fn records() -> RecordBuffers<'static> {
    RecordBuffers {
        read: READ_RECORD.take(),
        write: WRITE_RECORD.take(),
    }
}

/// A message with receipts that is put together.
#[cfg(feature = "delivery")]
pub(crate) fn with_receipts() -> &'static mut [u8] {
    WITH_RECEIPTS.take()
}

/// Messages of apps that go with receipts.
#[cfg(feature = "delivery")]
pub(crate) fn uplinks_with_receipts() -> &'static mut [u8] {
    UPLINKS_WITH_RECEIPTS.take()
}

/// The packets of the Ethernet controller, which reaches them there.
pub(crate) fn packets() -> &'static mut Packets {
    PACKETS.take()
}

/// What the connected program sends.
pub(crate) fn portal_receive() -> &'static mut [u8] {
    PORTAL_RECEIVE.take()
}

/// What waits for the connected program.
pub(crate) fn portal_outbox() -> &'static mut [u8] {
    PORTAL_OUTBOX.take()
}

/// What the screen sends.
pub(crate) fn screen_receive() -> &'static mut [u8] {
    SCREEN_RECEIVE.take()
}

/// What waits for the screen.
pub(crate) fn screen_outbox() -> &'static mut [u8] {
    SCREEN_OUTBOX.take()
}

/// Messages that wait for the apps.
pub(crate) fn pending() -> &'static mut Pending {
    PENDING.take()
}

/// Popups that wait for the screen.
pub(crate) fn popups() -> &'static mut [u8] {
    POPUPS.take()
}

/// # Safety
/// Between `start` and `end` there has to be memory that nobody uses, aligned to 8 bytes.
unsafe fn clear(start: *mut u64, end: *mut u64) {
    let mut word = start;
    while word < end {
        // SAFETY: as the caller promises.
        unsafe {
            write_volatile(word, 0);
            word = word.add(1);
        }
    }
}
