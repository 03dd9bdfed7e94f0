//! Runs the tasks, and stops the processor while none has anything to do.
//!
//! embassy's own executor for Cortex-M waits with WFE, which QEMU takes for no instruction at all;
//! WFI costs nothing on either.
#![expect(
    unsafe_code,
    reason = "embassy-executor calls `__pender` by its name and polls through an unsafe function"
)]

use core::sync::atomic::{AtomicBool, Ordering};

use embassy_executor::{Spawner, raw};
use static_cell::StaticCell;

static WORK: AtomicBool = AtomicBool::new(false);

/// Something has woken a task.
#[unsafe(export_name = "__pender")]
fn pender(_context: *mut ()) {
    WORK.store(true, Ordering::Relaxed);
}

/// Runs what `spawn` spawns, for ever.
pub(crate) fn run(spawn: impl FnOnce(Spawner)) -> ! {
    static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();
    let executor: &'static raw::Executor = EXECUTOR.init(raw::Executor::new(core::ptr::null_mut()));
    spawn(executor.spawner());
    loop {
        // SAFETY: only here, and never from within a task.
        unsafe { executor.poll() };
        // An interrupt that comes in between waits, and ends the waiting at once.
        critical_section::with(|_| {
            if !WORK.swap(false, Ordering::Relaxed) {
                cortex_m::asm::wfi();
            }
        });
    }
}
