//! A panic where a debugger asks for one. Nothing on a board in a vehicle does.

use embassy_time::{Duration, Timer};

use super::mmio::PANIC;

/// How often is looked whether a debugger wants a panic.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Waits for a debugger to write a word to [`PANIC`], so that a test sees what a panic leaves behind.
///
/// # Panics
/// Then; it never completes.
pub(crate) async fn panic_on_demand() {
    while PANIC.read(0) == 0 {
        Timer::after(LOOK_EVERY).await;
    }
    // The reset that follows leaves this memory alone.
    PANIC.write(0, 0);
    panic!("the debugger wanted to see one");
}
