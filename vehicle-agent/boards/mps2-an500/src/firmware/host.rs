//! What the debugger's host, here QEMU, does for the board through semihosting: the log, true
//! random numbers, the time of day and an end.
//!
//! A board without a debugger has a serial line, a generator of random numbers and a clock that
//! runs on a battery in their place.

use semihosting::experimental::random;
use semihosting::experimental::time::SystemTime;

/// Writes a line of the log, with the time since the start in milliseconds.
macro_rules! log {
    ($($text:tt)*) => {
        semihosting::println!(
            "[{:>7}] {}",
            embassy_time::Instant::now().as_millis(),
            format_args!($($text)*)
        )
    };
}
pub(crate) use log;

/// Random bytes, good enough for keys.
///
/// # Panics
/// When the host gives none: without them there is no connection that could be trusted.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = random::fill_bytes(&mut bytes) {
        panic!("the host gives no random numbers: {error}");
    }
    bytes
}

/// Seconds since 1970.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// Ends the program.
pub(crate) fn exit(success: bool) -> ! {
    semihosting::process::exit(if success { 0 } else { 1 })
}
