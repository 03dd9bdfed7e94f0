//! What the debugger's host, here QEMU, does for the board through semihosting: the log, true
//! random numbers, the time of day and an end; and, where a debugger asks for it, a panic.
//!
//! A board without a debugger has a serial line, a generator of random numbers and a clock that
//! runs on a battery in their place. Nothing there panics on demand.

use embassy_time::{Duration, Instant, Timer};
use log::{LevelFilter, Log, Metadata, Record};
use semihosting::experimental::random;
#[cfg(feature = "tls")]
use semihosting::experimental::time::SystemTime;

use super::mmio::PANIC;

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
        panic!("the host gives no random numbers: {error}");
    }
    bytes
}

/// Seconds since 1970.
#[cfg(feature = "tls")]
pub(crate) fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// How often is looked whether a debugger wants a panic.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Waits for a debugger to write a word to [`PANIC`], so that a test sees what a panic leaves behind.
///
/// # Panics
/// Then; it never completes.
#[cfg(feature = "agent")]
pub(crate) async fn panic_on_demand() {
    while PANIC.read(0) == 0 {
        Timer::after(LOOK_EVERY).await;
    }
    // The reset that follows leaves this memory alone.
    PANIC.write(0, 0);
    panic!("the debugger wanted to see one");
}

/// Ends the program.
pub(crate) fn exit(success: bool) -> ! {
    semihosting::process::exit(if success { 0 } else { 1 })
}
