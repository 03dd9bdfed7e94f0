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

const BYTES_PER_WORD: usize = size_of::<u32>();

/// Checksum, length, and the sentence.
type Record = [u32; 2 + WORDS_BYTES_MAX / BYTES_PER_WORD];

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
    let record = (&raw mut RECORD).cast::<u32>();
    // One at a time: as a whole, the compiler copies it byte by byte, without a loop.
    // SAFETY: any bits are a valid word, all of them are inside, and nobody else runs yet.
    let word = |at| unsafe { record.add(at).read_volatile() };
    let [checksum_kept, len] = [word(0), word(1)];
    // SAFETY: as above.
    unsafe { record.write_volatile(0) };
    let mut bytes = [0; WORDS_BYTES_MAX];
    for (at, bytes) in bytes.chunks_exact_mut(BYTES_PER_WORD).enumerate() {
        bytes.copy_from_slice(&word(2 + at).to_ne_bytes());
    }
    let bytes = bytes.get(..len as usize)?;
    if checksum(bytes) != checksum_kept {
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
    let (chunks, _) = bytes.as_chunks::<BYTES_PER_WORD>();
    let words_kept = chunks.iter().map(|chunk| u32::from_ne_bytes(*chunk));
    let before = [checksum(kept.as_bytes()), kept.len() as u32];
    for (at, word) in before.into_iter().chain(words_kept).enumerate() {
        // SAFETY: it is inside, interrupts are off, and this function does not return.
        unsafe { (&raw mut RECORD).cast::<u32>().add(at).write_volatile(word) };
    }
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
