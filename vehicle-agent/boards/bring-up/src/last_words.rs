//! What a panic or a fault had to say, kept over the reset that follows it.
//!
//! The memory is not touched by the start-up code, so that it holds what the last run wrote, or
//! anything at all after the power was off. A checksum tells.
#![expect(
    unsafe_code,
    reason = "memory that is not initialised; read before and written after all else runs"
)]

use core::cell::Cell;
use core::fmt;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m::peripheral::SCB;
use embassy_sync::blocking_mutex::CriticalSectionMutex;
use heapless::String;
use static_cell::StaticCell;

use crate::clipped;

const WORDS_BYTES_MAX: usize = 192;

/// A sentence of the last run.
type Words = String<WORDS_BYTES_MAX>;

#[repr(C)]
struct Record {
    checksum: u32,
    len: u32,
    bytes: [u8; WORDS_BYTES_MAX],
}

#[unsafe(link_section = ".uninit.last_words")]
static mut RECORD: MaybeUninit<Record> = MaybeUninit::uninit();

/// How the last run ended, if that was not in good order.
static CRASH: CriticalSectionMutex<Cell<Option<&'static str>>> =
    CriticalSectionMutex::new(Cell::new(None));

/// Takes what the last run said when it panicked, and logs it. To be called once, before interrupts are
/// used.
pub fn take() {
    static WORDS: StaticCell<Words> = StaticCell::new();
    if let Some(words) = read() {
        let words = WORDS.init(words);
        log::error!("the last run ended in a panic: {words}");
        note(words);
    }
}

/// Takes note of how the last run ended where nobody could say a word.
pub fn note(words: &'static str) {
    CRASH.lock(|crash| crash.set(Some(words)));
}

/// How the last run ended, if that was not in good order.
pub fn last() -> Option<&'static str> {
    CRASH.lock(Cell::get)
}

fn read() -> Option<Words> {
    // SAFETY: any bits are a valid record, and nobody else runs yet.
    let record = unsafe { (&raw mut RECORD).cast::<Record>().read_volatile() };
    // SAFETY: as above.
    unsafe { (&raw mut RECORD).cast::<u32>().write_volatile(0) };
    let bytes = record.bytes.get(..record.len as usize)?;
    if checksum(bytes) != record.checksum {
        return None;
    }
    Words::try_from(core::str::from_utf8(bytes).ok()?).ok()
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    end(format_args!("{info}"))
}

/// Keeps `words` for the next start, and starts the board again.
pub(crate) fn end(words: fmt::Arguments<'_>) -> ! {
    cortex_m::interrupt::disable();
    let kept: Words = clipped(words);
    let mut bytes = [0; WORDS_BYTES_MAX];
    bytes[..kept.len()].copy_from_slice(kept.as_bytes());
    let record = Record {
        checksum: checksum(kept.as_bytes()),
        len: kept.len() as u32,
        bytes,
    };
    // SAFETY: interrupts are off, and this function does not return.
    unsafe { (&raw mut RECORD).cast::<Record>().write_volatile(record) };
    log::error!("{words}");
    SCB::sys_reset()
}

/// Never 0 (FNV-1a with its lowest bit set), so that cleared memory holds no words.
fn checksum(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0x811C_9DC5, |hash: u32, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    hash | 1
}
