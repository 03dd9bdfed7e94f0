//! What the debugger's host, here QEMU, does for the board through semihosting: the log, true
//! random numbers, the time of day and an end.
//!
//! A board without a debugger has a serial line, a generator of random numbers and a clock that
//! runs on a battery in their place.

use embassy_time::Instant;
use log::{LevelFilter, Log, Metadata, Record};
use semihosting::experimental::random;
#[cfg(feature = "tls")]
use semihosting::sys::arm_compat::sys_time;

/// Sends the log to the host, a line for each record, with the milliseconds since the start.
pub(crate) fn start_log() {
    struct HostLog;

    impl Log for HostLog {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            let now_ms = Instant::now().as_millis();
            semihosting::println!("[{now_ms:>7}] {}", record.args());
        }

        fn flush(&self) {}
    }

    // It is set nowhere else.
    let _ = log::set_logger(&HostLog);
    log::set_max_level(LevelFilter::Info);
}

/// Random bytes, good enough for keys.
///
/// # Panics
/// When the host gives none: without them there is no connection that could be trusted.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = random::fill_bytes(&mut bytes) {
        // Its number alone: the names of all errors there are take 1 KB.
        let number = error.raw_os_error().unwrap_or_default();
        panic!("the host gives no random numbers, its error is {number}");
    }
    bytes
}

/// Seconds since 1970.
#[cfg(feature = "tls")]
pub(crate) fn unix_time() -> u64 {
    sys_time().map_or(0, |seconds| seconds as u64)
}

/// Ends the program.
pub(crate) fn exit(success: bool) -> ! {
    semihosting::process::exit(if success { 0 } else { 1 })
}
