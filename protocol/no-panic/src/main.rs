//! Links only if nothing public in `vinbus-protocol` can panic, and is never run.
//!
//! Every public entry is called on inputs that the optimiser cannot know. The panic handler calls a
//! function that nobody defines: if one panic survives optimisation, the handler stays in the
//! program and the linker fails. The proof covers panics, not overflow of the stack, and holds for
//! the optimised build; `Debug` is left out, since it is for tests only.
//!
//! `unsafe` stands here, and nowhere else in the repository, because declaring and calling a
//! function that does not exist, and naming the program's entry, cannot be said without it.
#![no_std]
#![no_main]
#![allow(
    dead_code,
    reason = "built part by part, and not every part needs every kind of input"
)]

#[cfg(feature = "backoff")]
mod backoff;
#[cfg(feature = "bus")]
mod bus;
#[cfg(feature = "delivery")]
mod delivery;
#[cfg(feature = "envelope")]
mod envelope;
#[cfg(feature = "health")]
mod health;
#[cfg(feature = "id")]
mod id;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "portal")]
mod portal;
#[cfg(feature = "presence")]
mod presence;
#[cfg(feature = "queues")]
mod queues;
#[cfg(feature = "request")]
mod request;
#[cfg(feature = "topic")]
mod topic;

use core::fmt::{self, Write};
use core::hint::black_box;
use core::panic::PanicInfo;

unsafe extern "C" {
    /// Defined nowhere.
    fn vinbus_protocol_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: it is never called, because a program that needs it does not link.
    unsafe { vinbus_protocol_can_panic() }
}

/// Where the program would begin if it were run.
///
/// SAFETY: no other item of the program has this name; the C start-up code is not linked.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    #[cfg(feature = "id")]
    id::prove();
    #[cfg(feature = "topic")]
    topic::prove();
    #[cfg(feature = "json")]
    json::prove();
    #[cfg(feature = "envelope")]
    envelope::prove();
    #[cfg(feature = "presence")]
    presence::prove();
    #[cfg(feature = "bus")]
    bus::prove();
    #[cfg(feature = "health")]
    health::prove();
    #[cfg(feature = "queues")]
    queues::prove();
    #[cfg(feature = "portal")]
    portal::prove();
    #[cfg(feature = "backoff")]
    backoff::prove();
    #[cfg(feature = "delivery")]
    delivery::prove();
    #[cfg(feature = "request")]
    request::prove();
    #[cfg(feature = "control")]
    black_box(bytes()[black_box(0)]);
    loop {
        core::hint::spin_loop();
    }
}

/// Bytes that the optimiser knows nothing about, their number included.
fn bytes() -> &'static [u8] {
    black_box(&[])
}

/// A text that the optimiser knows nothing about.
fn text() -> &'static str {
    black_box("")
}

/// A number that the optimiser knows nothing about.
fn number() -> u64 {
    black_box(0)
}

/// Room for as many bytes as the optimiser does not know.
fn space() -> &'static mut [u8] {
    black_box(&mut [])
}

/// Uses a value in a way that the optimiser cannot see through.
fn used<T>(value: T) {
    drop(black_box(value));
}

/// Formats a value for humans, as log lines and error messages do.
fn displayed(value: &impl fmt::Display) {
    struct Sink;
    impl Write for Sink {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            black_box(text);
            black_box(Ok(()))
        }
    }
    used(write!(Sink, "{value}"));
}
